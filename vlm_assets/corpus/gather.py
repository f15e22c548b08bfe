"""One window of a shard: rows picked out of many slices, permuted, in canonical Arrow form.

Two ways to copy lead to the same bytes: all columns by `concat_batches` and one `take`; or, for large images, the
image column alone by one copy a row. `Table.take` on a chunked image column would copy the whole column, and 32-bit
offsets would overflow past 2 GiB (apache/arrow#39565).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from vlm_assets.allocation.manifest import AllocatedCell
from vlm_assets.corpus.arrays import (
    array_of,
    canonical,
    image_array,
    offsets_of,
    strings_of,
    valid_mask,
    values_of,
)
from vlm_assets.corpus.mapped import SliceRows, by_slice, fixed_dtype, fixed_strings
from vlm_assets.errors import CorpusError
from vlm_assets.schema import ASSIGNED_COLUMNS, COLUMN_NAMES, INDEX_SCHEMA, SAMPLE_SCHEMA

_LARGE_IMAGE_BYTES: Final = 4_096
"""From this mean size on, images are copied one by one instead of with all that lies between them."""
_GAP_BYTES: Final = 16_384
"""Unselected bytes between two selected rows that are copied rather than cut out: a cut costs about as much."""
_SPANS_MAPPED: Final = 512
"""Spans read before their pages are released. A span of a few rows maps up to 1 MiB: each of some 20 columns lies
apart, and the kernel maps 64 KiB around a fault."""
_MAX_COLUMN_BYTES: Final = 2**31 - 1

_OF_SLICE: Final = ("source", "slice")
_COPIED_BUT_IMAGE: Final = tuple(
    name for name in COLUMN_NAMES if name not in (*ASSIGNED_COLUMNS, *_OF_SLICE, "image")
)
_COPIED: Final = (*_COPIED_BUT_IMAGE, "image")
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
        return cls(*(values_of(batch.column(name)) for name in ("slice", "row", "cell", "place")))


class Gatherer:
    """Builds the windows of shards over one set of open slices. Holds one reused image buffer."""

    def __init__(self, rows: SliceRows, cells: Sequence[AllocatedCell]) -> None:
        self._rows = rows
        self._assigned = {
            name: strings_of([getattr(cell, name) for cell in cells]) for name in ASSIGNED_COLUMNS
        }
        self._of_slice = {name: strings_of(rows.names(name)) for name in _OF_SLICE}
        self._images = np.empty(0, np.uint8)

    def window(self, window: WindowRows) -> tuple[pa.RecordBatch, pa.RecordBatch]:
        """(data, index) of one window. The image buffer is valid until the next call.

        Raises:
            CorpusError: a row without image, index and data that disagree, or a column over 2 GiB.
        """
        index = self._index_values(window)
        sizes = index["size_bytes"]
        if int(sizes.sum()) > _MAX_COLUMN_BYTES:
            raise CorpusError(
                f"a window has {sizes.sum()} image bytes; a column of a batch holds {_MAX_COLUMN_BYTES}"
            )
        large = float(sizes.mean()) >= _LARGE_IMAGE_BYTES
        reading = _Reading.of(self._rows, window)
        columns = self._copied(reading, _COPIED_BUT_IMAGE if large else _COPIED, sizes)
        if large:
            columns["image"] = self._copied_images(reading, sizes)
        for table, numbers in ((self._assigned, window.cell), (self._of_slice, window.slice)):
            taken = array_of(numbers[window.place], pa.uint32())
            columns |= {name: canonical(values.take(taken)) for name, values in table.items()}
        self._check(reading, columns, index)
        columns |= {
            name: array_of(index[name][window.place], INDEX_SCHEMA.field(name).type) for name in _INDEX_ONLY
        }
        return (
            pa.RecordBatch.from_arrays([columns[name] for name in COLUMN_NAMES], schema=SAMPLE_SCHEMA),
            pa.RecordBatch.from_arrays([columns[name] for name in INDEX_SCHEMA.names], schema=INDEX_SCHEMA),
        )

    def read_ahead(self, window: WindowRows) -> None:
        """Has the kernel read what a later window will want. Page faults would read it one after another."""
        reading = _Reading.of(self._rows, window)
        for batch, here in reading.runs():
            places = reading.positions[here]
            self._rows.read_ahead(batch, int(places.min()), int(places.max()))

    def _index_values(self, window: WindowRows) -> dict[str, NDArray[Any]]:
        """Fixed-width index columns in block order."""
        out = {name: np.empty(len(window.row), fixed_dtype(name)) for name in _READ_FROM_INDEX}
        for number, here in by_slice(window.slice):
            index = self._rows.indexes[number]
            for name, values in zip(
                _READ_FROM_INDEX, index.take(_READ_FROM_INDEX, window.row[here]), strict=True
            ):
                out[name][here] = values
            index.release_pages()
        return out

    def _copied(
        self, reading: "_Reading", names: tuple[str, ...], sizes: NDArray[np.int64]
    ) -> dict[str, pa.Array]:
        """Columns copied from the slices, in written order."""
        row_bytes = 512 + (int(sizes.mean()) if "image" in names else 0)
        spans, local = reading.spans(max(1, _GAP_BYTES // row_bytes))
        parts = []
        for start in range(0, len(spans), _SPANS_MAPPED):
            sliced = [
                self._rows.columns(batch, names).slice(first - self._rows.batch_start(batch), length)
                for batch, first, length in spans[start : start + _SPANS_MAPPED]
            ]
            parts.append(pa.concat_batches(sliced))
            del sliced
            self._rows.release_pages()
        whole = parts[0] if len(parts) == 1 else pa.concat_batches(parts)
        del parts
        taken = whole.take(array_of(local[reading.window.place], pa.int64()))
        if "image" in names:
            self._require_images(reading, taken.column("image"))
        return {name: canonical(column) for name, column in zip(names, taken.columns, strict=True)}

    def _require_images(self, reading: "_Reading", images: pa.Array) -> None:
        missing = np.flatnonzero(~(valid_mask(images) & valid_mask(images.field(0))))
        if len(missing):
            raise self._disagreement(
                reading, int(reading.window.place[missing[0]]), "image: it was taken down"
            )

    def _copied_images(self, reading: "_Reading", sizes: NDArray[np.int64]) -> pa.Array:
        """The image column in written order, each image copied once, read in block order."""
        place = reading.window.place
        offsets = np.zeros(len(place) + 1, np.int64)
        np.cumsum(sizes[place], out=offsets[1:])
        targets = np.empty(len(place), np.int64)
        targets[place] = offsets[:-1]
        total = int(offsets[-1])
        if len(self._images) < total:
            self._images = np.empty(total + total // 4, np.uint8)
        out = self._images.data
        for batch, here in reading.runs():
            self._copy_from(batch, here, reading, sizes, targets, out)
        self._rows.release_pages()
        buffers = [None, pa.py_buffer(offsets.astype(np.int32)), pa.py_buffer(self._images).slice(0, total)]
        return image_array(pa.Array.from_buffers(pa.binary(), len(place), buffers, 0))

    def _copy_from(
        self,
        batch: int,
        here: slice,
        reading: "_Reading",
        sizes: NDArray[np.int64],
        targets: NDArray[np.int64],
        out: memoryview,
    ) -> None:
        """Copies the images of one run of rows that lie in one record batch."""
        images = self._rows.columns(batch, ("image",)).column(0)
        encoded = images.field(0)
        offsets = offsets_of(encoded)
        local = reading.positions[here] - self._rows.batch_start(batch)
        begins, ends = offsets[local], offsets[local + 1]
        wrong = ends - begins != sizes[here]
        if images.null_count:
            wrong |= ~valid_mask(images)[local]
        if wrong.any():
            raise self._disagreement(reading, here.start + int(wrong.argmax()), "size of the image")
        source = memoryview(encoded.buffers()[2]).cast("B")
        for target, begin, end in zip(targets[here].tolist(), begins.tolist(), ends.tolist(), strict=True):
            out[target : target + end - begin] = source[begin:end]

    def _check(
        self, reading: "_Reading", columns: dict[str, pa.Array], index: dict[str, NDArray[Any]]
    ) -> None:
        """Data and index speak of the same rows."""
        place = reading.window.place
        held = fixed_strings(columns["image_sha256"], self._rows.name_of(int(reading.window.slice[0])))
        expected = index["image_sha256"][place]
        if held.tobytes() != expected.tobytes():
            wrong = held.view("S64") != expected.view("S64")
            raise self._disagreement(reading, int(place[wrong.argmax()]), "image_sha256")
        wrong = np.diff(offsets_of(columns["image"].field(0))) != index["size_bytes"][place]
        if wrong.any():
            raise self._disagreement(reading, int(place[wrong.argmax()]), "size of the image")

    def _disagreement(self, reading: "_Reading", place: int, what: str) -> CorpusError:
        name = self._rows.name_of(int(reading.window.slice[place]))
        row = reading.window.row[place]
        return CorpusError(
            f"{name}, row {row}: index and data disagree in the {what}. Fetch the slice again."
        )


@dataclass(frozen=True, slots=True)
class _Reading:
    """A window's rows as places in the slices' record batches, in block order."""

    rows: SliceRows
    window: WindowRows
    positions: NDArray[np.int64]
    batch_of: NDArray[np.int64]

    @classmethod
    def of(cls, rows: SliceRows, window: WindowRows) -> "_Reading":
        positions = rows.positions(window.slice, window.row)
        return cls(rows, window, positions, rows.batch_numbers(positions))

    def runs(self) -> Iterator[tuple[int, slice]]:
        """(record batch, rows) of each run of rows in one batch."""
        ends = [*(np.flatnonzero(np.diff(self.batch_of)) + 1).tolist(), len(self.batch_of)]
        start = 0
        for end in ends:
            yield int(self.batch_of[start]), slice(start, end)
            start = end

    def spans(self, gap_rows: int) -> tuple[list[tuple[int, int, int]], NDArray[np.int64]]:
        """(record batch, first place, rows) of each stretch to copy; and each row's place in what they add up to.

        Neighbours start a new span where the batch changes, where more than `gap_rows` lie between them, and where
        they do not ascend: the next block of the same slice may stand before this one.
        """
        new = np.ones(len(self.positions), np.bool_)
        steps = np.diff(self.positions)
        new[1:] = (np.diff(self.batch_of) != 0) | (steps <= 0) | (steps > gap_rows)
        starts = np.flatnonzero(new)
        firsts = self.positions[starts]
        lengths = self.positions[np.append(starts[1:], len(new)) - 1] - firsts + 1
        shift = np.cumsum(lengths) - lengths - firsts
        spans = zip(self.batch_of[starts].tolist(), firsts.tolist(), lengths.tolist(), strict=True)
        return list(spans), self.positions + shift[np.cumsum(new) - 1]
