"""Tars member by member, from a file or a stream, to the last byte: several in one file are read one after the other.

`tarfile` reads whatever a header extension claims into memory, ends at the first end mark, and takes a bad header in
the middle for the end. Its `TarInfo.frombuf` reads the header blocks here; the rest is the format's (POSIX.1-2001
pax, GNU long names).
"""

import io
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import BinaryIO, Final, cast

from vlm_assets.archives.limits import Budget, DamagedArchiveError, TruncatedArchiveError
from vlm_assets.archives.members import Entry
from vlm_assets.archives.names import Encodings, decode_name, safe_name
from vlm_assets.archives.streams import CHUNK_BYTES, FileSlice, Stream
from vlm_assets.words.errors import RejectReason

BLOCK: Final = 512
_LONG_NAME: Final = b"L"
_LONG_LINK: Final = b"K"
_PAX: Final = frozenset({b"x", b"X"})
_PAX_GLOBAL: Final = b"g"
_GNU_SPARSE: Final = b"S"
_GNU_OTHER: Final = frozenset({b"V", b"M", b"N"})
"""Volume label, continuation from another volume, old long names."""
_FOLDERS: Final = frozenset({b"5", b"D"})
_KINDS: Final[Mapping[bytes, str]] = {
    b"1": "a hard link", b"2": "a symbolic link", b"3": "a device", b"4": "a device", b"6": "a pipe",
}  # fmt: skip
_SPARSE: Final = "GNU.sparse."
_PAX_KEYS: Final = frozenset({"path", "size", "hdrcharset", f"{_SPARSE}name"})
_ZEROS: Final = b"\0" * BLOCK


@dataclass(slots=True)
class _Told:
    """What extensions said about the member that follows."""

    name: bytes | None = None
    name_is_utf8: bool = False
    size_bytes: int | None = None
    is_sparse: bool = False
    is_damaged: bool = False
    """A header's checksum is wrong: the member is lost, those behind it need not be."""
    everywhere: dict[str, bytes] = field(default_factory=dict)
    """Of a global pax header: for all members that follow."""


