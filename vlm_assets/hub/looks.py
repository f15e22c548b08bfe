"""A look into a table before it is fetched: its columns, and the few values that a listing needs.

Of a remote Parquet file only the footer and the wanted columns are asked for.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Final, cast

import pyarrow as pa
import pyarrow.parquet as pq

from vlm_assets.captions.arrow_types import check_names, is_text
from vlm_assets.captions.parquet_pages import RowGroup, check_columns, row_groups
from vlm_assets.captions.tables import TableReading
from vlm_assets.hub.cells import Follow, ImageColumn, ImageShape, names_in
from vlm_assets.hub.columns import Wanted
from vlm_assets.hub.readers import READER_FAULTS, TEXT_FORMATS, batches_of
from vlm_assets.hub.tables import SAMPLE_ROWS, Columns, class_names, nfc_names, plan_columns, sampled_names
from vlm_assets.hub.text_tables import TextTable
from vlm_assets.words.errors import SourceError
from vlm_assets.words.layout import nfc
from vlm_assets.words.seekable import SeekableFile

_BLOCK_BYTES: Final = 256 * 1024
"""Asked for at once, so that a footer is one request."""


class RangedFile(SeekableFile):
    """A file somewhere else, read in blocks."""

    def __init__(self, size_bytes: int, read_range: Callable[[int, int], bytes]) -> None:
        super().__init__(size_bytes)
        self._read_range = read_range
        self._block = b""
        self._block_at = 0

    def read_at(self, start: int, end: int) -> bytes:
        """From the block that is held; else from one that begins here, or the last one where the end is near."""
        if not (self._block_at <= start and end <= self._block_at + len(self._block)):
            last = max(end, min(start + _BLOCK_BYTES, self._size))
            first = min(start, max(last - _BLOCK_BYTES, 0))
            self._block, self._block_at = self._read_range(first, last), first
        return self._block[start - self._block_at : end - self._block_at]


@dataclass(frozen=True, slots=True)
class TableLook:
    """One table: on this disk, or (Parquet) somewhere else."""

    name: str
    format: str
    where: str
    source: Path | Callable[[], BinaryIO]
    wanted: Wanted = field(default_factory=Wanted)
    features: Mapping[str, Any] = field(default_factory=dict)
    reading: TableReading = field(default_factory=TableReading)
    follow: Follow | None = None

    def columns(self) -> Columns | None:
        """What its columns mean; None where it has no rows, which says nothing about the others of its split.

        Raises:
            SourceError: it cannot be read; as `plan_columns`; no column of the label rule's name.
        """
        if self.format in TEXT_FORMATS:
            first = next(self._text().chunks(self.wanted, self.follow), None)
            if first is None:
                return None
            rows, columns = first
            self._check_label(list(rows.columns))
            return columns
        schema = self.schema()
        if schema is None:
            return None
        self._check_label(schema.names)
        return plan_columns(
            schema, self.where, self.wanted,
            features=self.features, samples=self._samples(schema), follow=self.follow,
        )  # fmt: skip

    def schema(self) -> "pa.Schema | None":
        """Of a table with types, its columns under NFC names; None where it has no rows.

        Raises:
            SourceError: it cannot be read.
        """
        if self.format == "parquet":
            with self._parquet() as file:
                if not file.metadata.num_rows:
                    return None
                schema = file.schema_arrow
                check_names(schema)
            names = nfc_names(schema, self.where)
            fields = [field.with_name(name) for field, name in zip(schema, names, strict=True)]
            return pa.schema(fields, schema.metadata)
        first = next(batches_of(cast("Path", self.source), self.format, self.where), None)
        return None if first is None else first.schema

    def names(self, columns: Columns) -> Iterator[str]:
        """Names of files that its rows give instead of bytes, and perhaps of a few that they give beside them."""
        for column in columns.images:
            if column.shape == "binary":
                continue
            for value in self._values(column):
                yield from names_in(value, column)

    def labels(self, rule_column: str) -> Iterator[str]:
        """Values of the column of labels as text: classes of a ClassLabel by name and by number, else row by row."""
        kind = None if self.format in TEXT_FORMATS else self.schema()
        if names := class_names(kind, self.features).get(rule_column):
            yield from names
            yield from map(str, range(len(names)))
            return
        for value in self.values(rule_column):
            if value is not None:
                yield nfc(str(value))

    def _check_label(self, names: Sequence[str]) -> None:
        rule = self.wanted.label
        if rule is not None and rule.column and rule.column not in names:
            raise SourceError(
                f"{self.where}: no column {rule.column!r} (subcategory_from.column); there are: {', '.join(names)}"
            )

    def _text(self) -> TextTable:
        path = cast("Path", self.source)
        known = set(self.wanted.names).__contains__
        return TextTable(path, self.name, self.where, self.reading, self.features, known)

    @contextmanager
    def _parquet(self) -> "Iterator[pq.ParquetFile]":
        source = self.source if isinstance(self.source, Path) else pa.PythonFile(self.source(), mode="r")
        try:
            with pq.ParquetFile(source, pre_buffer=False) as file:
                yield file
        except READER_FAULTS as error:
            raise SourceError(f"{self.where}: cannot be read ({error})") from error

    def _groups(self) -> Sequence[RowGroup]:
        """Of a Parquet file.

        Raises:
            ValueError, LookupError: its footer is damaged.
        """
        with self.source.open("rb") if isinstance(self.source, Path) else self.source() as file:
            return row_groups(file)

    def _check(self, columns: Sequence[str]) -> None:
        for group in self._groups():
            check_columns(group, columns, self.where)

    def _samples(self, schema: "pa.Schema") -> dict[str, list[Any]]:
        """First values of the columns of text that may say what they are."""
        wanted = [
            name for name in sampled_names(schema.names, self.wanted) if is_text(schema.field(name).type)
        ]
        if not wanted:
            return {}
        if self.format != "parquet":
            batch = next(batches_of(cast("Path", self.source), self.format, self.where, wanted))
        else:
            with self._parquet() as file:
                written = _written(file, wanted)
                self._check(written)
                batches = file.iter_batches(batch_size=SAMPLE_ROWS, columns=written)
                batch = next(batches, None)
                if batch is not None:
                    batch = batch.rename_columns([nfc(name) for name in batch.schema.names])
        if batch is None:
            return {}
        try:
            return {name: batch.column(name).slice(0, SAMPLE_ROWS).to_pylist() for name in wanted}
        except READER_FAULTS as error:
            raise SourceError(f"{self.where}: cannot be read ({error})") from error

    def _values(self, column: ImageColumn) -> Iterator[Any]:
        """Cells of a column of images; of Parquet their paths alone, where a row group may lack bytes."""
        if self.format != "parquet":
            yield from self.values(column.name)
            return
        with self._parquet() as file:
            [name] = _written(file, [column.name])
            for group, about in enumerate(self._groups()):
                leaves = _leaves(about, name, column.shape)
                if leaves:
                    check_columns(about, leaves, self.where)
                    table = file.read_row_group(group, columns=leaves, use_threads=False)
                    yield from table.column(name).to_pylist()

    def values(self, name: str) -> Iterator[Any]:
        """Cells of a column, row by row."""
        if self.format in TEXT_FORMATS:
            yield from (row.get(name) for row in self._text().rows())
        elif self.format == "parquet":
            with self._parquet() as file:
                written = _written(file, [name])
                self._check(written)
                for batch in file.iter_batches(columns=written, use_threads=False):
                    yield from batch.column(0).to_pylist()
        else:
            for batch in batches_of(cast("Path", self.source), self.format, self.where, [name]):
                yield from batch.column(0).to_pylist()


def _written(file: "pq.ParquetFile", names: Sequence[str]) -> list[str]:
    """Columns of these NFC names as the file calls them."""
    return [name for name in file.schema_arrow.names if nfc(name) in set(names)]


def _leaves(group: RowGroup, column: str, shape: ImageShape) -> list[str]:
    """The Parquet columns that hold a column's names; none where every image of a row group has its bytes."""
    own = [one for one in group.chunks if one.path.partition(".")[0] == column]
    if shape == "text":
        return [one.path for one in own]
    if any(one.path.endswith(".bytes") and one.nulls == 0 for one in own):
        return []
    return [one.path for one in own if one.path.endswith(".path")]
