"""Files of a known size whose bytes lie elsewhere: in parts, within another file, behind a server."""

import io
from abc import abstractmethod
from typing import Any


class SeekableFile(io.RawIOBase):
    """A file to be read and sought in; a subclass says where its bytes are."""

    def __init__(self, size_bytes: int) -> None:
        self._size = size_bytes
        self._at = 0

    @abstractmethod
    def read_at(self, start: int, end: int) -> bytes:
        """The bytes `start`..`end`, which lie within the file; fewer where they end, but one at least."""

    def readable(self) -> bool:
        """Always."""
        return True

    def seekable(self) -> bool:
        """Always."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """As files have it.

        Raises:
            OSError: before the beginning, by which `zipfile` knows a file that is too short.
        """
        at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        if at < 0:
            raise OSError("before the beginning")
        self._at = at
        return at

    def tell(self) -> int:
        """The present place."""
        return self._at

    def readinto(self, buffer: Any) -> int:
        """What is left, at most; what `read_at` gives of it."""
        end = min(self._at + len(buffer), self._size)
        if end <= self._at:
            return 0
        data = self.read_at(self._at, end)
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)
