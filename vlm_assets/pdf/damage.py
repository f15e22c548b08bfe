"""Whether the data of a picture in a PDF are whole.

Renderers fill up what is missing, with white mostly, and say nothing. A page whose scan was cut would come in half
white: so what a page shows is looked at before the page is drawn.
"""

import zlib
from dataclasses import dataclass
from io import BytesIO
from typing import Final

import pikepdf
from PIL import Image

from vlm_assets.images.decode import probe_decoded
from vlm_assets.images.facts import BadImageError, ProbePolicy
from vlm_assets.pdf.content import NotOneImageError
from vlm_assets.pdf.pictures import (
    EndsReader,
    bilevel,
    channels_of,
    filters_of,
    original_bytes,
    parameters_of,
    row_bytes_of,
    samples_of,
    size_of,
)
from vlm_assets.words.counts import so_many
from vlm_assets.words.errors import RejectReason

_EOI: Final = b"\xff\xd9"
_PROGRESSIVE: Final = (b"\xff\xc2", b"\xff\xca")
"""Of these a part decodes as a whole, less sharp."""
_PADDING: Final = b"\0\t\n\r "
_END_OF_FAX: Final = "000000000001" * 2
"""EOFB of CCITT group 4 (ITU-T T.6, 2.4.1.1)."""
_LAST_CODE_BITS: Final = 13
"""Ones that the row above the blank ones may end in, at most."""
_DEPTHS: Final = frozenset({1, 2, 4, 8, 16})
_SIZE_MARKER: Final = b"\xff\x4f\xff\x51"
_SIGNED: Final = 0x80
_UNKNOWN_LENGTH: Final = 0xFFFFFFFF
_END_OF_PAGE, _END_OF_FILE = 49, 51


@dataclass(frozen=True, slots=True)
class Damage:
    """What is wrong with a picture. `reason` is TRUNCATED or CORRUPT.

    A `certain` one shows on the page, whoever draws it; another may be beyond this decoder alone.
    """

    reason: RejectReason
    detail: str
    certain: bool = True


def damage_of(image: pikepdf.Stream, max_pixels: int) -> Damage | None:
    """What is wrong with an image object's data; None where nothing is, or where it cannot be told.

    Raises:
        pikepdf.PdfError, ValueError, TypeError, KeyError: its dictionary is damaged.
    """
    width_px, height_px = size_of(image)
    if min(width_px, height_px) <= 0:
        return Damage(RejectReason.CORRUPT, f"a picture of {width_px} x {height_px} pixels", certain=False)
    if width_px * height_px > max_pixels:
        return None
    filters = filters_of(image)
    check = _CHECKS.get(filters[-1] if filters else "", _samples_damage)
    try:
        return check(image, filters, max_pixels)
    except NotOneImageError:
        return None


def _jpeg_damage(image: pikepdf.Stream, filters: list[str], max_pixels: int) -> Damage | None:
    data = original_bytes(image, filters)
    start = data.find(b"\xff\xd8")
    if start < 0:
        return _no_data(data, "the JPEG has no beginning")
    data = data[start:]
    fault = _probed("JPEG", data, max_pixels)
    if fault is None:
        return colour_damage(image, data)
    has_end = data.rstrip(_PADDING).endswith(_EOI)
    if has_end or any(marker in data for marker in _PROGRESSIVE):
        return fault
    return _probed("JPEG", data + _EOI, max_pixels)  # it may be whole but for the mark


def colour_damage(image: pikepdf.Stream, data: bytes) -> Damage | None:
    """A JPEG in a colour space of another number of channels: renderers show stripes of it, or nothing."""
    channels = channels_of(image.get("/ColorSpace"))
    with Image.open(BytesIO(data), formats=("JPEG",)) as opened:
        found = len(opened.getbands())
    if "/ColorSpace" in image and channels in {0, found}:
        return None
    return Damage(RejectReason.CORRUPT, f"a JPEG of {found} channels in a colour space of {channels}")


def _jpeg2000_damage(image: pikepdf.Stream, filters: list[str], max_pixels: int) -> Damage | None:
    data = original_bytes(image, filters)
    if not data.strip(_PADDING):
        return _no_data(data, "")
    if jpeg2000_ends_early(data):
        return Damage(RejectReason.TRUNCATED, "the JPEG 2000 data end early")
    return _probed("JPEG2000", data, max_pixels)


