"""Committed slices over memory maps: row numbers to record batches and index columns, without copies.

Reads `datasets/`. Pages that were touched are handed back on request, so memory stays bounded while every slice
stays open.
"""

import ctypes
import mmap
import os
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from vlm_assets.corpus.arrays import dtype_of, offsets_of, strings_of, values_of
from vlm_assets.errors import CorpusError
from vlm_assets.schema import INDEX_SCHEMA, SAMPLE_SCHEMA
from vlm_assets.store.slices import INDEX_FILE

_BATCHES_KEPT: Final = 2_048
"""Parsed record batches kept, about 12 KB each; slices have one for every 1,000 rows or 32 MB."""

_LARGE_ROW_BYTES: Final = 8_192
_SMALL_COLUMNS_BYTES: Final = 512
"""All columns but the image of one row, about."""

SHA256_HEX: Final = np.dtype("V64")
"""A hex sha256 as one value, for comparisons."""

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = [
    ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long,
]  # fmt: skip
_libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
_libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
_FAILED: Final = ctypes.c_void_p(-1).value


class _Mapping:
    """Keeps pages mapped while a buffer refers to them. Holds no descriptor: thousands may be open."""

    def __init__(self, path: Path) -> None:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            self.size_bytes = os.fstat(descriptor).st_size
            self.address = _libc.mmap(None, self.size_bytes, mmap.PROT_READ, mmap.MAP_SHARED, descriptor, 0)
        finally:
            os.close(descriptor)
        if self.address in (None, _FAILED):
            self.address = None
            raise OSError(ctypes.get_errno(), f"cannot map {self.size_bytes} bytes", str(path))

    def __del__(self) -> None:
        if getattr(self, "address", None) is not None:
            _libc.munmap(self.address, self.size_bytes)


class MappedFile:
    """A whole file as one read-only buffer."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._mapping = _Mapping(path)
        self.buffer: pa.Buffer = pa.foreign_buffer(
            self._mapping.address, self._mapping.size_bytes, base=self._mapping
        )

    def read_ahead(self, start: int, end: int) -> None:
        """Asks the kernel to read a part of the file into the page cache, without waiting for it."""
        start = max(start, 0) // mmap.PAGESIZE * mmap.PAGESIZE
        end = min(end, self._mapping.size_bytes)
        if end > start:
            _libc.madvise(self._mapping.address + start, end - start, mmap.MADV_WILLNEED)

    def release_pages(self) -> None:
        """Takes the pages out of this process's memory; they stay in the page cache and come back when touched."""
        _libc.madvise(self._mapping.address, self._mapping.size_bytes, mmap.MADV_DONTNEED)


@dataclass(frozen=True, slots=True)
class SliceFiles:
    """Where the rows of one slice of the plan lie."""

    source: str
    slice: str
    directory: Path
    data_files: tuple[str, ...]
    rows: int

    @property
    def name(self) -> str:
        """For messages."""
        return f"{self.source}/{self.slice}"


