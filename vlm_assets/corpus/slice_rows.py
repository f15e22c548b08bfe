"""Chosen rows of committed slices: every column but the image's bytes, data and index compared row by row.

Columns are read for the stretches of the slices that hold the rows, and permuted by one `take` each. `Table.take` on
a chunked column would copy all of it, and 32-bit offsets would overflow past 2 GiB (apache/arrow#39565).
"""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from vlm_assets.corpus.arrays import array_of, canonical, values_of
from vlm_assets.corpus.byte_pieces import I64, ImageBytes, Pieces
from vlm_assets.corpus.mapped import SHA256_HEX, SliceFiles
from vlm_assets.corpus.memory import take
from vlm_assets.corpus.row_files import RowFiles, Stretches, WideColumnError, ascending
from vlm_assets.corpus.work import CHECKED, COPIED, INDEX_ONLY
from vlm_assets.store.slices import INDEX_FILE
from vlm_assets.words.errors import CorpusError
from vlm_assets.words.schema import INDEX_SCHEMA, SAMPLE_SCHEMA

GAP_ROWS: Final = 32
"""Unselected rows between two selected ones that are read rather than cut out: a cut costs about as much."""
_WITHOUT_IMAGE: Final = tuple(name for name in SAMPLE_SCHEMA.names if name != "image")
_OF_INDEX: Final = (*INDEX_ONLY, "size_bytes")

U32 = NDArray[np.uint32]


@dataclass(frozen=True, slots=True)
class WindowRows:
    """The rows of one window in block order, and the order in which they are written."""

    slice: U32
    row: U32
    cell: U32
    place: U32

    @classmethod
    def of(cls, batch: pa.RecordBatch) -> "WindowRows":
        """From a batch of a shard's work file."""
        return cls(*(values_of(batch.column(name)) for name in ("slice", "row", "cell", "place")))


@dataclass(frozen=True, slots=True)
class RowColumns:
    """Rows in the order wanted: `COPIED`, `INDEX_ONLY` and `CHECKED` by name, and their images or where these lie."""

    columns: Mapping[str, pa.Array]
    images: Pieces | ImageBytes


