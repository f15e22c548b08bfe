"""What was meant by a name that is not known: the nearest of those that there are."""

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Final

_MOST: Final = 12
"""Of more names only the number and the first are told."""


def did_you_mean(name: object, known: Iterable[str]) -> str:
    """`did you mean street?`, else `there are: …`; for a message that ends so."""
    names = list(dict.fromkeys(known))
    near = get_close_matches(str(name), names, 1) or _same_letters(str(name), names)
    if near:
        return f"did you mean {near[0]}?"
    rest = f" and {len(names) - _MOST:,} more" if len(names) > _MOST else ""
    return f"there are: {', '.join(sorted(names)[:_MOST])}{rest}" if names else "there is none"


def _same_letters(name: str, names: Iterable[str]) -> list[str]:
    """Those that differ in case, hyphens and underscores alone."""
    plain = _plain(name)
    return [one for one in names if _plain(one) == plain][:1]


def _plain(name: str) -> str:
    return name.casefold().replace("-", "").replace("_", "").replace(" ", "")