def _probed(form: str, data: bytes, max_pixels: int) -> Damage | None:
    policy = ProbePolicy(frozenset({form}), max_pixels=max_pixels)
    try:
        probe_decoded(form, data, policy, in_process=False)
    except BadImageError as fault:
        if fault.reason is RejectReason.TRUNCATED:
            return Damage(fault.reason, fault.detail)
        if fault.reason is RejectReason.CORRUPT:
            return Damage(fault.reason, fault.detail, certain=False)
    return None


def jpeg2000_ends_early(data: bytes) -> bool:
    """Whether boxes or the bare codestream of a JPEG 2000 file end after the data do (ISO 15444-1, annexes A, I)."""
    if data.startswith(b"\xff\x4f"):
        return not data.rstrip(_PADDING).endswith(_EOI)
    at = 0
    while at + 8 <= len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        if size == 1:
            size = int.from_bytes(data[at + 8 : at + 16], "big")
        if size == 0:
            return not data.rstrip(_PADDING).endswith(_EOI)
        at += max(size, 8)
    return at > len(data)


def poppler_misreads(image: pikepdf.Stream, ends: EndsReader) -> bool:
    """Whether an image is a JPEG 2000 with alpha, as its mask or in a bare codestream, or a JPEG of another size.

    Poppler (22.12) takes alpha for a colour there, and the size of the dictionary for that of the JPEG, and shows
    stripes; pdfium does not.
    """
    filters = filters_of(image)
    if filters[-1:] == ["/DCTDecode"]:
        return _jpeg_size(image, filters, ends) not in {None, size_of(image)}
    if filters[-1:] != ["/JPXDecode"]:
        return False
    if int(image.get("/SMaskInData", 0)):
        return True
    try:
        head, _ = ends.of(image, filters)
    except NotOneImageError:
        return False
    channels = channels_of(image.get("/ColorSpace"))
    return head.startswith(_SIZE_MARKER) and channels not in {0, int.from_bytes(head[40:42], "big")}


def _jpeg_size(image: pikepdf.Stream, filters: list[str], ends: EndsReader) -> tuple[int, int] | None:
    try:
        head, _ = ends.of(image, filters)
        return _size_in(head) or _size_in(original_bytes(image, filters))
    except (NotOneImageError, zlib.error):
        return None


def _size_in(data: bytes) -> tuple[int, int] | None:
    """Of a JPEG; None where its headers are not all there."""
    try:
        with Image.open(BytesIO(data), formats=("JPEG",)) as opened:
            return opened.size
    except (OSError, SyntaxError):
        return None


def jpeg2000_depth(data: bytes) -> int | None:
    """Bits a sample of all components, None where they differ, have a sign, or no size marker tells (annex A.5.1)."""
    at = data.find(_SIZE_MARKER)
    count = int.from_bytes(data[at + 40 : at + 42], "big")
    depths = set(data[at + 42 : at + 42 + 3 * count : 3]) if at >= 0 else set()
    return depths.pop() + 1 if len(depths) == 1 and max(depths) < _SIGNED else None


