"""Exact duplicates: of all rows with one key, the row of highest precedence stays."""

import numpy as np

from vlm_assets.allocation.rows import Places, RowTable
from vlm_assets.allocation.sampling import precedence


def exact_duplicates(table: RowTable, ordered: Places) -> tuple[Places, Places]:
    """The rows of `ordered` (sorted by rank) that have the key of a row of higher precedence.

    Two parts: those that say the same as the row that stays, and those that say something else about its images
    (none where the words are part of the key).

    Sorting by rank puts equal first words side by side, so only rows in such runs are looked at again.
    """
    if len(ordered) < 2:
        return ordered[:0], ordered[:0]
    first = table.key[0][ordered]
    repeats = first[1:] == first[:-1]
    in_run = np.zeros(len(ordered), dtype=bool)
    in_run[1:] = repeats
    in_run[:-1] |= repeats
    rows = ordered[in_run]
    run = np.cumsum(np.concatenate(([True], ~repeats)))[in_run]
    del first, repeats, in_run
    order = np.lexsort((rows, table.key[1][rows], run))
    rows, run = rows[order], run[order]
    second = table.key[1][rows]
    opens = np.ones(len(rows), dtype=bool)
    opens[1:] = (run[1:] != run[:-1]) | (second[1:] != second[:-1])
    keeps = opens.copy()
    _settle_within_slices(table, rows, opens, keeps)
    if table.words is None:
        return rows[~keeps], rows[:0]
    keeper = np.zeros(int(opens.sum()), dtype=np.int64)
    group = np.cumsum(opens) - 1
    keeper[group[keeps]] = rows[keeps]
    differs = table.words[rows] != table.words[keeper[group]]
    return rows[~keeps & ~differs], rows[~keeps & differs]


def _settle_within_slices(
    table: RowTable, rows: Places, opens: np.typing.NDArray[np.bool_], keeps: np.typing.NDArray[np.bool_]
) -> None:
    """Where the first slice of a group holds several of its rows, the lowest id decides among them."""
    group = np.cumsum(opens) - 1
    owner = table.slice_numbers(rows)
    rivals = owner == owner[np.flatnonzero(opens)][group]
    contested = np.bincount(group[rivals], minlength=int(group[-1]) + 1 if len(group) else 0) > 1
    at = np.flatnonzero(rivals & contested[group])
    if not len(at):
        return
    ascending = np.argsort(rows[at])
    position = np.empty(len(at), dtype=np.int64)
    position[ascending] = precedence(table, rows[at][ascending])
    best = np.lexsort((position, group[at]))
    leads = np.ones(len(best), dtype=bool)
    leads[1:] = np.diff(group[at][best]) != 0
    keeps[at] = False
    keeps[at[best[leads]]] = True
