"""Has annotators look at what is due of a slice, a batch after the other."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np
from blake3 import blake3

from vlm_assets.annotate.content import Bool, SliceContent
from vlm_assets.annotate.pool import AnnotatorPool, Answer
from vlm_assets.annotate.said import Said
from vlm_assets.annotate.under_way import Batch, UnderWay
from vlm_assets.annotate.wanted import filed_schema
from vlm_assets.annotators.protocol import Reads

_AT_ONCE: Final[Mapping[Reads, int]] = {Reads.IMAGES: 8, Reads.TEXT: 256}
_BYTES_AT_ONCE: Final = 8 * 2**20
Seen = Callable[[int], None]
"""Told how many images, or texts, were looked at."""


def compute(
    pool: AnnotatorPool,
    content: SliceContent,
    reads: Reads,
    annotators: Sequence[Said],
    under_way: UnderWay,
    seen: Seen,
) -> frozenset[int]:
    """Has annotators, which all read the same, look at the records that are due of each; fills in what they say.

    Returns the records that have nothing of what they read, or are taken down.

    Raises:
        AnnotationError: an annotator gave what is no answer.
        OperationError: a child cannot be started, or the machine has no memory left.
        StoreError: the slice is damaged, or what is done cannot be kept.
    """
    absent = set(np.flatnonzero(content.gone).tolist())
    by_name = {one.wanted.name: one for one in annotators}

    def ask(batch: Batch) -> tuple[Batch, Answer]:
        answer = under_way.answer(batch)
        if answer is None:
            answer = pool.ask(batch.names, batch.things)
            under_way.keep(batch, answer)
            seen(len(batch.things))
        return Batch(batch.number, batch.names, (), batch.rows), answer

    due = {name: one.due for name, one in by_name.items()}
    for batch, answer in pool.in_order(ask, _batches(content, reads, due, absent)):
        for name in batch.names:
            by_name[name].add(batch.rows, answer.values[name], answer.failed.get(name, {}))
        for one in annotators:
            one.settle(batch.rows[-1], absent)
    for one in annotators:
        one.settle(len(content.ids), absent, all_of_it=True)
    return frozenset(absent)


def identity_of(content: SliceContent, reads: Reads, annotators: Sequence[Said]) -> str:
    """A digest of all that decides which batches there are, and what is said of them."""
    manifest = content.manifest
    due = [(one.wanted, blake3(np.packbits(one.due).tobytes()).hexdigest()) for one in annotators]
    asked = [(one.name, one.version, str(filed_schema(one.spec)), rows) for one, rows in due]
    where = (manifest.source, manifest.slice, manifest.content_hash, len(content.ids))
    told = [reads, _AT_ONCE[reads], _BYTES_AT_ONCE, where, asked]
    return str(blake3(json.dumps(told).encode()).hexdigest())


def _batches(
    content: SliceContent, reads: Reads, due: Mapping[str, Bool], absent: set[int]
) -> Iterator[Batch]:
    """Things of the records that are due of any annotator, in order; all of a batch are due of the same ones."""
    wanted = np.logical_or.reduce(list(due.values()))
    number, size, names = 0, 0, tuple[str, ...]()
    things: list[Any] = []
    rows: list[int] = []
    for row, shown in content.seen(reads, wanted) if wanted.any() else ():
        if shown is None:
            absent.add(row)
        asked = tuple(name for name, of_name in due.items() if of_name[row])
        for thing in shown or ():
            full = len(things) >= _AT_ONCE[reads] or size >= _BYTES_AT_ONCE
            if things and (full or asked != names):
                yield Batch(number, names, things, rows)
                number, size, things, rows = number + 1, 0, [], []
            names, size = asked, size + _size(thing)
            things.append(thing)
            rows.append(row)
    if things:
        yield Batch(number, names, things, rows)


def _size(thing: Any) -> int:
    return len(thing) if isinstance(thing, str) else len(thing[1])
