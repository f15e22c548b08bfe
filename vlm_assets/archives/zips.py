"""Zip archives: entries by their directory, bytes by their local headers, nothing believed that can be counted."""

import io
import lzma
import stat
import struct
import zlib
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import BinaryIO, Final

from vlm_assets.archives.limits import Budget, MemberFaultError, short
from vlm_assets.archives.members import Entry
from vlm_assets.archives.names import Encodings, decode_name, safe_name
from vlm_assets.archives.streams import (
    CHUNK_BYTES,
    UNPACKED_BYTES,
    ChunkStream,
    Decoder,
    FileSlice,
    buffering,
    new_decoder,
    zstd_error,
)
from vlm_assets.archives.zip_directory import ZipEntry, read_directory
from vlm_assets.words.errors import RejectReason, StoreError, machine_error, of_the_machine

_LOCAL: Final = struct.Struct("<4s5H3L2H")
_STORED: Final = 0
_LZMA: Final = 14
_DEFLATE64: Final = 9
_FORMS: Final = {8: "deflate", 12: "bzip2", 95: "xz", 93: "zstd"}
_FILE_TYPES: Final = frozenset({0, stat.S_IFREG, stat.S_IFDIR})


class ZipArchive:
    """One open zip. Its entries can be read in any order, one at a time."""

    def __init__(
        self,
        file: BinaryIO,
        budget: Budget,
        *,
        encoding: Encodings = None,
        part_starts: Sequence[int] = (0,),
    ) -> None:
        self._file = file
        self._budget = budget
        self._encoding = encoding
        self._part_starts = part_starts

    def directory(self) -> Iterator[ZipEntry]:
        """Its entries in the directory's order; see `read_directory`."""
        return read_directory(self._file, self._budget.where, self._part_starts)

    def entries(self) -> Iterator[Entry]:
        """All members in the directory's order.

        Raises:
            DamagedArchiveError: the directory cannot be read to its end.
            BombError: there are too many members.
        """
        for entry in self.directory():
            self._budget.member()
            yield self.entry(entry)

    def entry(self, entry: ZipEntry) -> Entry:
        """One member, ready to be read."""
        name, unsafe, guessed = entry_name(entry, self._encoding)
        return Entry(
            name, lambda: ChunkStream(self._unpacked(entry)), entry.size_bytes,
            is_folder=entry.is_folder, unsafe=unsafe, closed=_closed(entry), guessed=guessed,
            view=(lambda: self._view(entry)) if entry.method == _STORED and not entry.is_encrypted else None,
        )  # fmt: skip

    def _view(self, entry: ZipEntry) -> BinaryIO:
        return io.BufferedReader(FileSlice(self._file, self._data_offset(entry), entry.size_bytes))

    def _data_offset(self, entry: ZipEntry) -> int:
        self._file.seek(entry.header_offset)
        header = self._file.read(_LOCAL.size)
        if len(header) < _LOCAL.size or not header.startswith(b"PK\x03\x04"):
            raise MemberFaultError(RejectReason.UNREADABLE, "there is no member where the directory says")
        fields = _LOCAL.unpack(header)
        return entry.header_offset + _LOCAL.size + int(fields[9]) + int(fields[10])

    def _unpacked(self, entry: ZipEntry) -> Iterator[bytes]:
        """The member's bytes in chunks; its size and CRC-32 hold once the last one is out."""
        if (closed := _closed(entry)) is not None:
            raise MemberFaultError(*closed)
        packed = self._packed(self._data_offset(entry), entry.packed_bytes)
        size = crc = 0
        for chunk in packed if entry.method == _STORED else self._decoded(entry, packed):
            self._budget.unpack(len(chunk))
            size += len(chunk)
            if size > entry.size_bytes:
                raise MemberFaultError(
                    RejectReason.UNREADABLE, f"more than the {entry.size_bytes} bytes in the directory"
                )
            crc = zlib.crc32(chunk, crc)
            yield chunk
        if size != entry.size_bytes:
            raise MemberFaultError(
                RejectReason.UNREADABLE, f"{size} bytes, {entry.size_bytes} in the directory"
            )
        if crc != entry.crc:
            raise MemberFaultError(
                RejectReason.CHECKSUM, f"CRC-32 {crc:08x}, {entry.crc:08x} in the directory"
            )

    def _packed(self, offset: int, size_bytes: int) -> Iterator[bytes]:
        while size_bytes > 0:
            self._file.seek(offset)
            chunk = self._file.read(min(CHUNK_BYTES, size_bytes))
            if not chunk:
                return
            offset += len(chunk)
            size_bytes -= len(chunk)
            yield chunk

    def _decoded(self, entry: ZipEntry, packed: Iterator[bytes]) -> Iterator[bytes]:
        window_bytes = self._budget.limits.window_bytes
        try:
            if entry.method == _DEFLATE64:
                yield from _inflated64(packed)
                return
            data = next(packed, b"")
            decoder: Decoder
            if entry.method == _LZMA:
                decoder, data = _lzma_decoder(data, window_bytes)
            else:
                decoder = new_decoder(_FORMS[entry.method], window_bytes)
            while not decoder.eof:
                out = decoder.decompress(data, UNPACKED_BYTES)
                if out:
                    yield out
                data = decoder.pending()
                if decoder.hungry() and not decoder.eof:
                    more = next(packed, b"")
                    if not more and not out:
                        return  # cut: the size tells, or an LZMA stream without end mark
                    data += more
        except (zlib.error, lzma.LZMAError, OSError, EOFError, ValueError, zstd_error()) as error:
            if of_the_machine(error):  # the disk's fault, which passes, is never the member's, which stays
                raise StoreError(f"{self._budget.where}: cannot be read: {error}") from error
            raise MemberFaultError(RejectReason.UNREADABLE, short(error)) from error
        except MemoryError as error:  # windows are bounded: it is the machine that has none
            raise machine_error(f"{self._budget.where}: cannot be unpacked", error) from error


