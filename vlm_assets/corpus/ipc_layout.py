"""Where every buffer of every record batch lies in an Arrow IPC file, from the messages' headers alone.

The encapsulated message format (arrow.apache.org/docs/format/Columnar.html): `0xFFFFFFFF`, the size of the metadata
as int32, the metadata, the body. The metadata is a flatbuffer `Message` (Message.fbs) whose `RecordBatch` holds one
`FieldNode` (rows, nulls) a field and one `Buffer` (offset in the body, size) a buffer, fields in depth-first order.
pyarrow hands out a batch with its body only; a corpus has tens of thousands, of which a page each is wanted here.
"""

import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from vlm_assets.words.errors import CorpusError

_READ_BYTES: Final = 16_384
"""Read at a message's place: its metadata, a few KB, in one go."""
_FILE_MAGIC: Final = b"ARROW1\0\0"
_CONTINUATION: Final = 0xFFFF_FFFF
_PREFIX: Final = struct.Struct("<Ii")
_RECORD_BATCH: Final = 3
_, _TYPE_SLOT, _HEADER_SLOT, _BODY_SLOT = range(4)
_LENGTH_SLOT, _NODES_SLOT, _BUFFERS_SLOT, _COMPRESSION_SLOT = range(4)


@dataclass(frozen=True, slots=True)
class BatchLayouts:
    """The record batches of a file, one row each."""

    rows: NDArray[np.int64]
    nulls: NDArray[np.int64]
    """(batches, fields)"""
    offset: NDArray[np.int64]
    """(batches, buffers): place in the file."""
    size: NDArray[np.int64]
    """(batches, buffers): bytes without padding."""


@dataclass(frozen=True, slots=True)
class _Batch:
    rows: int
    nodes: NDArray[np.int64]
    buffers: NDArray[np.int64]


def read_layouts(path: Path, schema: pa.Schema) -> BatchLayouts:
    """Layouts of the record batches of a stream or file in IPC format.

    Raises:
        CorpusError: the file has another schema, is cut short, or holds compressed batches.
    """
    fields = sum(fields_of(field.type) for field in schema)
    buffers = sum(buffers_of(field.type) for field in schema)
    with _Messages(path) as messages:
        if not messages.schema().equals(schema):
            raise CorpusError(f"{path} has another schema; run `vlm-assets migrate`")
        found = list(messages.batches())
    if any(len(batch.nodes) != fields or len(batch.buffers) != buffers for batch in found):
        raise CorpusError(f"{path}: a record batch does not fit the schema of its file")
    return BatchLayouts(
        rows=np.array([batch.rows for batch in found], np.int64),
        nulls=np.array([batch.nodes[:, 1] for batch in found], np.int64).reshape(len(found), fields),
        offset=np.array([batch.buffers[:, 0] for batch in found], np.int64).reshape(len(found), buffers),
        size=np.array([batch.buffers[:, 1] for batch in found], np.int64).reshape(len(found), buffers),
    )


def fields_of(kind: pa.DataType) -> int:
    """Field nodes that a column takes."""
    return 1 + sum(fields_of(kind.field(n).type) for n in range(kind.num_fields))


def buffers_of(kind: pa.DataType) -> int:
    """Buffers that a column takes: validity, then offsets and data, or values; of a struct, its children's."""
    if pa.types.is_struct(kind):
        return 1 + sum(buffers_of(kind.field(n).type) for n in range(kind.num_fields))
    return 3 if pa.types.is_string(kind) or pa.types.is_binary(kind) else 2


class _Messages:
    """The messages of one open file, in order."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> Self:
        self._descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        self._size = os.fstat(self._descriptor).st_size
        self._at = len(_FILE_MAGIC) if os.pread(self._descriptor, 8, 0) == _FILE_MAGIC else 0
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)

    def schema(self) -> pa.Schema:
        """What the first message says."""
        metadata, begin = self._metadata()
        if metadata is None:
            raise CorpusError(f"{self._path} holds no Arrow schema")
        self._at = begin
        encoded = os.pread(self._descriptor, begin - self._begin, self._begin)
        return pa.ipc.read_schema(pa.py_buffer(encoded))

    def batches(self) -> list[_Batch]:
        """All record batches that follow."""
        found: list[_Batch] = []
        while True:
            metadata, body = self._metadata()
            if metadata is None:
                return found
            message = _Table.root(metadata)
            end = body + message.number(_BODY_SLOT, "<q")
            if end > self._size or message.number(_TYPE_SLOT, "<B") != _RECORD_BATCH:
                raise CorpusError(f"{self._path}: cut short or damaged at byte {self._begin}")
            batch = message.table(_HEADER_SLOT)
            if batch.has(_COMPRESSION_SLOT):
                raise CorpusError(f"{self._path}: compressed record batches cannot be read in parts")
            buffers = batch.pairs(_BUFFERS_SLOT) + np.array([body, 0])
            rows = batch.number(_LENGTH_SLOT, "<q")
            found.append(_Batch(rows, batch.pairs(_NODES_SLOT), buffers))
            self._at = end

    def _metadata(self) -> tuple[bytes | None, int]:
        """(metadata of the message at the present place, place of its body); None at the end of the stream."""
        self._begin = self._at
        if self._at == self._size:
            return None, self._at
        head = os.pread(self._descriptor, _READ_BYTES, self._at)
        if len(head) < _PREFIX.size:
            raise CorpusError(f"{self._path}: cut short at byte {self._at}")
        continuation, size = _PREFIX.unpack_from(head)
        if continuation != _CONTINUATION or size < 0:
            raise CorpusError(f"{self._path}: no Arrow message at byte {self._at}")
        if size == 0:
            return None, self._at + _PREFIX.size
        end = _PREFIX.size + size
        if len(head) < end:
            head = os.pread(self._descriptor, end, self._at)
        if len(head) < end:
            raise CorpusError(f"{self._path}: cut short at byte {self._at}")
        return head[_PREFIX.size : end], self._at + end


@dataclass(frozen=True, slots=True)
class _Table:
    """A flatbuffer table: its fields are found through its vtable, absent ones have the default 0."""

    data: bytes
    place: int

    @classmethod
    def root(cls, data: bytes) -> "_Table":
        return cls(data, struct.unpack_from("<I", data)[0])

    def _field(self, slot: int) -> int:
        vtable = self.place - struct.unpack_from("<i", self.data, self.place)[0]
        entry = 4 + 2 * slot
        if entry >= struct.unpack_from("<H", self.data, vtable)[0]:
            return 0
        return int(struct.unpack_from("<H", self.data, vtable + entry)[0])

    def has(self, slot: int) -> bool:
        return self._field(slot) != 0

    def number(self, slot: int, form: str) -> int:
        field = self._field(slot)
        return int(struct.unpack_from(form, self.data, self.place + field)[0]) if field else 0

    def _target(self, slot: int) -> int:
        place = self.place + self._field(slot)
        return place + int(struct.unpack_from("<I", self.data, place)[0])

    def table(self, slot: int) -> "_Table":
        return _Table(self.data, self._target(slot))

    def pairs(self, slot: int) -> NDArray[np.int64]:
        """A vector of structs of two int64."""
        vector = self._target(slot)
        count = struct.unpack_from("<I", self.data, vector)[0]
        return np.frombuffer(self.data, "<i8", 2 * count, vector + 4).reshape(-1, 2)
