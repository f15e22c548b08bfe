"""Tables of captions and metadata as rows, whatever their format, in bounded memory.

Reads CSV, TSV, JSON lines, JSON and Parquet, packed or not. Knows columns and rows; which row belongs to which image
is `joining`'s business.
"""

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import PurePosixPath
from typing import IO, Any, Final, Literal, NamedTuple, cast

from vlm_assets.captions.json_rows import json_line_rows, json_rows
from vlm_assets.captions.parquet_pages import BATCH_BYTES, FileBytes, row_groups, rows_at_once
from vlm_assets.captions.separated import (
    Layout,
    Quotes,
    Wanted,
    find_layout,
    header_of,
    separated_cells,
    separated_rows,
)
from vlm_assets.captions.text_files import DAMAGED, Encoding, Opener, TextFile, text_file
from vlm_assets.words.counts import so_many
from vlm_assets.words.errors import BombError, SourceError
from vlm_assets.words.layout import nfc

_PACKED: Final = frozenset({".gz", ".bz2", ".xz", ".zst", ".lz4"})
_FORMATS: Final = {
    ".csv": "separated", ".tsv": "separated", ".tab": "separated", ".txt": "separated", ".jsonl": "lines",
    ".ndjson": "lines", ".json": "json", ".parquet": "parquet", ".pq": "parquet",
    ".parq": "parquet",
}  # fmt: skip
_USUAL_SEPARATORS: Final = {".tsv": "\t", ".tab": "\t"}
_BATCH_ROWS: Final = 1024
_LOOKED_AT_ROWS: Final = 1000
"""Rows of a JSON file whose keys are its columns."""


@dataclass(frozen=True, slots=True)
class TableReading:
    """How the text of tables is read; None and () are found by themselves."""

    encoding: Encoding = None
    separator: str | None = None
    quotes: Quotes = Quotes.CSV


class Row(NamedTuple):
    """A row and where it stands: its line in text, else its number from 1. Names of columns are NFC."""

    number: int
    values: dict[str, Any]


def is_table_name(name: str) -> bool:
    """Whether a file's name has a suffix that is read as a table (`.txt` too, where one is declared)."""
    return unpacked_suffix(name) in _FORMATS


def unpacked_suffix(name: str) -> str:
    """Suffix of a file's name in small letters, that of a packing aside: `.csv` of `list.CSV.gz`."""
    suffixes = [suffix.lower() for suffix in PurePosixPath(name).suffixes]
    while suffixes and suffixes[-1] in _PACKED:
        suffixes.pop()
    return suffixes[-1] if suffixes else ""


@dataclass(frozen=True, slots=True)
class Table:
    """A table somewhere: in a folder, an archive, a repository."""

    name: str
    """File name or path; its suffix decides the format."""
    where: str
    """Names it in messages."""
    open: Opener
    reading: TableReading = field(default_factory=TableReading)
    wanted: Wanted = lambda name: False  # noqa: ARG005 - knows none
    """Names that a column has if the table is read rightly: they decide the separator where it is not declared."""

    def load(self) -> "LoadedTable":
        """The table with its encoding, separator and columns found.

        Raises:
            SourceError: unreadable, undecodable, or not certain; names file, line and key.
        """
        suffix = unpacked_suffix(self.name)
        kind = _FORMATS.get(suffix)
        if kind is None:
            raise SourceError(
                f"{self.where}: unknown format; a table is one of {', '.join(sorted(_FORMATS))}"
            )
        if kind == "parquet":
            return LoadedTable(
                self, _parquet_columns(self), lambda: _parquet_rows(self), "row",
                lambda: _parquet_cells(self), lambda: _parquet_kinds(self),
            )  # fmt: skip
        text = text_file(self.where, self.open, self.reading.encoding)
        if kind == "separated":
            return self._separated(text, _USUAL_SEPARATORS.get(suffix, ","))
        read: Callable[[], Iterator[tuple[int, dict[str, Any]]]] = (
            (lambda: json_line_rows(text)) if kind == "lines" else (lambda: json_rows(text, self.wanted))
        )
        names: dict[str, None] = {}
        for _, row in itertools.islice(read(), _LOOKED_AT_ROWS):
            names.update(dict.fromkeys(row))
        return LoadedTable(self, tuple(names), read, "line" if kind == "lines" else "row")

    def _separated(self, text: TextFile, usual: str) -> "LoadedTable":
        reading = self.reading
        layout: Layout = find_layout(
            text, self.wanted, separator=reading.separator, quotes=reading.quotes, usual=usual
        )
        header = header_of(text, layout)
        names = tuple(name for name in header if name)
        plain = None if "" in header else lambda: separated_cells(text, layout, header)
        return LoadedTable(self, names, lambda: separated_rows(text, layout), "line", plain)


