"""A data file on disk as record batches or records, in file order, in bounded memory, images undecoded.

Parquet and Arrow through pyarrow over a memory map; CSV and JSON as `text_tables` has it; archives member by member.
`load_dataset` without streaming would write a second full copy. Anonymous memory is a few batches, but pyarrow holds
twice the largest Parquet page while it decompresses it (measured: a row group of 100
images of 1 MB 440 MiB in all, one of 300 720 MiB, a single page of 1 GB 2.2 GiB).
"""

import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from vlm_assets.archives.contents import HEAD_BYTES, what_it_is
from vlm_assets.archives.limits import ArchiveLimits, Budget
from vlm_assets.archives.names import Encodings, is_image_name
from vlm_assets.archives.read import Reading as ArchiveReading
from vlm_assets.captions.arrow_types import check_names, is_binary
from vlm_assets.captions.parquet_pages import row_groups, rows_at_once
from vlm_assets.captions.tables import TableReading
from vlm_assets.hub.cells import Follow
from vlm_assets.hub.columns import Wanted
from vlm_assets.hub.expansion import check_messages
from vlm_assets.hub.packed import PackedWords, packed_records
from vlm_assets.hub.tables import (
    SAMPLE_ROWS,
    Columns,
    Rows,
    nfc_names,
    plan_columns,
    records_of,
    sampled_names,
)
from vlm_assets.hub.text_tables import TextTable
from vlm_assets.hub.webdataset import webdataset_records
from vlm_assets.words.errors import Reject, RejectReason, SourceError, machine_error, of_the_machine
from vlm_assets.words.records import Event, Record

BATCH_BYTES: Final = 16 * 2**20
"""Planned bytes of a batch; a single larger row is a batch of its own."""
MAX_BATCH_ROWS: Final = 1024
READER_FAULTS: Final = (
    pa.ArrowException, OSError, ValueError, SystemError, OverflowError, KeyError, IndexError, NotImplementedError,
    struct.error,
)  # fmt: skip
"""What pyarrow raises over damaged files; a MemoryError is a claim of more bytes than there is memory."""
_FILE_MAGIC_BYTES: Final = 8
_END_OF_STREAM: Final = b"\xff\xff\xff\xff\x00\x00\x00\x00"
TEXT_FORMATS: Final = ("json", "csv")
TABLE_FORMATS: Final = ("parquet", "arrow", *TEXT_FORMATS)


@dataclass(frozen=True, slots=True)
class Reading:
    """How the data files of a source are read."""

    limits: ArchiveLimits
    wanted: Wanted = field(default_factory=Wanted)
    features: Mapping[str, Any] = field(default_factory=dict)
    """From the README; those in a file's own schema win."""
    spool_dir: Path | None = None
    """Where archives inside archives may lie while they are read."""
    encoding: Encodings = None
    """Of names and texts in archives that are neither declared nor UTF-8."""
    words: PackedWords = field(default_factory=PackedWords)
    """Of images in archives."""
    text: TableReading = field(default_factory=TableReading)
    """How CSV and JSON are read."""
    follow: Follow | None = None
    """Where files that rows name lie."""


def read_data_file(
    path: Path | Sequence[Path], kind: str, item: str, origin: str, reading: Reading
) -> Iterator[Event]:
    """All records of a data file, and what was left out of an archive. Several files: parts of a split archive.

    Raises:
        SourceError: it cannot be read to its end, or its columns leave open which is the image.
    """
    parts = [path] if isinstance(path, Path) else list(path)
    if kind == "webdataset":
        how = ArchiveReading(reading.limits, encoding=reading.encoding, spool_dir=reading.spool_dir)
        yield from webdataset_records(parts, item, origin, how, reading.wanted, reading.words)
    elif kind == "archive":
        how = ArchiveReading(reading.limits, is_image_name, reading.encoding, reading.spool_dir)
        yield from packed_records(parts, item, origin, how, reading.words)
    else:
        yield from _table(parts[0], kind, item, origin, reading)


def batches_of(
    path: Path, kind: str, where: str, columns: Sequence[str] | None = None
) -> "Iterator[pa.RecordBatch]":
    """Record batches of a table file, each planned to `BATCH_BYTES`; `columns` only where given.

    Raises:
        SourceError: truncated, damaged, or not such a file.
        MachineError: this machine cannot read it now.
    """
    readers = {"parquet": _parquet, "arrow": _arrow}
    try:
        batches = readers[kind](path, where)
        budget = Budget(ArchiveLimits(BATCH_BYTES), path.stat().st_size, where)
        while (batch := _next_sound(batches)) is not None:
            budget.unpack(batch.nbytes)
            names = nfc_names(batch.schema, where)
            if names != batch.schema.names:
                batch = batch.rename_columns(names)
            yield batch.select(list(columns)) if columns is not None else batch
    except READER_FAULTS as error:
        if isinstance(error, OSError) and of_the_machine(error):  # or a listing goes on without the file
            raise machine_error(f"{where}: cannot be read", error) from error
        raise SourceError(f"{where}: cannot be read to its end ({_short(error)}){_told(path)}") from error


