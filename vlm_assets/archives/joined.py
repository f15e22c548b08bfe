"""Several files as one, for archives that were split into parts."""

import io
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any, BinaryIO, cast


class JoinedFile(io.RawIOBase):
    """The parts' bytes one after the other; one of them is open at a time."""

    def __init__(self, parts: Sequence[Path | str]) -> None:
        self._parts = parts
        self._starts = part_starts(parts)
        self._size = self._starts[-1] + Path(parts[-1]).stat().st_size
        self._at = 0
        self._open: tuple[int, io.FileIO] | None = None

    def readable(self) -> bool:
        """True."""
        return True

    def seekable(self) -> bool:
        """True."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """As files have it."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = max(base + offset, 0)
        return self._at

    def tell(self) -> int:
        """The present place."""
        return self._at

    def readinto(self, buffer: Any) -> int:
        """Bytes up to the end of a part, at most."""
        if self._at >= self._size:
            return 0
        number = bisect_right(self._starts, self._at) - 1
        if self._open is None or self._open[0] != number:
            self._close_part()
            self._open = (number, io.FileIO(self._parts[number]))
        file = self._open[1]
        file.seek(self._at - self._starts[number])
        length = file.readinto(buffer)
        self._at += length or 0
        return length or 0

    def close(self) -> None:
        """Closes the part that is open."""
        self._close_part()
        super().close()

    def _close_part(self) -> None:
        if self._open is not None:
            self._open[1].close()
            self._open = None


def open_joined(parts: Sequence[Path | str]) -> BinaryIO:
    """The parts as one buffered file; one part is opened as it is."""
    if len(parts) == 1:
        return cast("BinaryIO", Path(parts[0]).open("rb"))
    return io.BufferedReader(JoinedFile(parts))


def part_starts(parts: Sequence[Path | str]) -> Sequence[int]:
    """Where each part begins in the joined file."""
    return list(accumulate((Path(part).stat().st_size for part in parts[:-1]), initial=0))