class SliceRows:
    """Rows of a set of slices, numbered as in the plan."""

    def __init__(self, slices: Mapping[int, SliceFiles]) -> None:
        """Opens the slices.

        Raises:
            CorpusError: a file is damaged or holds other rows than the plan says.
        """
        self._slices = slices
        numbers = sorted(slices)
        files = [slices[number] for number in numbers]
        self._data = RowFiles(
            SAMPLE_SCHEMA, [one.directory / name for one in files for name in one.data_files]
        )
        self._index = RowFiles(INDEX_SCHEMA, [one.directory / INDEX_FILE for one in files])
        self._first_row = np.zeros(max(numbers, default=-1) + 1, np.int64)
        self._first_row[numbers] = _first_rows(files, self._data, self._index)

    def windows(self, windows: Iterable[WindowRows]) -> Iterator[tuple[WindowRows, RowColumns]]:
        """The rows of each window in written order; the next window is read ahead.

        Raises:
            CorpusError: a row without image, or index and data that disagree.
        """
        waiting: deque[WindowRows] = deque()
        for window in windows:
            self.read_ahead(window.slice, window.row)
            waiting.append(window)
            if len(waiting) > 1:
                yield self._window(waiting.popleft())
        for window in waiting:
            yield self._window(window)

    def _window(self, window: WindowRows) -> tuple[WindowRows, RowColumns]:
        return window, RowColumns(*self.read(window.slice[window.place], window.row[window.place]))

    def read_ahead(self, slices: U32, rows: U32) -> None:
        """Has the kernel read what `read` of these rows will want."""
        positions = self._first_row[slices] + rows
        self._data.read_ahead(positions, _WITHOUT_IMAGE)
        self._index.read_ahead(positions, (*INDEX_ONLY, *CHECKED))

    def load(self, slices: U32, rows: U32) -> None:
        """Reads the batches that hold these rows into memory, where `read` finds them until `release`."""
        positions = self._first_row[slices] + rows
        self._index.load(positions, (*INDEX_ONLY, *CHECKED))
        self._data.load(positions, SAMPLE_SCHEMA.names)

    def release(self) -> None:
        """Gives back the memory of what was loaded."""
        self._index.release()
        self._data.release()

    def loaded(self, images: Pieces) -> pa.Array:
        """Images out of what was loaded."""
        return self._data.loaded(images)

    def read(self, slices: U32, rows: U32, gap_rows: int = GAP_ROWS) -> tuple[dict[str, pa.Array], Pieces]:
        """Columns of these rows, in this order, and where their images lie.

        Raises:
            CorpusError: see `windows`.
        """
        wanted = _Wanted(self._slices, slices, rows, *ascending(self._first_row[slices] + rows))
        try:
            data, images = self._data_columns(wanted, gap_rows)
        except WideColumnError:  # unselected rows between selected ones are huge
            data, images = self._data_columns(wanted, 1)
        index = self._index_columns(wanted, gap_rows)
        _compare(wanted, data.pop("image_sha256"), images, index)
        return {**data, **index}, images

    def _index_columns(self, wanted: "_Wanted", gap_rows: int) -> dict[str, pa.Array]:
        stretches, local = self._index.stretches(wanted.positions, gap_rows)
        taken = array_of(local[wanted.rank], pa.int64())
        columns = {name: canonical(take(self._index.read(name, stretches), taken)) for name in _OF_INDEX}
        columns["image_sha256"] = _hashes(self._index, stretches, local[wanted.rank])
        if nulls := [name for name, column in columns.items() if column.null_count]:
            raise wanted.disagreement(0, f"nulls in index column {nulls[0]}")
        return columns

    def _data_columns(self, wanted: "_Wanted", gap_rows: int) -> tuple[dict[str, pa.Array], Pieces]:
        stretches, local = self._data.stretches(wanted.positions, gap_rows)
        local = local[wanted.rank]
        taken = array_of(local, pa.int64())
        columns = {name: canonical(take(self._data.read(name, stretches), taken)) for name in COPIED}
        columns["image_sha256"] = _hashes(self._data, stretches, local)
        valid = self._data.valid("image", stretches)
        if valid is not None and not valid[local].all():
            missing = int(np.flatnonzero(~valid[local])[0])
            raise wanted.disagreement(missing, "image: it was taken down")
        images = self._data.pieces("image", stretches)
        return columns, Pieces(images.file[local], images.offset[local], images.size[local])


@dataclass(frozen=True, slots=True)
class _Wanted:
    """Rows in the order wanted, and as ascending places in the long run of all slices' rows."""

    files: Mapping[int, SliceFiles]
    slices: U32
    rows: U32
    positions: I64
    rank: I64
    """Place among `positions` of each row."""

    def disagreement(self, place: int, what: str) -> CorpusError:
        """Index and data of the row at this place differ."""
        name = self.files[int(self.slices[place])].name
        return CorpusError(
            f"{name}, row {self.rows[place]}: index and data disagree in the {what}. Fetch the slice again."
        )


def _hashes(files: RowFiles, stretches: Stretches, local: I64) -> pa.Array:
    values = files.read_fixed("image_sha256", SHA256_HEX.itemsize, stretches)[local]
    offsets = np.arange(len(values) + 1, dtype=np.int32) * np.int32(SHA256_HEX.itemsize)
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(values)]
    return pa.Array.from_buffers(pa.string(), len(values), buffers, 0)


def _compare(wanted: _Wanted, hashes: pa.Array, images: Pieces, index: Mapping[str, pa.Array]) -> None:
    """Data and index speak of the same rows."""
    held, expected = (np.frombuffer(one.buffers()[2], "S64") for one in (hashes, index["image_sha256"]))
    if (wrong := held != expected).any():
        raise wanted.disagreement(int(wrong.argmax()), "image_sha256")
    if (wrong := images.size != values_of(index["size_bytes"])).any():
        raise wanted.disagreement(int(wrong.argmax()), "size of the image")


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