@dataclass(frozen=True, slots=True)
class LoadedTable:
    """A table that can be read as often as needed."""

    table: Table
    columns: tuple[str, ...]
    """In the order of the file; of JSON those of the first 1000 rows."""
    read: Callable[[], Iterator[tuple[int, dict[str, Any]]]]

    unit: Literal["line", "row"]
    """What the number of a row counts."""
    read_cells: Callable[[], Iterator[tuple[int, Sequence[Any]]]] | None = None
    """The same rows in the order of `columns`, where each has all of them: quicker for many."""
    kinds: Callable[[], dict[str, Any]] | None = None
    """Arrow types by column, where the file says them."""

    def place(self, row: Row) -> str:
        """Where a row stands, for messages."""
        return f"{self.table.where}: {self.unit} {row.number}"

    def rows(self) -> Iterator[Row]:
        """Every row, from the first.

        Raises:
            SourceError: a row that is not right; names it.
        """
        return itertools.starmap(Row, self.read())


def _parquet_schema(table: Table) -> Any:
    import pyarrow.parquet as pq  # noqa: PLC0415 - for Parquet alone

    from vlm_assets.captions.arrow_types import check_names  # noqa: PLC0415 - for Parquet alone

    with _opened(table) as stream:
        schema = _guarded(table, lambda: pq.read_schema(stream))
        _guarded(table, lambda: check_names(schema))
    return schema


def _parquet_kinds(table: Table) -> dict[str, Any]:
    return {nfc(field.name): field.type for field in _parquet_schema(table)}


def _parquet_columns(table: Table) -> tuple[str, ...]:
    names = tuple(map(nfc, _parquet_schema(table).names))
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise SourceError(f"{table.where}: two columns are named {', '.join(twice)}")
    return names


def _parquet_rows(table: Table) -> Iterator[tuple[int, dict[str, Any]]]:
    names = _parquet_columns(table)
    for number, cells in _parquet_cells(table):
        yield number, dict(zip(names, cells, strict=True))


def _parquet_cells(table: Table) -> Iterator[tuple[int, Sequence[Any]]]:
    import pyarrow.parquet as pq  # noqa: PLC0415 - for Parquet alone

    with _opened(table) as stream:
        file = _guarded(table, lambda: pq.ParquetFile(stream))
        batches = _parquet_batches(file, stream, table.where)
        number = 0
        while (batch := _guarded(table, lambda: next(batches, None))) is not None:
            columns = _guarded(table, partial(_values_of, batch))
            for cells in zip(*columns, strict=True):
                number += 1
                yield number, cells


def _parquet_batches(file: Any, stream: IO[bytes], where: str) -> Iterator[Any]:
    groups = row_groups(stream)
    if len(groups) != file.num_row_groups:
        raise ValueError("a damaged footer")
    for number, group in enumerate(groups):
        rows = min(_BATCH_ROWS, rows_at_once(group, FileBytes(stream), where))
        for batch in file.iter_batches(batch_size=rows, row_groups=[number], use_threads=False):
            if batch.nbytes > BATCH_BYTES:
                raise BombError(
                    f"{where}: {so_many(batch.num_rows, 'row')} of {batch.nbytes} bytes; no table of words"
                )
            yield batch


def _values_of(batch: Any) -> list[list[Any]]:
    from vlm_assets.captions.arrow_types import python_values  # noqa: PLC0415 - for Parquet alone

    batch.validate(full=True)  # before anything follows its offsets
    return [python_values(column) for column in batch.columns]


def _opened(table: Table) -> IO[bytes]:
    return cast("IO[bytes]", _guarded(table, table.open))


def _guarded(table: Table, read: Callable[[], Any]) -> Any:
    import pyarrow as pa  # noqa: PLC0415 - for Parquet alone

    try:
        return read()
    except (pa.ArrowException, ValueError, SystemError, LookupError, *DAMAGED) as error:
        raise SourceError(f"{table.where}: not readable as parquet: {error}") from error
