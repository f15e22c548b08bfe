"""What a packed Arrow file claims to unpack to, looked up before anything is unpacked.

A buffer of a packed batch begins with its unpacked length (Columnar.html, "Compression"), and the batch's metadata, a
flatbuffer, says where the buffers lie (Message.fbs). Parquet: see `captions.parquet_pages`.
"""

import struct
from collections.abc import Iterator
from typing import Final

import pyarrow as pa

from vlm_assets.captions.parquet_pages import judge

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
        judge(packed, unpacked, f"{where}: a batch")


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
