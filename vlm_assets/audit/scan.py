"""One pass over the indexes of all slices of a plan: what each holds, where corpus rows come from, the supply.

Only the columns that somebody needs are read, each once, a record batch at a time, slices in threads.
"""

from dataclasses import dataclass
from hashlib import sha256
from typing import Final

import numpy as np
import pyarrow as pa

from vlm_assets.audit.corpus_rows import Lineage, Tracer, index_batches
from vlm_assets.audit.evidence import Evidence, FoundSlice, UnjudgedError
from vlm_assets.audit.supply import SupplyReader, SupplyRows
from vlm_assets.audit.words import fixed_bytes, fixed_words, numbers
from vlm_assets.store.ahead import ahead
from vlm_assets.store.slices import INDEX_FILE

_ALWAYS: Final = ("digest", "image_bytes", "images_sha256", "image_count", "images_upstream")


@dataclass(frozen=True, slots=True)
class SliceFacts:
    """What the index of a slice comes to."""

    rows: int
    image_bytes: int
    content_hash: str
    torn: tuple[int, ...]
    """Rows that have not all the images that their record had upstream."""


@dataclass(frozen=True, slots=True)
class Scan:
    """What was found; in the place of what cannot be judged, why."""

    facts: tuple[SliceFacts | UnjudgedError | None, ...]
    """By slice; None where its content is gone."""
    lineage: Lineage | UnjudgedError
    supply: SupplyRows | UnjudgedError
    filter_faults: tuple[str, ...] = ()
    """Why values that filters read are not those that the plan read."""


def scan_slices(
    evidence: Evidence,
    tracer: Tracer | UnjudgedError,
    reader: SupplyReader | UnjudgedError,
    threads: int,
) -> Scan:
    """Reads every slice that is there; what `tracer` or `reader` cannot take in is unjudged on its own."""
    entered = (
        tracer if isinstance(tracer, Tracer) else None,
        reader if isinstance(reader, SupplyReader) else None,
    )

    def of_slice(number: int, found: FoundSlice) -> SliceFacts | UnjudgedError | None:
        try:
            return _scan_slice(number, found, *entered)
        except UnjudgedError as error:
            return error

    tasks = enumerate(evidence.slices)
    facts = tuple(ahead(lambda task: of_slice(*task), tasks, threads))
    supply = _supply(reader, facts, threads)
    faults = reader.filter_faults if isinstance(reader, SupplyReader) else []
    return Scan(facts, _lineage(tracer, facts), supply, tuple(faults))


def _lineage(
    tracer: Tracer | UnjudgedError, facts: tuple[SliceFacts | UnjudgedError | None, ...]
) -> Lineage | UnjudgedError:
    if isinstance(tracer, UnjudgedError):
        return tracer
    broken = (one for n, one in enumerate(facts) if isinstance(one, UnjudgedError) and tracer.waits_for(n))
    return next(broken, None) or tracer.lineage()


def _supply(
    reader: SupplyReader | UnjudgedError, facts: tuple[SliceFacts | UnjudgedError | None, ...], threads: int
) -> SupplyRows | UnjudgedError:
    if isinstance(reader, UnjudgedError):
        return reader
    broken = next((one for one in facts if isinstance(one, UnjudgedError)), None)
    if broken is not None:
        return broken
    try:
        return reader.finish(threads)
    except UnjudgedError as error:
        return error


def _scan_slice(
    number: int, found: FoundSlice, tracer: Tracer | None, reader: SupplyReader | None
) -> SliceFacts | None:
    if found.directory is None:
        return None
    path = found.directory / INDEX_FILE
    traced = tracer is not None and tracer.waits_for(number)
    columns = dict.fromkeys((*_ALWAYS, *(reader.columns(found) if reader is not None else ())))
    content, rows, image_bytes, torn = sha256(), 0, 0, list[int]()
    digests, hashes = [np.empty((0, 2), np.uint64)], [np.empty((0, 2), np.uint64)]
    try:
        for batch in index_batches(path, tuple(columns)):
            digest, words = batch.column("digest"), fixed_words(batch.column("images_sha256"))
            content.update(fixed_bytes(digest).tobytes())
            image_bytes += int(numbers(batch.column("image_bytes")).sum())
            torn += _torn_rows(batch, rows)
            if traced:
                digests.append(fixed_words(digest))
                hashes.append(words)
            if reader is not None:
                reader.enter(number, rows, batch, words)
            rows += batch.num_rows
    except ValueError as error:
        raise UnjudgedError(f"{path}: {error}") from error
    if tracer is not None and traced:
        tracer.enter(number, np.concatenate(digests), np.concatenate(hashes))
    if reader is not None:
        reader.entered(number, rows)
    return SliceFacts(rows, image_bytes, content.hexdigest(), tuple(torn))


def _torn_rows(batch: pa.RecordBatch, first: int) -> list[int]:
    differs = numbers(batch.column("image_count")) != numbers(batch.column("images_upstream"))
    return [first + int(row) for row in np.flatnonzero(differs)]
