"""One window of a shard: rows picked out of many slices, permuted, in canonical Arrow form.

Two ways to copy lead to the same bytes: all columns by `concat_batches` and one `take`; or, for large images, the
image column alone by one copy a row. `Table.take` on a chunked image column would copy the whole column, and 32-bit
offsets would overflow past 2 GiB (apache/arrow#39565).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from vlm_assets.allocation.manifest import AllocatedCell
from vlm_assets.corpus.mapped import SliceRows, by_slice, fixed_dtype, fixed_strings
from vlm_assets.errors import CorpusError
from vlm_assets.schema import ASSIGNED_COLUMNS, COLUMN_NAMES, IMAGE_TYPE, INDEX_SCHEMA, SAMPLE_SCHEMA

_LARGE_IMAGE_BYTES: Final = 4_096
"""From this mean size on, images are copied one by one instead of with all that lies between them."""
_GAP_BYTES: Final = 16_384
"""Unselected bytes between two selected rows that are copied rather than cut out: a cut costs about as much."""
_MAX_COLUMN_BYTES: Final = 2**31 - 1

_COPIED: Final = tuple(name for name in COLUMN_NAMES if name not in ASSIGNED_COLUMNS)
_COPIED_BUT_IMAGE: Final = tuple(name for name in _COPIED if name != "image")
_INDEX_ONLY: Final = tuple(name for name in INDEX_SCHEMA.names if name not in COLUMN_NAMES)
_READ_FROM_INDEX: Final = (*_INDEX_ONLY, "size_bytes", "image_sha256")


@dataclass(frozen=True, slots=True)
class WindowRows:
    """The rows of one window in block order, and the order in which they are written."""

    slice: NDArray[np.uint32]
    row: NDArray[np.uint32]
    cell: NDArray[np.uint32]
    place: NDArray[np.uint32]

    @classmethod
    def of(cls, batch: pa.RecordBatch) -> "WindowRows":
        """From a batch of a shard's work file."""
        return cls(*(batch.column(name).to_numpy() for name in ("slice", "row", "cell", "place")))


