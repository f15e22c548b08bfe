"""Rows of separated text (CSV, TSV and their like): the separator found where it is certain, no row swallowed.

`csv` in its strict form reads; around it stands what it does not see: a quote that opens by mistake and closes rows
later, rows of other widths than the header, blank and doubled column names.
"""

import contextlib
import csv
import itertools
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from vlm_assets.captions.text_files import TextFile
from vlm_assets.words.counts import so_many
from vlm_assets.words.errors import SourceError
from vlm_assets.words.layout import nfc

SEPARATORS: Final = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}
"""Those that are looked for, by how they are spoken of."""
_SEP_LINE: Final = re.compile(r'^"?sep=(.)"?[\r\n]*$', re.IGNORECASE)
"""What Excel takes as a declaration in the first line."""
_CELL_CHARS: Final = 64 * 2**20
"""A longer cell is taken for a quote that is never closed."""
_SAMPLE_ROWS: Final = 200
_NAME: Final = re.compile(r"https?://\S+|[^\r\n]*\.[A-Za-z][A-Za-z0-9]{1,4}|[A-Za-z0-9+/]{200,}={0,2}")
"""A cell that names a file or a page, or is one in base64: by these a row inside a quoted cell is known."""

INDEX: Final = "Unnamed: 0"
"""As pandas and `datasets` call the first column where it has no name."""
Wanted = Callable[[str], bool]


class Quotes(StrEnum):
    """What `"` means in separated text."""

    CSV = "csv"
    """It encloses a cell, and is doubled inside."""
    LITERAL = "literal"
    """A character like any other."""


@dataclass(frozen=True, slots=True)
class Layout:
    """How a separated file is laid out."""

    separator: str
    quotes: Quotes
    lines_before: int
    """Lines before the header."""
    pads: bool
    """Cells begin with a blank after the separator, as the header's do."""


def find_layout(
    file: TextFile,
    wanted: Wanted,
    *,
    separator: str | None = None,
    quotes: Quotes = Quotes.CSV,
    usual: str = ",",
) -> Layout:
    """The file's layout: its separator as declared, as its `sep=` line says, or as header and rows leave no doubt.

    `wanted` knows names that a column must have; `usual` is the separator that the file's suffix promises.

    Raises:
        SourceError: several separators are possible, or a single column looks like several.
    """
    lines = itertools.islice(file.lines(), _SAMPLE_ROWS + 1)
    head = list(itertools.takewhile(_Budget(_CELL_CHARS).takes, lines))
    declared = _SEP_LINE.match(head[0]) if head else None
    before = 1 if declared else 0
    head = head[before:]
    chosen = separator or (declared and declared[1]) or _certain(file.where, head, wanted, quotes, usual)
    return Layout(chosen, quotes, before, _pads(head, chosen, quotes))


def header_of(file: TextFile, layout: Layout) -> list[str]:
    """Names of the columns: NFC, stripped, those without a name "".

    A first column that has cells and no name is `INDEX`: what `DataFrame.to_csv` writes unless told otherwise.

    Raises:
        SourceError: no header, or two columns of one name.
    """
    first, second = (*itertools.islice(_raw_rows(file, layout), 2), None, None)[:2]
    if first is None:
        raise SourceError(f"{file.where}: the file is empty; its first line must name the columns")
    names = [nfc(cell.strip()) for cell in first[1]]
    if len(names) > 1 and not names[0] and second is not None and any(cell.strip() for cell in second[1][:1]):
        names[0] = INDEX
    twice = sorted({name for name in names if name and names.count(name) > 1})
    if twice:
        raise SourceError(f"{file.where}: line {first[0]}: two columns are named {', '.join(twice)}")
    return names


