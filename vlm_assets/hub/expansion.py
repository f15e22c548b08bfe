"""What a packed data file claims to unpack to, looked up before anything is unpacked.

Arrow: a buffer of a packed batch begins with its unpacked length (Columnar.html, "Compression"), and the batch's
metadata, a flatbuffer, says where the buffers lie (Message.fbs). Parquet: each page has a header in Thrift's compact
protocol with its sizes (parquet.thrift, PageHeader).
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

from vlm_assets.archives.limits import BombError

_FREE_BYTES: Final = 256 * 2**20
"""Unpacked together, this much is nobody's business."""
_RATIO: Final = 50
"""Beyond that, a batch or pages may unpack to so many times their bytes: image formats do not pack so well."""
_BATCH_BYTES: Final = 256 * 2**20
_RECORD_BATCH: Final = 3
_DICTIONARY_BATCH: Final = 2


def check_messages(source: pa.NativeFile, where: str) -> None:
    """Returns where no batch of an Arrow stream or file, read from its first message on, unpacks to too much.

    Raises:
        BombError: one does.
        ValueError, struct.error: its metadata are damaged.
        pyarrow.ArrowException: a message is.
    """
    reader = pa.ipc.MessageReader.open_stream(source)
    while True:
        try:
            message = reader.read_next_message()
        except StopIteration:
            return
        packed = message.body.size if message.body is not None else 0
        unpacked = sum(_unpacked_lengths(memoryview(message.metadata).cast("B"), message.body))
        _judge(packed, unpacked, f"{where}: a batch")


def _judge(packed: int, unpacked: int, what: str) -> None:
    if unpacked > _FREE_BYTES and unpacked > _RATIO * max(packed, 1):
        raise BombError(f"{what}: {packed} bytes that unpack to {unpacked}; refused as a bomb")


def _unpacked_lengths(metadata: memoryview, body: pa.Buffer | None) -> Iterator[int]:
    """Lengths that the buffers of a packed batch claim; none where it is not packed, or no batch."""
    message = _Table(metadata, struct.unpack_from("<I", metadata, 0)[0])
    kind = message.at(1)
    batch = message.table(2)
    if kind is None or batch is None or body is None:
        return
    header_type = metadata[kind]
    if header_type == _DICTIONARY_BATCH:
        batch = batch.table(1)
    elif header_type != _RECORD_BATCH:
        return
    if batch is None or batch.at(3) is None:
        return
    content = memoryview(body)
    for offset, length in batch.pairs(2):
        if length >= 8:
            claimed: int = struct.unpack_from("<q", content, offset)[0]
            yield length - 8 if claimed == -1 else max(claimed, 0)


class _Table:
    """A table of a flatbuffer."""

    def __init__(self, data: memoryview, place: int) -> None:
        self._data = data
        self._place = place
        self._fields = place - struct.unpack_from("<i", data, place)[0]
        if self._fields < 0:
            raise ValueError("damaged metadata")

    def at(self, field: int) -> int | None:
        """Where a field lies; None where it is not there."""
        size = struct.unpack_from("<H", self._data, self._fields)[0]
        if 4 + 2 * field >= size:
            return None
        offset = struct.unpack_from("<H", self._data, self._fields + 4 + 2 * field)[0]
        return self._place + offset if offset else None

    def table(self, field: int) -> "_Table | None":
        """The table in a field."""
        place = self.at(field)
        return None if place is None else _Table(self._data, self._led(place))

    def pairs(self, field: int) -> Iterator[tuple[int, int]]:
        """The structs of two 64-bit numbers in a field."""
        place = self.at(field)
        if place is not None:
            start = self._led(place)
            count = struct.unpack_from("<I", self._data, start)[0]
            first = start + 4
            yield from struct.iter_unpack("<qq", self._data[first : first + 16 * count])

    def _led(self, place: int) -> int:
        return place + int(struct.unpack_from("<I", self._data, place)[0])


@dataclass(frozen=True, slots=True)
class _Page:
    is_dictionary: bool
    unpacked: int
    packed: int


def rows_at_once(file: pq.ParquetFile, group: int, data: memoryview, where: str) -> int:
    """How many rows of a row group may be read together, by what its dictionaries can make of one row.

    Raises:
        BombError: its pages unpack to too much.
        ValueError, IndexError: a page's header is damaged.
    """
    about = file.metadata.row_group(group)
    packed = unpacked = of_a_row = 0
    for number in range(about.num_columns):
        chunk = about.column(number)
        largest = _Page(is_dictionary=False, unpacked=0, packed=1)
        for page in _pages(data, chunk):
            largest = max(largest, page, key=lambda one: one.unpacked)
            if page.is_dictionary:
                of_a_row += page.unpacked * max(1, chunk.num_values // max(about.num_rows, 1))
        unpacked, packed = unpacked + largest.unpacked, packed + largest.packed
    _judge(packed, unpacked, f"{where}: pages")
    return max(1, _BATCH_BYTES // max(of_a_row, 1))


def _pages(data: memoryview, chunk: pq.ColumnChunkMetaData) -> Iterator[_Page]:
    place = chunk.data_page_offset
    if chunk.dictionary_page_offset is not None and chunk.dictionary_page_offset > 0:
        place = min(place, chunk.dictionary_page_offset)
    end = min(place + chunk.total_compressed_size, len(data))
    while place < end:
        header = _Thrift(data, place)
        numbers = header.numbers()
        packed = numbers.get(3, 0)
        if packed < 0 or numbers.get(2, 0) < 0:
            raise ValueError("a damaged page header")
        yield _Page(numbers.get(1) == 2, numbers.get(2, 0), packed)
        place = header.place + packed


class _Thrift:
    """Walks one struct of Thrift's compact protocol; `place` is behind what was read."""

    def __init__(self, data: memoryview, place: int) -> None:
        self._data = data
        self.place = place

    def numbers(self) -> dict[int, int]:
        """The integers among the fields of the struct, by id; all else is passed over."""
        found: dict[int, int] = {}
        field = 0
        while head := self._byte():
            kind = head & 15
            field = field + (head >> 4) if head >> 4 else self._zigzag()
            if kind in {4, 5, 6}:
                found[field] = self._zigzag()
            else:
                self._pass(kind)
        return found

    def _pass(self, kind: int, depth: int = 0) -> None:
        if depth > 8:
            raise ValueError("a damaged page header")
        if kind == 3:
            self.place += 1
        elif kind in {4, 5, 6}:
            self._varint()
        elif kind == 7:
            self.place += 8
        elif kind == 8:
            size = self._varint()
            self.place += size
        elif kind in {9, 10}:
            head = self._byte()
            count = head >> 4 if head >> 4 < 15 else self._varint()
            for _ in range(min(count, 65_536)):
                self._pass(head & 15, depth + 1)
        elif kind == 12:
            self.numbers()
        elif kind not in {1, 2}:
            raise ValueError("a damaged page header")

    def _byte(self) -> int:
        value = self._data[self.place]
        self.place += 1
        return value

    def _varint(self) -> int:
        value = shift = 0
        while True:
            byte = self._byte()
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value
            if shift > 63:
                raise ValueError("a damaged page header")

    def _zigzag(self) -> int:
        value = self._varint()
        return (value >> 1) ^ -(value & 1)
