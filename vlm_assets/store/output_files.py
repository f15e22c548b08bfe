"""New files, written from their beginning to their end: through the page cache, or past it."""

import ctypes
import errno
import mmap
import os
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Final

from vlm_assets.store.lent_memory import LentMemory

ALIGNMENT: Final = 4_096
"""Of place, size and memory, as O_DIRECT wants it (open(2)); a multiple of what any device asks for."""
_BLOCK_BYTES: Final = 16 * 2**20
"""Written in one call, so that the kernel keeps several requests under way: one at a time leaves the disk idle."""
_BLOCKS: Final = 3
_FLUSH_BYTES: Final = 64 * 2**20
_SYNC_FILE_RANGE_WRITE: Final = 2
_libc = ctypes.CDLL(None, use_errno=True)
_memory = LentMemory(2 * _BLOCKS)
"""Of closed files, for the next ones."""


def new_file(path: Path, *, direct: bool = False) -> "CachedFile | DirectFile":
    """A file that is not there yet; `direct` holds where the file system can.

    Raises:
        OSError: it is there, or cannot be made.
    """
    if direct and hasattr(os, "O_DIRECT"):
        try:
            return DirectFile(path)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            path.unlink(missing_ok=True)  # some file systems refuse after they made it
    return CachedFile(path)


def _start_writeback(descriptor: int, offset: int, length: int) -> None:
    """Asks the kernel to begin writing, so that later writing does not wait for all of it (Linux only)."""
    if hasattr(_libc, "sync_file_range"):
        _libc.sync_file_range(
            descriptor, ctypes.c_int64(offset), ctypes.c_int64(length), _SYNC_FILE_RANGE_WRITE
        )


class CachedFile:
    """A new file of which the kernel has the bytes once they are written, and the disk once they are synced."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("xb", buffering=0)
        self._size = self._flushed = 0

    def write(self, data: memoryview) -> None:
        """All of `data`."""
        done = 0
        while done < len(data):
            done += self._file.write(data[done:])
        self._size += done
        if self._size - self._flushed >= _FLUSH_BYTES:
            _start_writeback(self._file.fileno(), self._flushed, self._size - self._flushed)
            self._flushed = self._size

    def sync(self) -> None:
        """Returns when everything is on the disk."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Closes it, synced or not."""
        self._file.close()


class DirectFile:
    """A new file written past the page cache, in blocks, by a thread of its own while the next one is filled.

    A copy into the page cache costs a writer of large files more CPU time than all else it does, and drives out what
    others read.
    """

    def __init__(self, path: Path) -> None:
        """Creates it.

        Raises:
            OSError: EINVAL where the file system cannot write so.
        """
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_DIRECT
        self._descriptor = os.open(path, flags, 0o666)
        self._thread = ThreadPoolExecutor(1)
        self._unused = [_memory.lend(_BLOCK_BYTES) for _ in range(_BLOCKS)]
        self._block = self._unused.pop()
        self._under_way: deque[tuple[Future[None], mmap.mmap]] = deque()
        self._place = self._filled = 0

    def write(self, data: memoryview) -> None:
        """All of `data`; what is not written of it is in a block.

        Raises:
            OSError: this or an earlier block could not be written.
        """
        done = 0
        while done < len(data):
            size = min(len(data) - done, _BLOCK_BYTES - self._filled)
            self._block[self._filled : self._filled + size] = data[done : done + size]
            self._filled += size
            done += size
            if self._filled == _BLOCK_BYTES:
                self._send(_BLOCK_BYTES)

    def sync(self) -> None:
        """Returns when everything is on the disk; the last thing to do with the file but `close`."""
        size = self._place + self._filled
        self._send(-(-self._filled // ALIGNMENT) * ALIGNMENT)
        while self._under_way:
            self._wait_for_one()
        os.ftruncate(self._descriptor, size)
        os.fsync(self._descriptor)

    def close(self) -> None:
        """Closes it, synced or not."""
        self._thread.shutdown()
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
            for block in (self._block, *self._unused, *(block for _, block in self._under_way)):
                _memory.give_back(block)

    def _send(self, size: int) -> None:
        if not self._unused:
            self._wait_for_one()
        written = self._thread.submit(_write_all, self._descriptor, self._block, size, self._place)
        self._under_way.append((written, self._block))
        self._block = self._unused.pop()
        self._place += self._filled
        self._filled = 0

    def _wait_for_one(self) -> None:
        written, block = self._under_way.popleft()
        self._unused.append(block)
        written.result()


def _write_all(descriptor: int, block: mmap.mmap, size: int, place: int) -> None:
    with memoryview(block) as view:
        done = 0
        while done < size:
            done += os.pwrite(descriptor, view[done:size], place + done)
