"""The images of rows: where their bytes lie in slices, how they are read, and the column they become.

A row's images lie side by side in the data buffer of their batch, so a row is one byte range, whatever it holds.
"""

import os
import resource
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from vlm_assets.corpus.batches import I64, MappedFile, damaged
from vlm_assets.store.arrays import offsets_of, values_of
from vlm_assets.store.arrow_files import PIECE_BYTES
from vlm_assets.words.errors import CorpusError
from vlm_assets.words.schema import IMAGE_TYPE, IMAGES_TYPE

IMAGES: Final = "images"
"""The column."""
_MAX_COLUMN_BYTES: Final = 2**31 - 1
"""What 32-bit offsets reach."""
_GAP_BYTES: Final = 16_384
"""Bytes between two rows that are read ahead rather than left out: a cut costs about as much."""
_SPARE_DESCRIPTORS: Final = 256
HELD: Final = -1
"""Number of the file of images that are in memory."""


def image_sizes(images: pa.Array) -> pa.Array:
    """The column with the size of each image in its place; null where there are no bytes."""
    sizes = pc.binary_length(images.values.flatten()[0])
    buffers = images.buffers()[:2]
    return pa.Array.from_buffers(
        pa.list_(sizes.type), len(images), buffers, images.null_count, images.offset, children=[sizes]
    )


def image_begins(images: pa.Array) -> I64:
    """Of each row: where its images begin in `image_data`."""
    begins = offsets_of(images.values.field("bytes")).astype(np.int64)
    return begins[offsets_of(images)[:-1]]


def image_data(images: pa.Array) -> pa.Buffer:
    """The bytes of all images."""
    return images.values.field("bytes").buffers()[2] or pa.py_buffer(b"")


def row_sizes(sizes: pa.Array) -> I64:
    """Bytes of each row's images, out of `image_sizes` without nulls."""
    ends = np.concatenate((np.zeros(1, np.int64), np.cumsum(values_of(sizes.values), dtype=np.int64)))
    return np.diff(ends[offsets_of(sizes)])


def image_column(sizes: pa.Array, data: pa.Buffer) -> pa.Array:
    """The column of images of these sizes, without nulls and paths; `data` are their bytes, one after the other."""
    count = len(sizes.values)
    offsets = np.zeros(count + 1, np.int32)
    np.cumsum(values_of(sizes.values), out=offsets[1:])
    encoded = pa.Array.from_buffers(pa.binary(), count, [None, pa.py_buffer(offsets), data], 0)
    no_path = [bytes((count + 7) // 8), bytes(4 * (count + 1)), b""]
    paths = pa.Array.from_buffers(pa.string(), count, [pa.py_buffer(part) for part in no_path], count)
    images = pa.Array.from_buffers(IMAGE_TYPE, count, [None], 0, children=[encoded, paths])
    return pa.Array.from_buffers(IMAGES_TYPE, len(sizes), [None, sizes.buffers()[1]], 0, children=[images])


@dataclass(frozen=True, slots=True)
class ImagePlaces:
    """Byte ranges of numbered files: the images of rows in the order wanted."""

    file: I64
    """`HELD` for those that lie in `held`."""
    begin: I64
    size: I64
    held: memoryview | None = None
    """Images that were fetched from elsewhere."""

    @property
    def total(self) -> int:
        """Bytes in all.

        Raises:
            CorpusError: more than a column of a batch holds.
        """
        total = int(self.size.sum())
        if total > _MAX_COLUMN_BYTES:
            raise CorpusError(
                f"a window has {total} image bytes; a column of a batch holds {_MAX_COLUMN_BYTES}"
            )
        return total

    def spans(self) -> Iterator[tuple[int, int, int]]:
        """(file, begin, end) of what is read in one go, as it lies in the files."""
        order = np.lexsort((self.begin, self.file))
        order = order[self.file[order] != HELD]
        file, begin = self.file[order], self.begin[order]
        end = begin + self.size[order]
        new = np.ones(len(file), np.bool_)
        new[1:] = (file[1:] != file[:-1]) | (begin[1:] - end[:-1] > _GAP_BYTES)
        first = np.flatnonzero(new)
        last = np.flatnonzero(np.append(new[1:], True)[: len(new)])
        return zip(file[first].tolist(), begin[first].tolist(), end[last].tolist(), strict=True)


class ImageReader:
    """Reads images out of a set of files; for several threads at once.

    By descriptors, as far as a process may have them: the first touch of a mapped page costs as much as copying it
    (50 KB images: a tenth of all CPU time). What is beyond is copied from the maps.
    """

    def __init__(self, files: Sequence[MappedFile]) -> None:
        self._files = files
        self._maps = [memoryview(file.buffer).cast("B") for file in files]
        self._descriptors = [
            os.open(file.path, os.O_RDONLY | os.O_CLOEXEC) for file in files[: _allowed(len(files))]
        ]

    def __del__(self) -> None:
        for descriptor in getattr(self, "_descriptors", ()):
            os.close(descriptor)

    def read_ahead(self, places: ImagePlaces) -> None:
        """Has the kernel read the images into the page cache; waits while its queue is full."""
        for file, begin, end in places.spans():
            self._files[file].read_ahead(begin, end)

    def pieces(self, places: ImagePlaces) -> Iterator[memoryview]:
        """All bytes in the order wanted, in pieces that fit a core's cache; each valid until the next one.

        Raises:
            CorpusError: a file is shorter than it was.
        """
        piece, filled = memoryview(bytearray(PIECE_BYTES)), 0
        for file, begin, size in zip(
            places.file.tolist(), places.begin.tolist(), places.size.tolist(), strict=True
        ):
            done = 0
            while done < size:
                part = min(size - done, PIECE_BYTES - filled)
                target = piece[filled : filled + part]
                if file == HELD and places.held is not None:
                    target[:] = places.held[begin + done : begin + done + part]
                else:
                    self._read(file, begin + done, target)
                done += part
                filled += part
                if filled == PIECE_BYTES:
                    yield piece
                    filled = 0
        if filled:
            yield piece[:filled]

    def _read(self, file: int, place: int, target: memoryview) -> None:
        if file >= len(self._descriptors):
            target[:] = self._maps[file][place : place + len(target)]
        elif os.preadv(self._descriptors[file], (target,), place) != len(target):
            raise damaged(self._files[file].path, "bytes are missing")


def _allowed(files: int) -> int:
    """How many of so many files may be open; raises this process's soft limit where it is too low."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = files + 2 * _SPARE_DESCRIPTORS
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return files if soft == resource.RLIM_INFINITY else max(min(files, soft - 2 * _SPARE_DESCRIPTORS), 0)
