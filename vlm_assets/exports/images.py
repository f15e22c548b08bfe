"""The images of record batches as Arrow has them: their memory, which nobody copies image by image."""

import mmap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from vlm_assets.store.arrays import array_of, values_of
from vlm_assets.store.lent_memory import LentMemory
from vlm_assets.words.errors import StoreError
from vlm_assets.words.schema import IMAGE_TYPE, IMAGES_TYPE

I32 = NDArray[np.int32]
_COLUMN: Final = "images"
_memory = LentMemory(2)
"""Of row groups that are written, for the next ones."""


def encoded_images(column: pa.ListArray) -> tuple[list[int], list[memoryview]]:
    """Where the images of each row begin, and the last one's end; and all images, in the column's own memory.

    Raises:
        StoreError: a row has no images, or an image no bytes.
    """
    lists = _Lists(column)
    if lists.lacking:
        raise StoreError("a row has no images, or an image no bytes; run `vlm-assets audit`")
    data = lists.data
    return lists.starts.tolist(), [data[start:end] for start, end in pairwise(lists.offsets.tolist())]


@contextmanager
def one_array_a_column(rows: pa.Table) -> Iterator[pa.Table]:
    """The rows for a block, as `Table.combine_chunks` gives them, which takes fresh memory for images each time."""
    images = [_Lists(chunk) for chunk in rows.column(_COLUMN).chunks]
    if len(images) < 2 or any(one.lacking for one in images):
        yield rows.combine_chunks()
        return
    place = rows.schema.get_field_index(_COLUMN)
    others = rows.remove_column(place).combine_chunks()
    block = _memory.lend(sum(one.size for one in images))
    try:
        yield others.add_column(place, rows.schema.field(place), _joined(images, block))
    finally:
        _memory.give_back(block)


class _Lists:
    """Lists of images, with their buffers."""

    def __init__(self, column: pa.ListArray) -> None:
        structs = column.flatten()
        encoded = structs.field("bytes")
        self.lacking = bool(column.null_count or structs.null_count or encoded.null_count)
        self.paths = structs.field("path")
        lengths = values_of(column.value_lengths().fill_null(0))
        self.starts: I32 = np.concatenate([np.zeros(1, np.int32), np.cumsum(lengths, dtype=np.int32)])
        """Where the images of each row begin, and the last one's end."""
        _, offsets, data = encoded.buffers()
        self.offsets: I32 = np.frombuffer(offsets, np.int32, len(encoded) + 1, 4 * encoded.offset)
        """Where each image begins in the data, and the last one's end."""
        self.data = memoryview(b"") if data is None else memoryview(data)

    @property
    def size(self) -> int:
        """Bytes of all images."""
        return int(self.offsets[-1] - self.offsets[0])


def _joined(parts: Sequence[_Lists], block: mmap.mmap) -> pa.ListArray:
    """All lists as one array, with the images in the block."""
    starts, offsets = [np.zeros(1, np.int32)], [np.zeros(1, np.int32)]
    space = np.frombuffer(block, np.uint8)
    size = count = 0
    for part in parts:
        begin = int(part.offsets[0])
        # By numpy, which lets go of the interpreter.
        space[size : size + part.size] = np.frombuffer(part.data, np.uint8)[begin : begin + part.size]
        starts.append(part.starts[1:] + np.int32(count))
        offsets.append(part.offsets[1:] + np.int32(size - begin))
        size, count = size + part.size, count + len(part.paths)
    places = pa.py_buffer(np.concatenate(offsets))
    encoded = pa.Array.from_buffers(pa.binary(), count, [None, places, pa.py_buffer(block)])
    paths = pa.concat_arrays([part.paths for part in parts])
    images = pa.StructArray.from_arrays([encoded, paths], fields=list(IMAGE_TYPE))
    return pa.ListArray.from_arrays(array_of(np.concatenate(starts), pa.int32()), images, type=IMAGES_TYPE)
