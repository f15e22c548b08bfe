"""What was meant by a name that is not known: the nearest of those that there are."""

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Final

_MOST: Final = 12
"""Of more names only the number and the first are told."""
_BEGINNING: Final = 4
"""Characters that are a beginning."""
_LONGEST: Final = 200
"""Characters of a name; nothing is like a longer one."""


def did_you_mean(name: object, known: Iterable[str]) -> str:
    """`did you mean street?`, else `there are: …`; for a message that ends so."""
    names = list(dict.fromkeys(known))
    if near := nearest(name, names):
        return f"did you mean {near}?"
    rest = f" and {len(names) - _MOST:,} more" if len(names) > _MOST else ""
    return f"there are: {', '.join(sorted(names)[:_MOST])}{rest}" if names else "there is none"


def nearest(name: object, known: Iterable[str]) -> str | None:
    """The one that was most likely meant; None where none is like it."""
    names = list(dict.fromkeys(known))
    text = str(name)
    if len(text) > _LONGEST:
        return None
    found = _begins_so(text, names) or get_close_matches(text, names, 1) or _same_letters(text, names)
    return found[0] if found else None


def _begins_so(name: str, names: Iterable[str]) -> list[str]:
    """The only one that begins so: a hash by its first digits."""
    found = [one for one in names if one.startswith(name)] if len(name) >= _BEGINNING else []
    return found if len(found) == 1 else []


def _same_letters(name: str, names: Iterable[str]) -> list[str]:
    """Those that differ in case, hyphens and underscores alone."""
    plain = _plain(name)
    return [one for one in names if _plain(one) == plain][:1]


def _plain(name: str) -> str:
    return name.casefold().replace("-", "").replace("_", "").replace(" ", "")
