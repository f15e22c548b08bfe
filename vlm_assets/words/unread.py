"""What is said of files that nobody can read, where they are more than a source tolerates. Pure."""

from collections import Counter
from collections.abc import Collection
from pathlib import PurePosixPath
from typing import Final

from vlm_assets.words.tolerance import Tolerance

_TOLD_SUFFIXES: Final = 5


def too_many_unread(keys: Collection[str], total: int, tolerance: Tolerance) -> str:
    """By suffix how many of so many files are of no kind that is read; "" where the tolerance allows it."""
    if tolerance.allows(len(keys), total):
        return ""
    are = "file is" if total == 1 else "files are"
    return (
        f"{len(keys):,} of {total:,} {are} of no kind that is read ({by_suffix(keys)}): more than {tolerance} "
        "allows"
    )


def by_suffix(keys: Collection[str]) -> str:
    """`4 .xmp, 1 .fli`, the most first; `3 without suffix`, `2 of others` at the end."""
    counts = Counter(PurePosixPath(key).suffix.lower() for key in keys)
    ordered = sorted(counts.items(), key=lambda one: (-one[1], one[0]))
    told = [f"{count:,} {suffix or 'without suffix'}" for suffix, count in ordered[:_TOLD_SUFFIXES]]
    rest = sum(count for _, count in ordered[_TOLD_SUFFIXES:])
    return ", ".join([*told, *([f"{rest:,} of others"] if rest else [])])