class TarReader:
    """One tar, or several in one file, from front to back.

    `file`, where the bytes can be positioned: what is not asked for is passed over instead of read.
    """

    def __init__(
        self, stream: Stream, budget: Budget, *, encoding: Encodings = None, file: BinaryIO | None = None
    ) -> None:
        self._stream = stream
        self._budget = budget
        self._encoding = encoding
        self._file = file
        self._at = file.tell() if file is not None else 0
        self._file_bytes = _size_of(file) if file is not None else 0
        self._left = 0
        """Bytes of the present member, with its padding, that are not read yet."""
        self._told = _Told()
        self.tail_bytes = 0
        """Bytes behind the last end mark that are no tar."""

    def entries(self) -> Iterator[Entry]:
        """All members in order.

        Raises:
            TruncatedArchiveError: it ends in the middle of a member, or without its end mark.
            DamagedArchiveError: something that is no header stands where one must.
            BombError: too many members.
        """
        ended = first = True
        while (block := self._next_block(ended=ended)) is not None:
            if block == _ZEROS:
                ended = True
                continue
            info = self._header(block, first=first, ended=ended)
            if info is None:
                self._read_tail()
                return
            ended = first = False
            self._left = -(-max(info.size, 0) // BLOCK) * BLOCK
            if info.type in (_LONG_NAME, _LONG_LINK, _PAX_GLOBAL) or info.type in _PAX:
                self._extension(info)
                continue
            self._budget.member()
            yield self._entry(block, info)
            self._skip()
            self._told = _Told(everywhere=self._told.everywhere)
            self._apply(self._told.everywhere)

    def _next_block(self, *, ended: bool) -> bytes | None:
        """The next header block; None at the end of the file."""
        block = self._take(BLOCK)
        if len(block) == BLOCK:
            return block
        if not ended:
            raise TruncatedArchiveError(f"{self._budget.where}: the tar is truncated (no end mark)")
        self.tail_bytes += len(block.strip(b"\0"))
        return None

    def _header(self, block: bytes, *, first: bool, ended: bool) -> tarfile.TarInfo | None:
        """The header; None where foreign bytes follow an end mark."""
        try:
            info = tarfile.TarInfo.frombuf(block, "latin-1", "strict")
        except (tarfile.TarError, ValueError) as error:
            mended = _mended(block)
            if mended is not None and not first:
                self._told.is_damaged = True
                return mended
            if ended and not first:
                self.tail_bytes = BLOCK
                return None
            raise DamagedArchiveError(f"{self._budget.where}: damaged, no valid header ({error})") from error
        if info.size < 0:
            raise DamagedArchiveError(f"{self._budget.where}: damaged, a member of {info.size} bytes")
        return info

    def _extension(self, info: tarfile.TarInfo) -> None:
        """Takes in what is said about the next member (or, global, about all that follow)."""
        if info.size > self._budget.limits.header_bytes:
            raise DamagedArchiveError(
                f"{self._budget.where}: a header of {info.size} bytes, the cap is {self._budget.limits.header_bytes}"
            )
        data = self._read(info.size)
        self._skip()
        if info.type == _LONG_NAME:
            self._told.name = data.rstrip(b"\0")
        elif info.type == _PAX_GLOBAL:
            self._told.everywhere.update(_pax_records(data))
            self._apply(self._told.everywhere)
        elif info.type in _PAX:
            self._apply(_pax_records(data))

    def _apply(self, records: Mapping[str, bytes]) -> None:
        name = records.get(f"{_SPARSE}name", records.get("path"))
        if name is not None:
            self._told.name, self._told.name_is_utf8 = name, records.get("hdrcharset") != b"BINARY"
        size = records.get("size", b"")
        if size.isdigit() and len(size) < 20:
            self._told.size_bytes = int(size)
        self._told.is_sparse |= _SPARSE in records

    def _entry(self, block: bytes, info: tarfile.TarInfo) -> Entry:
        """The member. Its data, with padding, is what stands before the next header."""
        if info.type == _GNU_SPARSE:
            self._skip_sparse_headers(block)
        size = info.size if self._told.size_bytes is None else self._told.size_bytes
        if info.type in _KINDS or info.type in _FOLDERS:
            size = 0  # links may give the size of what they lead to; no bytes follow
        self._left = -(-size // BLOCK) * BLOCK
        raw = self._told.name if self._told.name is not None else info.name.encode("latin-1")
        text, guessed = decode_name(raw, self._encoding)
        name, unsafe = safe_name(text)
        closed = "no file: a label or a piece of another volume" if info.type in _GNU_OTHER else ""
        if self._told.is_sparse or info.type == _GNU_SPARSE:
            closed = "a sparse file"
        if self._told.is_damaged:
            closed = "the checksum of its header is wrong"
        start = self._at
        return Entry(
            name, lambda: self._member_stream(size), size,
            is_folder=info.type in _FOLDERS,
            unsafe=unsafe or _KINDS.get(info.type, ""),
            closed=(RejectReason.UNREADABLE, closed) if closed else None,
            guessed=guessed and not self._told.name_is_utf8,
            view=(lambda: self._view(start, size)) if self._file is not None else None,
        )  # fmt: skip

    def _member_stream(self, size: int) -> Stream:
        return _MemberStream(self, size)

    def _view(self, start: int, size: int) -> BinaryIO:
        return io.BufferedReader(FileSlice(cast("BinaryIO", self._file), start, size))

    def _skip_sparse_headers(self, block: bytes) -> None:
        """The old GNU form lists more regions in blocks behind the header, before the data."""
        more = block[482]
        left, self._left = self._left, 0
        while more:
            extra = self._take(BLOCK)
            if len(extra) < BLOCK:
                raise TruncatedArchiveError(f"{self._budget.where}: the tar is truncated")
            more = extra[504]
        self._left = left

    def _read(self, size: int) -> bytes:
        """Bytes of the present member."""
        data = self._take(min(size, self._left))
        self._left -= len(data)
        if len(data) < size:
            raise TruncatedArchiveError(
                f"{self._budget.where}: the tar is truncated ({size - len(data)} bytes of a member are missing)"
            )
        return data

    def _skip(self) -> None:
        """Passes over what is left of the present member."""
        if self._file is not None and self._left:
            if self._at + self._left > self._file_bytes:
                raise TruncatedArchiveError(f"{self._budget.where}: the tar is truncated")
            self._at += self._left
            self._left = 0
        while self._left:
            self._read(min(CHUNK_BYTES, self._left))

    def _take(self, size: int) -> bytes:
        """The next bytes, fewer only at the end."""
        if self._file is not None:
            self._file.seek(self._at)
        data = self._stream.read(size)
        self._at += len(data)
        return data

    def _read_tail(self) -> None:
        """To the end, so that a compressed tar's own checksum is checked."""
        while data := self._take(CHUNK_BYTES):
            self.tail_bytes += len(data)


class _MemberStream:
    """Bytes of the present member."""

    def __init__(self, reader: TarReader, size: int) -> None:
        self._reader = reader
        self._left = size

    def read(self, size: int, /) -> bytes:
        """`size` bytes, fewer only at the member's end."""
        data = self._reader._read(min(size, self._left))  # noqa: SLF001  # of one module
        self._left -= len(data)
        return data


def looks_like_tar(head: bytes) -> bool:
    """Whether a block is a tar's first header: by its checksum, for old ones have no magic number.

    An empty tar is zero bytes.
    """
    if len(head) < BLOCK:
        return False
    if head.startswith(_ZEROS):  # an empty one
        return True
    try:
        tarfile.TarInfo.frombuf(head[:BLOCK], "latin-1", "strict")
    except (tarfile.TarError, ValueError):
        return False
    return True


def _mended(block: bytes) -> tarfile.TarInfo | None:
    """A header whose checksum is wrong, where all else of it can be read; None where it is no header."""
    if block[257:262] != b"ustar":
        return None
    unsigned = sum(block[:148]) + sum(block[156:]) + 8 * ord(" ")
    try:
        return tarfile.TarInfo.frombuf(
            b"%b%06o\0 %b" % (block[:148], unsigned, block[156:]), "latin-1", "strict"
        )
    except (tarfile.TarError, ValueError):
        return None


def _pax_records(data: bytes) -> dict[str, bytes]:
    """The records that matter here; what is cut or nonsense is left alone, as is all behind it."""
    records: dict[str, bytes] = {}
    at = 0
    while (space := data.find(b" ", at, at + 20)) > 0:
        length = data[at:space]
        if not length.isdigit() or not space - at < int(length) <= len(data) - at:
            break
        key, equals, value = data[space + 1 : at + int(length) - 1].partition(b"=")
        text = key.decode("utf-8", "replace")
        if equals and text in _PAX_KEYS:
            records[text] = value
        if text.startswith(_SPARSE):
            records[_SPARSE] = b""
        at += int(length)
    return records


def _size_of(file: BinaryIO) -> int:
    at = file.tell()
    size = file.seek(0, io.SEEK_END)
    file.seek(at)
    return size
