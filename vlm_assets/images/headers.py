"""Walks the containers of image formats without decoding: sizes, frames, EXIF, resolution, checksums. Pure.

A walk that finds the container damaged raises `BadImageError`; a walk through optional metadata never raises, it
finds nothing: a photograph with a broken EXIF block is a good photograph.
"""

import re
import struct
import zlib
from dataclasses import dataclass
from typing import Final

from vlm_assets.images.facts import MAX_FRAMES_COUNTED, BadImageError
from vlm_assets.words.errors import RejectReason

_MIN_DPI: Final = 2
_MAX_DPI: Final = 10_000
_CM_PER_INCH: Final = 2.54
_MAX_APNG_FRAMES: Final = 2**31
_TIFF_PLACES: Final = frozenset({273, 279, 324, 325})  # offsets and sizes of strips, of tiles
_XMP_ORIENTATION: Final = re.compile(rb'tiff:Orientation(?:="|>)([1-8])')


@dataclass(frozen=True, slots=True)
class Header:
    """Facts of a container that stand outside the compressed pixels."""

    width_px: int
    height_px: int
    frames: int = 1
    orientation: int | None = None
    dpi: int | None = None


def whole_dpi(value: object) -> int | None:
    """A resolution in dots per inch as an integer, None where it is nonsense (below 2, above 10,000, no number)."""
    if isinstance(value, tuple) and value:
        value = value[0]
    try:
        dpi = float(value)  # type: ignore[arg-type]  # Pillow hands out ints, floats, rationals; the rest raises
    except (TypeError, ValueError, ArithmeticError):
        return None
    return round(dpi) if _MIN_DPI - 0.5 <= dpi <= _MAX_DPI else None


def read_exif(exif: bytes) -> tuple[int | None, int | None]:
    """(orientation 1..8, dpi) out of the first directory of an EXIF block or a classic TIFF file.

    Tags of TIFF 6.0: 274 Orientation, 282 XResolution, 296 ResolutionUnit (2 inch, the default; 3 centimetre).
    Anything broken reads as absent.
    """
    start = 6 if exif.startswith(b"Exif\0\0") else 0
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(exif[start : start + 4])
    if order is None:
        return None, None
    values: dict[int, float] = {}
    try:
        (offset,) = struct.unpack_from(order + "I", exif, start + 4)
        (count,) = struct.unpack_from(order + "H", exif, start + offset)
        for i in range(count):
            tag, kind, _, raw = struct.unpack_from(order + "HHI4s", exif, start + offset + 2 + 12 * i)
            if tag in {274, 282, 296}:
                value = _exif_number(exif, start, order, kind, raw)
                if value is not None:
                    values[tag] = value
    except struct.error:
        pass  # cut short: what was read so far still counts
    orientation = values.get(274, 0)
    per_unit = {2: 1.0, 3: _CM_PER_INCH}.get(int(values.get(296, 2)))
    dpi = whole_dpi(values[282] * per_unit) if 282 in values and per_unit else None
    return int(orientation) if orientation in range(1, 9) else None, dpi


def _exif_number(exif: bytes, start: int, order: str, kind: int, raw: bytes) -> float | None:
    """First value of an entry of type SHORT (3), LONG (4) or RATIONAL (5)."""
    if kind == 3:
        return int(struct.unpack_from(order + "H", raw)[0])
    (word,) = struct.unpack(order + "I", raw)
    if kind == 4:
        return int(word)
    if kind == 5:
        numerator, denominator = struct.unpack_from(order + "II", exif, start + word)
        return numerator / denominator if denominator else None
    return None


def xmp_orientation(xmp: bytes) -> int | None:
    """Orientation out of an XMP packet, where Pillow (and so `datasets`) looks when EXIF has none."""
    found = _XMP_ORIENTATION.search(xmp)
    return int(found.group(1)) if found else None


