"""Chosen rows of committed slices: every column but the images' bytes, and where these lie.

Rows are sliced out of the slices' record batches, joined and permuted by one `take`. `Table.take` on a chunked
column would copy all of it, and 32-bit offsets would overflow past 2 GiB (apache/arrow#39565).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from vlm_assets.corpus.arrays import array_of, canonical, offsets_of, valid_mask, values_of
from vlm_assets.corpus.batches import I64, Batches, MappedFile
from vlm_assets.corpus.images import IMAGES, ImagePlaces, image_begins, image_data, image_sizes, row_sizes
from vlm_assets.corpus.slice_files import SliceFiles
from vlm_assets.corpus.staging import CHECKED, COPIED, INDEX_ONLY
from vlm_assets.store.slices import INDEX_FILE
from vlm_assets.words.errors import CorpusError
from vlm_assets.words.schema import INDEX_SCHEMA, SAMPLE_SCHEMA

_GAP_ROWS: Final = 32
"""Unselected rows between two selected ones that are read rather than cut out: a cut costs about as much."""
_DECODED_BATCHES: Final = 4_096
"""Some 20 KB each."""
_OF_INDEX: Final = (*INDEX_ONLY, *CHECKED)

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
        """From a batch of a shard's windows."""
        return cls(*(values_of(batch.column(name)) for name in ("slice", "row", "cell", "place")))


@dataclass(frozen=True, slots=True)
class RowColumns:
    """Rows in the order wanted: `COPIED` and `INDEX_ONLY` by name, the sizes of their images, and where these lie."""

    columns: Mapping[str, pa.Array]
    sizes: pa.Array
    images: ImagePlaces


@dataclass(frozen=True, slots=True)
class _DataBatch:
    columns: pa.RecordBatch
    """`COPIED`, and the images' sizes."""
    begins: I64
    """Of each row: place of its images in the file."""


class SliceRows:
    """Rows of a set of slices, numbered as in the plan. For several threads at once."""

    def __init__(self, slices: Mapping[int, SliceFiles]) -> None:
        """Opens the slices.

        Raises:
            CorpusError: a file is damaged or holds other rows than the plan says.
        """
        self._slices = slices
        numbers = sorted(slices)
        files = [slices[number] for number in numbers]
        self._data = Batches(
            SAMPLE_SCHEMA, (one.directory / name for one in files for name in one.data_files)
        )
        self._index = Batches(INDEX_SCHEMA, (one.directory / INDEX_FILE for one in files))
        self._first_row = np.zeros(max(numbers, default=-1) + 1, np.int64)
        self._first_row[numbers] = _first_rows(files, self._data, self._index)
        self._data_batch = lru_cache(_DECODED_BATCHES)(self._read_data)
        self._index_batch = lru_cache(_DECODED_BATCHES)(self._read_index)

    @property
    def files(self) -> Sequence[MappedFile]:
        """The data files, numbered as in `ImagePlaces`."""
        return self._data.files

    def read(self, slices: U32, rows: U32) -> RowColumns:
        """Columns of these rows, in this order, and where their images lie.

        Raises:
            CorpusError: a row without images, or index and data that disagree.
        """
        positions = self._first_row[slices] + rows
        order = np.argsort(positions)
        rank = np.empty(len(order), np.int64)
        rank[order] = np.arange(len(order))
        wanted = _Wanted(self._slices, slices, rows, positions[order], rank)
        data, images = self._data_columns(wanted)
        index = self._index_columns(wanted)
        _compare(wanted, data, index)
        sizes = data.pop(IMAGES)
        return RowColumns({**index, **data}, sizes, images)

    def _index_columns(self, wanted: "_Wanted") -> dict[str, pa.Array]:
        runs, local = self._index.runs(wanted.positions, _GAP_ROWS)
        parts = [
            self._index.checked(one, self._index_batch(one).slice(first, rows)) for one, first, rows in runs
        ]
        columns = _taken(parts, local[wanted.rank])
        if nulls := [name for name in INDEX_ONLY if name != "dhash" and columns[name].null_count]:
            raise wanted.disagreement(0, f"nulls in index column {nulls[0]}")
        _release(self._index, runs.batch)
        return columns

    def _data_columns(self, wanted: "_Wanted") -> tuple[dict[str, pa.Array], ImagePlaces]:
        runs, local = self._data.runs(wanted.positions, _GAP_ROWS)
        local = local[wanted.rank]
        found = [(self._data_batch(one), slice(first, first + rows)) for one, first, rows in runs]
        parts = [
            self._data.checked(number, one.columns[rows])
            for number, (one, rows) in zip(runs.batch.tolist(), found, strict=True)
        ]
        columns = _taken(parts, local)
        if (missing := _without_bytes(columns[IMAGES])) is not None:
            raise wanted.disagreement(missing, "images: they were taken down")
        begins = np.concatenate([one.begins[rows] for one, rows in found])[local]
        files = np.repeat(self._data.file_of[runs.batch], runs.rows)[local]
        _release(self._data, runs.batch)
        return columns, ImagePlaces(files, begins, row_sizes(columns[IMAGES]))

    def _read_data(self, number: int) -> _DataBatch:
        batch, file = self._data.read(number), self._data.file(number)
        images = self._data.checked(number, batch.column(IMAGES))
        data = image_data(images)
        _read_ahead(file, batch, but=data)
        columns = [*(batch.column(name) for name in COPIED), image_sizes(images)]
        begins = image_begins(images) + file.place_of(data)
        return _DataBatch(pa.RecordBatch.from_arrays(columns, [*COPIED, IMAGES]), begins)

    def _read_index(self, number: int) -> pa.RecordBatch:
        batch = self._index.read(number).select(list(_OF_INDEX))
        _read_ahead(self._index.file(number), batch)
        return batch


