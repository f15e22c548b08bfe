"""Tables for pages of the UI, as wide as the narrowest place where they stand: an overview at 1280 pixels.

A page cuts what is wider, digits as well, and a header never wraps. So columns that do not fit are told in words in
one column, and names that cannot wrap are shortened, whole under *Show schema*.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import dagster as dg

Row = Mapping[str, str | int | float]

ROOM_PX: Final = 330
"""For a table: what keys of up to thirteen letters, times and the panel beside them leave of 1280 pixels."""
SLICE_ROOM_PX: Final = 218
"""The same beside the key `dagster/partition_row_count`, which cannot wrap."""
_PADDING_PX: Final = 16
"""Of a cell, both sides."""
_LETTER_PX: Final = 8.4
_HEAD_PX: Final = 7.2
"""Of a letter in a header."""
_WORD: Final = 24
"""Letters from which on a path is wrapped at its slashes."""
_PIECE: Final = 24
"""The most letters that cannot wrap. An ellipsis is a place to wrap at, a slash or an underline is none."""
_IN_FULL: Final = 50
"""Shortened names that a table keeps whole."""
FACTS: Final = "facts"
_FACTS_LETTERS: Final = 9
_ELLIPSIS: Final = re.compile(r"…(?=\w)")
"""One that a line may end with."""


def table(rows: Iterable[Row], *, room_px: int = ROOM_PX) -> dg.MetadataValue[Any]:
    """A table that stands open on every page; "none" without rows. Columns are the keys of the first row.

    A column without anything in it is left out. The most important ones stand first: from the one on that has no room
    all are told in the last, as `name value`. Records keep the values by their own names besides, for programs.
    """
    found = list(rows)
    if not found:
        return dg.MetadataValue.text("none")
    names = [name for name in found[0] if any(one.get(name) not in ("", None) for one in found)]
    whole: dict[str, str] = {}
    columns = {name: [wrapping(_cell(one[name]), whole) for one in found] for name in names}
    numbers = {name for name in names if not isinstance(found[0][name], str)}
    shown = _fitting(columns, room_px)
    told = _in_full(whole)
    schema = dg.TableSchema(
        columns=[
            dg.TableColumn(name, "int" if name in numbers else "string", description=told) for name in shown
        ]
    )
    records = [
        dg.TableRecord({**{name: _cell(one[name]) for name in names}, **dict(zip(shown, line, strict=True))})
        for one, line in zip(found, zip(*shown.values(), strict=True), strict=True)
    ]
    return dg.MetadataValue.table(records, schema=schema)


def counted(heading: str, counts: Mapping[str, int], *, room_px: int = ROOM_PX) -> dg.MetadataValue[Any]:
    """A table of counts, largest first, with each one's part of the whole."""
    whole = sum(counts.values()) or 1
    ordered = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    rows: Iterable[Row] = (
        {heading: name, "count": count, "part": f"{100 * count / whole:.1f} %"} for name, count in ordered
    )
    return table(rows, room_px=room_px)


def listed(heading: str, told: Iterable[str], *, room_px: int = ROOM_PX) -> dg.MetadataValue[Any]:
    """A text a line; Markdown would wait for a click where it is long, and does not wrap file names."""
    return table(({heading: one} for one in told), room_px=room_px)


def wrapping(text: str, whole: dict[str, str] | None = None) -> str:
    """A text whose words wrap or are short: a long path after its slashes, a name by its beginning and end.

    `whole` gets what was shortened, by what stands for it.
    """
    return " ".join(_pieces(word, {} if whole is None else whole) for word in text.split(" "))


def _pieces(word: str, whole: dict[str, str]) -> str:
    if len(word) <= _WORD:
        return word
    parts = [word] if "://" in word else word.split("/")
    return "/ ".join(_short(part, whole) for part in parts).strip()


def _short(piece: str, whole: dict[str, str]) -> str:
    if len(piece) <= _PIECE:
        return piece
    name = piece.rstrip(",;:")
    half = (_PIECE - 1) // 2
    shown = f"{name[:half]}…{name[-half:]}"
    whole[shown] = name
    return shown + piece[len(name) :]


def _in_full(whole: Mapping[str, str]) -> str | None:
    told = "; ".join(f"{shown} is {name}" for shown, name in list(whole.items())[:_IN_FULL])
    return f"Shortened here: {told}" if told else None


def _cell(value: str | float) -> str:
    """Digits in threes: the UI shows what it is given."""
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def _fitting(columns: Mapping[str, Sequence[str]], room_px: int) -> dict[str, list[str]]:
    """As many of the first columns as fit, and one that tells the others."""
    names = list(columns)
    for kept in range(len(names), 0, -1):
        shown = {name: list(columns[name]) for name in names[:kept]}
        if kept < len(names):
            shown[FACTS] = _told(columns, names[kept:])
        if least_width_px(shown) <= room_px:
            return shown
    rest = _told(columns, names[1:])
    if not any(rest):
        return {names[0]: list(columns[names[0]])}
    return {names[0]: [f"{one} – {more}" for one, more in zip(columns[names[0]], rest, strict=True)]}


def _told(columns: Mapping[str, Sequence[str]], names: Sequence[str]) -> list[str]:
    """A text a row: `name 3; name: a word`."""
    lines = zip(*(columns[name] for name in names), strict=True)
    return [
        "; ".join(f"{_said(name, one)} {one}" for name, one in zip(names, line, strict=True) if one)
        for line in lines
    ]


def _said(name: str, value: str) -> str:
    """Words behind a name would read on as if they were more of it: `why less no rows`."""
    return f"{name}:" if value[0].isalpha() else name


def least_width_px(columns: Mapping[str, Sequence[str]]) -> float:
    """The pixels below which a table cannot shrink: its longest words and its headers, which do not wrap."""
    return sum(
        _PADDING_PX
        + max(_HEAD_PX * len(name), *(_LETTER_PX * _longest(cell) for cell in cells), _least_px(name))
        for name, cells in columns.items()
    )


def _least_px(name: str) -> float:
    """What a column needs to be read: facts in one word a line are a tower."""
    return _LETTER_PX * _FACTS_LETTERS if name == FACTS else 0.0


def _longest(text: str) -> int:
    """Letters of the longest stretch that does not wrap."""
    return max(map(len, _ELLIPSIS.sub("… ", text).split()), default=0)