def png_header(data: bytes, *, checksums: bool) -> Header:
    """Header of a PNG or APNG; with `checksums` every chunk's CRC is verified (Pillow skips those of IDAT).

    A file that stops between two chunks after its image data (no IEND) is fine: every reader shows it whole.
    """
    if data[12:16] != b"IHDR" or len(data) < 33:
        raise _bad(len(data) < 33, "PNG without IHDR")
    width, height = struct.unpack_from(">II", data, 16)
    frames, orientation, dpi, seen_data = 1, None, None, False
    view = memoryview(data)
    at = 8
    while at < len(data):
        if at + 12 > len(data):
            raise _bad(cut=True, what="PNG ends inside a chunk")
        length, kind = struct.unpack_from(">I4s", data, at)
        body, end = at + 8, at + 12 + length
        if end > len(data):
            raise _bad(cut=True, what=f"PNG ends inside its {kind!r} chunk")
        if checksums and zlib.crc32(view[at + 4 : end - 4]) != int.from_bytes(view[end - 4 : end], "big"):
            raise _bad(cut=False, what=f"wrong CRC of the {kind!r} chunk")
        if kind == b"IEND":
            break
        if kind == b"IDAT":
            seen_data = True
        elif kind == b"acTL" and length >= 8 and not seen_data:
            declared = int.from_bytes(view[body : body + 4], "big")
            frames = declared if 0 < declared <= _MAX_APNG_FRAMES else 1
        elif kind == b"pHYs" and length == 9 and data[body + 8] == 1:
            dpi = whole_dpi(int.from_bytes(view[body : body + 4], "big") * _CM_PER_INCH / 100)
        elif kind == b"eXIf":
            orientation, exif_dpi = read_exif(data[body : end - 4])
            dpi = dpi or exif_dpi
        at = end
    if not seen_data:
        raise _bad(cut=True, what="PNG without image data")
    return Header(width, height, min(frames, MAX_FRAMES_COUNTED), orientation, dpi)


def webp_header(data: bytes) -> Header:
    """Header of a WebP (RFC 9649): canvas size, number of frames, EXIF. The RIFF size tells a cut file."""
    declared = int.from_bytes(data[4:8], "little") + 8
    if declared > len(data) + 1:  # some writers leave out the last padding byte
        raise _bad(cut=True, what=f"{len(data)} of {declared} bytes")
    size = _webp_size(data)
    if size is None:
        raise _bad(cut=len(data) < 30, what="WebP without a valid first chunk")
    frames, orientation, dpi = 0, None, None
    at = 12
    while at + 8 <= min(declared, len(data)):
        kind, length = data[at : at + 4], int.from_bytes(data[at + 4 : at + 8], "little")
        if kind == b"ANMF":
            frames += 1
        elif kind == b"EXIF":
            orientation, dpi = read_exif(data[at + 8 : at + 8 + length])
        elif kind == b"XMP " and orientation is None:
            orientation = xmp_orientation(data[at + 8 : at + 8 + length])
        at += 8 + length + (length & 1)
    return Header(*size, min(max(1, frames), MAX_FRAMES_COUNTED), orientation, dpi)


