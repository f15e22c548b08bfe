"""Large ranges of files, each wanted once: read past the page cache, which has better use for its memory."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from vlm_assets.corpus.byte_pieces import I64, file_and_place
from vlm_assets.store.lent_memory import LentMemory
from vlm_assets.store.output_files import ALIGNMENT
from vlm_assets.words.errors import CorpusError

_BLOCK_BYTES: Final = 64 * 2**20
"""Asked for in one call: with 4 MB the disk waits between requests (1.0 instead of 1.3 to 1.6 GB/s)."""
_memory = LentMemory(10)
"""Of what was released, for what is read next: index and data of the four parts that a worker has, and two more."""


class LoadedRanges:
    """Ranges of numbered files, side by side in memory until they are released."""

    def __init__(self, paths: Sequence[Path], ranges: Sequence[tuple[int, int, int]]) -> None:
        """Reads the ranges (file, begin, end), which ascend.

        Raises:
            CorpusError: a file is shorter.
        """
        pages = [_pages(begin, end) for _, begin, end in ranges]
        ends = np.cumsum([last - first for first, last in pages], dtype=np.int64)
        self._lent = _memory.lend(int(ends.max(initial=0)))
        self.memory: NDArray[np.uint8] = np.frombuffer(self._lent, np.uint8)
        files, begins = (np.array([one[n] for one in ranges], np.int64) for n in (0, 1))
        self._begins = file_and_place(files, begins)
        self._shifts = ends - np.array([last for _, last in pages], np.int64)
        for (file, begin, end), (first, last), shift in zip(
            ranges, pages, self._shifts.tolist(), strict=True
        ):
            _read_range(paths[file], begin, end, self.memory[first + shift : last + shift])

    def places(self, files: I64, places: I64) -> I64:
        """Where in `memory` the bytes at these places of the files stand, which are in the ranges."""
        number = np.searchsorted(self._begins, file_and_place(files, places), side="right") - 1
        return places + self._shifts[number]

    def release(self) -> None:
        """Gives back the memory, which nobody may use any more."""
        _memory.give_back(self._lent)


def free_released_memory() -> None:
    """Gives the system back what is kept for the next ranges."""
    _memory.clear()


def _pages(begin: int, end: int) -> tuple[int, int]:
    """The whole pages around a range."""
    return begin // ALIGNMENT * ALIGNMENT, -(-end // ALIGNMENT) * ALIGNMENT


def _read_range(path: Path, begin: int, end: int, memory: NDArray[np.uint8]) -> None:
    """Fills page-aligned `memory` with the whole pages around bytes `begin` to `end` of a file.

    Out of the page cache where they are in it, and then given back; else straight from the disk (a third of the CPU
    time of sorting went into the cache), where the file system can. What stands behind the file's end is undefined.
    """
    first, _ = _pages(begin, end)
    if _is_cached(path, begin, end) or not _read_direct(path, first, memory, end - first):
        _read_cached(path, first, memory, end - first)


def _is_cached(path: Path, begin: int, end: int) -> bool:
    """Whether the range is at hand, going by two places amid it (where it begins, a header was just read)."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_RANDOM)  # asking must not begin readahead
        for third in (1, 2):
            os.preadv(descriptor, [bytearray(1)], begin + (end - begin) * third // 3, os.RWF_NOWAIT)
    except OSError:  # not there yet, or a file system that cannot tell
        return False
    finally:
        os.close(descriptor)
    return True


def _read_direct(path: Path, first: int, memory: NDArray[np.uint8], size: int) -> bool:
    """Fills `memory` from place `first` on; False where the file system has no such reads."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECT)
    except OSError:
        return False
    try:
        _fill(path, descriptor, first, memory, size)
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return True


def _read_cached(path: Path, first: int, memory: NDArray[np.uint8], size: int) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.posix_fadvise(descriptor, first, size, os.POSIX_FADV_SEQUENTIAL)
        _fill(path, descriptor, first, memory, size)
        os.posix_fadvise(descriptor, first, size, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(descriptor)


def _fill(path: Path, descriptor: int, first: int, memory: NDArray[np.uint8], size: int) -> None:
    done = 0
    while done < size:
        got = os.preadv(descriptor, (memory.data[done : done + _BLOCK_BYTES],), first + done)
        if not got:
            raise CorpusError(
                f"{path} is damaged: bytes are missing. `vlm-assets verify` tells which slice it is."
            )
        done += got
