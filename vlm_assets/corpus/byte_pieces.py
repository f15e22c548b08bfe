"""Images out of many files: which bytes, brought into the page cache ahead, and read in the order wanted.

They come in chunks that fit a core's cache, for whoever hashes and writes them next: memory bandwidth is what two
writers run out of first. Small images are read with what lies between them and permuted by `take`; large ones are
copied one by one, each to its place at once.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from vlm_assets.corpus.arrays import array_of, canonical
from vlm_assets.corpus.memory import take
from vlm_assets.corpus.open_files import OpenFiles, will_need
from vlm_assets.store.arrow_files import PIECE_BYTES
from vlm_assets.words.errors import CorpusError

MAX_COLUMN_BYTES: Final = 2**31 - 1
"""What 32-bit offsets reach."""
_LARGE_BYTES: Final = 4_096
"""From this mean size on, images are copied one by one."""
_GAP_BYTES: Final = 16_384
"""Bytes between two pieces that are read rather than left out: a cut costs about as much."""
_FILE_BITS: Final = 42
"""Of a place in a file, so that 2 million files have room beside it."""

I64 = NDArray[np.int64]


def file_and_place(files: I64, places: I64) -> I64:
    """Both as one number, ascending as they lie."""
    return (files << _FILE_BITS) + places


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
        return cls(pieces, np.argsort(file_and_place(pieces.file, pieces.offset)))

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


@dataclass(frozen=True, slots=True)
class ImageBytes:
    """Images in the order wanted, not read yet."""

    offsets: NDArray[np.int32]
    """Of each among all their bytes; one more than images."""
    chunks: Callable[[], Iterator[memoryview]]
    """All their bytes, each chunk valid until the next one."""

    @classmethod
    def taken(cls, values: pa.Array, places: I64, sizes: I64) -> "ImageBytes":
        """`values` (binary, without nulls) at `places`, where they have these sizes."""
        offsets = _offsets(sizes)

        def chunks() -> Iterator[memoryview]:
            cuts = np.searchsorted(offsets, np.arange(0, int(offsets[-1]), PIECE_BYTES))
            ends = [*np.unique(cuts)[1:].tolist(), len(places)]
            for first, end in zip([0, *ends], ends, strict=False):
                if size := int(offsets[end] - offsets[first]):
                    found = take(values, array_of(places[first:end], pa.int64()))
                    yield memoryview(found.buffers()[2])[:size]

        return cls(offsets, chunks)


def _offsets(sizes: I64) -> NDArray[np.int32]:
    offsets = np.zeros(len(sizes) + 1, np.int64)
    np.cumsum(sizes, out=offsets[1:])
    if offsets[-1] > MAX_COLUMN_BYTES:
        raise CorpusError(
            f"a window has {offsets[-1]} image bytes; a column of a batch holds {MAX_COLUMN_BYTES}"
        )
    return offsets.astype(np.int32)


def with_gaps(memory: NDArray[np.uint8], begin: I64, size: I64, order: I64) -> tuple[pa.Array, I64]:
    """Disjoint pieces of `memory`, given in ascending order, and the gaps between them as one binary array.

    With places in it: at the n-th of them stands the piece of which `order` holds n.
    """
    rows, large = len(order), len(memory) > MAX_COLUMN_BYTES
    offsets = np.empty(2 * rows, np.int64 if large else np.int32)  # of each piece and of the gap behind it
    offsets[::2] = begin
    offsets[1::2] = begin + size
    kind = pa.large_binary() if large else pa.binary()
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(memory)]
    places = np.empty(rows, np.int64)
    places[order] = np.arange(0, 2 * rows, 2)
    return pa.Array.from_buffers(kind, max(2 * rows - 1, 0), buffers, 0), places


def between_gaps(memory: NDArray[np.uint8], begin: I64, size: I64, order: I64) -> pa.Array:
    """Disjoint pieces of `memory`, given in ascending order, as a binary array with exact buffers.

    The n-th of them becomes value `order[n]`.

    Raises:
        CorpusError: they are over 2 GiB.
    """
    pieces_and_gaps, places = with_gaps(memory, begin, size, order)
    taken = take(pieces_and_gaps, array_of(places, pa.int64()))
    if int(size.sum()) > MAX_COLUMN_BYTES:
        raise CorpusError(f"{int(size.sum())} image bytes; a column of a batch holds {MAX_COLUMN_BYTES}")
    return canonical(taken.cast(pa.binary()))


class PieceReader:
    """Reads pieces of a set of files. Lends its memory to one reading at a time.

    One thread may read ahead while another reads.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        self._files, self._files_ahead = OpenFiles(paths), OpenFiles(paths)
        self._memory = _Space()

    def read_ahead(self, arranged: Arranged) -> None:
        """Has the kernel read the pieces into the page cache; waits while its queue is full."""
        runs = arranged.runs(_GAP_BYTES)
        descriptors = self._files_ahead.descriptors(runs.file)
        for descriptor, begin, end in zip(descriptors, runs.begin.tolist(), runs.end.tolist(), strict=True):
            will_need(descriptor, begin, end)

    def read(self, arranged: Arranged) -> ImageBytes:
        """The pieces in the order wanted; valid until the next call.

        Raises:
            CorpusError: the pieces are over 2 GiB; or, once chunks are asked for, a file is shorter than said.
        """
        sizes = arranged.pieces.size
        offsets = _offsets(sizes)
        if int(offsets[-1]) >= _LARGE_BYTES * len(sizes):
            return ImageBytes(offsets, lambda: self._one_by_one(arranged.pieces, offsets))
        runs = arranged.runs(_GAP_BYTES)
        if runs.total > MAX_COLUMN_BYTES:
            runs = arranged.runs(0)
        lengths = runs.end - runs.begin
        memory = self._memory.lend(runs.total)
        self._fill(memory, runs.file, runs.begin, lengths, np.cumsum(lengths) - lengths)
        along = arranged.along
        return ImageBytes.taken(*with_gaps(memory, runs.piece_begin, sizes[along], along), sizes)

    def _one_by_one(self, pieces: Pieces, offsets: NDArray[np.int32]) -> Iterator[memoryview]:
        chunks = np.arange(0, int(offsets[-1]), PIECE_BYTES)
        cuts = np.union1d(offsets, chunks).astype(np.int64)  # where an image or a chunk begins
        begin, size = cuts[:-1], np.diff(cuts)
        image = np.searchsorted(offsets, begin, side="right") - 1
        file, place = pieces.file[image], pieces.offset[image] + begin - offsets[image]
        firsts = np.searchsorted(begin, np.append(chunks, cuts[-1])).tolist()
        for chunk, first, end in zip(chunks.tolist(), firsts, firsts[1:], strict=False):
            part = slice(first, end)
            memory = self._memory.lend(int(size[part].sum()))
            self._fill(memory, file[part], place[part], size[part], begin[part] - chunk)
            yield memory.data

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
