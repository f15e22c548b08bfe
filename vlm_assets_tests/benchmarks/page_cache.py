"""The state of memory before a timed case: what is cached, and that free memory is really there.

A virtual machine's host may take back pages that its guest freed, and give each again at the first touch, at a third
to a tenth of the usual speed: whoever runs first after files were deleted pays. A machine at work has no free memory
but page cache, so that is how every case begins: with a file of holes read until free memory is used up by clean
pages, which the kernel gives away at once.
"""

import os
import tempfile
from collections.abc import Iterable
from pathlib import Path

_LEFT_FREE = 500 * 2**20
_BLOCK = 4 * 2**20


class Ballast:
    """A file of holes that takes no disk space; its cached pages go when it is closed."""

    def __init__(self, folder: Path) -> None:
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 — lives as long as this object
        os.ftruncate(self._file.fileno(), 2**40)
        self._place = 0

    def fill(self) -> None:
        """Uses up free memory with clean pages."""
        end = self._place + 2 * memory_bytes()
        block = bytearray(_BLOCK)
        while free_bytes() > _LEFT_FREE and self._place < end:
            for _ in range(16):
                self._place = (self._place + os.preadv(self._file.fileno(), [block], self._place)) % 2**40

    def close(self) -> None:
        """Gives the memory back."""
        self._file.close()


def free_bytes() -> int:
    """Memory in no use at all."""
    return _told("MemFree")


def memory_bytes() -> int:
    """All memory."""
    return _told("MemTotal")


def _told(name: str) -> int:
    line = next(one for one in Path("/proc/meminfo").read_text().splitlines() if one.startswith(f"{name}:"))
    return int(line.split()[1]) * 1024


def drop(paths: Iterable[Path]) -> None:
    """Puts these files out of the page cache, and no other's."""
    os.sync()
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)


def warm(paths: Iterable[Path]) -> None:
    """Reads these files into the page cache."""
    block = bytearray(_BLOCK)
    for path in paths:
        with path.open("rb", buffering=0) as file:
            while file.readinto(block):
                pass
