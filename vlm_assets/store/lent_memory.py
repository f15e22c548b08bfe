"""Page-aligned memory that is lent again and again: fresh pages cost more than what is written to them."""

import mmap
from contextlib import suppress
from threading import Lock
from typing import Final

_GRAIN: Final = 2**25
"""Blocks are so large or a multiple, so that they fit again; what is not touched takes no memory."""


class LentMemory:
    """Blocks given back, for whoever wants one next. For several threads at once."""

    def __init__(self, most: int) -> None:
        """Keeps at most so many."""
        self._most = most
        self._spare: list[mmap.mmap] = []
        self._lock = Lock()

    def lend(self, size: int) -> mmap.mmap:
        """Zeros, or what its last user wrote: the smallest spare block of at least `size` bytes, or a new one."""
        with self._lock:
            large_enough = [block for block in self._spare if len(block) >= size]
            if large_enough:
                block = min(large_enough, key=len)
                self._spare.remove(block)
                return block
        block = mmap.mmap(-1, max(-(-size // _GRAIN), 1) * _GRAIN, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        with suppress(AttributeError, OSError):  # a hint, which not every system knows
            block.madvise(mmap.MADV_HUGEPAGE)
        return block

    def give_back(self, block: mmap.mmap) -> None:
        """Nobody may use it any more."""
        with self._lock:
            self._spare.append(block)
            if len(self._spare) > self._most:
                self._spare.remove(min(self._spare, key=len))
