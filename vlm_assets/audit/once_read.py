"""Files read in one pass for all who want a hash of their bytes."""

import os
from contextlib import closing
from pathlib import Path
from typing import Final

from blake3 import blake3

BLOCK_BYTES: Final = 512 * 1024
"""Read at once: what a core's own cache holds until the images in it are hashed."""


class OnceRead:
    """A file whose bytes are read once, in order, and hashed (blake3) on the way.

    They are read, not mapped, into memory so small that they stay in the processor's own cache until they are hashed
    as images too: that costs less than mapping their pages.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb", buffering=0)
        self._digest = blake3()
        self._memory = bytearray(BLOCK_BYTES)
        self.place = 0
        """Of the first byte that was not read yet."""

    def read(self, end: int) -> memoryview:
        """The bytes before `end`, good until the next call."""
        size = end - self.place
        if size > len(self._memory):
            self._memory = bytearray(size)
        view = memoryview(self._memory)[:size]
        if self._file.readinto(view) != size:
            raise OSError("the file was cut while it was read")
        self._digest.update(view)
        self.place = end
        return view

    def skip(self, end: int) -> None:
        """Only hashes the bytes before `end`."""
        while self.place < end:
            self.read(min(end, self.place + BLOCK_BYTES))

    def finish(self) -> str:
        """Reads the rest; the hash in hex."""
        self.skip(os.fstat(self._file.fileno()).st_size)
        return self._digest.hexdigest()

    def close(self) -> None:
        """Closes the file."""
        self._file.close()


def read_hash(path: Path) -> str:
    """blake3 hex of a file. Read, not mapped: mapped pages would count as this process's memory."""
    with closing(OnceRead(path)) as file:
        return file.finish()