class SliceIndex:
    """Fixed-width columns of one slice's index, by row number."""

    def __init__(self, files: SliceFiles) -> None:
        self._files = files
        self._file = MappedFile(files.directory / INDEX_FILE)
        self._reader = pa.ipc.open_file(pa.BufferReader(self._file.buffer))
        if not self._reader.schema.equals(INDEX_SCHEMA):
            raise CorpusError(f"{files.name}: {self._file.path} has another schema; run `vlm-assets migrate`")
        batches = [self._reader.get_batch(i) for i in range(self._reader.num_record_batches)]
        self._batches = batches
        self._starts = np.concatenate(([0], np.cumsum([b.num_rows for b in batches], dtype=np.int64)))
        if int(self._starts[-1]) != files.rows:
            raise CorpusError(
                f"{files.name}: the index has {self._starts[-1]} rows, the plan says {files.rows}"
            )
        self._views: dict[tuple[int, str], NDArray[Any]] = {}

    @property
    def name(self) -> str:
        """`<source>/<slice>`."""
        return self._files.name

    @property
    def size_bytes(self) -> int:
        """Size of the index file."""
        return int(self._file.buffer.size)

    def take(self, columns: Sequence[str], rows: NDArray[np.uint32]) -> list[NDArray[Any]]:
        """Values of each column at `rows`, which may stand in any order."""
        batch_of = np.searchsorted(self._starts[1:], rows, side="right")
        batches = np.unique(batch_of).tolist()
        if len(batches) == 1:
            local = rows - self._starts[batches[0]]
            return [self._view(batches[0], column)[local] for column in columns]
        out = [np.empty(len(rows), fixed_dtype(column)) for column in columns]
        for batch in batches:
            here = np.flatnonzero(batch_of == batch)
            local = rows[here] - self._starts[batch]
            for values, column in zip(out, columns, strict=True):
                values[here] = self._view(batch, column)[local]
        return out

    def rows_with(self, column: str, texts: Sequence[str]) -> NDArray[np.int64]:
        """Rows whose string column holds one of `texts`, ascending."""
        wanted = strings_of(texts)
        found = [pc.is_in(batch.column(column), value_set=wanted) for batch in self._batches]
        places = [pc.indices_nonzero(mask) for mask in found]
        parts = [values_of(p).astype(np.int64) + s for p, s in zip(places, self._starts[:-1], strict=True)]
        return np.concatenate([np.zeros(0, np.int64), *parts])

    def release_pages(self) -> None:
        """See `MappedFile.release_pages`."""
        self._file.release_pages()

    def _view(self, batch: int, column: str) -> NDArray[Any]:
        view = self._views.get((batch, column))
        if view is None:
            view = _fixed_view(self._batches[batch].column(column), column, self._files.name)
            self._views[batch, column] = view
        return view


def fixed_dtype(column: str) -> np.dtype[Any]:
    """How numpy sees the values of a fixed-width index column; a hex sha256 counts as one."""
    kind = INDEX_SCHEMA.field(column).type
    return SHA256_HEX if pa.types.is_string(kind) else dtype_of(kind)


def _fixed_view(array: pa.Array, column: str, name: str) -> NDArray[Any]:
    """The values of a column without nulls as numpy sees them."""
    if array.null_count:
        raise CorpusError(f"{name}: {array.null_count} nulls in index column {column}")
    return fixed_strings(array, name) if pa.types.is_string(array.type) else values_of(array)


def fixed_strings(array: pa.Array, name: str) -> NDArray[Any]:
    """A column of 64-character strings as values of 64 bytes."""
    offsets, data = offsets_of(array), array.buffers()[2]
    if data is None or not len(array):
        return np.empty(0, SHA256_HEX)
    if (np.diff(offsets) != SHA256_HEX.itemsize).any():
        raise CorpusError(f"{name}: image_sha256 is not 64 hex digits in every row")
    return np.frombuffer(data, SHA256_HEX, len(array), int(offsets[0]))


def by_slice(numbers: NDArray[np.uint32]) -> Iterator[tuple[int, NDArray[np.int64]]]:
    """Each slice number with the places where it stands, ascending."""
    order = np.argsort(numbers, kind="stable")
    sorted_numbers = numbers[order]
    starts = np.flatnonzero(np.append(True, sorted_numbers[1:] != sorted_numbers[:-1])[: len(numbers)])
    for start, end in zip(starts.tolist(), [*starts[1:].tolist(), len(numbers)], strict=False):
        yield int(sorted_numbers[start]), order[start:end]


