"""Images out of many files: which bytes, brought into the page cache ahead, and read into one Arrow array.

Small images are read with what lies between them and permuted by one `take`; large ones are copied one by one, each
to its place at once.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from vlm_assets.corpus.arrays import array_of, canonical
from vlm_assets.corpus.memory import take
from vlm_assets.corpus.open_files import OpenFiles, will_need
from vlm_assets.errors import CorpusError

MAX_COLUMN_BYTES: Final = 2**31 - 1
"""What 32-bit offsets reach."""
_LARGE_BYTES: Final = 4_096
"""From this mean size on, images are copied one by one."""
_GAP_BYTES: Final = 16_384
"""Bytes between two pieces that are read rather than left out: a cut costs about as much."""
_FILE_BITS: Final = 42
"""Of a place in a file, so that file and place are one number."""

I64 = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Pieces:
    """Byte ranges of numbered files, in the order in which they are wanted."""

    file: I64
    offset: I64
    size: I64


@dataclass(frozen=True, slots=True)
class _Runs:
    """Neighbouring pieces, read in one go: one entry a run in ascending order."""

    file: I64
    begin: I64
    end: I64
    piece_begin: I64
    """Of each piece along the files: its place in what all runs add up to."""

    @property
    def total(self) -> int:
        return int((self.end - self.begin).sum())


@dataclass(frozen=True, slots=True)
class Arranged:
    """Pieces, and the order in which they lie in the files."""

    pieces: Pieces
    along: I64
    """Numbers of the pieces, as they lie."""

    @classmethod
    def of(cls, pieces: Pieces) -> "Arranged":
        """Sorts them by file and place."""
        return cls(pieces, np.argsort((pieces.file << _FILE_BITS) + pieces.offset))

    def runs(self, gap_bytes: int) -> _Runs:
        """What is read in one go where at most `gap_bytes` lie between two pieces."""
        file, begin = self.pieces.file[self.along], self.pieces.offset[self.along]
        end = begin + self.pieces.size[self.along]
        new = np.ones(len(begin), np.bool_)
        new[1:] = (file[1:] != file[:-1]) | (begin[1:] - end[:-1] > gap_bytes)
        first = np.flatnonzero(new)
        run_begin, run_end = begin[first], end[np.append(first[1:], len(new)) - 1]
        length = run_end - run_begin
        shift = np.cumsum(length) - length - run_begin
        return _Runs(file[first], run_begin, run_end, begin + shift[np.cumsum(new) - 1])


def between_gaps(memory: NDArray[np.uint8], begin: I64, size: I64, order: I64) -> pa.Array:
    """Disjoint pieces of `memory`, given in ascending order, as a binary array with exact buffers.

    The n-th of them becomes value `order[n]`.

    Raises:
        CorpusError: they are over 2 GiB.
    """
    rows, large = len(order), len(memory) > MAX_COLUMN_BYTES
    offsets = np.empty(2 * rows, np.int64 if large else np.int32)  # of each piece and of the gap behind it
    offsets[::2] = begin
    offsets[1::2] = begin + size
    kind = pa.large_binary() if large else pa.binary()
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(memory)]
    pieces_and_gaps = pa.Array.from_buffers(kind, max(2 * rows - 1, 0), buffers, 0)
    places = np.empty(rows, np.int64)
    places[order] = np.arange(0, 2 * rows, 2)
    taken = take(pieces_and_gaps, array_of(places, pa.int64()))
    if large and int(size.sum()) > MAX_COLUMN_BYTES:
        raise CorpusError(f"{int(size.sum())} image bytes; a column of a batch holds {MAX_COLUMN_BYTES}")
    return canonical(taken.cast(pa.binary()) if large else taken)


class PieceReader:
    """Reads pieces of a set of files. Lends its memory to one array at a time.

    One thread may read ahead while another reads.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        self._files, self._files_ahead = OpenFiles(paths), OpenFiles(paths)
        self._read, self._written = _Space(), _Space()

    def read_ahead(self, arranged: Arranged) -> None:
        """Has the kernel read the pieces into the page cache; waits while its queue is full."""
        runs = arranged.runs(_GAP_BYTES)
        descriptors = self._files_ahead.descriptors(runs.file)
        for descriptor, begin, end in zip(descriptors, runs.begin.tolist(), runs.end.tolist(), strict=True):
            will_need(descriptor, begin, end)

    def read(self, arranged: Arranged) -> pa.Array:
        """The pieces as one binary array in the order wanted, exact buffers; valid until the next call.

        Raises:
            CorpusError: a file is shorter than said, or the pieces are over 2 GiB.
        """
        total = int(arranged.pieces.size.sum())
        if total > MAX_COLUMN_BYTES:
            raise CorpusError(
                f"a window has {total} image bytes; a column of a batch holds {MAX_COLUMN_BYTES}"
            )
        if total >= _LARGE_BYTES * len(arranged.along):
            return self._one_by_one(arranged)
        runs = arranged.runs(_GAP_BYTES)
        return self._with_gaps(arranged, runs if runs.total <= MAX_COLUMN_BYTES else arranged.runs(0))

    def _with_gaps(self, arranged: Arranged, runs: _Runs) -> pa.Array:
        sizes = runs.end - runs.begin
        out = self._read.lend(runs.total)
        self._fill(out, runs.file, runs.begin, sizes, np.cumsum(sizes) - sizes)
        return between_gaps(out, runs.piece_begin, arranged.pieces.size[arranged.along], arranged.along)

    def _one_by_one(self, arranged: Arranged) -> pa.Array:
        pieces, along = arranged.pieces, arranged.along
        offsets = np.zeros(len(along) + 1, np.int64)
        np.cumsum(pieces.size, out=offsets[1:])
        out = self._written.lend(int(offsets[-1]))
        self._fill(out, pieces.file[along], pieces.offset[along], pieces.size[along], offsets[:-1][along])
        buffers = [None, pa.py_buffer(offsets.astype(np.int32)), pa.py_buffer(out)]
        return pa.Array.from_buffers(pa.binary(), len(along), buffers, 0)

    def _fill(self, out: NDArray[np.uint8], file: I64, begin: I64, size: I64, target: I64) -> None:
        """Reads ranges of the files to their places in `out`."""
        view = out.data
        for descriptor, place, length, at in zip(
            self._files.descriptors(file), begin.tolist(), size.tolist(), target.tolist(), strict=True
        ):
            if os.preadv(descriptor, (view[at : at + length],), place) != length:
                self._cut_short(file, begin, size)

    def _cut_short(self, file: I64, begin: I64, size: I64) -> None:
        for number, end in zip(file.tolist(), (begin + size).tolist(), strict=True):
            path = self._files.paths[number]
            if path.stat().st_size < end:
                raise CorpusError(
                    f"{path} is damaged: bytes are missing. `vlm-assets verify` tells which slice it is."
                )
        raise CorpusError("a file changed while it was read; run the build again")


class _Space:
    """Memory that is lent again and again: fresh pages cost more than what is written to them."""

    def __init__(self) -> None:
        self._memory = np.empty(0, np.uint8)

    def lend(self, size: int) -> NDArray[np.uint8]:
        """The first `size` bytes."""
        if len(self._memory) < size:
            self._memory = np.empty(size + size // 4, np.uint8)
        return self._memory[:size]
