"""A stretch of a file in memory of which only parts are filled in; the rest is address space and reads as zeros.

Arrow reads a record batch over it as over the file, so that what needs some rows of a batch need not have the others.
"""

import mmap
from typing import Final

import pyarrow as pa

_NO_RESERVE: Final = 0x4000
"""MAP_NORESERVE, which Python's mmap does not name: what is never written takes nothing of the machine."""


class SparseMemory:
    """`size_bytes` of a file from `place` on; places are the file's. Memory goes with the last buffer over it."""

    def __init__(self, place: int, size_bytes: int) -> None:
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _NO_RESERVE
        self.place = place
        self._view = memoryview(mmap.mmap(-1, max(size_bytes, 1), flags))
        self.buffer: pa.Buffer = pa.py_buffer(self._view[:size_bytes])

    def fill(self, place: int, data: bytes | bytearray | memoryview) -> None:
        """Puts bytes of the file in their place."""
        self._view[place - self.place : place - self.place + len(data)] = data

    def part(self, begin: int, end: int) -> memoryview:
        """Memory of these bytes of the file, to be filled."""
        return self._view[begin - self.place : end - self.place]

    def place_of(self, buffer: pa.Buffer) -> int:
        """Where in the file a buffer over this memory lies."""
        return int(buffer.address - self.buffer.address) + self.place
