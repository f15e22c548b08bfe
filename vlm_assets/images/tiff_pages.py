"""Takes a TIFF of several pages apart, without decoding: each page a file of its own with the strips of the original.

TIFF 6.0, section 2, and BigTIFF. What a page refers to beside its pixels (thumbnails in SubIFDs, EXIF, GPS) stays
behind. Pure; the bytes of a page are a format constant.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from vlm_assets.images.facts import MAX_FRAMES_COUNTED

_SIZES: Final = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 16: 8, 17: 8}
"""Bytes of a value, by field type; the others refer to directories."""
_PLACES: Final = {273: 279, 324: 325}
"""Tags of the places of strips and of tiles, with those of their sizes."""
_DIRECTORIES: Final = frozenset({330, 34665, 34853, 40965})
_OLD_JPEG: Final = frozenset({512, 513, 514, 519, 520, 521})
_SUBFILE_TYPE: Final = 254
_NO_PAGE: Final = 1 | 4
"""Bits of a subfile type: a reduced copy, a mask of another page."""
_MOST_TAGS: Final = 1000


class PageError(ValueError):
    """A page that cannot be taken out."""


@dataclass(frozen=True, slots=True)
class _Form:
    """How numbers stand in a file."""

    order: str
    is_big: bool

    @property
    def offset(self) -> str:
        return self.order + ("Q" if self.is_big else "I")

    @property
    def count(self) -> str:
        return self.order + ("Q" if self.is_big else "H")

    @property
    def entry(self) -> str:
        return self.order + ("HHQ8s" if self.is_big else "HHI4s")

    @property
    def header(self) -> bytes:
        mark = b"II" if self.order == "<" else b"MM"
        if self.is_big:
            return mark + struct.pack(f"{self.order}HHHQ", 43, 8, 0, 16)
        return mark + struct.pack(f"{self.order}HI", 42, 8)


@dataclass(frozen=True, slots=True)
class _Field:
    tag: int
    kind: int
    number: int
    raw: bytes


@dataclass(frozen=True, slots=True)
class TiffPage:
    """A page before it is taken out. `is_page`: it is no reduced copy or mask of another one."""

    number: int
    is_page: bool
    _data: bytes
    _form: _Form
    _entries: tuple[int, int]
    """Where its directory's entries begin, and how many they are."""

    def taken_out(self) -> bytes:
        """The page as a TIFF of its own.

        Raises:
            PageError: its directory or its strips lie beyond the end, or it is in the old form of JPEG.
        """
        fields = {one.tag: one for one in _fields(self._data, self._form, *self._entries)}
        if _OLD_JPEG & fields.keys():
            raise PageError("JPEG in the form of TIFF 6.0, which refers to the whole file")
        place = next((tag for tag in _PLACES if tag in fields and _PLACES[tag] in fields), None)
        if place is None:
            raise PageError("no strips and no tiles")
        starts, sizes = self._numbers(fields[place]), self._numbers(fields[_PLACES[place]])
        if len(starts) != len(sizes) or sum(sizes) > len(self._data):
            raise PageError("sizes of strips that do not fit the file")
        strips = [self._data[start : start + size] for start, size in zip(starts, sizes, strict=True)]
        if any(len(strip) != size for strip, size in zip(strips, sizes, strict=True)):
            raise PageError("a strip beyond the end of the file")
        return self._written(fields, place, strips)

    def _written(self, fields: dict[int, _Field], place: int, strips: list[bytes]) -> bytes:
        form = self._form
        kind = 16 if form.is_big else 4
        fields[place] = _Field(place, kind, len(strips), bytes(_SIZES[kind] * len(strips)))
        inline = 8 if form.is_big else 4
        entry_bytes = struct.calcsize(form.entry)
        directory_bytes = (
            struct.calcsize(form.count) + entry_bytes * len(fields) + struct.calcsize(form.offset)
        )
        at = len(form.header) + directory_bytes
        values: dict[int, int] = {}
        for tag in sorted(fields):
            if len(fields[tag].raw) > inline:
                values[tag] = at
                at += len(fields[tag].raw) + len(fields[tag].raw) % 2
        starts = []
        for strip in strips:
            starts.append(at)
            at += len(strip) + len(strip) % 2
        packed = struct.pack(f"{form.order}{len(starts)}{'Q' if form.is_big else 'I'}", *starts)
        fields[place] = _Field(place, kind, len(starts), packed)
        out = [form.header, struct.pack(form.count, len(fields))]
        for tag, field in sorted(fields.items()):
            value = struct.pack(form.offset, values[tag]) if tag in values else field.raw.ljust(inline, b"\0")
            out.append(struct.pack(form.entry, tag, field.kind, field.number, value))
        out.append(struct.pack(form.offset, 0))
        for raw in (*(fields[tag].raw for tag in values), *strips):
            out += [raw, bytes(len(raw) % 2)]
        return b"".join(out)

    def _numbers(self, field: _Field) -> tuple[int, ...]:
        letter = {3: "H", 4: "I", 16: "Q"}.get(field.kind)
        if letter is None:
            raise PageError(f"tag {field.tag} of field type {field.kind}")
        return struct.unpack(f"{self._form.order}{field.number}{letter}", field.raw)


