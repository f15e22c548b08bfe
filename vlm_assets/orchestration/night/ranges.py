"""How due slices of one source become runs: contiguous ones as ranges of the asset, scattered ones by name.

Only contiguous keys can share a run of the asset; innocent partitions inside a range would be marked as failed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

_MOST_RANGES: Final = 4


@dataclass(frozen=True, slots=True)
class SliceRun:
    """One run. `contiguous`: the keys follow each other in partition order, with nothing between."""

    keys: tuple[str, ...]
    contiguous: bool


def slice_runs(order: Sequence[str], due: set[str], slices_per_run: int) -> list[SliceRun]:
    """Runs over the due keys, in partition order, none over more than `slices_per_run`.

    Up to four contiguous stretches become ranges; more are one list of scattered keys, so that a run's seconds of
    start-up are not paid for each.
    """
    ranges = contiguous_ranges(order, due)
    if len(ranges) > _MOST_RANGES:
        keys = [key for one in ranges for key in one]
        return [SliceRun(part, contiguous=False) for part in _parts(keys, slices_per_run)]
    return [SliceRun(part, contiguous=True) for one in ranges for part in _parts(one, slices_per_run)]


def contiguous_ranges(order: Sequence[str], due: set[str]) -> list[list[str]]:
    """The due keys in partition order, cut wherever a key that is not due stands between."""
    ranges: list[list[str]] = []
    last = -2
    for place, key in enumerate(order):
        if key in due:
            if place != last + 1:
                ranges.append([])
            ranges[-1].append(key)
            last = place
    return ranges


def _parts(keys: Sequence[str], most: int) -> list[tuple[str, ...]]:
    return [tuple(keys[start : start + most]) for start in range(0, len(keys), most)]