def guessed_names(file: BinaryIO, encoding: Encodings, most: int) -> list[str]:
    """Names whose encoding nobody declares, among the first `most` entries of an open zip.

    Raises:
        DamagedArchiveError: the directory cannot be read.
    """
    told = (entry_name(entry, encoding) for entry in islice(read_directory(file, "the archive"), most))
    return [name for name, _, guessed in told if guessed]


def entry_name(entry: ZipEntry, encoding: Encodings) -> tuple[str, str, bool]:
    """A member's safe name, why it is unsafe, and whether its encoding is a guess."""
    text, guessed = decode_name(entry.raw_name, encoding)
    name, unsafe = safe_name(text)
    if not unsafe and entry.mode and stat.S_IFMT(entry.mode) not in _FILE_TYPES:
        unsafe = "a link or a device"
    return name, unsafe, guessed


def _closed(entry: ZipEntry) -> tuple[RejectReason, str] | None:
    if entry.is_encrypted:
        return RejectReason.ENCRYPTED, "behind a password"
    if entry.method not in {_STORED, _DEFLATE64, _LZMA, *_FORMS}:
        return RejectReason.UNREADABLE, f"packed by method {entry.method}, which is not read"
    return None


def _inflated64(packed: Iterator[bytes]) -> Iterator[bytes]:
    """Deflate64 (method 9), which Windows writes for members over 2 GiB. 16 KiB give at most 16 MiB."""
    import inflate64  # noqa: PLC0415 - for Deflate64 alone

    inflater = inflate64.Inflater()
    for chunk in packed:
        for at in range(0, len(chunk), 2**14):
            yield inflater.inflate(chunk[at : at + 2**14])
            if inflater.eof:
                return


def _lzma_decoder(data: bytes, window_bytes: int) -> tuple[Decoder, bytes]:
    """Method 14: version, length of the properties, properties, raw LZMA (APPNOTE 5.8.8)."""
    if len(data) < 9 or data[2:4] != b"\x05\0":
        raise ValueError("no LZMA properties")
    properties = data[4]
    dictionary = int.from_bytes(data[5:9], "little")
    if properties >= 225 or dictionary > window_bytes:
        raise ValueError(f"LZMA with a dictionary of {dictionary} bytes")
    filters = [
        {
            "id": lzma.FILTER_LZMA1, "dict_size": max(dictionary, 4096), "lc": properties % 9,
            "lp": properties // 9 % 5, "pb": properties // 45,
        }
    ]  # fmt: skip
    return buffering(lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=filters)), data[9:]
