"""One window of a shard: rows picked out of many slices, permuted, in canonical Arrow form.

Columns are read for the stretches of the slices that hold the rows, and permuted by one `take` each; large images are
copied one by one, each to its place at once. `Table.take` on a chunked column would copy all of it, and 32-bit
offsets would overflow past 2 GiB (apache/arrow#39565).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from vlm_assets.allocation.manifest import AllocatedCell
from vlm_assets.corpus.arrays import array_of, canonical, image_array, offsets_of, strings_of, values_of
from vlm_assets.corpus.mapped import SHA256_HEX, SliceFiles
from vlm_assets.corpus.memory import keep_freed_memory, take
from vlm_assets.corpus.row_files import (
    I64,
    MAX_COLUMN_BYTES,
    Picked,
    RowFiles,
    Space,
    Stretches,
    UnexpectedSizeError,
    WideColumnError,
    ascending,
)
from vlm_assets.corpus.work import CHECKED, COPIED, INDEX_ONLY, OF_SLICE
from vlm_assets.errors import CorpusError
from vlm_assets.schema import ASSIGNED_COLUMNS, COLUMN_NAMES, INDEX_SCHEMA, SAMPLE_SCHEMA
from vlm_assets.store.slices import INDEX_FILE

_LARGE_IMAGE_BYTES: Final = 4_096
"""From this mean size on, images are copied one by one instead of with all that lies between them."""
_GAP_BYTES: Final = 16_384
"""Unselected bytes between two selected rows that are read rather than cut out: a cut costs about as much."""
_SMALL_COLUMNS_BYTES: Final = 512
"""All columns but the image of one row, about."""


@dataclass(frozen=True, slots=True)
class WindowRows:
    """The rows of one window in block order, and the order in which they are written."""

    slice: NDArray[np.uint32]
    row: NDArray[np.uint32]
    """Of the slice; for messages."""
    cell: NDArray[np.uint32]
    place: NDArray[np.uint32]
    at: NDArray[np.uint32]
    """Row of the files that are read."""

    @classmethod
    def of(cls, batch: pa.RecordBatch, *, spilled: bool) -> "WindowRows":
        """From a batch of a shard's work file."""
        names = ("slice", "row", "cell", "place", "spill" if spilled else "row")
        return cls(*(values_of(batch.column(name)) for name in names))