class Gatherer:
    """Builds the windows of shards over one set of open slices. Holds one reused image buffer."""

    def __init__(self, rows: SliceRows, cells: Sequence[AllocatedCell]) -> None:
        self._rows = rows
        self._assigned = {
            name: pa.array([getattr(cell, name) for cell in cells], pa.string()) for name in ASSIGNED_COLUMNS
        }
        self._images = np.empty(0, np.uint8)

    def window(self, window: WindowRows) -> tuple[pa.RecordBatch, pa.RecordBatch]:
        """(data, index) of one window. The image buffer is valid until the next call.

        Raises:
            CorpusError: a row without image, index and data that disagree, or a column over 2 GiB.
        """
        positions = self._rows.positions(window.slice, window.row)
        batch_of = self._rows.batch_numbers(positions)
        index = self._index_values(window)
        sizes = index["size_bytes"]
        if int(sizes.sum()) > _MAX_COLUMN_BYTES:
            raise CorpusError(
                f"a window has {sizes.sum()} image bytes; a column of a batch holds {_MAX_COLUMN_BYTES}"
            )
        large = len(sizes) > 0 and float(sizes.mean()) >= _LARGE_IMAGE_BYTES
        columns = self._copied(positions, batch_of, window, sizes, with_image=not large)
        if large:
            columns["image"] = self._copied_images(positions, batch_of, window, sizes)
        cells = pa.array(window.cell[window.place])
        columns |= {name: canonical(values.take(cells)) for name, values in self._assigned.items()}
        self._check(window, columns, index)
        columns |= {name: _fixed_array(name, index[name][window.place]) for name in _INDEX_ONLY}
        return (
            pa.RecordBatch.from_arrays([columns[name] for name in COLUMN_NAMES], schema=SAMPLE_SCHEMA),
            pa.RecordBatch.from_arrays([columns[name] for name in INDEX_SCHEMA.names], schema=INDEX_SCHEMA),
        )

    def _index_values(self, window: WindowRows) -> dict[str, NDArray[Any]]:
        """Fixed-width index columns in block order."""
        out = {name: np.empty(len(window.row), fixed_dtype(name)) for name in _READ_FROM_INDEX}
        for number, here in by_slice(window.slice):
            taken = self._rows.indexes[number].take(_READ_FROM_INDEX, window.row[here])
            for name, values in zip(_READ_FROM_INDEX, taken, strict=True):
                out[name][here] = values
        return out

    def _copied(
        self,
        positions: NDArray[np.int64],
        batch_of: NDArray[np.int64],
        window: WindowRows,
        sizes: NDArray[np.int64],
        *,
        with_image: bool,
    ) -> dict[str, pa.Array]:
        """Columns copied from the slices, in written order."""
        names = _COPIED if with_image else _COPIED_BUT_IMAGE
        row_bytes = 512 + (int(sizes.mean()) if with_image else 0)
        gap_rows = max(1, _GAP_BYTES // row_bytes)
        new = np.ones(len(positions), np.bool_)
        steps = np.diff(positions)
        # Neighbours that do not ascend (the next block of the same slice may stand before this one) start a span.
        new[1:] = (batch_of[1:] != batch_of[:-1]) | (steps <= 0) | (steps > gap_rows)
        starts = np.flatnonzero(new)
        firsts = positions[starts]
        lengths = positions[np.append(starts[1:], len(positions)) - 1] - firsts + 1
        spans = []
        for batch, first, length in zip(
            batch_of[starts].tolist(), firsts.tolist(), lengths.tolist(), strict=True
        ):
            source = self._rows.columns(batch, names)
            spans.append(source.slice(first - self._rows.batch_start(batch), length))
        span_of = np.cumsum(new) - 1
        offsets = (np.cumsum(lengths) - lengths) - firsts
        local = positions + offsets[span_of]
        taken = pa.concat_batches(spans).take(pa.array(local[window.place]))
        if with_image and taken.column("image").null_count:
            missing = np.flatnonzero(taken.column("image").is_null().to_numpy(zero_copy_only=False))
            raise self._disagreement(window, int(window.place[missing[0]]), "image, which was taken down")
        return {name: canonical(column) for name, column in zip(names, taken.columns, strict=True)}

    def _copied_images(
        self,
        positions: NDArray[np.int64],
        batch_of: NDArray[np.int64],
        window: WindowRows,
        sizes: NDArray[np.int64],
    ) -> pa.Array:
        """The image column in written order, each image copied once, read in block order."""
        written = sizes[window.place]
        offsets = np.concatenate(([0], np.cumsum(written)))
        targets = np.empty(len(positions), np.int64)
        targets[window.place] = offsets[:-1]
        total = int(offsets[-1])
        if len(self._images) < total:
            self._images = np.empty(total + total // 4, np.uint8)
        out = self._images.data
        changes = np.append(np.flatnonzero(np.diff(batch_of)) + 1, len(positions)).tolist()
        start = 0
        for end in changes:
            batch = int(batch_of[start])
            self._copy_from(batch, slice(start, end), positions, targets, sizes, out, window)
            start = end
        data = pa.py_buffer(self._images).slice(0, total)
        values = pa.Array.from_buffers(
            pa.binary(), len(written), [None, pa.py_buffer(offsets.astype(np.int32)), data], 0
        )
        return image_array(values)

    def _copy_from(
        self,
        batch: int,
        here: slice,
        positions: NDArray[np.int64],
        targets: NDArray[np.int64],
        sizes: NDArray[np.int64],
        out: memoryview,
        window: WindowRows,
    ) -> None:
        image = self._rows.columns(batch, ("image",)).column(0)
        values = image.field(0)
        offsets = np.frombuffer(values.buffers()[1], np.int32, len(values) + 1, values.offset * 4)
        local = positions[here] - self._rows.batch_start(batch)
        begins, ends = offsets[local], offsets[local + 1]
        present = image.is_valid().to_numpy(zero_copy_only=False)[local] if image.null_count else True
        wrong = np.flatnonzero((ends - begins != sizes[here]) | np.logical_not(present))
        if len(wrong):
            place = here.start + int(wrong[0])
            raise self._disagreement(window, place, "size of the image")
        source = memoryview(values.buffers()[2]).cast("B")
        spans = zip(targets[here].tolist(), begins.tolist(), ends.tolist(), strict=True)
        for target, begin, end in spans:
            out[target : target + end - begin] = source[begin:end]

    def _check(
        self, window: WindowRows, columns: dict[str, pa.Array], index: dict[str, NDArray[Any]]
    ) -> None:
        """Data and index speak of the same rows, and every row has its image."""
        held = fixed_strings(columns["image_sha256"], self._rows.name_of(int(window.slice[0])))
        expected = index["image_sha256"][window.place]
        if held.tobytes() != expected.tobytes():
            wrong = np.flatnonzero(held.view("S64") != expected.view("S64"))
            raise self._disagreement(window, int(window.place[wrong[0]]), "image_sha256")
        offsets = np.frombuffer(columns["image"].field(0).buffers()[1], np.int32)
        wrong = np.flatnonzero(np.diff(offsets) != index["size_bytes"][window.place])
        if len(wrong):
            raise self._disagreement(window, int(window.place[wrong[0]]), "size of the image")

    def _disagreement(self, window: WindowRows, place: int, what: str) -> CorpusError:
        name = self._rows.name_of(int(window.slice[place]))
        return CorpusError(
            f"{name}, row {window.row[place]}: index and data disagree in the {what}. Fetch the slice again."
        )


def _fixed_array(name: str, values: NDArray[Any]) -> pa.Array:
    return pa.Array.from_buffers(INDEX_SCHEMA.field(name).type, len(values), [None, pa.py_buffer(values)], 0)


def image_array(values: pa.Array) -> pa.Array:
    """The image struct over encoded bytes: no path, no nulls."""
    rows = len(values)
    no_path = pa.Array.from_buffers(
        pa.string(),
        rows,
        [pa.py_buffer(bytes((rows + 7) // 8)), pa.py_buffer(bytes(4 * (rows + 1))), pa.py_buffer(b"")],
        rows,
    )
    return pa.Array.from_buffers(IMAGE_TYPE, rows, [None], 0, children=[values, no_path])


def canonical(array: pa.Array) -> pa.Array:
    """The same values in the one form that is written: exact buffers, offsets from 0, no slack behind nulls.

    Which buffers `take` leaves behind depends on how its input was batched; bytes on disk must not.
    """
    if pa.types.is_struct(array.type):
        return image_array(canonical(array.field(0)))
    rows, nulls = len(array), array.null_count
    validity = None
    valid = None
    if nulls:
        valid = array.is_valid().to_numpy(zero_copy_only=False)
        validity = pa.py_buffer(np.packbits(valid, bitorder="little"))
    buffers = array.buffers()
    if len(buffers) == 3:
        return _canonical_strings(array, validity)
    dtype = np.dtype(array.type.to_pandas_dtype())
    values = np.frombuffer(buffers[1], dtype, rows, array.offset * dtype.itemsize)
    if valid is not None:
        values = np.where(valid, values, dtype.type(0))
    return pa.Array.from_buffers(array.type, rows, [validity, pa.py_buffer(values)], nulls)


def _canonical_strings(array: pa.Array, validity: pa.Buffer | None) -> pa.Array:
    rows = len(array)
    _, offset_buffer, data = array.buffers()
    offsets = np.frombuffer(offset_buffer, np.int32, rows + 1, array.offset * 4)
    first, last = int(offsets[0]), int(offsets[-1])
    if first:
        offsets = offsets - np.int32(first)
    data = pa.py_buffer(b"") if data is None else data.slice(first, last - first)
    return pa.Array.from_buffers(array.type, rows, [validity, pa.py_buffer(offsets), data], array.null_count)
