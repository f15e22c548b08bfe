"""Asks the kernel for the pages of a few rows of a large data file, all at once.

A row in a record batch lies in thirty places. Read where it is touched, each place is a wait for the disk of its own,
in which this process holds its interpreter; asked for beforehand, the disk has them all to order.
"""

import mmap
import os
import struct
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

import pyarrow as pa

_EXTENT: Final = struct.Struct("<ii")
_WITH_DATA: Final = 3
"""Buffers of texts and bytes: validity, offsets, and what they are for."""
_ELEMENTS: Final = 64
"""Of one list; what comes after is read where it is touched."""
_Extent = tuple[int, int]
"""(place in the file, bytes)."""


def ask_for_rows(path: Path, rows: Sequence[int]) -> None:
    """Asks for the pages of these rows of an Arrow stream; what is damaged is left to who reads them."""
    wanted = sorted(set(rows))
    with suppress(OSError, ValueError, struct.error, pa.ArrowInvalid), path.open("rb") as file:
        descriptor = file.fileno()
        texts = []
        for extent, data in _extents(descriptor, wanted):
            os.posix_fadvise(descriptor, *extent, os.POSIX_FADV_WILLNEED)
            if data is not None:
                texts.append((extent, data))
        for extent, data in texts:
            begin, end = _EXTENT.unpack(os.pread(descriptor, _EXTENT.size, extent[0]))
            os.posix_fadvise(descriptor, data + begin, max(end - begin, 1), os.POSIX_FADV_WILLNEED)


def texts_of_rows(path: Path, column: str, rows: Sequence[int]) -> list[bytes]:
    """A string column's values in a few rows of an IPC file, in the order of `rows`; no others are read.

    Raises:
        ValueError: such a row is not there, or its bytes are not.
        OSError, ArrowInvalid: the file is damaged.
    """
    with path.open("rb") as file:
        places = _text_places(file.fileno(), column, sorted(set(rows)))
        if missing := set(rows) - places.keys():
            raise ValueError(f"row {min(missing)} is not there")
        for offsets, _ in places.values():
            os.posix_fadvise(file.fileno(), offsets, _EXTENT.size, os.POSIX_FADV_WILLNEED)
        found = {row: _text(file.fileno(), *place) for row, place in places.items()}
    return [found[row] for row in rows]


def _text_places(descriptor: int, column: str, wanted: Sequence[int]) -> dict[int, tuple[int, int]]:
    """By row: where its two offsets are, and where what they are for begins."""
    whole, mapped = _mapped(descriptor)
    reader = pa.ipc.open_file(mapped)
    places, first = {}, 0
    for number in range(reader.num_record_batches):
        batch = reader.get_batch(number)
        _, offsets, data = batch.column(batch.schema.names.index(column)).buffers()
        if offsets is None or data is None:
            raise ValueError(f"column {column} is empty")
        for row in wanted[bisect_left(wanted, first) : bisect_left(wanted, first + batch.num_rows)]:
            places[row] = (offsets.address - whole + 4 * (row - first), data.address - whole)
        first += batch.num_rows
    return places


def _text(descriptor: int, offsets: int, data: int) -> bytes:
    extent = os.pread(descriptor, _EXTENT.size, offsets)
    begin, end = _EXTENT.unpack(extent) if len(extent) == _EXTENT.size else (0, -1)
    text = os.pread(descriptor, end - begin, data + begin) if 0 <= begin <= end else b""
    if len(text) != end - begin:
        raise ValueError("damaged offsets")
    return text


def _mapped(descriptor: int) -> tuple[int, pa.Buffer]:
    """A file of which only pages that are touched are read, and its address; unmapped with its last buffer."""
    mapped = mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ)
    mapped.madvise(mmap.MADV_RANDOM)
    whole = pa.py_buffer(mapped)
    return whole.address, whole


def _extents(descriptor: int, wanted: Sequence[int]) -> Iterator[tuple[_Extent, int | None]]:
    """Of each row and column, its value; or its offsets, and where in the file that begins which they are for."""
    begin, whole = _mapped(descriptor)
    first = 0
    for batch in pa.ipc.open_stream(whole):
        here = wanted[bisect_left(wanted, first) : bisect_left(wanted, first + batch.num_rows)]
        for column in batch.columns if here else ():
            for row in here:
                yield from _value(column, row - first, begin)
        first += batch.num_rows


def _value(column: pa.Array, row: int, begin: int) -> Iterator[tuple[_Extent, int | None]]:
    """Where one value lies; of a list, its offsets are read, which is a wait, then where its elements lie."""
    kind, buffers, at = column.type, column.buffers(), row + column.offset
    if buffers[0] is not None:
        yield (buffers[0].address - begin + at // 8, 1), None
    if pa.types.is_struct(kind):
        for number in range(kind.num_fields):
            yield from _value(column.field(number), row, begin)
    elif pa.types.is_list(kind):
        yield (buffers[1].address - begin + _EXTENT.size // 2 * at, _EXTENT.size), None
        elements = range(column.offsets[row].as_py(), column.offsets[row + 1].as_py())
        for element in elements[:_ELEMENTS]:
            yield from _value(column.values, element, begin)
    elif len(buffers) == _WITH_DATA:
        if buffers[2] is not None:
            place = buffers[1].address - begin + _EXTENT.size // 2 * at
            yield (place, _EXTENT.size), buffers[2].address - begin
    elif buffers[1] is not None:
        width = kind.bit_width // 8
        yield (buffers[1].address - begin + width * at, width), None