def tiff_pages(data: bytes) -> Iterator[TiffPage]:
    """The pages of a TIFF in their order, from number 1 on; a chain of directories that is broken ends there."""
    form = _form_of(data)
    if form is None:
        return
    seen: set[int] = set()
    try:
        (at,) = struct.unpack_from(form.offset, data, 8 if form.is_big else 4)
        while at and at not in seen and len(seen) < MAX_FRAMES_COUNTED:
            seen.add(at)
            (count,) = struct.unpack_from(form.count, data, at)
            entries_at = at + struct.calcsize(form.count)
            (at,) = struct.unpack_from(form.offset, data, entries_at + count * struct.calcsize(form.entry))
            is_page = not _subfile_type(data, form, entries_at, count) & _NO_PAGE
            yield TiffPage(len(seen), is_page, data, form, (entries_at, count))
    except (struct.error, OverflowError):
        return


def _form_of(data: bytes) -> _Form | None:
    order = {b"II": "<", b"MM": ">"}.get(data[:2])
    if order is None or len(data) < 16:
        return None
    (version,) = struct.unpack_from(order + "H", data, 2)
    return _Form(order, version == 43) if version in {42, 43} else None


def _subfile_type(data: bytes, form: _Form, at: int, count: int) -> int:
    """0 where a directory does not say; tags stand in order, this is the first."""
    if not count:
        return 0
    tag, kind, _, raw = struct.unpack_from(form.entry, data, at)
    return int(struct.unpack(form.order + "I", raw[:4])[0]) if (tag, kind) == (_SUBFILE_TYPE, 4) else 0


def _fields(data: bytes, form: _Form, at: int, count: int) -> Iterator[_Field]:
    """The fields of a directory, without those that refer to other directories.

    Raises:
        PageError: they are not all there, or too many.
    """
    if count > _MOST_TAGS:
        raise PageError(f"{count} tags")
    inline, total = (8 if form.is_big else 4), 0
    for number in range(count):
        tag, kind, length, raw = struct.unpack_from(
            form.entry, data, at + number * struct.calcsize(form.entry)
        )
        size = _SIZES.get(kind, 0) * length
        if not size or tag in _DIRECTORIES:
            continue
        total += size
        if total > len(data):
            raise PageError("tags larger than the file")
        if size > inline:
            (start,) = struct.unpack(form.offset, raw)
            raw = data[start : start + size]
            if len(raw) != size:
                raise PageError(f"tag {tag} beyond the end of the file")
        yield _Field(tag, kind, length, raw[:size])
