"""Near duplicates and near matches of benchmark images, by the distance of their dhashes."""

from collections.abc import Iterator, Sequence

import numpy as np

from vlm_assets.allocation.benchmarks import Benchmark
from vlm_assets.allocation.near import Entries, Mask, near_hits
from vlm_assets.allocation.rows import NO_CELL, Places, RowTable
from vlm_assets.allocation.sampling import precedence
from vlm_assets.catalog.spec import CorpusSpec
from vlm_assets.words.keys import Words


def like_benchmarks(
    table: RowTable, benchmarks: Sequence[Benchmark], asked: Mask, distance: int
) -> Iterator[tuple[int, Places]]:
    """Of the rows asked for those with a dhash within `distance` bits of one of a benchmark, by its number.

    Flat images, of a benchmark or among the rows, are like everything and so compared with nothing.
    """
    pictures = np.unique(np.concatenate([np.empty(0, np.uint64), *(one.pictures for one in benchmarks)]))
    if table.dhash is None or table.comparable is None or not len(pictures):
        return
    places = np.flatnonzero(asked & table.comparable)
    owners = np.concatenate((places, *(rows for rows, _ in table.further)))
    hashes = np.concatenate((table.dhash[places], *(words for _, words in table.further)))
    values, inverse = np.unique(hashes, return_inverse=True)
    # All benchmarks at once, then each among the few that are like one of them.
    hit = _near(pictures, values, distance)[inverse]
    owners, hashes = owners[hit], hashes[hit]
    owners, hashes = owners[asked[owners]], hashes[asked[owners]]
    values, inverse = np.unique(hashes, return_inverse=True)
    for number, one in enumerate(benchmarks):
        found = np.unique(owners[_near(one.pictures, values, distance)[inverse]])
        if len(found):
            yield number, found


def _near(pictures: Words, values: Words, distance: int) -> Mask:
    """Which of the values are within `distance` bits of a picture; both without repeats."""
    sizes = [len(pictures), len(values)]
    entries = Entries(
        value=np.concatenate((pictures, values)),
        candidate=np.repeat([True, False], sizes),
        query=np.repeat([False, True], sizes),
    )
    return near_hits(entries, distance)[len(pictures) :]


def near_duplicates(table: RowTable, corpus: CorpusSpec, places: Places) -> Places:
    """Those of the given rows (ascending) with a near row of higher precedence among them.

    Near: both of one image and without messages, another image, and a distance within the smaller `near_bits` of
    the two rows' categories. Rows that are duplicates themselves count as well, which makes the outcome independent
    of any order. A category with `near_bits: 0` takes no part.
    """
    if table.dhash is None or table.comparable is None or table.silent is None:
        return places[:0]
    bits = np.array([corpus.dedup.bits_of(cell.category) for cell in table.cells] or [0], dtype=np.int64)
    places = places[table.comparable[places] & table.silent[places] & (table.cell[places] != NO_CELL)]
    allowed = bits[table.cell[places]]
    near = np.zeros(len(places), dtype=bool)
    numbers = precedence(table, places[allowed > 0])
    position = np.zeros(len(places), dtype=np.int64)
    position[allowed > 0] = numbers
    # Two rows are near within the smaller of their bits: that pair is met at that level.
    for level in np.unique(allowed[allowed > 0]):
        chosen = np.flatnonzero(allowed >= level)
        chosen = chosen[np.argsort(position[chosen])]
        near[chosen[_hits(table.dhash[places[chosen]], int(level))]] = True
    return places[near]


def _hits(values: Words, distance: int) -> Mask:
    """Which rows, given in order of precedence, are near an earlier one.

    The row key is the image: a row of the same value is the same image, an exact duplicate, or near, and out either
    way. So only the first row of each value is in question.
    """
    by_value = np.argsort(values, kind="stable")
    opens = np.ones(len(values), dtype=bool)
    opens[1:] = values[by_value[1:]] != values[by_value[:-1]]
    first = np.sort(by_value[opens])
    hits = np.ones(len(values), dtype=bool)
    everyone = np.ones(len(first), dtype=bool)
    hits[first] = near_hits(Entries(value=values[first], candidate=everyone, query=everyone), distance)
    return hits