def _webp_size(data: bytes) -> tuple[int, int] | None:
    kind = data[12:16]
    if kind == b"VP8X" and len(data) >= 30:
        return int.from_bytes(data[24:27], "little") + 1, int.from_bytes(data[27:30], "little") + 1
    if kind == b"VP8 " and data[23:26] == b"\x9d\x01\x2a" and len(data) >= 30:
        width, height = struct.unpack_from("<HH", data, 26)
        return width & 0x3FFF, height & 0x3FFF
    if kind == b"VP8L" and len(data) >= 25 and data[20] == 0x2F:
        bits = int.from_bytes(data[21:25], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    return None


def gif_frames(data: bytes) -> int:
    """Number of image blocks of a GIF (GIF89a specification), up to where the data ends or stops making sense."""
    return max(1, _gif_walk(data)[0])


def _gif_walk(data: bytes) -> tuple[int, int]:
    """(image blocks, place where the walk over all blocks stopped)."""
    if len(data) < 13:
        return 0, len(data)
    at = 13 + (3 << (data[10] & 7) + 1 if data[10] & 0x80 else 0)
    frames = 0
    while at < len(data) and frames < MAX_FRAMES_COUNTED:
        block = data[at]
        if block == 0x2C and at + 10 <= len(data):
            frames += 1
            flags = data[at + 9]
            at += 10 + (3 << (flags & 7) + 1 if flags & 0x80 else 0) + 1
        elif block == 0x21:
            at += 2
        else:  # the trailer, or garbage
            break
        while at < len(data) and data[at]:
            at += 1 + data[at]
        at += 1
    return frames, at


def tiff_frames(data: bytes) -> int:
    """Number of directories in the chain of a TIFF or BigTIFF, up to the first that cannot be read or repeats."""
    order = "<" if data.startswith(b"II") else ">"
    big = data[2:4] in {b"+\0", b"\0+"}
    count_form, next_form, entry = (order + "Q", order + "Q", 20) if big else (order + "H", order + "I", 12)
    seen: set[int] = set()
    try:
        (offset,) = struct.unpack_from(next_form, data, 8 if big else 4)
        while offset and offset not in seen and len(seen) < MAX_FRAMES_COUNTED:
            (count,) = struct.unpack_from(count_form, data, offset)
            after = offset + struct.calcsize(count_form) + entry * count
            seen.add(offset)
            (offset,) = struct.unpack_from(next_form, data, after)
    except (struct.error, OverflowError):
        pass
    return max(1, len(seen))


_JXL_RATIOS: Final = ((1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))
_JXL_SIDE_BITS: Final = (9, 13, 18, 30)


def jxl_header(data: bytes) -> Header:
    """The size that a JPEG XL file announces (ISO 18181-1, SizeHeader), bare or in boxes (18181-2).

    Raises:
        BadImageError: it announces none.
    """
    stream = data if data.startswith(b"\xff\x0a") else _jxl_stream(data)
    bits = int.from_bytes(stream[2:18], "little")

    def take(count: int) -> int:
        nonlocal bits
        value, bits = bits & ((1 << count) - 1), bits >> count
        return value

    def side(*, small: bool) -> int:
        return (take(5) + 1) * 8 if small else take(_JXL_SIDE_BITS[take(2)]) + 1

    if len(stream) < 12:
        raise BadImageError(RejectReason.TRUNCATED, "JPEG XL ends before its size")
    small = bool(take(1))
    height = side(small=small)
    ratio = take(3)
    if ratio:
        across, down = _JXL_RATIOS[ratio - 1]
        return Header(height * across // down, height)
    return Header(side(small=small), height)


def _jxl_stream(data: bytes) -> bytes:
    """The beginning of the codestream in its box, or in the first of its parts."""
    at = 0
    while at + 16 <= len(data):
        size, name = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        start = at + 16 if size == 1 else at + 8
        if name in {b"jxlc", b"jxlp"}:
            start += 4 if name == b"jxlp" else 0
            return data[start : start + 32]
        size = int.from_bytes(data[at + 8 : at + 16], "big") if size == 1 else size
        at += max(size, 8) if size else len(data)
    return b""


def ends_early(form: str, data: bytes) -> bool:
    """Whether a file that its decoder refused was cut: some of what its container announces lies beyond the end.

    Decoders of these formats say "corrupt" for a cut file and a damaged one alike. False where it cannot be told.
    """
    if form == "TIFF":
        return _tiff_ends_early(data)
    if form == "JPEG2000" and data.startswith(b"\xff\x4f"):  # a bare codestream closes with an end marker
        return not data.endswith(b"\xff\xd9")
    if form in {"JPEG2000", "AVIF", "HEIF"}:
        return _boxes_end_early(data)
    return form == "GIF" and _gif_walk(data)[1] >= len(data)


def _boxes_end_early(data: bytes) -> bool:
    """Boxes of ISO 14496-12 and 15444-1: 32-bit size and name; size 1: a 64-bit size follows, 0: to the end."""
    at = 0
    while at + 8 <= len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        if size == 1:
            size = int.from_bytes(data[at + 8 : at + 16], "big")
        if size == 0:
            return False
        at += max(size, 8)
    return at != len(data)


def _tiff_ends_early(data: bytes) -> bool:
    """Whether the first directory lies beyond the end, or (classic TIFF) a strip or tile of its image does."""
    order = "<" if data.startswith(b"II") else ">"
    if data[2:4] in {b"+\0", b"\0+"}:
        return len(data) < 16 or int(struct.unpack_from(order + "Q", data, 8)[0]) + 8 > len(data)
    places: dict[int, tuple[int, ...]] = {}
    try:
        (offset,) = struct.unpack_from(order + "I", data, 4)
        (count,) = struct.unpack_from(order + "H", data, offset)
        for i in range(count):
            tag, kind, number, raw = struct.unpack_from(order + "HHI4s", data, offset + 2 + 12 * i)
            if tag in _TIFF_PLACES and kind in {3, 4} and number * 2 <= len(data):
                form = f"{order}{number}{'H' if kind == 3 else 'I'}"
                inline = struct.calcsize(form) <= 4
                at = 0 if inline else struct.unpack(order + "I", raw)[0]
                places[tag] = struct.unpack_from(form, raw if inline else data, at)
    except struct.error:
        return True
    starts = places.get(273, ()) + places.get(324, ())
    sizes = places.get(279, ()) + places.get(325, ())
    return any(start + size > len(data) for start, size in zip(starts, sizes, strict=False))


def _bad(cut: bool, what: str) -> BadImageError:  # noqa: FBT001 - private, named at the calls where it helps
    return BadImageError(RejectReason.TRUNCATED if cut else RejectReason.CORRUPT, what)
