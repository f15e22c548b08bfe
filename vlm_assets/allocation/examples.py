"""A few of the rows that each reason excludes, for people to look at: which they are, nothing of what they hold."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import orjson

from vlm_assets.allocation.reasons import ExclusionReason
from vlm_assets.allocation.rows import RowTable
from vlm_assets.words.keys import ranks_of

EXAMPLES_FILE: Final = "excluded.json"
EXAMPLES: Final = 12
"""Of each reason."""
Examples = Mapping[str, Sequence[tuple[str, str, int]]]
"""By reason: source, slice, and row number in the slice's index."""
_EMPTIED: Final = frozenset({ExclusionReason.TOMBSTONE})
"""Reasons whose rows have no content to be looked at."""


def excluded_examples(table: RowTable, seed: int) -> Examples:
    """Of each reason the rows of lowest rank, by rank."""
    found: dict[str, list[tuple[str, str, int]]] = {}
    for code, reason in enumerate(table.reasons, start=1):
        places = np.flatnonzero(table.reason == code) if reason not in _EMPTIED else np.zeros(0, np.int64)
        if len(places):
            ranks = ranks_of(table.key[0][places], seed)
            lowest = places[np.lexsort((places, ranks))[:EXAMPLES]]
            found[str(reason)] = [_named(table, int(place)) for place in lowest]
    return found


def _named(table: RowTable, place: int) -> tuple[str, str, int]:
    number = int(table.slice_numbers(np.array([place]))[0])
    entry = table.slices[number]
    return entry.source, entry.slice, place - int(table.starts[number])


def examples_bytes(examples: Examples) -> bytes:
    """Content of `excluded.json`."""
    return orjson.dumps(examples, option=orjson.OPT_SORT_KEYS)


def read_examples(plan_dir: Path) -> Examples:
    """Those of a committed plan; none where it is of a time before them."""
    path = plan_dir / EXAMPLES_FILE
    if not path.is_file():
        return {}
    found = orjson.loads(path.read_bytes())
    return {reason: [(source, name, row) for source, name, row in rows] for reason, rows in found.items()}
