"""Arrow files that are hashed while they are written, and the small JSON that makes a folder a Dataset."""

import ctypes
import io
import os
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import orjson
import pyarrow as pa
from blake3 import blake3

from vlm_assets.errors import DiskFullError
from vlm_assets.manifest import FileEntry

_FLUSH_BYTES = 64 * 2**20
_SYNC_FILE_RANGE_WRITE = 2
_libc = ctypes.CDLL(None, use_errno=True)


def start_writeback(descriptor: int, offset: int, length: int) -> None:
    """Asks the kernel to begin writing, so that later writing does not wait for all of it (Linux only)."""
    if hasattr(_libc, "sync_file_range"):
        _libc.sync_file_range(
            descriptor, ctypes.c_int64(offset), ctypes.c_int64(length), _SYNC_FILE_RANGE_WRITE
        )


class HashingFile(io.RawIOBase):
    """A new file that is hashed as it is written; `close` syncs it and fixes `entry`.

    Raises:
        DiskFullError: the volume is full.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: IO[bytes] = path.open("xb", buffering=0)
        self._hash = blake3()
        self._size = 0
        self._flushed = 0
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
        self._hash.update(view)
        done = 0
        try:
            while done < len(view):
                done += self._file.write(view[done:])
        except OSError as error:
            raise DiskFullError(f"{self._path}: {error}") from error
        self._size += len(view)
        if self._size - self._flushed >= _FLUSH_BYTES:
            start_writeback(self._file.fileno(), self._flushed, self._size - self._flushed)
            self._flushed = self._size
        return len(view)

    def close(self) -> None:
        """Syncs to disk and closes; `entry` holds size and hash from then on."""
        if not self.closed and self.entry is None:
            os.fsync(self._file.fileno())
            self._file.close()
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

    def __init__(self, path: Path, schema: pa.Schema, *, form: str = "stream") -> None:
        self._sink = HashingFile(path)
        new: Callable[..., Any] = pa.ipc.new_stream if form == "stream" else pa.ipc.new_file
        self._output = pa.PythonFile(self._sink, mode="w")
        self._writer = new(self._output, schema)
        self.rows = 0

    def write(self, batch: pa.RecordBatch) -> None:
        """Appends one record batch."""
        self._writer.write_batch(batch)
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

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None and self._sink.entry is None:
            self._sink.abandon()


def write_bytes(path: Path, data: bytes) -> FileEntry:
    """Writes and syncs a new file."""
    with HashingFile(path) as sink:
        sink.write(data)
    if sink.entry is None:
        raise ValueError(f"{path}: not finished")
    return sink.entry


def replace_file(path: Path, data: bytes) -> None:
    """Puts `data` at `path` in one step: beside it, synced, renamed."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.unlink(missing_ok=True)
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


def map_ipc_file(path: Path) -> pa.RecordBatchFileReader:
    """Opens an IPC file over a memory map: columns are read when touched."""
    return pa.ipc.open_file(pa.memory_map(str(path), "r"))
