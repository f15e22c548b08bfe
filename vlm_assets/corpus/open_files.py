"""Descriptors of many files, a bounded number of them open at once."""

import os
import resource
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from vlm_assets.errors import CorpusError

_SPARE_DESCRIPTORS: Final = 256


class OpenFiles:
    """Descriptors of files by number, the ones opened last."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self.paths = tuple(paths)
        self._most = _descriptors_for(len(paths))
        self._open: dict[int, int] = {}

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
        for descriptor in getattr(self, "_open", {}).values():
            os.close(descriptor)


def _descriptors_for(files: int) -> int:
    """How many files may be open at once; raises this process's soft limit as far as it may where it is too low."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return files
    wanted = files + _SPARE_DESCRIPTORS
    if soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return max(soft - _SPARE_DESCRIPTORS, 16)