def _read_ahead(file: MappedFile, batch: pa.RecordBatch, but: pa.Buffer | None = None) -> None:
    """Has the kernel read a whole batch at once: other windows want the rest of it soon."""
    for column in batch.columns:
        for buffer in column.buffers():
            if buffer is not None and (but is None or buffer.address != but.address):
                place = file.place_of(buffer)
                file.read_ahead(place, place + buffer.size)


def _release(batches: Batches, numbers: I64) -> None:
    """Takes the pages of these batches' files out of memory."""
    for file in np.unique(batches.file_of[numbers]).tolist():
        batches.files[file].release_pages()


def _taken(runs: Sequence[pa.RecordBatch], places: I64) -> dict[str, pa.Array]:
    """Rows of what the runs add up to."""
    taken = pa.concat_batches(runs).take(array_of(places, pa.int64()))
    return {name: canonical(column) for name, column in zip(taken.schema.names, taken.columns, strict=True)}


def _without_bytes(sizes: pa.Array) -> int | None:
    """The first row that has no images, or one without bytes among them."""
    if sizes.null_count:
        return int(valid_mask(sizes).argmin())
    return _row_of(sizes, int(valid_mask(sizes.values).argmin())) if sizes.values.null_count else None


def _row_of(lists: pa.Array, element: int) -> int:
    """The row in which an element of the lists stands."""
    return int(np.searchsorted(offsets_of(lists), element, side="right")) - 1


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


def _compare(wanted: _Wanted, data: Mapping[str, pa.Array], index: Mapping[str, pa.Array]) -> None:
    """Data and index speak of the same rows, and every image has the size on record."""
    for name in CHECKED:
        if not data[name].equals(index[name]):
            equal = [a == b for a, b in zip(data[name], index[name], strict=True)]
            raise wanted.disagreement(equal.index(False), name)
    sizes, facts = data[IMAGES], data["image_facts"]
    if (wrong := np.diff(offsets_of(sizes)) != np.diff(offsets_of(facts))).any():
        raise wanted.disagreement(int(wrong.argmax()), "number of images")
    if (wrong := values_of(sizes.values) != values_of(facts.values.field("size_bytes"))).any():
        raise wanted.disagreement(_row_of(sizes, int(wrong.argmax())), "size of an image")


def _first_rows(files: Sequence[SliceFiles], data: Batches, index: Batches) -> I64:
    """Place of each slice's first row; data and index have the rows that the plan says."""
    in_files = iter(data.file_rows.tolist())
    for one, in_index in zip(files, index.file_rows.tolist(), strict=True):
        in_data = sum(islice(in_files, len(one.data_files)))
        for what, found in (("data files have", in_data), ("index has", in_index)):
            if found != one.rows:
                raise CorpusError(f"{one.name}: the {what} {found} rows, the plan says {one.rows}")
    rows = np.array([one.rows for one in files], np.int64)
    return np.cumsum(rows) - rows
