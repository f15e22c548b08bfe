"""Rows of many Arrow files, addressed as one long run and read by position: columns of chosen stretches.

Reading takes copies into plain memory. Over memory maps the same copies cost a page fault for each 64 KiB around
each piece (a stretch of a few rows has some 25 pieces, one a buffer), and mapped pages add up to gigabytes.
"""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NoReturn

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from vlm_assets.corpus.arrays import dtype_of
from vlm_assets.corpus.byte_pieces import I64, MAX_COLUMN_BYTES, Pieces, between_gaps
from vlm_assets.corpus.direct_read import LoadedRanges
from vlm_assets.corpus.ipc_layout import BatchLayouts, buffers_of, fields_of, read_layouts
from vlm_assets.corpus.open_files import OpenFiles, will_need
from vlm_assets.words.errors import CorpusError

_OPENING_THREADS: Final = 8
"""Headers are read one after the other along a file, and cold ones wait for the disk: files in parallel."""
_LOADED_GAP_BYTES: Final = 2**20
"""Between columns wanted, that are loaded rather than left out: they come in the time that a request takes."""


class WideColumnError(Exception):
    """A column of the stretches asked for holds more than 2 GiB."""


@dataclass(frozen=True, slots=True)
class Stretches:
    """Runs of neighbouring rows, each within one record batch, in ascending order: one entry a run everywhere."""

    batch: I64
    first: I64
    """Row in the batch."""
    rows: I64
    descriptors: list[int]
    """Of the open file; good until other stretches are made."""

    @property
    def total(self) -> int:
        """Rows in all."""
        return int(self.rows.sum())

    def some(self, numbers: I64) -> "Stretches":
        """Those with these numbers."""
        descriptors = [self.descriptors[number] for number in numbers.tolist()]
        return Stretches(self.batch[numbers], self.first[numbers], self.rows[numbers], descriptors)