class Gatherer:
    """Builds the windows of shards over one set of open slices. Lends its image buffer to one window at a time."""

    def __init__(self, slices: dict[int, SliceFiles], cells: Sequence[AllocatedCell]) -> None:
        """Opens the slices, numbered as in the plan.

        Raises:
            CorpusError: a file is damaged or holds other rows than the plan says.
        """
        keep_freed_memory()
        self._slices = slices
        numbers = sorted(slices)
        files = [slices[number] for number in numbers]
        self._data = RowFiles(
            SAMPLE_SCHEMA, [one.directory / name for one in files for name in one.data_files]
        )
        self._index = RowFiles(INDEX_SCHEMA, [one.directory / INDEX_FILE for one in files])
        self._first_row = np.zeros(max(numbers, default=-1) + 1, np.int64)
        self._first_row[numbers] = _first_rows(files, self._data, self._index)
        self._assigned = {
            name: strings_of([getattr(cell, name) for cell in cells]) for name in ASSIGNED_COLUMNS
        }
        self._of_slice = {
            name: strings_of(
                [getattr(slices[n], name) if n in slices else "" for n in range(len(self._first_row))]
            )
            for name in OF_SLICE
        }
        self._read, self._written = Space(), Space()

    def window(self, rows: WindowRows) -> tuple[pa.RecordBatch, pa.RecordBatch]:
        """(data, index) of one window. The image buffer is valid until the next call.

        Raises:
            CorpusError: a row without image, index and data that disagree, or a column over 2 GiB.
        """
        window = _Window.of(rows, self._first_row)
        index = self._index_columns(window)
        sizes = values_of(index["size_bytes"])
        if (total := int(sizes.sum())) > MAX_COLUMN_BYTES:
            raise CorpusError(
                f"a window has {total} image bytes; a column of a batch holds {MAX_COLUMN_BYTES}"
            )
        try:
            columns = self._data_columns(window, sizes, _GAP_BYTES)
        except WideColumnError:  # unselected rows between selected ones are huge
            columns = self._data_columns(window, sizes, 0)
        for table, numbers in ((self._assigned, rows.cell), (self._of_slice, rows.slice)):
            taken = array_of(numbers[rows.place], pa.uint32())
            columns |= {name: canonical(values.take(taken)) for name, values in table.items()}
        self._check(window, columns, index)
        columns |= index
        return (
            pa.RecordBatch.from_arrays([columns[name] for name in COLUMN_NAMES], schema=SAMPLE_SCHEMA),
            pa.RecordBatch.from_arrays([columns[name] for name in INDEX_SCHEMA.names], schema=INDEX_SCHEMA),
        )

    def read_ahead(self, rows: WindowRows) -> None:
        """Has the kernel read what a later window will want."""
        positions = np.sort(self._first_row[rows.slice] + rows.at)
        self._data.read_ahead(positions, SAMPLE_SCHEMA.names)
        self._index.read_ahead(positions, (*INDEX_ONLY, *CHECKED))

    def _index_columns(self, window: "_Window") -> dict[str, pa.Array]:
        """Columns of the index in written order."""
        stretches, local = self._index.stretches(window.positions, _GAP_BYTES // _SMALL_COLUMNS_BYTES)
        taken = array_of(local[window.written], pa.int64())
        names = (*INDEX_ONLY, "size_bytes")
        columns = {name: canonical(take(self._index.read(name, stretches), taken)) for name in names}
        columns["image_sha256"] = self._hashes(self._index, stretches, local[window.written])
        if nulls := [name for name, column in columns.items() if column.null_count]:
            raise self._disagreement(window, 0, f"nulls in index column {nulls[0]}")
        return columns

    def _data_columns(self, window: "_Window", sizes: I64, gap_bytes: int) -> dict[str, pa.Array]:
        """Columns of the data in written order."""
        mean = int(sizes.mean())
        large = mean >= _LARGE_IMAGE_BYTES
        row_bytes = _SMALL_COLUMNS_BYTES + (0 if large else mean)
        stretches, local = self._data.stretches(window.positions, max(1, gap_bytes // row_bytes))
        local = local[window.written]
        taken = array_of(local, pa.int64())
        columns = {name: canonical(take(self._data.read(name, stretches), taken)) for name in COPIED}
        columns["image_sha256"] = self._hashes(self._data, stretches, local)
        self._require_images(window, self._data.valid("image", stretches), local)
        encoded = (
            self._large_images(window, stretches, local, sizes)
            if large
            else canonical(take(self._data.read("image", stretches, self._read), taken))
        )
        columns["image"] = image_array(encoded)
        return columns

    def _hashes(self, files: RowFiles, stretches: Stretches, local: I64) -> pa.Array:
        values = files.read_fixed("image_sha256", SHA256_HEX.itemsize, stretches)[local]
        offsets = np.arange(len(values) + 1, dtype=np.int32) * np.int32(SHA256_HEX.itemsize)
        buffers = [None, pa.py_buffer(offsets), pa.py_buffer(values)]
        return pa.Array.from_buffers(pa.string(), len(values), buffers, 0)

    def _require_images(self, window: "_Window", valid: NDArray[np.bool_] | None, local: I64) -> None:
        if valid is not None and not valid[local].all():
            missing = int(np.flatnonzero(~valid[local])[0])
            raise self._disagreement(window, missing, "image: it was taken down")

    def _large_images(self, window: "_Window", stretches: Stretches, local: I64, sizes: I64) -> pa.Array:
        """The images in written order, each copied once, read along the files."""
        offsets = np.zeros(len(sizes) + 1, np.int64)
        np.cumsum(sizes, out=offsets[1:])
        along = np.argsort(local, kind="stable")
        out = self._written.lend(int(offsets[-1]))
        try:
            self._data.copy_values(
                "image", stretches, Picked(local[along], sizes[along], offsets[:-1][along]), out.data
            )
        except UnexpectedSizeError as error:
            raise self._disagreement(window, int(along[error.args[0]]), "size of the image") from None
        buffers = [None, pa.py_buffer(offsets.astype(np.int32)), pa.py_buffer(out)]
        return pa.Array.from_buffers(pa.binary(), len(sizes), buffers, 0)

    def _check(self, window: "_Window", columns: dict[str, pa.Array], index: dict[str, pa.Array]) -> None:
        """Data and index speak of the same rows."""
        held, expected = (np.frombuffer(one["image_sha256"].buffers()[2], "S64") for one in (columns, index))
        if (wrong := held != expected).any():
            raise self._disagreement(window, int(wrong.argmax()), "image_sha256")
        wrong = np.diff(offsets_of(columns["image"].field(0))) != values_of(index["size_bytes"])
        if wrong.any():
            raise self._disagreement(window, int(wrong.argmax()), "size of the image")

    def _name_of(self, window: "_Window", written: int) -> str:
        return self._slices[int(window.rows.slice[window.rows.place[written]])].name

    def _disagreement(self, window: "_Window", written: int, what: str) -> CorpusError:
        row = window.rows.row[window.rows.place[written]]
        return CorpusError(
            f"{self._name_of(window, written)}, row {row}: index and data disagree in the {what}. "
            "Fetch the slice again."
        )


@dataclass(frozen=True, slots=True)
class _Window:
    """A window's rows as ascending places in the long run of all slices' rows."""

    rows: WindowRows
    positions: I64
    written: I64
    """Place among `positions` of each written row."""

    @classmethod
    def of(cls, rows: WindowRows, first_row: I64) -> "_Window":
        positions, rank = ascending(first_row[rows.slice] + rows.at)
        return cls(rows, positions, rank[rows.place])


def _first_rows(files: Sequence[SliceFiles], data: RowFiles, index: RowFiles) -> I64:
    """Place of each slice's first row; data and index have the rows that the plan says."""
    planned = np.array([one.rows for one in files], np.int64)
    first = np.cumsum(planned) - planned
    ends = np.cumsum([len(one.data_files) for one in files])
    before = np.concatenate((np.zeros(1, np.int64), np.cumsum(data.file_rows)))
    held = before[ends] - before[ends - [len(one.data_files) for one in files]]
    for what, found in (("data files have", held), ("index has", index.file_rows)):
        if (wrong := np.flatnonzero(found != planned)).size:
            one = files[int(wrong[0])]
            raise CorpusError(f"{one.name}: the {what} {found[wrong[0]]} rows, the plan says {one.rows}")
    return first
