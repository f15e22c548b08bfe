"""What names in an archive may have been meant to say, where nobody declared their encoding. Pure."""

from collections.abc import Iterable
from typing import Final

_CANDIDATES: Final = ("cp857", "cp1254", "cp850", "cp1252", "cp866", "cp1251", "cp737", "cp1253")
"""DOS and Windows code pages, Turkish ones first: the first of equals is told."""
_EXAMPLES: Final = 200
UNDECLARED: Final = "in an encoding that nobody declares"
_TURKISH: Final = frozenset("ğĞşŞıİçÇöÖüÜâÂîÎûÛ")


def name_hint(guessed: Iterable[str]) -> str | None:
    """A line about names whose encoding was guessed (read as cp437): how they would read, and what to do.

    None where there are none. `guessed`: the names as `decode_name` gave them with its second value true.
    """
    names = list(guessed)
    if not names:
        return None
    raw = [name.encode("cp437", "ignore") for name in names[:_EXAMPLES]]
    best = sorted(_CANDIDATES, key=lambda encoding: -_likeliness(raw, encoding))[:2]
    readings = ", ".join(f"{encoding} {raw[0].decode(encoding, 'replace')!r}" for encoding in best)
    return (
        f"{len(names)} names are {UNDECLARED}, such as {names[0]!r}, which is in {readings}; "
        f"folders become labels: set `encoding` ({best[0]}?)"
    )


def _likeliness(names: Iterable[bytes], encoding: str) -> int:
    """How much the names look like words in an encoding: letters for it, Turkish ones more, signs against it."""
    score = 0
    for raw in names:
        text = raw.decode(encoding, "replace")
        before = ""
        for letter in text:
            if letter >= "\x80":
                score += (3 if letter in _TURKISH else 1) if letter.isalpha() else -3
                if letter.isupper() and before.islower():
                    score -= 2
            before = letter
    return score
