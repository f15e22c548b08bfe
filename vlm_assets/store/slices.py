"""The one slice writer and its reader: rows in canonical order to data files, index and ledgers."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import pyarrow as pa
import pyarrow.parquet as pq
from blake3 import blake3

from vlm_assets.store.arrow_files import ArrowFile, dataset_state, write_bytes
from vlm_assets.store.layout import LAYOUT_FILE, layout_on_disk, write_layout
from vlm_assets.store.sample_arrays import index_batch, sample_batch, sample_columns, streamed_images
from vlm_assets.store.sound_files import IndexFile, damage_named, ledger_rows, stream_batches
from vlm_assets.words.errors import RejectReason, StoreError
from vlm_assets.words.manifest import FileEntry
from vlm_assets.words.schema import COLUMN_NAMES, INDEX_SCHEMA, NO_WORDS, SAMPLE_SCHEMA, Row

INDEX_FILE: Final = "index.arrow"
ITEMS_FILE: Final = "items.parquet"
REJECTS_FILE: Final = "rejects.parquet"
RUN_FILE: Final = "run.json"

# Format constants: batch and file limits follow from row order alone, so equal rows give equal files.
BATCH_BYTES: Final = 32_000_000
BATCH_ROWS: Final = 1_000
FILE_BYTES: Final = 1_000_000_000
INDEX_BATCH_ROWS: Final = 65_536

REJECT_SCHEMA = pa.schema(
    [
        ("key", pa.string()), ("record", pa.int64()), ("reason", pa.string()), ("detail", pa.string()),
        ("attempts", pa.int32()), ("transient", pa.bool_()), ("next_retry", pa.int64()),
    ]
)  # fmt: skip
_ITEM_LEDGER_SCHEMA = pa.schema(
    [
        ("key", pa.string()), ("identity", pa.string()), ("fetched", pa.bool_()),
        ("records", pa.int64()), ("rows", pa.int64()), ("companions", pa.int64()), ("left_out", pa.int64()),
        ("remarks", pa.string()), ("caption_rows", pa.string()),
    ]
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class ItemEntry:
    """One line of the items ledger: what became of an item. `fetched` is False where it was rejected whole.

    `companions` and `left_out` count members of a container besides its records. `remarks`: what was mended in
    its records, as JSON of counts by kind; null where nothing was. `caption_rows`: what became of captions in it and
    in tables beside it, as JSON that `sum_counts` adds up; null where none were looked for, or nobody counted them.
    """

    key: str
    identity: str
    fetched: bool
    records: int
    rows: int
    companions: int = 0
    left_out: int = 0
    remarks: str | None = None
    caption_rows: str | None = None


@dataclass(frozen=True, slots=True)
class RejectEntry:
    """One row of `rejects.parquet`. `transient` ones are due again at `next_retry` (Unix seconds; 0 where not)."""

    key: str
    """Of the item."""
    record: int | None
    reason: RejectReason
    detail: str
    attempts: int
    transient: bool
    next_retry: int


@dataclass(slots=True)
class WrittenSlice:
    """What a slice writer wrote."""

    files: dict[str, FileEntry] = field(default_factory=dict)
    rows: int = 0
    data_bytes: int = 0
    images: int = 0
    image_bytes: int = 0
    multi_image_rows: int = 0
    rows_with_text: int = 0
    rows_with_messages: int = 0
    rows_with_neither: int = 0
    content_hash: str = ""
    subcategories: Counter[str] = field(default_factory=Counter)


class SliceWriter:
    """Writes rows, given in canonical order, into a staging folder. Memory is bounded by one batch.

    Data files are Arrow IPC streams that `datasets.load_from_disk` opens; the index is an IPC file, row for row
    beside them; the layout says where in them single rows are found.
    """

    def __init__(self, staging: Path) -> None:
        self._staging = staging
        self._data: ArrowFile | None = None
        self._index = ArrowFile(staging / INDEX_FILE, INDEX_SCHEMA, form="file")
        self._index_batches: list[pa.RecordBatch] = []
        self._index_rows = 0
        self._pending: list[Row] = []
        self._pending_bytes = 0
        self._file_bytes = 0
        self._content = sha256()
        self._names: list[str] = []
        self._written = WrittenSlice()

    def add(self, row: Row) -> None:
        """Appends one row."""
        self._pending.append(row)
        self._pending_bytes += row["row_bytes"]
        if self._pending_bytes >= BATCH_BYTES or len(self._pending) >= BATCH_ROWS:
            self._write_batch()

    def finish(self) -> WrittenSlice:
        """Writes what is left, and the files that make the folder a Dataset. Everything is synced."""
        if self._pending or not self._names:
            self._write_batch()
        self._close_data()
        self._flush_index()
        written = self._written
        written.files[INDEX_FILE] = self._index.finish()
        layout = layout_on_disk([self._staging / name for name in self._names])
        written.files[LAYOUT_FILE] = write_layout(self._staging / LAYOUT_FILE, layout)
        written.content_hash = self._content.hexdigest()
        for name, content in dataset_state(self._names, written.content_hash[:16]).items():
            written.files[name] = write_bytes(self._staging / name, content)
        return written

    def _write_batch(self) -> None:
        rows, self._pending = self._pending, []
        size_bytes, self._pending_bytes = self._pending_bytes, 0
        if self._data is not None and self._file_bytes + size_bytes > FILE_BYTES:
            self._close_data()
        if self._data is None:
            self._names.append(f"data-{len(self._names):05d}.arrow")
            self._data = ArrowFile(self._staging / self._names[-1], SAMPLE_SCHEMA)
            self._file_bytes = 0
        images = streamed_images(rows)
        columns = sample_columns(rows, images.stand_in)
        if rows:
            self._data.write(sample_batch(columns), images)
        self._file_bytes += size_bytes
        self._add_to_index(rows, columns)
        self._count(rows)

    def _add_to_index(self, rows: Sequence[Row], columns: dict[str, pa.Array]) -> None:
        if rows:
            self._index_batches.append(index_batch(rows, columns))
            self._index_rows += len(rows)
        if self._index_rows >= INDEX_BATCH_ROWS:
            self._flush_index()

    def _flush_index(self) -> None:
        if self._index_batches:
            table = pa.Table.from_batches(self._index_batches).combine_chunks()
            for batch in table.to_batches():
                self._index.write(batch)
        self._index_batches, self._index_rows = [], 0

    def _count(self, rows: Sequence[Row]) -> None:
        written = self._written
        self._content.update(b"".join(row["digest"] for row in rows))
        written.rows += len(rows)
        written.image_bytes += sum(row["image_bytes"] for row in rows)
        written.images += sum(row["image_count"] for row in rows)
        written.multi_image_rows += sum(row["image_count"] > 1 for row in rows)
        written.rows_with_text += sum(row["text_sha256"] != NO_WORDS for row in rows)
        written.rows_with_messages += sum(row["messages_sha256"] != NO_WORDS for row in rows)
        written.rows_with_neither += sum(
            row["text_sha256"] == row["messages_sha256"] == NO_WORDS for row in rows
        )
        written.subcategories.update(row["subcategory"] or "" for row in rows)

    def _close_data(self) -> None:
        if self._data is not None:
            entry = self._data.finish()
            self._written.files[self._names[-1]] = entry
            self._written.data_bytes += entry.size_bytes
            self._data = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        for file in (self._data, self._index):
            if file is not None:
                file.__exit__(kind, value, trace)


def write_items_ledger(path: Path, entries: Iterable[ItemEntry]) -> FileEntry:
    """Writes `items.parquet`, in canonical order."""
    entries = list(entries)
    columns = [[getattr(entry, name) for entry in entries] for name in _ITEM_LEDGER_SCHEMA.names]
    return _write_parquet(path, columns, _ITEM_LEDGER_SCHEMA)


def read_items_ledger(version: Path) -> list[ItemEntry]:
    """The items ledger of a committed version."""
    path = version / ITEMS_FILE
    with damage_named(path):
        return [ItemEntry(**row) for row in ledger_rows(path)]


def rejects_bytes(rejects: Iterable[RejectEntry]) -> bytes:
    """Content of `rejects.parquet`."""
    rejects = list(rejects)
    columns = [[getattr(reject, name) for reject in rejects] for name in REJECT_SCHEMA.names]
    sink = pa.BufferOutputStream()
    pq.write_table(_table(columns, REJECT_SCHEMA), sink, compression="zstd")
    return bytes(sink.getvalue())


def _table(columns: list[list[Any]], schema: pa.Schema) -> pa.Table:
    return pa.Table.from_arrays(
        [pa.array(column, kind) for column, kind in zip(columns, schema.types, strict=True)], schema=schema
    )


def _write_parquet(path: Path, columns: list[list[Any]], schema: pa.Schema) -> FileEntry:
    sink = pa.BufferOutputStream()
    pq.write_table(_table(columns, schema), sink, compression="zstd")
    return write_bytes(path, bytes(sink.getvalue()))


def read_rejects(version: Path) -> list[RejectEntry]:
    """Rows of `rejects.parquet` of a committed version, in their order."""
    path = version / REJECTS_FILE
    rows = ledger_rows(path) if path.is_file() else []
    with damage_named(path):
        return [RejectEntry(**{**row, "reason": RejectReason(row["reason"])}) for row in rows]


def file_hash(path: Path) -> str:
    """blake3 hex of a file."""
    digest = blake3()
    digest.update_mmap(path)
    return digest.hexdigest()


def read_rows(version: Path, data_files: Sequence[str]) -> Iterator[Row]:
    """Rows of a committed version in order, with the index's own columns; one batch in memory at a time."""
    index = _index_rows(version)
    for name in data_files:
        for batch in stream_batches(version / name, SAMPLE_SCHEMA):
            for row in batch.to_pylist():
                row["images"] = _encoded(row["images"])
                if (own := next(index, None)) is None:
                    raise StoreError(f"{version / INDEX_FILE} is damaged: fewer rows than {name}")
                yield {**row, **own}


def images_of_row(version: Path, data_files: Sequence[str], row: int) -> list[bytes] | None:
    """The encoded images in one row of a committed version; None after a takedown. Reads those images only."""
    for name in data_files:
        for batch in stream_batches(version / name, SAMPLE_SCHEMA):
            if row < batch.num_rows:
                return _encoded(batch.column("images")[row].as_py())
            row -= batch.num_rows
    return None


def _encoded(images: list[dict[str, Any]] | None) -> list[bytes] | None:
    return None if images is None else [image["bytes"] for image in images]


def _index_rows(version: Path) -> Iterator[Row]:
    own = [name for name in INDEX_SCHEMA.names if name not in COLUMN_NAMES]
    reader = IndexFile(version / INDEX_FILE, INDEX_SCHEMA)
    for number in range(reader.num_record_batches):
        yield from reader.get_batch(number).select(own).to_pylist()


def data_file_names(files: Iterable[str]) -> list[str]:
    """Names of the data files among a manifest's files, in row order."""
    return sorted(name for name in files if name.startswith("data-") and name.endswith(".arrow"))
