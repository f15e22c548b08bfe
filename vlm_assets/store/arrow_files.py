"""Arrow files that are hashed while they are written, and the small JSON that makes a folder a Dataset."""

import io
import mmap
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import orjson
import pyarrow as pa
from blake3 import blake3

from vlm_assets.store.output_files import new_file
from vlm_assets.words.disk import naming
from vlm_assets.words.errors import write_error
from vlm_assets.words.layout import temporary_beside
from vlm_assets.words.manifest import FileEntry

PIECE_BYTES: Final = 512 * 2**10
"""Hashed and then written while they lie in the core's cache: memory is slower than both."""
_MAX_BUFFER_BYTES: Final = 2**31


class StreamedBuffer:
    """The data buffer of a column of a record batch, whose bytes are made while they are written.

    `stand_in` takes its place in the batch: address space without memory, never to be read. Arrow's writer hands
    each buffer of an uncompressed batch to the file as it is (`WriteIpcPayload` in `cpp/src/arrow/ipc/writer.cc`),
    so the file knows this one by its address.
    """

    def __init__(self, size: int, pieces: Iterator[memoryview]) -> None:
        """Of at most 2 GiB; a piece is valid until the next one is asked for."""
        self.size = size
        self.pieces = pieces
        self.stand_in = pa.py_buffer(_no_memory()).slice(0, size)

    def is_behind(self, view: memoryview) -> bool:
        """Whether this memory is the stand-in's."""
        return len(view) == self.size > 0 and pa.py_buffer(view).address == self.stand_in.address


@cache
def _no_memory() -> mmap.mmap:
    return mmap.mmap(-1, _MAX_BUFFER_BYTES, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, mmap.PROT_READ)


class HashingFile(io.RawIOBase):
    """A new file that is hashed as it is written; `close` syncs it and fixes `entry`.

    Raises:
        DiskFullError: the volume, or what a quota leaves of it, is full.
        StoreError: it cannot be written for another reason.
    """

    def __init__(self, path: Path, *, direct: bool = False) -> None:
        """Past the page cache with `direct`, where the file system can."""
        self._path = path
        with self._trouble_named():
            self._file = new_file(path, direct=direct)
        self._hash = blake3()
        self._size = 0
        self.streamed: StreamedBuffer | None = None
        """Written instead of its stand-in, and then forgotten."""
        self.entry: FileEntry | None = None

    def writable(self) -> bool:
        """Only that."""
        return True

    def tell(self) -> int:
        """Bytes written."""
        return self._size

    def write(self, data: Any, /) -> int:
        """Writes and hashes all of `data` (any buffer)."""
        view = memoryview(data).cast("B")
        if self.streamed is not None and self.streamed.is_behind(view):
            pieces, self.streamed = self.streamed.pieces, None
            before = self._size
            for piece in pieces:
                self._write(piece)
            if self._size - before != len(view):
                raise ValueError(f"{self._size - before} bytes came of a buffer of {len(view)}")
        else:
            for place in range(0, len(view), PIECE_BYTES):
                self._write(view[place : place + PIECE_BYTES])
        return len(view)

    def _write(self, piece: memoryview) -> None:
        self._hash.update(piece)
        with self._trouble_named():
            self._file.write(piece)
        self._size += len(piece)

    @contextmanager
    def _trouble_named(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise write_error(self._path, error) from error

    def close(self) -> None:
        """Syncs to disk and closes; `entry` holds size and hash from then on."""
        if not self.closed and self.entry is None:
            try:
                with self._trouble_named():
                    self._file.sync()
            finally:
                self._file.close()
                super().close()
            self.entry = FileEntry(size_bytes=self._size, blake3=self._hash.hexdigest())
        super().close()

    def abandon(self) -> None:
        """Closes and removes the file."""
        self._file.close()
        self._path.unlink(missing_ok=True)
        super().close()


class ArrowFile:
    """One Arrow IPC file under way: `stream` for data that `datasets` opens, `file` for indexes.

    Record batches are written as given, uncompressed, so that readers map them. Use as a context manager: an
    exception removes the file.
    """

    def __init__(self, path: Path, schema: pa.Schema, *, form: str = "stream", direct: bool = False) -> None:
        """`direct`: past the page cache, where the file system can."""
        self._sink = HashingFile(path, direct=direct)
        new: Callable[..., Any] = pa.ipc.new_stream if form == "stream" else pa.ipc.new_file
        self._output = pa.PythonFile(self._sink, mode="w")
        self._writer = new(self._output, schema)
        self.rows = 0

    def write(self, batch: pa.RecordBatch, streamed: StreamedBuffer | None = None) -> None:
        """Appends one record batch; `streamed` is the buffer of it that is a stand-in."""
        self._sink.streamed = streamed
        self._writer.write_batch(batch)
        if self._sink.streamed is not None and self._sink.streamed.size:
            raise RuntimeError(
                "Arrow did not hand the streamed buffer to the file; this pyarrow cannot be used"
            )
        self.rows += batch.num_rows

    @property
    def size_bytes(self) -> int:
        """Bytes so far, without the footer."""
        return self._sink.tell()

    def finish(self) -> FileEntry:
        """Writes the footer, syncs, and tells size and hash."""
        self._writer.close()
        self._sink.close()
        if self._sink.entry is None:
            raise ValueError("finish() after an exception")
        return self._sink.entry

    def abandon(self) -> None:
        """Removes the file, unless it is finished."""
        if self._sink.entry is None:
            self._sink.abandon()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self.abandon()


def write_bytes(path: Path, data: bytes) -> FileEntry:
    """Writes and syncs a new file."""
    with HashingFile(path) as sink:
        sink.write(data)
    if sink.entry is None:
        raise ValueError(f"{path}: not finished")
    return sink.entry


def replace_file(path: Path, data: bytes) -> None:
    """Puts `data` at `path` in one step: beside it, synced, renamed."""
    temporary = temporary_beside(path)
    try:
        write_bytes(temporary, data)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """Makes the names in a directory durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with naming(path):
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def dataset_state(data_files: list[str], fingerprint: str) -> dict[str, bytes]:
    """`state.json` and `dataset_info.json` with which `datasets.load_from_disk` opens a folder.

    All seven keys are needed (read in `datasets` 5.2's `Dataset.load_from_disk`); the features come from the
    schema's metadata.
    """
    state: dict[str, object] = {
        "_data_files": [{"filename": name} for name in data_files],
        "_fingerprint": fingerprint,
        "_format_columns": None,
        "_format_kwargs": {},
        "_format_type": None,
        "_output_all_columns": False,
        "_split": None,
    }
    return {"state.json": orjson.dumps(state, option=orjson.OPT_SORT_KEYS), "dataset_info.json": b"{}"}
