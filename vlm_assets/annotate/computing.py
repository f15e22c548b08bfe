"""Has annotators look at what is due of a slice, a batch after the other, and puts what they say by record."""

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from blake3 import blake3

from vlm_assets.annotate.content import Bool, SliceContent
from vlm_assets.annotate.pool import AnnotatorPool, Answer
from vlm_assets.annotate.under_way import Batch, UnderWay
from vlm_assets.annotate.wanted import Wanted, filed_schema
from vlm_assets.annotators.protocol import Reads, Values

_AT_ONCE: Final[Mapping[Reads, int]] = {Reads.IMAGES: 8, Reads.TEXT: 256}
_BYTES_AT_ONCE: Final = 8 * 2**20
Seen = Callable[[int], None]
"""Told how many images, or texts, were looked at."""


@dataclass(slots=True)
class Computed:
    """What annotators say of records, by annotator and number of the record."""

    reads: Reads
    said: defaultdict[str, defaultdict[int, list[Values]]] = field(
        default_factory=lambda: defaultdict(lambda: defaultdict(list))
    )
    broken: defaultdict[str, set[int]] = field(default_factory=lambda: defaultdict(set))
    """Records of which an annotator broke on something."""
    failed: defaultdict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    """On how many things, by how."""
    absent: set[int] = field(default_factory=set)
    """Records that have nothing of what annotators read."""

    def add(self, names: Sequence[str], rows: Sequence[int], answer: Answer) -> None:
        """What was said of a batch with things of these records."""
        for name in names:
            said = self.said[name]
            for row, values in zip(rows, answer.values[name], strict=True):
                said[row].append(values)
            for place, how in answer.failed.get(name, {}).items():
                self.broken[name].add(rows[place])
                self.failed[name][how] += 1

    def of(self, name: str, rows: Sequence[int]) -> list[Values | Sequence[Values]]:
        """Of each of these records its values, or those of each of its images; None: it has none."""
        said = self.said[name]
        if self.reads is Reads.TEXT:
            return [said[row][0] if row in said else None for row in rows]
        return [said[row] if row in said else self._without(row) for row in rows]

    def _without(self, row: int) -> list[Values] | None:
        return None if row in self.absent else []


def computed(
    pool: AnnotatorPool,
    content: SliceContent,
    reads: Reads,
    due: Mapping[str, Bool],
    under_way: UnderWay,
    seen: Seen,
) -> Computed:
    """What annotators, which all read the same, say of the records that are due of each.

    Raises:
        AnnotationError: an annotator gave what is no answer.
        OperationError: a child cannot be started, or the machine has no memory left.
        StoreError: the slice is damaged, or what is done cannot be kept.
    """
    found = Computed(reads, absent=set(np.flatnonzero(content.gone).tolist()))

    def ask(batch: Batch) -> tuple[Batch, Answer]:
        answer = under_way.answer(batch)
        if answer is None:
            answer = pool.ask(batch.names, batch.things)
            under_way.keep(batch, answer)
            seen(len(batch.things))
        return Batch(batch.number, batch.names, (), batch.rows), answer

    for batch, answer in pool.in_order(ask, _batches(content, reads, due, found.absent)):
        found.add(batch.names, batch.rows, answer)
    return found


def identity_of(content: SliceContent, reads: Reads, due: Sequence[tuple[Wanted, Bool]]) -> str:
    """A digest of all that decides which batches there are, and what is said of them."""
    manifest = content.manifest
    annotators = [
        (one.name, one.version, str(filed_schema(one.spec)), blake3(np.packbits(rows).tobytes()).hexdigest())
        for one, rows in due
    ]
    where = (manifest.source, manifest.slice, manifest.content_hash, len(content.ids))
    told = [reads, _AT_ONCE[reads], _BYTES_AT_ONCE, where, annotators]
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
