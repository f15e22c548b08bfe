"""Arrow files over memory maps: their record batches, and many files of one schema as one long run of rows.

A map holds no descriptor, so thousands of files may be open. Pages that were touched are handed back on request.
"""

import ctypes
import mmap
import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from vlm_assets.words.errors import CorpusError

_AHEAD_BYTES: Final = 256 * 2**10
"""What one advice may ask for: Linux cuts it to the device's largest request or readahead (mm/readahead.c)."""
_FILE_MAGIC: Final = b"ARROW1\0\0"
_OPENING_THREADS: Final = 8
"""Headers are read one after the other along a file, and cold ones wait for the disk: files in parallel."""

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = [
    ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long,
]  # fmt: skip
_libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
_libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
_FAILED: Final = ctypes.c_void_p(-1).value

I64 = NDArray[np.int64]


class _Mapping:
    """Keeps pages mapped while a buffer refers to them."""

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
    """A whole file as one read-only buffer. A page that is touched is read alone, unless it was asked for before.

    Raises:
        OSError: it cannot be mapped; an empty one cannot.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._mapping = _Mapping(path)
        self.buffer: pa.Buffer = pa.foreign_buffer(
            self._mapping.address, self._mapping.size_bytes, base=self._mapping
        )
        _libc.madvise(self._mapping.address, self._mapping.size_bytes, mmap.MADV_RANDOM)

    def place_of(self, buffer: pa.Buffer) -> int:
        """Where in the file a buffer over it lies; 0 of an empty one.

        Raises:
            CorpusError: it lies elsewhere: the file is compressed.
        """
        if not buffer.size:
            return 0
        place = buffer.address - self._mapping.address
        if not 0 <= place <= self._mapping.size_bytes - buffer.size:
            raise CorpusError(f"{self.path}: compressed record batches cannot be read in parts")
        return int(place)

    def read_ahead(self, begin: int, end: int) -> None:
        """Has the kernel read these bytes into the page cache; waits only while its queue is full."""
        for place in range(begin // mmap.PAGESIZE * mmap.PAGESIZE, end, _AHEAD_BYTES):
            size = min(_AHEAD_BYTES, end - place)
            _libc.madvise(self._mapping.address + place, size, mmap.MADV_WILLNEED)

    def release_pages(self) -> None:
        """Takes the pages out of this process's memory; they stay in the page cache and come back when touched."""
        _libc.madvise(self._mapping.address, self._mapping.size_bytes, mmap.MADV_DONTNEED)


@dataclass(frozen=True, slots=True)
class Runs:
    """Neighbouring rows, each run within one record batch: one entry a run everywhere."""

    batch: I64
    first: I64
    """Row in the batch."""
    rows: I64

    def __iter__(self) -> Iterator[tuple[int, int, int]]:
        """(batch, first row, rows) of each."""
        return zip(self.batch.tolist(), self.first.tolist(), self.rows.tolist(), strict=True)


class Batches:
    """The record batches of some files, numbered along the files; decoded when they are asked for."""

    def __init__(self, schema: pa.Schema, paths: Iterable[Path]) -> None:
        """Reads the headers of all record batches.

        Raises:
            CorpusError: a file has another schema, or is cut short.
        """
        self._schema = schema
        with ThreadPoolExecutor(_OPENING_THREADS) as threads:
            found = list(threads.map(lambda path: _BatchFile(path, schema), paths))
        self.files: Sequence[MappedFile] = [one.file for one in found]
        self.file_of: I64 = np.repeat(
            np.arange(len(found)), np.array([len(one.places) for one in found], np.int64)
        )
        """Number of the file of each batch."""
        self._places = [place for one in found for place in one.places]
        rows = np.array([rows for one in found for rows in one.rows], np.int64)
        self._starts = np.concatenate((np.zeros(1, np.int64), np.cumsum(rows)))
        self.file_rows: I64 = np.array([sum(one.rows) for one in found], np.int64)
        """Rows of each file."""

    def file(self, number: int) -> MappedFile:
        """The file of a record batch."""
        return self.files[int(self.file_of[number])]

    def read(self, number: int) -> pa.RecordBatch:
        """A record batch over the map of its file; not `checked`.

        Raises:
            CorpusError: the file is damaged.
        """
        source = pa.BufferReader(self.file(number).buffer.slice(self._places[number]))
        try:
            batch = pa.ipc.read_record_batch(pa.ipc.read_message(source), self._schema)
            batch.validate()
        except pa.ArrowException as error:
            raise damaged(self.file(number).path, error) from error
        return batch

    def checked(self, number: int, part: pa.RecordBatch | pa.Array) -> pa.RecordBatch | pa.Array:
        """What is a part of a record batch, once it is sure that its offsets and texts can be used.

        Raises:
            CorpusError: they cannot; Arrow would crash over them.
        """
        try:
            part.validate(full=True)
        except pa.ArrowInvalid as error:
            raise damaged(self.file(number).path, error) from error
        return part

    def runs(self, positions: I64, gap_rows: int) -> tuple[Runs, I64]:
        """The runs that cover ascending places of the long run; and each place's row in what they add up to.

        A new one begins where the batch changes and where more than `gap_rows` lie between two places.
        """
        batch_of = np.searchsorted(self._starts, positions, side="right") - 1
        new = np.ones(len(positions), np.bool_)
        new[1:] = (np.diff(batch_of) != 0) | (np.diff(positions) > gap_rows)
        starts = np.flatnonzero(new)
        firsts = positions[starts]
        rows = positions[np.append(starts[1:], len(new)) - 1] - firsts + 1
        shift = np.cumsum(rows) - rows - firsts
        batch = batch_of[starts]
        return Runs(batch, firsts - self._starts[batch], rows), positions + shift[np.cumsum(new) - 1]


def damaged(path: Path, what: object) -> CorpusError:
    """A file of a slice is not what it was when it was committed."""
    return CorpusError(f"{path} is damaged: {what}. `vlm-assets verify` tells which slice it is.")


class _BatchFile:
    """Where the record batches of a file begin, and how many rows they have."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self.places: list[int] = []
        self.rows: list[int] = []
        try:
            self.file = MappedFile(path)
            self._walk(schema)
        except (pa.ArrowException, OSError) as error:
            raise damaged(path, error) from error

    def _walk(self, schema: pa.Schema) -> None:
        """Along the messages; the form `file` is a stream behind its magic (Columnar.html, IPC File Format)."""
        source = pa.BufferReader(self.file.buffer)
        if source.read(len(_FILE_MAGIC)) != _FILE_MAGIC:
            source.seek(0)
        if not pa.ipc.read_schema(source).equals(schema):
            raise CorpusError(f"{self.file.path} has another schema; run `vlm-assets migrate`")
        while (message := _next_message(source)) is not None:
            place, read = message
            self.places.append(place)
            self.rows.append(pa.ipc.read_record_batch(read, schema).num_rows)


def _next_message(source: pa.BufferReader) -> tuple[int, pa.Message] | None:
    """(place, message); None at the end of the stream."""
    place = source.tell()
    try:
        return place, pa.ipc.read_message(source)
    except EOFError:
        return None