class RowFiles:
    """Files of one schema as one long run of rows. Keeps a bounded number of them open."""

    def __init__(self, schema: pa.Schema, paths: Sequence[Path]) -> None:
        """Reads the headers of all record batches.

        Raises:
            CorpusError: see `read_layouts`.
        """
        with ThreadPoolExecutor(_OPENING_THREADS) as threads:
            found = list(threads.map(lambda path: read_layouts(path, schema), paths))
        self._columns = {
            field.name: (field.type, *place) for field, place in zip(schema, _places(schema), strict=True)
        }
        self._files = OpenFiles(paths)
        self._file_of = np.repeat(np.arange(len(found)), np.array([len(one.rows) for one in found], np.int64))
        self._layout = _joined(found)
        self._asked = np.zeros(len(self._file_of), np.bool_)
        self._starts = np.concatenate((np.zeros(1, np.int64), np.cumsum(self._layout.rows)))
        self._loaded: LoadedRanges | None = None
        self.file_rows = np.array([one.rows.sum() for one in found], np.int64)
        """Rows of each file."""

    def stretches(self, positions: I64, gap_rows: int = 1) -> tuple[Stretches, I64]:
        """The stretches that cover ascending places of the long run; and each place's row in what they add up to.

        A new one begins where the batch changes and where more than `gap_rows` lie between two places.
        """
        batch_of = np.searchsorted(self._starts, positions, side="right") - 1
        new = np.ones(len(positions), np.bool_)
        new[1:] = (np.diff(batch_of) != 0) | (np.diff(positions) > gap_rows)
        starts = np.flatnonzero(new)
        firsts = positions[starts]
        rows = positions[np.append(starts[1:], len(new)) - 1] - firsts + 1 if len(starts) else firsts
        shift = np.cumsum(rows) - rows - firsts
        batch = batch_of[starts]
        descriptors = self._files.descriptors(self._file_of[batch])
        return Stretches(batch, firsts - self._starts[batch], rows, descriptors), positions + shift[
            np.cumsum(new) - 1
        ]

    def read(self, name: str, stretches: Stretches) -> pa.Array:
        """A column of the stretches, one after the other; of images see `pieces`.

        Raises:
            CorpusError: the file is damaged.
            WideColumnError: more than 2 GiB.
        """
        kind, _, buffer = self._columns[name]
        valid = self.valid(name, stretches)
        if pa.types.is_string(kind) or pa.types.is_binary(kind):
            return self._strings(kind, stretches, buffer, valid)
        width = dtype_of(kind).itemsize
        if valid is not None and not valid.any():
            return _array(kind, stretches.total, valid, [pa.py_buffer(bytes(stretches.total * width))])
        data = self._bytes(stretches, buffer + 1, stretches.first * width, stretches.rows * width)
        return _array(kind, stretches.total, valid, [pa.py_buffer(data)])

    def read_fixed(self, name: str, width: int, stretches: Stretches) -> NDArray[Any]:
        """A string column without nulls whose values all have `width` bytes, as numpy sees them.

        Raises:
            CorpusError: they cannot have.
        """
        _, node, buffer = self._columns[name]
        layout, batch = self._layout, stretches.batch
        wrong = (layout.size[batch, buffer + 2] != width * layout.rows[batch]) | (
            layout.nulls[batch, node] != 0
        )
        if wrong.any():
            self._damaged(int(batch[wrong.argmax()]), f"{name} has not {width} bytes in every row")
        data = self._bytes(stretches, buffer + 2, stretches.first * width, stretches.rows * width)
        return data.view(np.dtype((np.void, width)))

    def pieces(self, name: str, stretches: Stretches) -> Pieces:
        """Where each value of a string or binary column, or each image, lies: by number of the file.

        Raises:
            CorpusError: the file is damaged.
        """
        kind, _, buffer = self._columns[name]
        buffer += pa.types.is_struct(kind)
        begins, sizes = self._extents(stretches, buffer + 1)
        batch = np.repeat(stretches.batch, stretches.rows)
        if (short := np.flatnonzero(begins + sizes > self._layout.size[batch, buffer + 2])).size:
            self._damaged(int(batch[short[0]]), "a buffer is shorter than its rows")
        return Pieces(self._file_of[batch], self._layout.offset[batch, buffer + 2] + begins, sizes)

    def valid(self, name: str, stretches: Stretches) -> NDArray[np.bool_] | None:
        """True where the column has a value, of an image its bytes; None where it has one everywhere."""
        kind, node, buffer = self._columns[name]
        valid = self._valid(stretches, node, buffer)
        if not pa.types.is_struct(kind):
            return valid
        inner = self._valid(stretches, node + 1, buffer + 1)
        return valid if inner is None else inner if valid is None else valid & inner

    def read_ahead(self, positions: I64, names: Sequence[str]) -> None:
        """Has the kernel read these columns around some places into the page cache, without waiting for it.

        The whole columns of each batch, once: other windows want the rest before it falls out of the cache.
        """
        batches = np.unique(np.searchsorted(self._starts, positions, side="right") - 1)
        batches = batches[~self._asked[batches]]
        self._asked[batches] = True
        for first, end in self._spans(names):
            self._will_need(batches, self._layout.offset[batches, first], self._ends(batches, end))

    def load(self, positions: I64, names: Sequence[str]) -> None:
        """Reads these columns of the batches around some places into memory, and small gaps between them.

        From now on only they can be read, until they are released.

        Raises:
            CorpusError: a file is shorter than when it was opened.
        """
        batches = np.unique(np.searchsorted(self._starts, positions, side="right") - 1)
        self._loaded = LoadedRanges(self._files.paths, self._ranges_of(batches, names))

    def release(self) -> None:
        """Gives back the memory of what was loaded."""
        if self._loaded is not None:
            self._loaded.release()
            self._loaded = None

    def _ranges_of(self, batches: I64, names: Sequence[str]) -> list[tuple[int, int, int]]:
        """(file, begin, end) of these columns of ascending batches, ascending; near ones in one."""
        if not len(batches):
            return []
        spans = self._spans(names)
        begins = np.concatenate([self._layout.offset[batches, first] for first, _ in spans])
        ends = np.concatenate([self._ends(batches, end) for _, end in spans])
        files = np.tile(self._file_of[batches], len(spans))
        order = np.lexsort((begins, files))
        files, begins, ends = files[order], begins[order], ends[order]
        new = np.ones(len(files), np.bool_)
        new[1:] = (files[1:] != files[:-1]) | (begins[1:] - ends[:-1] > _LOADED_GAP_BYTES)
        first = np.flatnonzero(new)
        last = np.append(first[1:], len(files)) - 1
        return list(zip(files[first].tolist(), begins[first].tolist(), ends[last].tolist(), strict=True))

    def loaded(self, pieces: Pieces) -> pa.Array:
        """Pieces of what was loaded as one binary array in the order wanted, exact buffers.

        Raises:
            CorpusError: they are over 2 GiB.
        """
        if self._loaded is None:
            raise ValueError("nothing was loaded")
        begin = self._loaded.places(pieces.file, pieces.offset)
        along = np.argsort(begin)
        return between_gaps(self._loaded.memory, begin[along], pieces.size[along], along)

    def _spans(self, names: Sequence[str]) -> list[tuple[int, int]]:
        """(first buffer, end) of these columns in the order of the schema, those side by side in one."""
        found: list[tuple[int, int]] = []
        for kind, _, buffer in sorted(map(self._columns.__getitem__, names), key=lambda column: column[2]):
            begin = found.pop()[0] if found and found[-1][1] == buffer else buffer
            found.append((begin, buffer + buffers_of(kind)))
        return found

    def _ends(self, batches: I64, end: int) -> I64:
        """Where the buffer before this one ends in each batch."""
        ends: I64 = self._layout.offset[batches, end - 1] + self._layout.size[batches, end - 1]
        return ends

    def _will_need(self, batches: I64, begins: I64, ends: I64) -> None:
        descriptors = self._files.descriptors(self._file_of[batches])
        for descriptor, begin, end in zip(descriptors, begins.tolist(), ends.tolist(), strict=True):
            will_need(descriptor, begin, end)

    def _strings(
        self, kind: pa.DataType, stretches: Stretches, buffer: int, valid: NDArray[np.bool_] | None
    ) -> pa.Array:
        rows = stretches.total
        if valid is not None and not valid.any():
            return _array(kind, rows, valid, [pa.py_buffer(np.zeros(rows + 1, np.int32)), pa.py_buffer(b"")])
        begins, sizes = self._extents(stretches, buffer + 1)
        offsets = np.zeros(rows + 1, np.int64)
        np.cumsum(sizes, out=offsets[1:])
        if int(offsets[-1]) > MAX_COLUMN_BYTES:
            raise WideColumnError
        ends = np.cumsum(stretches.rows)
        lengths = offsets[ends] - offsets[ends - stretches.rows]
        data = self._bytes(stretches, buffer + 2, begins[ends - stretches.rows], lengths)
        return _array(kind, rows, valid, [pa.py_buffer(offsets.astype(np.int32)), pa.py_buffer(data)])

    def _extents(self, stretches: Stretches, buffer: int) -> tuple[I64, I64]:
        """(place in the data buffer, size) of every value of a column with this buffer of offsets."""
        read = self._bytes(stretches, buffer, stretches.first * 4, stretches.rows * 4 + 4).view(np.int32)
        kept = np.ones(len(read), np.bool_)
        kept[np.cumsum(stretches.rows + 1) - 1] = False
        begins = read[kept].astype(np.int64)
        sizes = np.diff(read)[kept[:-1]].astype(np.int64) if len(read) else begins
        if (sizes < 0).any():
            row = int(np.flatnonzero(sizes < 0)[0])
            batch = stretches.batch[np.searchsorted(np.cumsum(stretches.rows), row, side="right")]
            self._damaged(int(batch), "offsets do not ascend")
        return begins, sizes

    def _valid(self, stretches: Stretches, node: int, buffer: int) -> NDArray[np.bool_] | None:
        """True where there is a value, read from the validity bitmaps of the batches that have nulls."""
        nulls = self._layout.nulls[stretches.batch, node]
        if not nulls.any():
            return None
        whole = nulls == self._layout.rows[stretches.batch]
        valid = np.repeat(~whole, stretches.rows)
        some = np.flatnonzero((nulls > 0) & ~whole)
        if not len(some):
            return valid
        with_nulls = stretches.some(some)
        begin, end = with_nulls.first // 8, (with_nulls.first + with_nulls.rows + 7) // 8
        read = self._bytes(with_nulls, buffer, begin, end - begin)
        bits = np.unpackbits(read, bitorder="little").astype(np.bool_)
        first_bit = 8 * (np.cumsum(end - begin) - (end - begin)) + with_nulls.first % 8
        valid[_ranges(np.cumsum(stretches.rows)[some] - with_nulls.rows, with_nulls.rows)] = bits[
            _ranges(first_bit, with_nulls.rows)
        ]
        return valid

    def _bytes(self, stretches: Stretches, buffer: int, begins: I64, sizes: I64) -> NDArray[np.uint8]:
        """`sizes` bytes from `begins` on of one buffer of each stretch's batch, one after the other."""
        if (short := np.flatnonzero(begins + sizes > self._layout.size[stretches.batch, buffer])).size:
            self._damaged(int(stretches.batch[short[0]]), "a buffer is shorter than its rows")
        out = np.empty(int(sizes.sum()), np.uint8)
        view, at = out.data, 0
        offsets = self._layout.offset[stretches.batch, buffer] + begins
        if self._loaded is not None:
            memory = self._loaded.memory.data
            places = self._loaded.places(self._file_of[stretches.batch], offsets).tolist()
            for place, size in zip(places, sizes.tolist(), strict=True):
                view[at : at + size] = memory[place : place + size]
                at += size
            return out
        for descriptor, offset, size in zip(
            stretches.descriptors, offsets.tolist(), sizes.tolist(), strict=True
        ):
            end = at + size
            if os.preadv(descriptor, (view[at:end],), offset) != size:
                self._cut_short(stretches, descriptor)
            at = end
        return out

    def _cut_short(self, stretches: Stretches, descriptor: int) -> NoReturn:
        self._damaged(int(stretches.batch[stretches.descriptors.index(descriptor)]), "bytes are missing")

    def _damaged(self, batch: int, what: str) -> NoReturn:
        path = self._files.paths[int(self._file_of[batch])]
        raise CorpusError(f"{path} is damaged: {what}. `vlm-assets verify` tells which slice it is.")


