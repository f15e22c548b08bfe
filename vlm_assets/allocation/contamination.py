"""Which rows of the supply match which benchmark, and in which way: excluded, and counted by source."""

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np

from vlm_assets.allocation.benchmarks import Benchmark, Way
from vlm_assets.allocation.certificate import BenchmarkFacts, Contamination
from vlm_assets.allocation.gram_memory import GramMemory
from vlm_assets.allocation.grams import among
from vlm_assets.allocation.likeness import like_benchmarks
from vlm_assets.allocation.reasons import ExclusionReason
from vlm_assets.allocation.rows import Places, RowTable
from vlm_assets.words.keys import ranks_of

EXAMPLES: Final = 3
"""Of the rows of a source that match a benchmark."""


def exclude_contaminated(
    table: RowTable, benchmarks: Sequence[Benchmark], distance: int, memory: GramMemory
) -> None:
    """Excludes the rows that are like a benchmark or share grams with it; those with its images are out already.

    Rows that an earlier reason excludes are not looked at. Memory: with what the rows have in common.

    Raises:
        AllocationError: a data file is missing or damaged.
    """
    code = table.code(ExclusionReason.DECONTAMINATE)
    asked = (table.reason == 0) | (table.reason == code)
    found = [
        *((number, Way.NEAR, rows) for number, rows in like_benchmarks(table, benchmarks, asked, distance)),
        *((number, Way.TEXT, rows) for number, rows in _sharing_grams(table, benchmarks, asked, memory)),
    ]
    table.matches += found
    for _, _, rows in found:
        table.reason[rows] = code


def _sharing_grams(
    table: RowTable, benchmarks: Sequence[Benchmark], asked: np.typing.NDArray[np.bool_], memory: GramMemory
) -> Iterator[tuple[int, Places]]:
    """Of the rows asked for those that say a gram of a benchmark, by its number."""
    grams = np.unique(np.concatenate([np.empty(0, np.uint64), *(one.grams for one in benchmarks)]))
    if not len(grams):
        return
    find = memory.asked_for(grams)
    for number, entry in enumerate(table.slices):
        begin, end = int(table.starts[number]), int(table.starts[number + 1])
        if not entry.has_words or not asked[begin:end].any():
            continue
        said, rows = find(entry)
        there = rows < end - begin
        said, rows = said[there], begin + rows[there]
        said, rows = said[asked[rows]], rows[asked[rows]]
        for which, one in enumerate(benchmarks):
            found = np.unique(rows[among(said, one.grams)]) if len(rows) else rows
            if len(found):
                yield which, found


def benchmark_facts(benchmarks: Sequence[Benchmark]) -> tuple[BenchmarkFacts, ...]:
    """What there was to hold rows against."""
    return tuple(
        BenchmarkFacts(
            name=one.name, images=len(one.images), pictures=len(one.pictures), grams=len(one.grams)
        )
        for one in benchmarks
    )


def contamination_of(
    table: RowTable, benchmarks: Sequence[Benchmark], seed: int
) -> tuple[Contamination, ...]:
    """A line for every source and benchmark that have rows in common, by source."""
    lines = []
    for number, benchmark in enumerate(benchmarks):
        ways = {way: _rows_of(table, number, way) for way in Way}
        ways[Way.NEAR] = np.setdiff1d(ways[Way.NEAR], ways[Way.EXACT], assume_unique=True)
        every = np.unique(np.concatenate(list(ways.values())))
        for source, span in table.sources.items():
            inside = {way: _within(rows, span) for way, rows in ways.items()}
            rows = _within(every, span)
            if len(rows):
                lines.append(
                    Contamination(
                        source=source,
                        benchmark=benchmark.name,
                        exact=len(inside[Way.EXACT]),
                        near=len(inside[Way.NEAR]),
                        text=len(inside[Way.TEXT]),
                        rows=len(rows),
                        examples=_examples(table, rows, seed),
                    )
                )
    return tuple(sorted(lines, key=lambda one: (one.source, one.benchmark)))


def _rows_of(table: RowTable, number: int, way: Way) -> Places:
    found = [rows for which, how, rows in table.matches if (which, how) == (number, way)]
    return np.unique(np.concatenate([np.empty(0, np.int64), *found]))


def _within(rows: Places, span: tuple[int, int]) -> Places:
    first, last = np.searchsorted(rows, span)
    return rows[first:last]


def _examples(table: RowTable, rows: Places, seed: int) -> tuple[str, ...]:
    """Ids of the rows of lowest rank."""
    lowest = rows[np.lexsort((rows, ranks_of(table.key[0][rows], seed)))[:EXAMPLES]]
    return tuple(table.ids(np.sort(lowest)).to_pylist())
