"""Windows of a shard as record batches: columns of chosen rows, what the plan assigns, and the images."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

import pyarrow as pa

from vlm_assets.allocation.manifest import AllocatedCell
from vlm_assets.corpus.arrays import array_of, canonical, image_array, strings_of
from vlm_assets.corpus.byte_pieces import Arranged, ImageBytes, PieceReader
from vlm_assets.corpus.memory import keep_freed_memory
from vlm_assets.corpus.slice_rows import RowColumns, WindowRows
from vlm_assets.corpus.work import OF_SLICE, WorkSlice
from vlm_assets.store.arrow_files import StreamedBuffer
from vlm_assets.words.schema import ASSIGNED_COLUMNS, COLUMN_NAMES, INDEX_SCHEMA, SAMPLE_SCHEMA

_WINDOWS_AHEAD: Final = 3
"""Of which the images are on their way: the disk is asked for some thousand pieces at a time."""


@dataclass(frozen=True, slots=True)
class Window:
    """What is written of a window."""

    data: pa.RecordBatch
    index: pa.RecordBatch
    images: StreamedBuffer
    """Of the data: the bytes behind its stand-in."""


class Gatherer:
    """Builds windows of shards. Lends its image memory to one window at a time."""

    def __init__(
        self, images: PieceReader, slices: Sequence[WorkSlice], cells: Sequence[AllocatedCell]
    ) -> None:
        keep_freed_memory()
        self._images = images
        self._assigned = {
            name: strings_of([getattr(cell, name) for cell in cells]) for name in ASSIGNED_COLUMNS
        }
        self._of_slice = {name: strings_of([getattr(one, name) for one in slices]) for name in OF_SLICE}

    def windows(self, rows: Iterable[tuple[WindowRows, RowColumns]]) -> Iterator[Window]:
        """Each is valid until the next one. The images of the next ones are read ahead.

        Raises:
            CorpusError: a row without image, index and data that disagree, or a column over 2 GiB.
        """
        waiting: deque[tuple[WindowRows, RowColumns, Callable[[], ImageBytes]]] = deque()
        with ThreadPoolExecutor(1) as ahead:
            for window, columns in rows:
                waiting.append((window, columns, self._images_of(columns, ahead)))
                at_hand = isinstance(columns.images, ImageBytes)  # of sorted rows: nothing to wait for
                while len(waiting) > (0 if at_hand else _WINDOWS_AHEAD):
                    yield self._window(*waiting.popleft())
            while waiting:
                yield self._window(*waiting.popleft())

    def _images_of(self, rows: RowColumns, ahead: ThreadPoolExecutor) -> Callable[[], ImageBytes]:
        """Has the images read ahead; returns what reads them."""
        images = rows.images
        if isinstance(images, ImageBytes):
            return lambda: images
        arranged = Arranged.of(images)
        cached = ahead.submit(self._images.read_ahead, arranged)

        def read() -> ImageBytes:
            cached.result()
            return self._images.read(arranged)

        return read

    def _window(self, window: WindowRows, rows: RowColumns, read_images: Callable[[], ImageBytes]) -> Window:
        images = read_images()
        streamed = StreamedBuffer(int(images.offsets[-1]), images.chunks())
        buffers = [None, pa.py_buffer(images.offsets), streamed.stand_in]
        encoded = pa.Array.from_buffers(pa.binary(), len(images.offsets) - 1, buffers, 0)
        columns = {**rows.columns, "image": image_array(encoded)}
        for table, numbers in ((self._assigned, window.cell), (self._of_slice, window.slice)):
            taken = array_of(numbers[window.place], pa.uint32())
            columns |= {name: canonical(values.take(taken)) for name, values in table.items()}
        return Window(
            pa.RecordBatch.from_arrays([columns[name] for name in COLUMN_NAMES], schema=SAMPLE_SCHEMA),
            pa.RecordBatch.from_arrays([columns[name] for name in INDEX_SCHEMA.names], schema=INDEX_SCHEMA),
            streamed,
        )
