"""The directory of a zip, entry by entry, in bounded memory.

`zipfile` holds an object a member (700 MB for a million), gives the whole archive up for one bad name or extra field,
and does not know that an archive may be split over several files. Source of the layout: PKWARE's APPNOTE.TXT 6.3.10.
"""

import stat
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO, Final
from zlib import crc32

from vlm_assets.archives.limits import DamagedArchiveError, MissingPartsError, TruncatedArchiveError
from vlm_assets.words.counts import so_many

_END: Final = struct.Struct("<4s4H2LH")
_END64: Final = struct.Struct("<4sQ2H2L4Q")
_LOCATOR: Final = struct.Struct("<4sLQL")
_ENTRY: Final = struct.Struct("<4s6H3L5H2L")
_TAIL_BYTES: Final = 2**16 + _END.size + 2**12
"""The end record with the longest comment, and something foreign behind it."""
_WINDOW_BYTES: Final = 2**20
_ZIP64: Final = 0x0001
_UNICODE_PATH: Final = 0x7075
_UNIX: Final = 3
_MAX_16: Final = 0xFFFF
_LONGEST_ENTRY: Final = _ENTRY.size + 3 * _MAX_16
_MAX_32: Final = 0xFFFFFFFF
_UTF8_FLAG: Final = 0x800


@dataclass(frozen=True, slots=True)
class ZipEntry:
    """A member as the directory has it; nothing of it is true until it is read."""

    index: int
    """Place in the directory."""
    raw_name: bytes
    is_utf8: bool
    """The name is declared to be UTF-8."""
    flags: int
    method: int
    crc: int
    packed_bytes: int
    size_bytes: int
    header_offset: int
    """Of its local header in the archive, all parts joined."""
    mode: int
    """Unix mode, 0 where it was not packed on Unix."""

    @property
    def is_encrypted(self) -> bool:
        """Whether it is behind a password."""
        return bool(self.flags & 0x1)

    @property
    def is_folder(self) -> bool:
        """Whether it is a folder (and holds nothing)."""
        named = self.raw_name.endswith((b"/", b"\\")) or stat.S_ISDIR(self.mode)
        return named and not self.size_bytes


@dataclass(frozen=True, slots=True)
class _Place:
    """Where the directory lies, and what its offsets count from."""

    start: int
    size_bytes: int
    bases: Sequence[int]
    """By disk number."""


def read_directory(file: BinaryIO, where: str, part_starts: Sequence[int] = (0,)) -> Iterator[ZipEntry]:
    """Every entry in the directory's order. The file may be moved between two entries.

    `part_starts`: where each part of a split archive begins in the joined file.

    Raises:
        TruncatedArchiveError: there is no end record.
        MissingPartsError: it says that there are more parts.
        DamagedArchiveError: the directory cannot be read to its end.
    """
    place = _find(file, where, part_starts)
    window, base, at = b"", place.start, 0
    left = place.size_bytes
    index = 0
    while left >= _ENTRY.size:
        if len(window) - at < min(_LONGEST_ENTRY, left):
            base += at
            file.seek(base)
            window, at = file.read(min(_WINDOW_BYTES, left)), 0
        if not window.startswith(b"PK\x01\x02", at) or len(window) - at < _ENTRY.size:
            if window.startswith(b"PK\x05\x05", at):  # a signature over the directory
                return
            raise DamagedArchiveError(f"{where}: the directory is damaged at its entry {index}")
        entry, length = _entry(window, at, index, place.bases)
        if length > left:
            raise DamagedArchiveError(f"{where}: the directory is damaged at its entry {index}")
        yield entry
        at += length
        left -= length
        index += 1
    if left:
        raise DamagedArchiveError(f"{where}: the directory is damaged behind its entry {index - 1}")


def is_last_part(file: BinaryIO) -> bool:
    """Whether a zip says that it is the last of several parts (`.z01`, …, `.zip`)."""
    last = next(_ends(file), None)
    return last is not None and 0 < last[1][1] < _MAX_16


def has_directory(file: BinaryIO) -> bool:
    """Whether a file ends like a zip, whatever stands in front of it."""
    return any(_holds_entry(file, end, at) for _, end, at in _ends(file))


def _ends(file: BinaryIO) -> Iterator[tuple[int, tuple[int, ...], int]]:
    """Offset of the file's tail, end record and its offset: all that may be one, the last first."""
    size = file.seek(0, 2)
    base = max(size - _TAIL_BYTES, 0)
    file.seek(base)
    tail = file.read(size - base)
    at = tail.rfind(b"PK\x05\x06")
    while at >= 0:
        if at + _END.size <= len(tail):
            yield base, _END.unpack_from(tail, at), base + at
        at = tail.rfind(b"PK\x05\x06", 0, at)


