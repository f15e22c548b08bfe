"""Patterns of file names as fsspec has them, matched in time that grows with pattern times path.

A README is a stranger's: the regular expression that fsspec makes of `**/` a dozen times tries every way to cut a
deep path before it says no.
"""

import fnmatch
import re
from collections.abc import Callable, Sequence
from typing import Final

_ANY_FOLDERS: Final = "**"
_Part = Callable[[str], object] | None
"""Whether a name matches one part of a pattern; None for any number of folders."""


def glob_matcher(pattern: str) -> Callable[[str], bool]:
    """Whether a file's path matches: `*`, `?` and `[…]` within a name, `**` for any number of folders.

    Raises:
        ValueError: `**` beside other characters of a part.
    """
    parts = [_part(one) for one in pattern.split("/")]
    if parts[-1] is None:
        parts.append(_part("*"))  # of files: what is below a folder has a name
    return lambda path: _matches(path.split("/"), parts)


def _part(text: str) -> _Part:
    if text == _ANY_FOLDERS:
        return None
    if _ANY_FOLDERS in text:
        raise ValueError("Invalid pattern: '**' can only be an entire path component")
    return re.compile(fnmatch.translate(text)).match


def _matches(names: Sequence[str], parts: Sequence[_Part]) -> bool:
    """Greedy from the left: where a part fails, the last `**` takes one folder more, and no earlier one need."""
    name = part = 0
    again: tuple[int, int] | None = None
    while name < len(names):
        wanted = parts[part] if part < len(parts) else _never
        if wanted is None:
            part += 1
            again = (name, part)
        elif wanted(names[name]):
            name, part = name + 1, part + 1
        elif again is None:
            return False
        else:
            name, part = again[0] + 1, again[1]
            again = (name, part)
    return part == len(parts)


def _never(name: str) -> bool:
    del name
    return False
