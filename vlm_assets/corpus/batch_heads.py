"""Heads of record batches that lie elsewhere: headers, and where in a batch the content of each row stands.

A head is what it takes to ask for single rows: some 25 bytes a row, and all words where these are few. Those that
were asked for last are kept.
"""

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from threading import Lock
from typing import Any, Final

import numpy as np
import pyarrow as pa

from vlm_assets.corpus.images import IMAGES
from vlm_assets.corpus.ranges import I64, Piece, RangedObjects, fetch
from vlm_assets.corpus.slice_files import SliceFiles
from vlm_assets.store.arrays import offsets_of, values_of
from vlm_assets.store.layout import LAYOUT_FILE, LAYOUT_SCHEMA
from vlm_assets.store.sound_files import IndexFile
from vlm_assets.store.sparse_memory import SparseMemory
from vlm_assets.words.counts import so_many
from vlm_assets.words.errors import CorpusError, StoreError
from vlm_assets.words.manifest import FileEntry
from vlm_assets.words.schema import CONTENT_COLUMNS, SAMPLE_SCHEMA

_KEPT_BYTES: Final = 256 * 2**20
"""Heads of a terabyte in rows of 100 KB."""
_GAP_BYTES: Final = 8_192
"""Bytes of a head that are asked for though nobody wants them: less than another request costs."""


_FEW_BYTES: Final = 16_384
"""Words of a batch that are part of its head: to ask for those of single rows would take a request each."""


def _content_buffers(*, data: bool) -> list[int]:
    """Of the buffers of a batch: the numbers of those with words, or of those that say where content is."""
    every = [(field.name, *one) for field in SAMPLE_SCHEMA for one in _buffers(field.type, field.name)]
    return [
        number
        for number, (column, kind, path) in enumerate(every)
        if column in CONTENT_COLUMNS
        and not path.endswith(".path")
        and (kind == "data") is data
        and not (data and column == IMAGES)
    ]


def _buffers(kind: pa.DataType, path: str) -> Iterator[tuple[str, str]]:
    """(what it is, path of its column) of each buffer, as Arrow flattens a column."""
    yield "validity", path
    if pa.types.is_list(kind):
        yield "offsets", path
        yield from _buffers(kind.value_type, path)
    elif pa.types.is_struct(kind):
        for field in kind:
            yield from _buffers(field.type, f"{path}.{field.name}")
    else:
        if pa.types.is_string(kind) or pa.types.is_binary(kind):
            yield "offsets", path
        yield "data", path


_PLACES: Final = _content_buffers(data=False)
_WORDS: Final = _content_buffers(data=True)
_ALL_BUFFERS: Final = sum(1 for field in SAMPLE_SCHEMA for _ in _buffers(field.type, field.name))


@dataclass(frozen=True, slots=True)
class _Head:
    parts: tuple[tuple[int, bytearray], ...]
    """(place in the file, bytes)."""

    @property
    def size_bytes(self) -> int:
        return sum(len(data) for _, data in self.parts)


class DamagedPartError(CorpusError):
    """A part of an object is not what was committed."""


