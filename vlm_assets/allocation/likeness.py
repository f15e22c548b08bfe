"""Near duplicates and near matches of benchmark images, by the distance of their dhashes."""

import numpy as np

from vlm_assets.allocation.near import Entries, Mask, near_hits
from vlm_assets.allocation.rows import NO_CELL, Places, RowTable
from vlm_assets.allocation.sampling import precedence
from vlm_assets.catalog.spec import CorpusSpec
from vlm_assets.words.keys import Words


def like_benchmark(table: RowTable, pictures: Words, distance: int) -> Places:
    """Rows, not excluded so far, one of whose images has a dhash within `distance` bits of a listed one.

    Flat images, in the list or among the rows, are like everything and so compared with nothing.
    """
    if table.dhash is None or table.comparable is None or not len(pictures):
        return np.empty(0, dtype=np.int64)
    places = np.flatnonzero((table.reason == 0) & table.comparable)
    owners = np.concatenate((places, *(rows for rows, _ in table.further)))
    hashes = np.concatenate((table.dhash[places], *(words for _, words in table.further)))
    values, inverse = np.unique(hashes, return_inverse=True)
    entries = Entries(
        value=np.concatenate((pictures, values)),
        candidate=np.repeat([True, False], [len(pictures), len(values)]),
        query=np.repeat([False, True], [len(pictures), len(values)]),
    )
    hit = near_hits(entries, distance)[len(pictures) :]
    like: Places = np.unique(owners[hit[inverse]])
    found: Places = like[table.reason[like] == 0]
    return found


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
