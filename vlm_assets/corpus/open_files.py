"""Descriptors of many files, a bounded number of them open at once."""

import os
import resource
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from vlm_assets.words.errors import CorpusError

_SPARE_DESCRIPTORS: Final = 256
AHEAD_BYTES: Final = 256 * 2**10
"""What one advice may ask for: Linux cuts it to the device's largest request or readahead (mm/readahead.c)."""


class OpenFiles:
    """Descriptors of files by number, the ones opened last. Not for several threads at once."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self.paths = tuple(paths)
        self._open: dict[int, int] = {}
        self._most = _reserve(len(self.paths))

    def descriptors(self, files: NDArray[Any]) -> list[int]:
        """One for each number, good until the next call.

        Raises:
            CorpusError: they are more than a process may have open.
        """
        needed = np.unique(files).tolist()
        if len(needed) > self._most:
            raise CorpusError(
                f"a window has rows from {len(needed)} files, this process may open {self._most}. "
                "Raise the limit of open files (ulimit -n; LimitNOFILE= of a unit)."
            )
        missing = [file for file in needed if file not in self._open]
        self._close(len(self._open) + len(missing) - self._most, set(needed))
        for file in missing:
            self._open[file] = os.open(self.paths[file], os.O_RDONLY | os.O_CLOEXEC)
        return [self._open[file] for file in files.tolist()]

    def _close(self, count: int, but: set[int]) -> None:
        if count > 0:
            for file in [file for file in self._open if file not in but][:count]:
                os.close(self._open.pop(file))

    def __del__(self) -> None:
        _reserved[0] -= getattr(self, "_most", 0)
        for descriptor in getattr(self, "_open", {}).values():
            os.close(descriptor)


def will_need(descriptor: int, begin: int, end: int) -> None:
    """Has the kernel read these bytes into the page cache; waits only while its queue is full."""
    for place in range(begin, end, AHEAD_BYTES):
        os.posix_fadvise(descriptor, place, min(AHEAD_BYTES, end - place), os.POSIX_FADV_WILLNEED)


_reserved = [0]
"""Descriptors that all `OpenFiles` of this process may have open."""


def _reserve(files: int) -> int:
    """How many of so many files may be open; raises this process's soft limit where it is too low."""
    most = max(
        min(files, _limit(_reserved[0] + files + _SPARE_DESCRIPTORS) - _reserved[0] - _SPARE_DESCRIPTORS), 16
    )
    _reserved[0] += most
    return most


def _limit(wanted: int) -> int:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return wanted if soft == resource.RLIM_INFINITY else soft
