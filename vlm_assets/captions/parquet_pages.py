"""What a Parquet file claims of its pages, read here before Arrow is asked for anything of them.

Arrow unpacks what a page claims, whatever that is; and its Python side ends the process where a column's metadata
contradict themselves (no C++ exception passes `RowGroupMetaData.column`). So the footer and the pages' headers are
walked by code of our own: Thrift's compact protocol, parquet.thrift (FileMetaData, PageHeader).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import IO, Any, Final, Protocol

from vlm_assets.words.errors import BombError

FREE_BYTES: Final = 256 * 2**20
"""Unpacked together, this much is nobody's business."""
RATIO: Final = 50
"""Beyond that, a batch or pages may unpack to so many times their bytes: image formats do not pack so well."""
BATCH_BYTES: Final = 256 * 2**20
"""What is read together unpacks to so much."""
_TAIL_BYTES: Final = 8
_MOST_FOOTER_BYTES: Final = 64 * 2**20
_MOST_VALUES: Final = 8_000_000
"""Of a footer, in memory 60 bytes each."""
_WINDOW_BYTES: Final = 2**16
_MOST_DEPTH: Final = 64
_STRUCT: Final = 12
_LISTS: Final = frozenset({9, 10})
_INTEGERS: Final = frozenset({4, 5, 6})


class Bytes(Protocol):
    """Bytes by their place."""

    def __len__(self) -> int: ...
    def __getitem__(self, place: int, /) -> int: ...


@dataclass(frozen=True, slots=True)
class Chunk:
    """A column of a row group."""

    path: str
    """Names from the outermost on, parted by dots."""
    values: int
    first_page: int
    size_bytes: int
    unpacked_bytes: int
    """As the footer says; the pages say it for themselves."""
    nulls: int | None
    """As the statistics say; None where they do not."""


@dataclass(frozen=True, slots=True)
class RowGroup:
    """Rows that lie together."""

    rows: int
    size_bytes: int
    """Unpacked, as the file says."""
    chunks: Sequence[Chunk]


def judge(packed: int, unpacked: int, what: str) -> None:
    """Returns where so many bytes may unpack to so many.

    Raises:
        BombError: they may not.
    """
    if unpacked > FREE_BYTES and unpacked > RATIO * max(packed, 1):
        raise BombError(f"{what}: {packed} bytes that unpack to {unpacked}; refused as a bomb")


def row_groups(file: IO[bytes] | Any) -> list[RowGroup]:
    """The row groups of an open file, by its footer. Leaves its place anywhere.

    Raises:
        ValueError, LookupError: no footer, or a damaged one.
    """
    size = file.seek(0, 2)
    file.seek(max(size - _TAIL_BYTES, 0))
    tail = file.read(_TAIL_BYTES)
    length = int.from_bytes(tail[:4], "little")
    if len(tail) < _TAIL_BYTES or tail[4:] != b"PAR1" or length > min(size - _TAIL_BYTES, _MOST_FOOTER_BYTES):
        raise ValueError("no Parquet footer")
    file.seek(size - _TAIL_BYTES - length)
    footer = _Thrift(file.read(length), 0).fields()
    return [_row_group(one) for one in _structs(footer, 4)]