def separated_rows(file: TextFile, layout: Layout) -> Iterator[tuple[int, dict[str, str | None]]]:
    """Rows below the header with the line they begin in; an empty cell is None, a row of nothing else is none.

    Raises:
        SourceError: a row wider or narrower than the header, a quote out of place; names the line.
    """
    names = header_of(file, layout)
    nameless = "" in names
    for line, cells in separated_cells(file, layout, names):
        row = dict(zip(names, cells, strict=True))
        if nameless:
            row.pop("", None)
        yield line, row


def separated_cells(
    file: TextFile, layout: Layout, names: Sequence[str]
) -> Iterator[tuple[int, list[str | None]]]:
    """As `separated_rows`, a list of as many cells as the header has.

    Raises:
        SourceError: as `separated_rows`.
    """
    width = len(names)
    nameless = [place for place, name in enumerate(names) if not name]
    for line, cells in itertools.islice(_raw_rows(file, layout), 1, None):
        if len(cells) != width:
            cells = _fitted(cells, width, file.where, line, layout)  # noqa: PLW2901  # without its empty rest
        if nameless and any(cells[place].strip() for place in nameless):
            raise SourceError(f"{file.where}: line {line}: a cell stands under a column without a name")
        row = [cell or None for cell in cells]
        if row[0] or any(row):
            yield line, row


def _fitted(cells: Sequence[str], width: int, where: str, line: int, layout: Layout) -> list[str]:
    """A row of another width, where nothing but empty cells makes the difference, or it is empty."""
    if not any(cell.strip() for cell in cells):
        return [""] * width
    if len(cells) > width and not any(cell.strip() for cell in cells[width:]):
        return list(cells[:width])
    spoken = SEPARATORS.get(layout.separator, repr(layout.separator))
    raise SourceError(
        f"{where}: line {line} has {so_many(len(cells), 'cell')}, the header has {so_many(width, 'column')} "
        f"(separator: {spoken}); is a "
        "cell with a separator or a line break not quoted?"
    )


def _raw_rows(file: TextFile, layout: Layout) -> Iterator[tuple[int, list[str]]]:
    """Rows as lists of cells with the line they begin in, the header first.

    Raises:
        SourceError: a quote out of place.
    """
    taken: list[str] = []
    lines = itertools.islice(file.lines(), layout.lines_before, None)
    reader = _reader(_recorded(lines, taken), layout.separator, layout.quotes, pads=layout.pads)
    line, width = layout.lines_before + 1, 0
    while True:
        try:
            cells = next(reader, None)
        except csv.Error as error:
            raise _quote_error(file.where, line, taken, str(error)) from None
        if cells is None:
            return
        width = width or len(cells)
        if len(taken) > 1:
            _refuse_swallowed(file.where, line, taken, width, layout)
        if cells:
            yield line, cells
        line += len(taken)
        taken.clear()


def _recorded(lines: Iterable[str], taken: list[str]) -> Iterator[str]:
    for line in lines:
        taken.append(line)
        yield line


def _reader(
    lines: Iterable[str], separator: str, quotes: Quotes, *, strict: bool = True, pads: bool = False
) -> Iterator[list[str]]:
    if csv.field_size_limit() < _CELL_CHARS:  # one for the whole process, 128 KiB by default
        csv.field_size_limit(_CELL_CHARS)
    if quotes is Quotes.LITERAL:
        return csv.reader(lines, delimiter=separator, quoting=csv.QUOTE_NONE, skipinitialspace=pads)
    return csv.reader(lines, delimiter=separator, strict=strict, skipinitialspace=pads)


def _quote_error(where: str, line: int, taken: Sequence[str], told: str) -> SourceError:
    opening = line + next((n for n, one in enumerate(taken) if one.count('"') % 2), 0)
    way_out = (
        'double a quote inside a quoted cell (""), or say quotes: literal if quotes enclose nothing here'
    )
    if "expected after" in told:
        last = line + len(taken) - 1
        until = "" if last == opening else f", the cell that it opens ends in line {last}"
        return SourceError(f"{where}: line {opening}: a quote is out of place{until}; {way_out}")
    if "unexpected end" in told or "field larger" in told:
        return SourceError(f"{where}: line {opening}: a quote opens a cell and never closes it; {way_out}")
    return SourceError(f"{where}: line {line}: {told}")


