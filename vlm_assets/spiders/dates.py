"""Printed dates of Turkish newspapers as ISO 8601: modern and old month names in any spelling. Pure.

Turkey took the Gregorian calendar in 1926 and kept four old month names until law 4696 of 10 January 1945: first
and second Teşrin (October, November), first and second Kânun (December, January).
"""

import re
import unicodedata
from datetime import date
from typing import Final

_MODERN: Final = (
    "ocak", "subat", "mart", "nisan", "mayis", "haziran", "temmuz", "agustos", "eylul", "ekim", "kasim", "aralik",
)  # fmt: skip
_FIRST: Final = ("birinci", "ilk", "evvel", "1", "1inci", "1nci", "i")
_SECOND: Final = ("ikinci", "son", "sani", "2", "2inci", "2nci", "ii")
_OLD: Final = {("tesrin", 0): 10, ("tesrin", 1): 11, ("kanun", 0): 12, ("kanun", 1): 1}


def _month_names() -> dict[str, int]:
    """Folded month name without spaces to its number: `teşrin-i evvel` and `ilk teşrin` are both 10."""
    names = {name: number for number, name in enumerate(_MODERN, 1)}
    names |= {"augustos": 8, "tesrinevvel": 10, "tesrinsani": 11, "kanunevvel": 12, "kanunsani": 1}
    for (stem, which), number in _OLD.items():
        for word in (_FIRST, _SECOND)[which]:
            names[f"{word}{stem}"] = number
            for vowel in ("i", "u"):  # Persian link: teşrin-i, kanun-u
                names[f"{stem}{vowel}{word}"] = number
    return names


_MONTHS: Final = _month_names()
_WEEKDAYS: Final = frozenset(
    ["pazar", "pazartesi", "sali", "carsamba", "persembe", "cuma", "cumartesi", "gunu"]
)
_LETTERS: Final = str.maketrans({"ı": "i", "İ": "i", "I": "i", "\u0307": ""})
_ISO: Final = re.compile(r"\b(\d{4})[-./](\d{1,2})[-./](\d{1,2})\b")
_NUMBERS: Final = re.compile(r"\b(\d{1,2})\s*[-./]\s*(\d{1,2})\s*[-./]\s*(\d{4})\b")
_YEARS: Final = range(1800, 2100)


def fold(text: str) -> str:
    """Lower-case ASCII letters of a Turkish text: dotted and dotless i are one, accents are gone."""
    plain = unicodedata.normalize("NFKD", text.translate(_LETTERS).lower().translate(_LETTERS))
    return "".join(c for c in plain if not unicodedata.combining(c))


def parse_date(printed: str, *, year: int | None = None) -> str | None:
    """`10 mart  1935`, `04 Ağustos 1940`, `3 ikinci kanun 1936`, `1.11.1938` as `YYYY-MM-DD`.

    `year` stands in where the text has none. None where no single valid day can be read.
    """
    text = fold(printed)
    numbers = _ISO.search(text)
    if numbers:
        return _iso(int(numbers[1]), int(numbers[2]), int(numbers[3]))
    numbers = _NUMBERS.search(text)
    if numbers:
        return _iso(int(numbers[3]), int(numbers[2]), int(numbers[1]))
    words = [word for word in re.findall(r"[a-z]+|\d+[a-z]*", text) if word not in _WEEKDAYS]
    years = [word for word in words if word.isdigit() and len(word) == 4]
    if len(set(years)) > 1:
        return None
    if years:
        year = int(years[0])
        words = words[: words.index(years[0])]
    if year is None or len(words) < 2 or not words[0].isdigit():
        return None
    month = _MONTHS.get("".join(words[1:]))
    return None if month is None else _iso(year, month, int(words[0]))


def _iso(year: int, month: int, day: int) -> str | None:
    try:
        return date(year, month, day).isoformat() if year in _YEARS else None
    except ValueError:
        return None
