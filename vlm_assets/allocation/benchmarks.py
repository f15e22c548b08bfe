"""What no corpus may hold: images, pictures and grams of the benchmarks, and of the lists of `decontaminate`."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from vlm_assets.allocation.columns import (
    hash_words,
    hex_words,
    index_batches,
    numbers,
    ordered_words,
    validity,
    words_of_hex,
)
from vlm_assets.allocation.grams import GramReader
from vlm_assets.allocation.inputs import decontamination_files
from vlm_assets.allocation.supply import SupplySlice, checked_benchmarks
from vlm_assets.allocation.texts import slice_grams
from vlm_assets.catalog.spec import Catalog
from vlm_assets.words.errors import AllocationError
from vlm_assets.words.keys import Words

LISTS: Final = "decontaminate (lists)"
"""Stands for all the lists of the catalogue together, where benchmarks stand by name; no source has such a name."""
_FLAT_BITS: Final = (5, 59)
"""A dhash with fewer or more bits set shows a flat image and says nothing about likeness."""
_GRAMS_AT_ONCE: Final = 4_000_000
_LISTED: Final = ("image_sha256", "dhash", "text")


class Way(StrEnum):
    """How a row matches a benchmark. Public: in `grants.json` and the report."""

    EXACT = "exact"
    """One of its images is an image of the benchmark, byte for byte."""
    NEAR = "near"
    """One of its images is within `decontaminate_bits` of one, and none is one."""
    TEXT = "text"
    """It has `GRAM_WORDS` words in a row with one of its records in common."""


@dataclass(frozen=True, slots=True)
class Benchmark:
    """What rows of the supply are held against."""

    name: str
    images: Words
    """sha256 of each image, without repeats, as `columns.words_of_hex` gives them."""
    pictures: Words
    """dhashes of images that are not flat, sorted, without repeats."""
    grams: Words
    """Hashes of all grams, sorted, without repeats."""


def read_benchmarks(
    catalog: Catalog, slices: Sequence[SupplySlice], *, base_dir: Path | None
) -> tuple[Benchmark, ...]:
    """The lists, if there are any, and every enabled benchmark, sorted by name. `slices`: those of others too.

    Memory: 32 bytes an image and 8 a gram.

    Raises:
        AllocationError: a list, an index or a data file is missing or damaged.
    """
    found = []
    if catalog.corpus.decontaminate:
        found.append(Benchmark(LISTS, *read_decontamination(decontamination_files(catalog.corpus, base_dir))))
    entries = checked_benchmarks(catalog, slices)
    found += [
        _read_benchmark(spec.name, [one for one in entries if one.source == spec.name])
        for spec in catalog.benchmarks
        if spec.enabled
    ]
    return tuple(found)


def _read_benchmark(name: str, entries: Sequence[SupplySlice]) -> Benchmark:
    images: list[Words] = []
    pictures: list[Words] = [np.empty(0, np.uint64)]
    for entry in entries:
        for sha, dhash in _hashes(entry):
            images.append(sha)
            pictures.append(dhash)
    return Benchmark(name, ordered_words(images), np.unique(np.concatenate(pictures)), _grams(entries))


def _hashes(entry: SupplySlice) -> Iterator[tuple[Words, Words]]:
    """sha256 of every image of a slice, and the dhashes of those that are not flat, by record batch."""
    if entry.multi_image_rows:
        for batch in index_batches(entry.path, ["image_facts"]):
            facts = batch.column("image_facts").flatten()
            yield hex_words(facts.field("sha256")), _telling_of(facts.field("dhash"))
    else:
        for batch in index_batches(entry.path, ["image_count", "images_sha256", "dhash"]):
            with_image = numbers(batch.column("image_count")) > 0
            yield hash_words(batch.column("images_sha256"))[with_image], _telling_of(batch.column("dhash"))


def _telling_of(column: pa.Array) -> Words:
    values = numbers(column)[validity(column)]
    return values[telling(values)]


def _grams(entries: Sequence[SupplySlice]) -> Words:
    found = np.empty(0, np.uint64)
    waiting: list[Words] = []
    for entry in entries:
        for hashes, _ in slice_grams(entry) if entry.has_words else ():
            waiting.append(hashes)
            if sum(map(len, waiting)) >= _GRAMS_AT_ONCE:
                found = np.unique(np.concatenate((found, *waiting)))
                waiting.clear()
    return np.unique(np.concatenate((found, *waiting)))


def telling(values: Words) -> np.typing.NDArray[np.bool_]:
    """Hashes that are not of a flat image."""
    ones = np.bitwise_count(values)
    told: np.typing.NDArray[np.bool_] = (ones >= _FLAT_BITS[0]) & (ones <= _FLAT_BITS[1])
    return told


def read_decontamination(paths: Sequence[Path]) -> tuple[Words, Words, Words]:
    """What parquet files list: images, dhashes of those that are not flat, and grams, as a `Benchmark` has them.

    A file has at least one of the columns `image_sha256` (hex), `dhash` (unsigned) and `text`; nulls are skipped.

    Raises:
        AllocationError: a file is no parquet, or has neither column.
    """
    hashes: set[str] = set()
    pictures: list[Words] = [np.empty(0, dtype=np.uint64)]
    grams: list[Words] = [np.empty(0, dtype=np.uint64)]
    for path in paths:
        try:
            table = pq.read_table(path)
        except (OSError, pa.ArrowInvalid) as error:
            raise AllocationError(f"decontaminate: {path}: {error}") from error
        if not set(_LISTED) & set(table.column_names):
            raise AllocationError(
                f"decontaminate: {path}: expected a column {' or '.join(_LISTED)}, "
                f"got {', '.join(table.column_names)}"
            )
        if "image_sha256" in table.column_names:
            hashes.update(value for value in table.column("image_sha256").to_pylist() if value is not None)
        if "dhash" in table.column_names:
            values = table.column("dhash").drop_null().to_pylist()
            pictures.append(np.array([int(value) & (2**64 - 1) for value in values], dtype=np.uint64))
        if "text" in table.column_names:
            texts = [str(value) for value in table.column("text").to_pylist() if value is not None]
            grams += [one for one, _ in GramReader().read(texts, range(len(texts)))]
    words = np.unique(np.concatenate(pictures))
    return words_of_hex(sorted(hashes)), words[telling(words)], np.unique(np.concatenate(grams))