def _refuse_swallowed(where: str, line: int, taken: Sequence[str], width: int, layout: Layout) -> None:
    """Refuses a cell of several lines that holds whole rows: a stray quote opens it, another closes it.

    A line counts as a row when it has at least as many cells as the header, and names a file or URL at a place,
    counted from either end, where another line of the same cell does.

    Raises:
        SourceError: at least two of its lines are rows.
    """
    names_by_place: Counter[int] = Counter()
    for text in taken:
        names_by_place.update(
            {
                place
                for cells in _ways_to_cut(text, layout)
                if len(cells) >= width
                for number, cell in enumerate(cells)
                if _NAME.fullmatch(cell.strip().strip('"'))
                for place in (number, number - len(cells))
            }
        )
    if any(count > 1 for count in names_by_place.values()):
        raise _quote_error(where, line, taken, "',' expected after '\"'")


def _ways_to_cut(text: str, layout: Layout) -> Iterator[list[str]]:
    plain = text.rstrip("\r\n")
    yield plain.split(layout.separator)
    yield from _reader([plain], layout.separator, layout.quotes, strict=False)


def _certain(where: str, head: Sequence[str], wanted: Wanted, quotes: Quotes, usual: str) -> str:
    """The only separator under which the first lines make sense.

    In this order: it cuts a wanted name out of the header; it cuts all rows into as many cells as the header; the
    header has one column under each, and so have the rows.

    Raises:
        SourceError: none, or several.
    """
    samples = {one: _sample(head, one, quotes) for one in SEPARATORS}
    headers = {one: [cell.strip() for cell in rows[0]] for one, rows in samples.items() if rows}
    several = [one for one, names in headers.items() if len(names) > 1]
    by_name = [one for one in several if any(wanted(n) for n in headers[one] if not _holds_separator(n))]
    even = [one for one in several if {len(row) for row in samples[one]} == {len(headers[one])}]
    for found in (by_name, even):
        if len(found) == 1:
            return found[0]
    if not several:
        _refuse_hidden_columns(where, samples, usual)
        return usual
    if several == [usual]:
        return usual
    told = ", ".join(f"{SEPARATORS[one]} ({so_many(len(headers[one]), 'column')})" for one in several)
    raise SourceError(f"{where}: the separator is not certain; say separator: which of {told} it is")


def _refuse_hidden_columns(where: str, samples: dict[str, list[list[str]]], usual: str) -> None:
    """Stops a header of one column from hiding that the rows have several.

    Raises:
        SourceError: they do.
    """
    for one, rows in samples.items():
        widths = {len(row) for row in rows[1:]}
        if one != usual and len(rows) > 2 and len(widths) == 1 and widths != {1}:
            raise SourceError(
                f"{where}: the header names one column, the rows have {widths.pop()} by {SEPARATORS[one]}; name all "
                "columns, or say separator: which one it is"
            )


def _sample(head: Sequence[str], separator: str, quotes: Quotes) -> list[list[str]]:
    """The first rows as far as they can be cut; none where the header cannot."""
    rows: list[list[str]] = []
    with contextlib.suppress(csv.Error):
        for row in _reader(head, separator, quotes):
            if any(cell.strip() for cell in row):
                rows.append(row)  # noqa: PERF401  # those before an error count
    return rows


def _holds_separator(name: str) -> bool:
    return any(one in name for one in SEPARATORS)


def _pads(head: Sequence[str], separator: str, quotes: Quotes) -> bool:
    rows = _sample(head[:1], separator, quotes)
    return len(rows) == 1 and len(rows[0]) > 1 and all(cell.startswith(" ") for cell in rows[0][1:])


@dataclass(slots=True)
class _Budget:
    left: int

    def takes(self, line: str) -> bool:
        self.left -= len(line)
        return self.left >= 0
