"""`layout.arrow` of a slice: where in its data files each record batch and each of its buffers lies.

With it the bytes of single rows can be asked for by range, without reading along the files. It follows from the data
files alone, and can be made again from their headers, here or from afar.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pyarrow as pa

from vlm_assets.store.arrow_files import ArrowFile
from vlm_assets.store.away import readable
from vlm_assets.store.sparse_memory import SparseMemory
from vlm_assets.words.errors import StoreError
from vlm_assets.words.manifest import FileEntry
from vlm_assets.words.schema import SAMPLE_SCHEMA

LAYOUT_FILE: Final = "layout.arrow"
_BUFFER_TYPE: Final = pa.struct([("offset", pa.int64()), ("size", pa.int64())])
LAYOUT_SCHEMA: Final = pa.schema(
    [
        pa.field("file", pa.string(), nullable=False),
        pa.field("first_row", pa.int64(), nullable=False),  # of the slice
        pa.field("rows", pa.int64(), nullable=False),
        pa.field("offset", pa.int64(), nullable=False),  # of the batch's message in the file
        pa.field("header_bytes", pa.int64(), nullable=False),  # of the message, before its body
        pa.field("size_bytes", pa.int64(), nullable=False),  # of header and body
        pa.field("buffers", pa.list_(_BUFFER_TYPE), nullable=False),  # in the file, as Arrow flattens columns
    ]
)
"""One row a record batch. A buffer that is not there (no nulls, no bytes) has offset and size 0."""

_PREFIX_BYTES: Final = 8
"""Of a message: the mark and the size of its metadata (Columnar.html, "Encapsulated message format")."""
_MARK: Final = b"\xff\xff\xff\xff"
_GUESS_BYTES: Final = 4_096
"""Headers of a slice's batches are about 2 KB, so that one read has all of one."""
_MAX_HEADER_BYTES: Final = 2**24

ReadPart = Callable[[int, int], bytes | memoryview]
"""The bytes of a file from a place to another."""


@dataclass(frozen=True, slots=True)
class BatchLayout:
    """One record batch of a data file."""

    rows: int
    offset: int
    header_bytes: int
    size_bytes: int
    buffers: tuple[tuple[int, int], ...]
    """(offset, size) in the file."""


def batches_of(size_bytes: int, read: ReadPart, name: str) -> Iterator[BatchLayout]:
    """The record batches of a data file of so many bytes, out of their headers alone.

    Raises:
        StoreError: the headers are damaged, or of another schema.
    """
    place, first = 0, True
    while (header := _header(place, size_bytes, read, name)) is not None:
        memory = SparseMemory(place, size_bytes - place)
        memory.fill(place, header)
        source = pa.BufferReader(memory.buffer)
        try:
            message = pa.ipc.read_message(source)
            if first:
                _check_schema(message, name)
            else:
                yield _layout(message, memory, len(header), int(source.tell()))
        except (pa.ArrowException, EOFError, OSError) as error:
            raise StoreError(f"{name} is damaged: {error}") from error
        place, first = place + int(source.tell()), False


def _header(place: int, size_bytes: int, read: ReadPart, name: str) -> bytes | None:
    """Prefix and metadata of the message at a place; None at the end of the stream."""
    if place == size_bytes:
        return None
    start = bytes(read(place, min(place + _GUESS_BYTES, size_bytes)))
    length = int.from_bytes(start[4:_PREFIX_BYTES], "little")
    if start[:4] != _MARK or not length <= min(_MAX_HEADER_BYTES, size_bytes - place - _PREFIX_BYTES):
        raise StoreError(f"{name} is damaged: no message begins at byte {place}")
    if length == 0:
        return None
    end = _PREFIX_BYTES + length
    if len(start) < end:
        start += bytes(read(place + len(start), place + end))
    return start[:end]


def _check_schema(message: pa.Message, name: str) -> None:
    if not pa.ipc.read_schema(message).equals(SAMPLE_SCHEMA):
        raise StoreError(f"{name} has another schema; run `vlm-assets migrate`")


def _layout(message: pa.Message, memory: SparseMemory, header_bytes: int, size_bytes: int) -> BatchLayout:
    batch = pa.ipc.read_record_batch(message, SAMPLE_SCHEMA)
    flat = (buffer for column in batch.columns for buffer in column.buffers())
    buffers = tuple(
        (memory.place_of(one), one.size) if one is not None and one.size else (0, 0) for one in flat
    )
    return BatchLayout(batch.num_rows, memory.place, header_bytes, size_bytes, buffers)


def layout_table(files: Iterable[tuple[str, int, ReadPart]]) -> pa.Table:
    """The layout of a slice's data files, given as (name, size, how to read it) in row order.

    Raises:
        StoreError: see `batches_of`.
    """
    lines, first_row = [], 0
    for name, size_bytes, read in files:
        for one in batches_of(size_bytes, read, name):
            buffers = [{"offset": offset, "size": size} for offset, size in one.buffers]
            lines.append(
                {
                    "file": name, "first_row": first_row, "rows": one.rows, "offset": one.offset,
                    "header_bytes": one.header_bytes, "size_bytes": one.size_bytes, "buffers": buffers,
                }
            )  # fmt: skip
            first_row += one.rows
    return pa.Table.from_pylist(lines, LAYOUT_SCHEMA)


def layout_on_disk(data_files: Iterable[Path]) -> pa.Table:
    """The layout of data files, in row order; see `layout_table`."""

    def opened() -> Iterator[tuple[str, int, ReadPart]]:
        for path in data_files:
            with readable(path) as here:
                yield path.name, here.stat().st_size, _reader(here)

    return layout_table(opened())


def _reader(path: Path) -> ReadPart:
    def read(begin: int, end: int) -> bytes:
        with path.open("rb") as file:
            file.seek(begin)
            return file.read(end - begin)

    return read


def write_layout(path: Path, table: pa.Table) -> FileEntry:
    """Writes and syncs a new layout file: equal layouts, equal bytes."""
    with ArrowFile(path, LAYOUT_SCHEMA, form="file") as file:
        for batch in table.combine_chunks().to_batches():
            file.write(batch)
        return file.finish()