def _fax_damage(image: pikepdf.Stream, filters: list[str], max_pixels: int) -> Damage | None:
    """Group 4 without its end mark: whether the blank rows at the end of the picture are in the data.

    A row like the one above costs a 1 for each of its edges, its end included: one where it is white, two where it
    is black. Rows that the decoder made up are white, and cost nothing.
    """
    del max_pixels
    data = original_bytes(image, filters)
    if not data.strip(b"\0"):
        return _no_data(data, "")
    parameters = parameters_of(image, len(filters) - 1) or pikepdf.Dictionary()
    if int(parameters.get("/K", 0)) >= 0 or parameters.get("/EncodedByteAlign", False):
        return _undecodable(image)
    tail = "".join(f"{byte:08b}" for byte in data[-16:])
    if _END_OF_FAX in tail:
        return None
    picture = bilevel(image)
    data = data.rstrip(b"\0")
    blank = _blank_rows(picture.tobytes(), (picture.width + 7) // 8, picture.width)
    bits = "".join(f"{byte:08b}" for byte in data[-(blank // 4 + 8) :]).rstrip("0")
    ones = len(bits) - len(bits.rstrip("1"))
    is_white, is_black = (a - 1 <= ones <= a + _LAST_CODE_BITS for a in (blank, 2 * blank - 1))
    if not is_white and not is_black:
        return Damage(RejectReason.TRUNCATED, f"the fax data end before the last {so_many(blank, 'row')}")
    return None


def _blank_rows(rows: bytes, row_bytes: int, width: int) -> int:
    """Rows at the end of a bilevel picture that are of one colour, and of the same."""
    last = rows[-row_bytes:]
    full = bytes([0xFF]) * (width // 8) + bytes([0xFF << (8 - width % 8) & 0xFF] if width % 8 else [])
    if last not in {full, bytes(row_bytes)}:
        return 0
    count = 0
    for start in range(len(rows) - row_bytes, -1, -row_bytes):
        if rows[start : start + row_bytes] != last:
            break
        count += 1
    return count


def _jbig2_damage(image: pikepdf.Stream, filters: list[str], max_pixels: int) -> Damage | None:
    del max_pixels
    data = original_bytes(image, filters)
    if not data:
        return _no_data(data, "")
    if _segments_end_early(data):
        return Damage(RejectReason.TRUNCATED, "a JBIG2 segment ends after the data do")
    return _undecodable(image)


def _segments_end_early(data: bytes) -> bool:
    """Whether the last segment lies beyond the end (ITU-T T.88, 7.2); False from a segment of unknown length on."""
    at = 0
    while at < len(data):
        if at + 11 > len(data):
            return bool(data[at:].strip(_PADDING))
        number, flags, referred = int.from_bytes(data[at : at + 4], "big"), data[at + 4], data[at + 5] >> 5
        at += 6
        if referred == 7:
            count = int.from_bytes(data[at - 1 : at + 3], "big") & 0x1FFFFFFF
            at += 3 + (count + 8) // 8
        else:
            count = referred
        at += count * (1 if number <= 256 else 2 if number <= 65536 else 4)
        at += 4 if flags & 0x40 else 1
        length = int.from_bytes(data[at : at + 4], "big")
        at += 4
        if length == _UNKNOWN_LENGTH or flags & 0x3F in {_END_OF_PAGE, _END_OF_FILE}:
            return False
        at += length
    return at > len(data)


def _undecodable(image: pikepdf.Stream) -> Damage | None:
    try:
        bilevel(image)
    except NotOneImageError as error:
        return Damage(RejectReason.CORRUPT, str(error), certain=False)
    return None


def _samples_damage(image: pikepdf.Stream, filters: list[str], max_pixels: int) -> Damage | None:
    """Raw samples are as many as the dictionary says, and a palette has the colours that it says."""
    del filters, max_pixels
    try:
        found = len(samples_of(image))
    except (pikepdf.PdfError, zlib.error) as error:
        return Damage(RejectReason.CORRUPT, " ".join(str(error).split()), certain="inflate" in str(error))
    bits = int(image.get("/BitsPerComponent", 8))
    if bits not in _DEPTHS:
        return Damage(RejectReason.CORRUPT, f"{bits} bits a sample")
    row_bytes = row_bytes_of(image)
    wanted = row_bytes * size_of(image)[1]
    if wanted and found <= wanted - row_bytes:
        return Damage(RejectReason.TRUNCATED, f"{found} bytes of pixels, {wanted} belong to them")
    return palette_damage(image)


def palette_damage(image: pikepdf.Stream) -> Damage | None:
    """A palette has fewer colours than its colour space says."""
    space = image.get("/ColorSpace")
    if not isinstance(space, pikepdf.Array) or len(space) != 4 or str(space[0]) not in {"/Indexed", "/I"}:
        return None
    channels = channels_of(space[1])
    table = space[3]
    found = len(table.read_bytes() if isinstance(table, pikepdf.Stream) else bytes(table))
    wanted = (min(int(space[2]), 255) + 1) * channels
    if found < wanted:
        return Damage(RejectReason.CORRUPT, f"a palette of {found} bytes, {wanted} belong to it")
    return None


def _no_data(data: bytes, detail: str) -> Damage:
    return Damage(RejectReason.TRUNCATED, detail if data else "no bytes")


_CHECKS: Final = {
    "/DCTDecode": _jpeg_damage,
    "/JPXDecode": _jpeg2000_damage,
    "/CCITTFaxDecode": _fax_damage,
    "/JBIG2Decode": _jbig2_damage,
}