def _told(path: Path) -> str:
    """What else the file is, if anybody knows."""
    try:
        with path.open("rb") as file:
            return what_it_is(file.read(HEAD_BYTES))
    except OSError:
        return ""


def _next_sound(batches: "Iterator[pa.RecordBatch]") -> "pa.RecordBatch | None":
    """The next batch, every offset, index and text of which lies within it; None at the end.

    Arrow's readers take offsets as they stand in the file, and whoever follows them reads foreign memory or dies.
    """
    batch = next(batches, None)
    if batch is not None:
        batch.validate(full=True)
    return batch


def _table(path: Path, kind: str, item: str, origin: str, reading: Reading) -> Iterator[Record | Reject]:
    row = record = 0
    try:
        for rows, columns in _planned(path, kind, item, origin, reading):
            events = records_of(
                rows, columns, item, origin, first_row=row, first_record=record, follow=reading.follow
            )
            for event in events:
                record = (event.record or 0) + 1
                yield event
            row += rows.count
    except UnicodeDecodeError as error:  # Arrow does not look at texts in dictionaries and views
        raise SourceError(f"{origin}: cannot be read to its end ({_short(error)})") from error
    if record == 0:
        yield Reject(item, RejectReason.EMPTY, "a data file without rows")


def _planned(
    path: Path, kind: str, item: str, origin: str, reading: Reading
) -> Iterator[tuple[Rows, Columns]]:
    """The rows of a table, a batch at a time, with what its columns mean."""
    if kind in TEXT_FORMATS:
        table = TextTable(
            path, item, origin, reading.text, reading.features, set(reading.wanted.names).__contains__
        )
        yield from table.chunks(reading.wanted, reading.follow)
        return
    columns: Columns | None = None
    for batch in batches_of(path, kind, origin):
        if columns is None:
            columns = plan_columns(
                batch.schema, origin, reading.wanted, features=reading.features,
                samples=_samples_of(batch, reading.wanted), follow=reading.follow,
            )  # fmt: skip
        yield Rows.of(batch), columns


def _samples_of(batch: "pa.RecordBatch", wanted: Wanted) -> dict[str, list[Any]]:
    """First values of the columns of text that may hold conversations or images."""
    names = [
        n for n in sampled_names(batch.schema.names, wanted) if not is_binary(batch.schema.field(n).type)
    ]
    return {name: batch.column(name).slice(0, SAMPLE_ROWS).to_pylist() for name in names}


def _parquet(path: Path, where: str) -> "Iterator[pa.RecordBatch]":
    with (
        pa.memory_map(str(path)) as source,
        pq.ParquetFile(path, memory_map=True, pre_buffer=False) as file,
    ):
        check_names(file.schema_arrow)
        groups = row_groups(source)
        if len(groups) != file.num_row_groups:
            raise ValueError("a damaged footer")
        source.seek(0)
        data = memoryview(source.read_buffer()).cast("B")
        for group, about in enumerate(groups):
            rows = _rows_per_batch(about.size_bytes, about.rows)
            rows = min(rows, rows_at_once(about, data, where))
            yield from file.iter_batches(batch_size=rows, row_groups=[group], use_threads=False)


def _arrow(path: Path, where: str) -> "Iterator[pa.RecordBatch]":
    with pa.memory_map(str(path)) as source:
        is_file_format = source.read(6) == b"ARROW1"
        source.seek(max(source.size() - len(_END_OF_STREAM), 0))
        if not is_file_format and source.read() != _END_OF_STREAM:
            raise ValueError(
                "no end-of-stream mark: truncated"
            )  # pyarrow takes a cut between batches for the end
        source.seek(_FILE_MAGIC_BYTES if is_file_format else 0)
        check_messages(source, where)
        source.seek(0)
        reader = pa.ipc.open_file(source) if is_file_format else pa.ipc.open_stream(source)
        check_names(reader.schema)
        batches = (
            (reader.get_batch(i) for i in range(reader.num_record_batches)) if is_file_format else reader
        )
        for batch in batches:
            batch.validate(full=True)  # before anything follows its offsets, be it to count its bytes
            rows = _rows_per_batch(batch.nbytes, batch.num_rows)
            for start in range(0, batch.num_rows, rows):
                yield batch.slice(start, rows)


def _rows_per_batch(size_bytes: int, rows: int) -> int:
    return max(1, min(MAX_BATCH_ROWS, BATCH_BYTES * max(rows, 1) // max(size_bytes, 1)))


def _short(error: BaseException) -> str:
    return " ".join(str(error).split())[:150] or type(error).__name__
