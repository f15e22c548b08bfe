"""Windows of a shard as record batches: chosen rows, and what the plan assigns."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from vlm_assets.allocation.manifest import AllocatedCell
from vlm_assets.corpus.arrays import array_of, canonical, strings_of
from vlm_assets.corpus.mapped import SliceFiles
from vlm_assets.corpus.memory import keep_freed_memory
from vlm_assets.corpus.slice_rows import SliceRows, WindowRows
from vlm_assets.corpus.work import OF_SLICE, WorkSlice
from vlm_assets.words.schema import ASSIGNED_COLUMNS, COLUMN_NAMES, INDEX_SCHEMA, SAMPLE_SCHEMA


@dataclass(frozen=True, slots=True)
class Window:
    """What is written of a window."""

    data: pa.RecordBatch
    index: pa.RecordBatch


class Gatherer:
    """Builds windows of shards."""

    def __init__(
        self, used: Mapping[int, SliceFiles], slices: Sequence[WorkSlice], cells: Sequence[AllocatedCell]
    ) -> None:
        keep_freed_memory()
        self._rows = SliceRows(used)
        self._assigned = {
            name: strings_of([getattr(cell, name) for cell in cells]) for name in ASSIGNED_COLUMNS
        }
        self._of_slice = {name: strings_of([getattr(one, name) for one in slices]) for name in OF_SLICE}

    def windows(self, windows: Iterable[WindowRows]) -> Iterator[Window]:
        """Each window in written order.

        Raises:
            CorpusError: a row without images, index and data that disagree, or a column over 2 GiB.
        """
        for window in windows:
            yield self._window(window)

    def _window(self, window: WindowRows) -> Window:
        columns = self._rows.read(window.slice[window.place], window.row[window.place])
        for table, numbers in ((self._assigned, window.cell), (self._of_slice, window.slice)):
            taken = array_of(numbers[window.place], pa.uint32())
            columns |= {name: canonical(values.take(taken)) for name, values in table.items()}
        return Window(
            pa.RecordBatch.from_arrays([columns[name] for name in COLUMN_NAMES], schema=SAMPLE_SCHEMA),
            pa.RecordBatch.from_arrays([columns[name] for name in INDEX_SCHEMA.names], schema=INDEX_SCHEMA),
        )
