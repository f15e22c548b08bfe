"""Chosen rows of committed slices: every column but the images' bytes, and where these lie.

Rows are sliced out of the slices' record batches, joined and permuted by one `take`. `Table.take` on a chunked
column would copy all of it, and 32-bit offsets would overflow past 2 GiB (apache/arrow#39565).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice

import numpy as np
import pyarrow as pa

from vlm_assets.corpus.batches import I64, Batches, MappedFile
from vlm_assets.corpus.images import IMAGES, ImagePlaces, image_begins, image_data, image_sizes, row_sizes
from vlm_assets.corpus.index_rows import (
    DECODED_BATCHES,
    GAP_ROWS,
    U32,
    IndexRows,
    Wanted,
    check_rows,
    read_ahead,
    release,
    taken,
)
from vlm_assets.corpus.slice_files import SliceFiles
from vlm_assets.corpus.staging import CHECKED, COPIED, INDEX_ONLY
from vlm_assets.store.arrays import offsets_of, valid_mask, values_of
from vlm_assets.words.schema import SAMPLE_SCHEMA

_OF_INDEX = (*INDEX_ONLY, *CHECKED)


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
        files = [slices[number] for number in sorted(slices)]
        self._index = IndexRows(slices, _OF_INDEX)
        self._data = Batches(
            SAMPLE_SCHEMA, (one.directory / name for one in files for name in one.data_files)
        )
        in_files = iter(self._data.file_rows.tolist())
        for one in files:
            check_rows(one, "data files have", sum(islice(in_files, len(one.data_files))))
        self._data_batch = lru_cache(DECODED_BATCHES)(self._read_data)

    @property
    def files(self) -> Sequence[MappedFile]:
        """The data files, numbered as in `ImagePlaces`."""
        return self._data.files

    def read(self, slices: U32, rows: U32) -> RowColumns:
        """Columns of these rows, in this order, and where their images lie.

        Raises:
            CorpusError: a row without images, or index and data that disagree.
        """
        wanted = self._index.wanted(slices, rows)
        data, images = self._data_columns(wanted)
        index = self._index.read(wanted)
        _compare(wanted, data, index)
        sizes = data.pop(IMAGES)
        return RowColumns({**index, **data}, sizes, images)

    def _data_columns(self, wanted: Wanted) -> tuple[dict[str, pa.Array], ImagePlaces]:
        runs, local = self._data.runs(wanted.positions, GAP_ROWS)
        local = local[wanted.rank]
        found = [(self._data_batch(one), slice(first, first + rows)) for one, first, rows in runs]
        parts = [
            self._data.checked(number, one.columns[rows])
            for number, (one, rows) in zip(runs.batch.tolist(), found, strict=True)
        ]
        columns = taken(parts, local)
        if (missing := _without_bytes(columns[IMAGES])) is not None:
            raise wanted.disagreement(missing, "images: they were taken down")
        begins = np.concatenate([one.begins[rows] for one, rows in found])[local]
        files = np.repeat(self._data.file_of[runs.batch], runs.rows)[local]
        release(self._data, runs.batch)
        return columns, ImagePlaces(files, begins, row_sizes(columns[IMAGES]))

    def _read_data(self, number: int) -> _DataBatch:
        batch, file = self._data.read(number), self._data.file(number)
        images = self._data.checked(number, batch.column(IMAGES))
        data = image_data(images)
        read_ahead(file, batch, but=data)
        columns = [*(batch.column(name) for name in COPIED), image_sizes(images)]
        begins = image_begins(images) + file.place_of(data)
        return _DataBatch(pa.RecordBatch.from_arrays(columns, [*COPIED, IMAGES]), begins)


def _without_bytes(sizes: pa.Array) -> int | None:
    """The first row that has no images, or one without bytes among them."""
    if sizes.null_count:
        return int(valid_mask(sizes).argmin())
    return _row_of(sizes, int(valid_mask(sizes.values).argmin())) if sizes.values.null_count else None


def _row_of(lists: pa.Array, element: int) -> int:
    """The row in which an element of the lists stands."""
    return int(np.searchsorted(offsets_of(lists), element, side="right")) - 1


def _compare(wanted: Wanted, data: Mapping[str, pa.Array], index: Mapping[str, pa.Array]) -> None:
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
