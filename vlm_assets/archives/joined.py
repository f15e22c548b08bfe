"""Several files as one, for archives that were split into parts."""

import io
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from typing import BinaryIO, cast

from vlm_assets.words.seekable import SeekableFile


class JoinedFile(SeekableFile):
    """The parts' bytes one after the other; one of them is open at a time."""

    def __init__(self, parts: Sequence[Path | str]) -> None:
        self._parts = parts
        self._starts = part_starts(parts)
        self._open: tuple[int, io.FileIO] | None = None
        super().__init__(self._starts[-1] + Path(parts[-1]).stat().st_size)

    def read_at(self, start: int, end: int) -> bytes:
        """Up to the end of a part, at most."""
        number = bisect_right(self._starts, start) - 1
        if self._open is None or self._open[0] != number:
            self._close_part()
            self._open = (number, io.FileIO(self._parts[number]))
        file = self._open[1]
        file.seek(start - self._starts[number])
        return file.read(end - start)

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