def _find(file: BinaryIO, where: str, part_starts: Sequence[int]) -> _Place:
    """The directory, by the last end record that points at one."""
    parts_told = 0
    for _, end, at in _ends(file):
        _, disk, start_disk, _, count, size, offset, _ = end
        end_at = at
        record = _end64(file, at, part_starts) if _is_64(file, at) else None
        if record is not None:
            end_at, disk, start_disk, count, size, offset = record
        parts = 1 if len(part_starts) == 1 and not disk else disk + 1
        parts_told = max(parts_told, parts)
        place = _place(
            file, end_at, (start_disk, size, offset), part_starts if disk else (0,), empty=not count
        )
        if place is not None and parts <= max(len(part_starts), 1):
            return place
    if parts_told > len(part_starts):
        raise MissingPartsError(
            f"{where}: {len(part_starts)} of {so_many(parts_told, 'part')} of a split zip"
        )
    raise TruncatedArchiveError(f"{where}: not a complete zip archive (no directory at its end)")


def _place(
    file: BinaryIO, end_at: int, told: tuple[int, int, int], starts: Sequence[int], *, empty: bool
) -> _Place | None:
    """Where entries are: right before the end record (a prefix shifts all offsets), or where it is told."""
    start_disk, size, offset = told
    if start_disk >= len(starts):
        return None
    told_at = starts[start_disk] + offset
    for start in (end_at - size, told_at):
        if start < 0 or start + size > end_at:
            continue
        file.seek(start)
        if empty or file.read(4) == b"PK\x01\x02":
            shift = start - told_at
            return _Place(start, 0 if empty else size, [one + shift for one in starts])
    return None


def _holds_entry(file: BinaryIO, end: Sequence[int], at: int) -> bool:
    _, disk, _, _, count, size, _, _ = end
    if disk or _is_64(file, at):
        return True  # split, or zip64: reading it tells
    if not count:
        return at == 0
    if size > at:
        return False
    file.seek(at - size)
    return file.read(4) == b"PK\x01\x02"


def _is_64(file: BinaryIO, at: int) -> bool:
    if at < _LOCATOR.size:
        return False
    file.seek(at - _LOCATOR.size)
    return file.read(4) == b"PK\x06\x07"


def _end64(file: BinaryIO, at: int, part_starts: Sequence[int]) -> tuple[int, int, int, int, int, int] | None:
    """Offset of the zip64 end record, disk, disk of the directory, entries, size, offset."""
    file.seek(at - _LOCATOR.size)
    _, disk, told, _ = _LOCATOR.unpack(file.read(_LOCATOR.size))
    base = part_starts[disk] if disk < len(part_starts) else 0
    for start in (at - _LOCATOR.size - _END64.size, base + told):
        if start < 0:
            continue
        file.seek(start)
        data = file.read(_END64.size)
        if len(data) == _END64.size and data.startswith(b"PK\x06\x06"):
            _, _, _, _, this, directory, _, count, size, offset = _END64.unpack(data)
            return start, this, directory, count, size, offset
    return None


def _entry(window: bytes, at: int, index: int, bases: Sequence[int]) -> tuple[ZipEntry, int]:
    fields = _ENTRY.unpack_from(window, at)
    made_by, flags, method, crc = fields[1], fields[3], fields[4], fields[7]
    packed, size, disk, offset = fields[8], fields[9], fields[13], fields[16]
    name_end = at + _ENTRY.size + fields[10]
    raw_name = window[at + _ENTRY.size : name_end]
    extra = window[name_end : name_end + fields[11]]
    for kind, data in _extras(extra):
        if kind == _ZIP64:
            size, packed, offset, disk = _wide(data, size, packed, offset, disk)
        elif (
            kind == _UNICODE_PATH
            and data[:1] == b"\x01"
            and data[1:5] == crc32(raw_name).to_bytes(4, "little")
        ):
            raw_name, flags = data[5:], flags | _UTF8_FLAG
    base = bases[disk] if disk < len(bases) else bases[0]
    mode = fields[15] >> 16 if made_by >> 8 == _UNIX else 0
    entry = ZipEntry(
        index,
        raw_name,
        bool(flags & _UTF8_FLAG),
        flags,
        method,
        crc,
        packed,
        size,
        max(base + offset, 0),
        mode,
    )
    return entry, _ENTRY.size + fields[10] + fields[11] + fields[12]


def _extras(extra: bytes) -> Iterator[tuple[int, bytes]]:
    """Extra fields; what is cut is nobody's."""
    at = 0
    while at + 4 <= len(extra):
        kind, length = struct.unpack_from("<2H", extra, at)
        yield kind, extra[at + 4 : at + 4 + length]
        at += 4 + length


def _wide(data: bytes, size: int, packed: int, offset: int, disk: int) -> tuple[int, int, int, int]:
    """Sizes, offset and disk; those that did not fit into the entry stand in its zip64 field, in this order."""
    values = [size, packed, offset]
    at = 0
    for number, value in enumerate(values):
        if value == _MAX_32 and at + 8 <= len(data):
            values[number] = int.from_bytes(data[at : at + 8], "little")
            at += 8
    if disk == _MAX_16 and at + 4 <= len(data):
        disk = int.from_bytes(data[at : at + 4], "little")
    return values[0], values[1], values[2], disk
