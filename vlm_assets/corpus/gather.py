"""Windows of a shard as record batches: columns of chosen rows, what the plan assigns, and the images."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import pyarrow as pa

from vlm_assets.allocation.manifest import AllocatedCell
from vlm_assets.corpus.images import IMAGES, ImageReader, image_column
from vlm_assets.corpus.ranges import RangedObjects
from vlm_assets.corpus.row_places import RowPlaces
from vlm_assets.corpus.slice_files import SliceFiles
from vlm_assets.corpus.slice_rows import RowColumns, WindowRows
from vlm_assets.corpus.staging import OF_SLICE, PlanSlice
from vlm_assets.store.ahead import ahead
from vlm_assets.store.arrays import array_of, canonical, strings_of
from vlm_assets.store.arrow_files import StreamedBuffer
from vlm_assets.words.schema import ASSIGNED_COLUMNS, INDEX_SCHEMA, SAMPLE_SCHEMA

WINDOWS_AHEAD: Final = 3
"""Of which the images are on their way: the disk is asked for some thousand places at a time."""
THREADS_AWAY: Final = 2
"""Windows that are asked for at once where rows lie elsewhere: one waits for heads while another gets its bytes."""


@dataclass(frozen=True, slots=True)
class Window:
    """What is written of a window."""

    data: pa.RecordBatch
    index: pa.RecordBatch
    images: StreamedBuffer
    """Of the data: the bytes behind its stand-in."""


class Gatherer:
    """Builds windows of shards out of open slices. For several threads at once."""

    def __init__(
        self,
        used: Mapping[int, SliceFiles],
        slices: Sequence[PlanSlice],
        cells: Sequence[AllocatedCell],
        objects: RangedObjects | None = None,
    ) -> None:
        """Opens the slices in use; `objects` has the data files that do not lie here.

        Raises:
            CorpusError: see `RowPlaces`.
        """
        self._rows = RowPlaces(used, objects)
        self._threads = THREADS_AWAY if self._rows.some_away else 1
        self._images = ImageReader(self._rows.files)
        self._assigned = {
            name: strings_of([getattr(cell, name) for cell in cells]) for name in ASSIGNED_COLUMNS
        }
        self._of_slice = {name: strings_of([getattr(one, name) for one in slices]) for name in OF_SLICE}

    def windows(self, windows: Iterable[WindowRows]) -> Iterator[Window]:
        """Each of them; the rows of the next ones are gathered, and their images read ahead, while one is written.

        Raises:
            CorpusError: a row without image, index and data that disagree, or a column over 2 GiB.
            RemoteError: see `RowPlaces.read`.
        """
        for window, rows in ahead(self._read, windows, threads=self._threads, most=WINDOWS_AHEAD):
            yield self._window(window, rows)

    def _read(self, window: WindowRows) -> tuple[WindowRows, RowColumns]:
        rows = self._rows.read(window.slice[window.place], window.row[window.place])
        self._images.read_ahead(rows.images)
        return window, rows

    def _window(self, window: WindowRows, rows: RowColumns) -> Window:
        streamed = StreamedBuffer(rows.images.total, self._images.pieces(rows.images))
        columns = {**rows.columns, IMAGES: image_column(rows.sizes, streamed.stand_in)}
        for table, numbers in ((self._assigned, window.cell), (self._of_slice, window.slice)):
            taken = array_of(numbers[window.place], pa.uint32())
            columns |= {name: canonical(values.take(taken)) for name, values in table.items()}
        data, index = (
            pa.RecordBatch.from_arrays([columns[name] for name in schema.names], schema=schema)
            for schema in (SAMPLE_SCHEMA, INDEX_SCHEMA)
        )
        return Window(data, index, streamed)