class BatchHeads:
    """The record batches of some slices' data files, numbered along the files. For several threads at once."""

    def __init__(self, files: Sequence[SliceFiles], source: RangedObjects, threads: Executor) -> None:
        """Reads the layouts.

        Raises:
            CorpusError: one is damaged, or has other files or rows than the slice.
        """
        layouts = [_read_layout(one) for one in files]
        self.objects: tuple[FileEntry, ...] = tuple(entry for one in files for entry in one.objects)
        self._source, self._threads = source, threads
        columns = {
            name: np.concatenate([np.zeros(0, np.int64), *(one[name] for one in layouts)])
            for name in ("rows", "offset", "header_bytes", "size_bytes")
        }
        self.starts: I64 = np.concatenate((np.zeros(1, np.int64), np.cumsum(columns["rows"])))
        """First row of each batch in the long run of all slices' rows."""
        self._offset, self._header = columns["offset"], columns["header_bytes"]
        self._size = columns["size_bytes"]
        empty = np.zeros((0, _ALL_BUFFERS, 2), np.int64)
        buffers = np.concatenate([empty, *(one["buffers"] for one in layouts)])
        self._buffers, self._words = buffers[:, _PLACES], buffers[:, _WORDS]
        first = np.cumsum([0, *(len(one.objects) for one in files)])
        self.object_of: I64 = np.concatenate(
            [
                np.zeros(0, np.int64),
                *(one["file"] + start for one, start in zip(layouts, first, strict=False)),
            ]
        )
        """Number of the object of each batch."""
        self._kept: OrderedDict[int, _Head] = OrderedDict()
        self._kept_bytes = 0
        self._lock = Lock()

    def open(self, numbers: Sequence[int]) -> tuple[list["RangedBatch"], int]:
        """These batches, each with nothing but its head; and the bytes that were asked for.

        Raises:
            RemoteError: an object cannot be read.
            DamagedPartError: a head is not what was committed.
        """
        heads, asked = self._heads(numbers)
        return [self._batch(number, heads[number]) for number in numbers], asked

    def _has_few_words(self, number: int) -> bool:
        return int(self._words[number, :, 1].sum()) <= _FEW_BYTES

    def forget(self, numbers: Sequence[int]) -> None:
        """These heads are asked for again when they are needed."""
        with self._lock:
            for number in numbers:
                if (head := self._kept.pop(number, None)) is not None:
                    self._kept_bytes -= head.size_bytes

    def damaged(self, number: int, what: object) -> DamagedPartError:
        """The object of a batch is not what was committed."""
        name = self._source.name(self.objects[int(self.object_of[number])])
        return DamagedPartError(
            f"{name}: {what}: the remote's copy is damaged. On a versioned bucket restore an older version of that "
            "object, or delete it and back up again from a machine that has it."
        )

    def _heads(self, numbers: Sequence[int]) -> tuple[dict[int, _Head], int]:
        with self._lock:
            heads = {number: self._kept[number] for number in numbers if number in self._kept}
            for number in heads:
                self._kept.move_to_end(number)
        missing = {number: self._empty(number) for number in numbers if number not in heads}
        pieces = [
            Piece(int(self.object_of[number]), place, memoryview(data))
            for number, head in missing.items()
            for place, data in head.parts
        ]
        asked = fetch(pieces, self.objects, self._source, self._threads, _GAP_BYTES * len(missing))
        with self._lock:
            for number, head in missing.items():
                if number not in self._kept:
                    self._kept[number] = head
                    self._kept_bytes += head.size_bytes
            while self._kept_bytes > _KEPT_BYTES:
                self._kept_bytes -= self._kept.popitem(last=False)[1].size_bytes
        return heads | missing, asked

    def _empty(self, number: int) -> _Head:
        """The parts of a head, to be filled."""
        header = (int(self._offset[number]), int(self._header[number]))
        places = [header, *self._buffers[number].tolist()]
        if self._has_few_words(number):
            places += self._words[number].tolist()
        return _Head(tuple((place, bytearray(size)) for place, size in places if size))

    def _batch(self, number: int, head: _Head) -> "RangedBatch":
        memory = SparseMemory(int(self._offset[number]), int(self._size[number]))
        try:
            for place, data in head.parts:
                memory.fill(place, data)
            message = pa.ipc.read_message(pa.BufferReader(memory.buffer))
            content = pa.ipc.read_record_batch(message, SAMPLE_SCHEMA).select(list(CONTENT_COLUMNS))
            content.validate(full=True)
        except (pa.ArrowException, EOFError, OSError, ValueError) as error:
            raise self.damaged(number, error) from error
        if content.num_rows != int(self.starts[number + 1] - self.starts[number]):
            raise self.damaged(number, f"a batch of {so_many(content.num_rows, 'row')}")
        whole = self._has_few_words(number)
        return RangedBatch(number, int(self.object_of[number]), memory, content, has_words=whole)


@dataclass(frozen=True, slots=True)
class RangedBatch:
    """A record batch of which the head is here; its content is zeros until it is fetched."""

    number: int
    object: int
    memory: SparseMemory
    content: pa.RecordBatch
    """The content columns."""
    has_words: bool
    """Whether all words are here."""

    def places_of(self, first: int, rows: int) -> Iterator[tuple[int, int]]:
        """(begin, end) in the object of the words of neighbouring rows that are not here yet."""
        for name in () if self.has_words else CONTENT_COLUMNS:
            if name != IMAGES:
                yield from self._places(self.content.column(name), first, rows)

    def _places(self, array: pa.Array, first: int, rows: int) -> Iterator[tuple[int, int]]:
        if pa.types.is_struct(array.type):
            for number in range(array.type.num_fields):
                yield from self._places(array.field(number), first, rows)
            return
        offsets = offsets_of(array)
        if len(offsets) <= first + rows:  # an empty array may have no offsets
            return
        begin, end = int(offsets[first]), int(offsets[first + rows])
        if begin == end:
            return
        if pa.types.is_list(array.type):
            yield from self._places(array.values, begin, end - begin)
        else:
            place = self.memory.place_of(array.buffers()[2])
            yield place + begin, place + end


def _read_layout(files: SliceFiles) -> dict[str, Any]:
    """The layout of a slice by column: `file` as a number, `buffers` as (batches, buffers, 2).

    Raises:
        CorpusError: see `BatchHeads`.
    """
    try:
        table = IndexFile(files.directory / LAYOUT_FILE, LAYOUT_SCHEMA).read_all().combine_chunks()
    except (StoreError, OSError) as error:
        raise CorpusError(f"{files.name}: {error}") from error
    found = {name: table.column(name).combine_chunks() for name in LAYOUT_SCHEMA.names}
    columns: dict[str, Any] = {
        name: values_of(found[name]) for name in ("rows", "offset", "header_bytes", "size_bytes")
    }
    buffers = found["buffers"]
    places = np.stack([values_of(buffers.values.field(name)) for name in ("offset", "size")], axis=1)
    numbers = {name: number for number, name in enumerate(files.data_files)}
    names = [numbers.get(name, -1) for name in found["file"].to_pylist()]
    whole = len(places) == len(names) * _ALL_BUFFERS and -1 not in names
    if not whole or int(columns["rows"].sum()) != files.rows:
        raise CorpusError(
            f"{files.name}: {LAYOUT_FILE} does not speak of its data files; remove {files.directory}"
        )
    columns["file"] = np.array(names, np.int64)
    columns["buffers"] = places.reshape(len(names), _ALL_BUFFERS, 2)
    return columns
