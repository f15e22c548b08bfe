"""Near duplicates and near matches of benchmark images, by the distance of their dhashes."""

import numpy as np

from vlm_assets.allocation.near import Entries, Indices, Mask, near_hits
from vlm_assets.allocation.rows import NO_CELL, Places, RowTable
from vlm_assets.allocation.sampling import precedence
from vlm_assets.catalog.spec import CorpusSpec
from vlm_assets.words.keys import Words


def like_benchmark(table: RowTable, pictures: Words, distance: int) -> Places:
    """Rows, not excluded so far, whose dhash lies within `distance` bits of a listed one.

    Flat images, in the list or among the rows, are like everything and so compared with nothing.
    """
    if table.dhash is None or table.comparable is None or not len(pictures):
        return np.empty(0, dtype=np.int64)
    places = np.flatnonzero((table.reason == 0) & table.comparable)
    values, inverse = np.unique(table.dhash[places], return_inverse=True)
    entries = Entries(
        value=np.concatenate((pictures, values)),
        candidate=np.repeat([True, False], [len(pictures), len(values)]),
        query=np.repeat([False, True], [len(pictures), len(values)]),
    )
    return places[near_hits(entries, distance)[len(pictures) :][inverse]]


def near_duplicates(table: RowTable, corpus: CorpusSpec, places: Places) -> Places:
    """Those of the given rows (ascending) with a near row of higher precedence among them.

    Near: another image, and a distance within the smaller `near_bits` of the two rows' categories. Rows that are
    duplicates themselves count as well, which makes the outcome independent of any order. A category with
    `near_bits: 0` takes no part.
    """
    if table.dhash is None or table.comparable is None:
        return places[:0]
    bits = np.array([corpus.dedup.bits_of(cell.category) for cell in table.cells] or [0], dtype=np.int64)
    places = places[table.comparable[places] & (table.cell[places] != NO_CELL)]
    allowed = bits[table.cell[places]]
    near = np.zeros(len(places), dtype=bool)
    numbers = precedence(table, places[allowed > 0])
    position = np.zeros(len(places), dtype=np.int64)
    position[allowed > 0] = numbers
    # Two rows are near within the smaller of their bits: that pair is met at that level.
    for level in np.unique(allowed[allowed > 0]):
        chosen = np.flatnonzero(allowed >= level)
        chosen = chosen[np.argsort(position[chosen])]
        near[chosen[_hits(table, places[chosen], table.dhash[places[chosen]], int(level))]] = True
    return places[near]


def _hits(table: RowTable, ordered: Places, values: Words, distance: int) -> Mask:
    """Which rows, given in order of precedence, are near an earlier one.

    Of the rows of one value, the first hits all of another image. So it and the first of another image are the
    only ones that can decide anything about rows still in question, of that value or of others.
    """
    by_value = np.argsort(values, kind="stable")
    opens = np.ones(len(ordered), dtype=bool)
    opens[1:] = values[by_value[1:]] != values[by_value[:-1]]
    starts = np.flatnonzero(opens)
    owner = _owners(table, ordered)
    hits = np.ones(len(ordered), dtype=bool)
    candidate = np.zeros(len(ordered), dtype=bool)
    candidate[by_value[starts]] = True
    if owner is None:
        # Row key = image: a row of the same value is the same image, an exact duplicate, or near: out either way.
        hits[by_value[starts]] = False
    else:
        segment = np.cumsum(opens) - 1
        differs = owner[by_value] != owner[by_value[starts]][segment]
        other = np.minimum.reduceat(np.where(differs, by_value, len(ordered)), starts)
        candidate[other[other < len(ordered)]] = True
        hits[by_value] = differs
    taking_part = np.flatnonzero(candidate | ~hits)
    entries = Entries(
        value=values[taking_part],
        candidate=candidate[taking_part],
        query=~hits[taking_part],
        owner=None if owner is None else owner[taking_part],
    )
    hits[taking_part] |= near_hits(entries, distance)
    return hits


def _owners(table: RowTable, ordered: Places) -> Indices | None:
    """A number for the image of each row; None where the key is the image and tells it already."""
    if table.image is None:
        return None
    first, second = table.image[0][ordered], table.image[1][ordered]
    order = np.lexsort((second, first))
    first, second = first[order], second[order]
    owner = np.zeros(len(ordered), dtype=np.int64)
    owner[order[1:]] = np.cumsum((first[1:] != first[:-1]) | (second[1:] != second[:-1]))
    return owner