def rows_at_once(group: RowGroup, data: Bytes, where: str) -> int:
    """How many rows of a row group may be read together, by what its dictionaries can make of one row.

    Raises:
        BombError: its pages unpack to too much.
        ValueError, LookupError: a page's header is damaged.
    """
    packed = unpacked = of_a_row = 0
    for chunk in group.chunks:
        if not chunk.values:  # what it says of its pages is made up, and Arrow asks for none
            continue
        largest = _Page(is_dictionary=False, unpacked=0, packed=1)
        for page in _pages(data, chunk):
            largest = max(largest, page, key=lambda one: one.unpacked)
            if page.is_dictionary:
                of_a_row += page.unpacked * max(1, chunk.values // max(group.rows, 1))
        unpacked, packed = unpacked + largest.unpacked, packed + largest.packed
    judge(packed, unpacked, f"{where}: pages")
    return max(1, BATCH_BYTES // max(of_a_row, 1))


def check_columns(group: RowGroup, names: Sequence[str], where: str) -> None:
    """Returns where columns of these names (with all in them), as the footer has them, may be read.

    Raises:
        BombError: they unpack to too much.
    """
    found = [chunk for chunk in group.chunks if chunk.path.partition(".")[0] in names or chunk.path in names]
    judge(sum(one.size_bytes for one in found), sum(one.unpacked_bytes for one in found), f"{where}: columns")


class FileBytes:
    """An open file as `Bytes`, a window of it at a time."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._size = file.seek(0, 2)
        self._window = b""
        self._start = 0

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, place: int, /) -> int:
        if not self._start <= place < self._start + len(self._window):
            if not 0 <= place < self._size:
                raise IndexError("beyond the file's end")
            self._file.seek(place)
            self._window, self._start = self._file.read(_WINDOW_BYTES), place
        return self._window[place - self._start]


@dataclass(frozen=True, slots=True)
class _Page:
    is_dictionary: bool
    unpacked: int
    packed: int


def _pages(data: Bytes, chunk: Chunk) -> Iterator[_Page]:
    place = chunk.first_page
    end = min(place + chunk.size_bytes, len(data))
    while place < end:
        header = _Thrift(data, place)
        numbers = header.fields()
        unpacked, packed = _number(numbers, 2), _number(numbers, 3)
        if packed < 0 or unpacked < 0:
            raise ValueError("a damaged page header")
        yield _Page(numbers.get(1) == 2, unpacked, packed)
        place = header.place + packed


def _row_group(fields: dict[int, Any]) -> RowGroup:
    chunks = [_chunk(_struct(one, 3)) for one in _structs(fields, 1)]
    return RowGroup(_number(fields, 3), _number(fields, 2), chunks)


def _chunk(fields: dict[int, Any]) -> Chunk:
    first, dictionary = _number(fields, 9), _number(fields, 11)
    names = fields.get(3, [])
    if not isinstance(names, list) or not all(isinstance(name, bytes) for name in names):
        raise ValueError("a column without a name")
    nulls = _struct(fields, 12).get(3)
    return Chunk(
        ".".join(name.decode() for name in names), _number(fields, 5),
        min(first, dictionary) if dictionary > 0 else first, _number(fields, 7), _number(fields, 6),
        nulls if isinstance(nulls, int) else None,
    )  # fmt: skip


def _number(fields: dict[int, Any], field: int) -> int:
    value = fields.get(field, 0)
    if not isinstance(value, int):
        raise ValueError("a damaged number")
    return value


def _struct(fields: dict[int, Any], field: int) -> dict[int, Any]:
    value = fields.get(field, {})
    return value if isinstance(value, dict) else {}


def _structs(fields: dict[int, Any], field: int) -> list[dict[int, Any]]:
    value = fields.get(field, [])
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


class _Thrift:
    """Walks structs of Thrift's compact protocol; `place` is behind what was read."""

    def __init__(self, data: Bytes, place: int) -> None:
        self._data = data
        self._left = _MOST_VALUES
        self.place = place

    def fields(self, depth: int = 0) -> dict[int, Any]:
        """The fields of the struct by id: numbers, bytes, lists and structs as dictionaries.

        Raises:
            ValueError, LookupError: it is damaged.
        """
        if depth > _MOST_DEPTH:
            raise ValueError("metadata within metadata without end")
        found: dict[int, Any] = {}
        field = 0
        while head := self._byte():
            kind = head & 15
            field = field + (head >> 4) if head >> 4 else self._zigzag()
            found[field] = self._value(kind, depth)
        return found

    def _value(self, kind: int, depth: int) -> Any:
        self._left -= 1
        if self._left < 0:
            raise ValueError("metadata without end")
        if kind in _INTEGERS:
            return self._zigzag()
        if kind == _STRUCT:
            return self.fields(depth + 1)
        if kind in _LISTS:
            return self._list(depth)
        if kind in {1, 2}:
            return kind == 1
        sizes = {3: 1, 7: 8}
        if kind != 8 and kind not in sizes:
            raise ValueError("a damaged field")
        size = self._varint() if kind == 8 else sizes[kind]
        if size > len(self._data) - self.place:
            raise ValueError("metadata that end early")
        start, self.place = self.place, self.place + size
        return bytes(self._data[at] for at in range(start, self.place)) if size <= 1024 else b""

    def _list(self, depth: int) -> list[Any]:
        head = self._byte()
        count, kind = head >> 4, head & 15
        if count == 15:
            count = self._varint()
        if kind in {1, 2}:  # a byte each, which the protocol's booleans of lists are
            kind = 3
        return [self._value(kind, depth + 1) for _ in range(count)]

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
                raise ValueError("a damaged number")

    def _zigzag(self) -> int:
        value = self._varint()
        return (value >> 1) ^ -(value & 1)
