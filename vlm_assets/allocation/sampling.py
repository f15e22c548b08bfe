"""Keyed bottom-k: the rows of lowest rank, of a source or of each cell."""

from collections.abc import Sequence

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from vlm_assets.allocation.rows import Places, RowTable
from vlm_assets.store.arrays import values_of
from vlm_assets.words.keys import ranks_of


def precedence(table: RowTable, places: Places) -> Places:
    """Numbers that order these rows (given ascending) by precedence: slice first, then id bytes."""
    numbers = np.empty(len(places), dtype=np.int64)
    owners = table.slice_numbers(places)
    edges = np.flatnonzero(np.diff(owners)) + 1
    for begin, end in zip([0, *edges.tolist()], [*edges.tolist(), len(places)], strict=True):
        if end > begin:
            # Arrow compares strings as bytes.
            order = values_of(pc.sort_indices(table.ids(places[begin:end])))
            ranked = np.empty(end - begin, dtype=np.int64)
            ranked[order] = np.arange(end - begin)
            numbers[begin:end] = table.starts[owners[begin]] + ranked
    return numbers


def by_rank(table: RowTable, places: Places, seed: int) -> Places:
    """These rows by ascending rank. Rows of one rank (equal first words of their keys) stand in no set order."""
    return places[np.argsort(ranks_of(table.key[0][places], seed))]


def outside_lowest_keys(table: RowTable, places: Places, count: int, seed: int) -> Places:
    """Those of the given rows (ascending) whose key is not among the `count` distinct keys of lowest rank.

    Keys of equal rank stand in the order of the lowest id that has them.
    """
    if len(places) <= count:
        return places[:0]
    ordered = _split_collisions(table, by_rank(table, places, seed))
    first, second = table.key[0][ordered], table.key[1][ordered]
    new_key = np.ones(len(ordered), dtype=bool)
    new_key[1:] = (first[1:] != first[:-1]) | (second[1:] != second[:-1])
    return np.sort(ordered[np.cumsum(new_key) > count])


def _split_collisions(table: RowTable, ordered: Places) -> Places:
    """Puts distinct keys of one rank one after the other, by the lowest id of each."""
    first, second = table.key[0][ordered], table.key[1][ordered]
    collides = np.flatnonzero((first[1:] == first[:-1]) & (second[1:] != second[:-1]))
    for word in np.unique(first[collides]):
        run = np.flatnonzero(first == word)
        rows = np.sort(ordered[run])
        position = dict(zip(rows.tolist(), precedence(table, rows).tolist(), strict=True))
        keys = dict(zip(ordered[run].tolist(), second[run].tolist(), strict=True))
        lowest: dict[int, int] = {}
        for row, key in keys.items():
            lowest[key] = min(lowest.get(key, position[row]), position[row])
        ordered[run] = sorted(keys, key=lambda row: (lowest[keys[row]], position[row]))
    return ordered


def select_lowest(table: RowTable, ordered: Places, grants: Sequence[int]) -> NDArray[np.bool_]:
    """Marks, in each cell, as many rows as granted, of lowest rank; ties by id bytes.

    `ordered`: rows that are not excluded, by rank. `grants`: by cell number, none above the cell's rows.
    """
    selected = np.zeros(table.rows, dtype=bool)
    cell = table.cell[ordered]
    small = cell.astype(np.uint16) if len(table.cells) <= 2**16 else cell
    grouped = ordered[np.argsort(small, kind="stable")]  # 16-bit integers sort by radix
    ends = np.cumsum(np.bincount(cell, minlength=len(table.cells)))
    starts = ends - np.bincount(cell, minlength=len(table.cells))
    for number, grant in enumerate(grants):
        begin, cut, end = int(starts[number]), int(starts[number]) + grant, int(ends[number])
        selected[grouped[begin:cut]] = True
        word = table.key[0]
        if grant and cut < end and word[grouped[cut]] == word[grouped[cut - 1]]:
            _settle_tie(table, grouped[begin:end], grant, selected)
    return selected


def _settle_tie(table: RowTable, group: Places, grant: int, selected: NDArray[np.bool_]) -> None:
    """Selects among the rows whose rank lies on the cut those of lowest id."""
    words = table.key[0][group]
    tied = np.flatnonzero(words == words[grant])
    rows = np.sort(group[tied])
    wanted = grant - int(tied[0])
    selected[rows] = False
    selected[rows[np.argsort(precedence(table, rows))[:wanted]]] = True