class SliceRows:
    """The data files of many slices as one long run of rows, addressed by (slice, row)."""

    def __init__(self, slices: dict[int, SliceFiles]) -> None:
        """Opens the slices, numbered as in the plan. Reads the headers of all their record batches."""
        self.indexes: dict[int, SliceIndex] = {}
        self._slices = slices
        self._files: list[MappedFile] = []
        self._file_of: list[int] = []
        self._offset_of: list[int] = []
        self._asked: set[int] = set()
        self._first_row = np.zeros(max(slices, default=-1) + 1, np.int64)
        self._touched: set[int] = set()
        self._parsed: OrderedDict[tuple[int, tuple[str, ...]], pa.RecordBatch] = OrderedDict()
        starts: list[int] = []
        total = 0
        for number, files in sorted(slices.items()):
            self.indexes[number] = SliceIndex(files)
            self._first_row[number] = total
            for rows in self._open(files):
                starts.append(total)
                total += rows
            found = total - int(self._first_row[number])
            if found != files.rows:
                raise CorpusError(
                    f"{files.name}: the data files have {found} rows, the plan says {files.rows}"
                )
        self._starts = np.array([*starts, total], np.int64)

    def _open(self, files: SliceFiles) -> Iterator[int]:
        """Rows of each record batch of a slice, whose place is noted."""
        for name in files.data_files:
            mapped = MappedFile(files.directory / name)
            self._files.append(mapped)
            for offset, rows in _batch_headers(mapped, files.name):
                self._file_of.append(len(self._files) - 1)
                self._offset_of.append(offset)
                yield rows

    def positions(self, numbers: NDArray[np.uint32], rows: NDArray[np.uint32]) -> NDArray[np.int64]:
        """Places in the one long run."""
        return self._first_row[numbers] + rows

    def batch_numbers(self, positions: NDArray[np.int64]) -> NDArray[np.int64]:
        """Record batch of each place."""
        return np.searchsorted(self._starts, positions, side="right") - 1

    def read_ahead(self, batch: int, first: int, last: int) -> None:
        """Asks for the part of a batch with the places `first` to `last`; where rows are small, once for all of it.

        Other windows will want the rest of a small row's batch before it falls out of the page cache. Large rows: the
        image column comes first in a batch and is nearly all of it, the other columns are its tail.
        """
        start, rows = int(self._starts[batch]), int(self._starts[batch + 1] - self._starts[batch])
        offset = self._offset_of[batch]
        file = self._files[self._file_of[batch]]
        same_file = batch + 1 < len(self._file_of) and self._file_of[batch + 1] == self._file_of[batch]
        size = (self._offset_of[batch + 1] if same_file else int(file.buffer.size)) - offset
        if size < _LARGE_ROW_BYTES * rows:
            if batch not in self._asked:
                self._asked.add(batch)
                file.read_ahead(offset, offset + size)
            return
        row_bytes = size // rows
        file.read_ahead(offset + (first - start - 1) * row_bytes, offset + (last - start + 2) * row_bytes)
        file.read_ahead(offset + size - _SMALL_COLUMNS_BYTES * rows, offset + size)

    def batch_start(self, batch: int) -> int:
        """Place of a batch's first row."""
        return int(self._starts[batch])

    def columns(self, number: int, names: tuple[str, ...]) -> pa.RecordBatch:
        """Columns of a record batch, parsed and not copied; the last ones used are kept."""
        key = (number, names)
        self._touched.add(self._file_of[number])
        batch = self._parsed.get(key)
        if batch is not None:
            self._parsed.move_to_end(key)
            return batch
        buffer = self._files[self._file_of[number]].buffer.slice(self._offset_of[number])
        batch = pa.ipc.read_record_batch(pa.ipc.read_message(buffer), SAMPLE_SCHEMA).select(list(names))
        self._parsed[key] = batch
        if len(self._parsed) > _BATCHES_KEPT:
            self._parsed.popitem(last=False)
        return batch

    def names(self, column: str) -> list[str]:
        """`source` or `slice` of every slice by number; empty where it is not open."""
        return [
            getattr(self._slices[number], column) if number in self._slices else ""
            for number in range(len(self._first_row))
        ]

    def name_of(self, number: int) -> str:
        """`<source>/<slice>` for messages."""
        return self._slices[number].name

    def release_pages(self) -> None:
        """See `MappedFile.release_pages`; of the data files touched since the last call."""
        for number in self._touched:
            self._files[number].release_pages()
        self._touched.clear()


def _batch_headers(mapped: MappedFile, name: str) -> Sequence[tuple[int, int]]:
    """(offset of the message, rows) of every record batch of an IPC stream file."""
    source = pa.BufferReader(mapped.buffer)
    schema = pa.ipc.read_schema(source)
    if not schema.equals(SAMPLE_SCHEMA):
        raise CorpusError(f"{name}: {mapped.path} has another schema; run `vlm-assets migrate`")
    found: list[tuple[int, int]] = []
    offset = source.tell()
    messages = pa.ipc.MessageReader.open_stream(source)
    while True:
        try:
            message = messages.read_next_message()
        except StopIteration:
            return found
        found.append((offset, _rows_of(message)))
        offset = source.tell()


def _rows_of(message: pa.Message) -> int:
    return int(pa.ipc.read_record_batch(message, SAMPLE_SCHEMA).num_rows)
