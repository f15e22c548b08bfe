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
        for column in _flat(batch.columns) if here else ():
            valid, *places = (None if one is None else one.address - begin for one in column.buffers())
            for row in (one - first for one in here):
                if valid is not None:
                    yield (valid + row // 8, 1), None
                match places:
                    case [int(offsets), int(data)]:
                        yield (offsets + _EXTENT.size // 2 * row, _EXTENT.size), data
                    case [int(values)]:
                        width = column.type.bit_width // 8
                        yield (values + width * row, width), None
        first += batch.num_rows


def _flat(columns: Sequence[pa.Array]) -> Iterator[pa.Array]:
    for column in columns:
        if pa.types.is_struct(column.type):
            yield from _flat([column.field(n) for n in range(column.type.num_fields)])
        else:
            yield column
