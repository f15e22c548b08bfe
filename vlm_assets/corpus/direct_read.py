"""Large ranges of files, each wanted once: read past the page cache, which has better use for its memory."""

import os
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from vlm_assets.errors import CorpusError
from vlm_assets.store.output_files import ALIGNMENT

_BLOCK_BYTES: Final = 64 * 2**20
"""Asked for in one call: with 4 MB the disk waits between requests (1.0 instead of 1.3 to 1.6 GB/s)."""


def aligned(begin: int, end: int) -> tuple[int, int]:
    """The range of whole pages around a range."""
    return begin // ALIGNMENT * ALIGNMENT, -(-end // ALIGNMENT) * ALIGNMENT


def read_range(path: Path, begin: int, end: int, memory: NDArray[np.uint8]) -> None:
    """Fills page-aligned `memory` with the whole pages around bytes `begin` to `end` of a file.

    Out of the page cache where they are in it, and then given back; else straight from the disk (a third of the CPU
    time of sorting went into the cache), where the file system can. What stands behind the file's end is undefined.

    Raises:
        CorpusError: the file is shorter.
    """
    first, _ = aligned(begin, end)
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