def _places(schema: pa.Schema) -> list[tuple[int, int]]:
    """(first field node, first buffer) of each column."""
    nodes = np.cumsum([0, *(fields_of(field.type) for field in schema)])
    buffers = np.cumsum([0, *(buffers_of(field.type) for field in schema)])
    return list(zip(nodes[:-1].tolist(), buffers[:-1].tolist(), strict=True))


def _joined(found: Sequence[BatchLayouts]) -> BatchLayouts:
    """The layouts of several files one after the other."""
    names = ("rows", "nulls", "offset", "size")
    return BatchLayouts(*(np.concatenate([getattr(one, name) for one in found]) for name in names))


def ascending(positions: I64) -> tuple[I64, I64]:
    """The same places in ascending order; and where each one stands there."""
    order = np.argsort(positions)
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    return positions[order], rank


def _ranges(starts: I64, counts: I64) -> I64:
    """`counts` numbers from `starts` on, one range after the other."""
    return np.repeat(starts - (np.cumsum(counts) - counts), counts) + np.arange(counts.sum(), dtype=np.int64)


def _array(
    kind: pa.DataType, rows: int, valid: NDArray[np.bool_] | None, buffers: list[pa.Buffer]
) -> pa.Array:
    validity = None if valid is None else pa.py_buffer(np.packbits(valid, bitorder="little"))
    return pa.Array.from_buffers(kind, rows, [validity, *buffers])
