"""Names the format of encoded bytes by their first bytes, without decoding. Pure.

File names and declared content types are ignored: they are wrong too often.
"""

import re
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Sniffed:
    """A format's name; `is_image` tells an image format from something else that was recognised."""

    name: str
    is_image: bool


# First match wins. Images first: they are what nearly all bytes are.
_MAGIC: Final[tuple[tuple[bytes, str], ...]] = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"II+\0", "TIFF"),
    (b"MM\0+", "TIFF"),
    (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG2000"),
    (b"\xff\x4f\xff\x51", "JPEG2000"),
    (b"%!PS", "EPS"),
    (b"\xc5\xd0\xd3\xc6", "EPS"),
    (b"8BPS", "PSD"),
    (b"DDS ", "DDS"),
    (b"\x01\xda", "SGI"),
    (b"icns", "ICNS"),
    (b"qoif", "QOI"),
    (b"\xff\x0a", "JXL"),
    (b"\0\0\0\x0cJXL \r\n\x87\n", "JXL"),
    (b"II\xbc", "JPEG XR"),
    (b"BLP1", "BLP"),
    (b"BLP2", "BLP"),
    (b"FTC\0", "FTEX"),
    (b"FTU\0", "FTEX"),
    (b"\x0a\x05\x01", "PCX"),
    (b"\x3a\xde\x68\xb1", "DCX"),
    (b"\x59\xa6\x6a\x95", "SUN"),
    (b"\xd7\xcd\xc6\x9a", "WMF"),
    (b"/* XPM */", "XPM"),
    (b"SIMPLE  =", "FITS"),
    (b"\x76\x2f\x31\x01", "EXR"),
    (b"#?RADIANCE", "HDR"),
    (b"\x8aMNG\r\n\x1a\n", "MNG"),
    (b"\x8bJNG\r\n\x1a\n", "JNG"),
    (b"AT&TFORM", "DjVu"),
    (b"%PDF-", "PDF"),
    (b"gimp xcf", "XCF"),
)
POINTER: Final = "a Git LFS pointer"
"""What a repository has instead of the file where it was cloned without Git LFS."""
_OTHER: Final[tuple[tuple[bytes, str], ...]] = (
    (b"PK\x03\x04", "a ZIP archive"),
    (b"\x1f\x8b", "gzip data"),
    (b"Rar!", "a RAR archive"),
    (b"7z\xbc\xaf", "a 7z archive"),
    (b"\x1a\x45\xdf\xa3", "Matroska or WebM video"),
    (b"OggS", "Ogg media"),
    (b"ID3", "MP3 audio"),
    (b"\x7fELF", "a program"),
    (b"version https://git-lfs", POINTER),
)
_BMP_HEADER_SIZES: Final = frozenset({12, 16, 40, 52, 56, 64, 108, 124})
_DIB_HEADER_SIZES: Final = frozenset({40, 108, 124})
_DIB_DEPTHS: Final = frozenset({1, 4, 8, 16, 24, 32})
_DIB_MAX_COMPRESSION: Final = 3
_AVIF_BRANDS: Final = frozenset({b"avif", b"avis"})
_HEIF_BRANDS: Final = frozenset(
    {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1"}
)
_PPM: Final = re.compile(rb"P[1-6fF][\s#]")
_MARKUP: Final = re.compile(
    rb"<(?:!doctype\s+(?P<type>html|svg)|(?P<tag>html|head|body|svg))\b", re.IGNORECASE
)
_TEXT_WINDOW: Final = 4096


def sniff(data: bytes) -> Sniffed | None:
    """The format that the bytes announce, or None where nothing is recognised.

    Image formats of `facts.FORMATS` come by Pillow's names; others that are known come by their common name.
    """
    for magic, name in _MAGIC:
        if data.startswith(magic):
            return Sniffed(name, is_image=True)
    return _sniff_structure(data) or _sniff_other(data) or _sniff_text(data) or _sniff_tga(data)


def _sniff_structure(data: bytes) -> Sniffed | None:
    """Formats whose magic number alone would take in too much, or stands further on."""
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return Sniffed("WEBP", is_image=True)
    if data[4:8] == b"ftyp":
        return _sniff_ftyp(data)
    if data.startswith(b"BM") and int.from_bytes(data[14:18], "little") in _BMP_HEADER_SIZES:
        return Sniffed("BMP", is_image=True)
    if _is_bare_dib(data):
        return Sniffed("BMP", is_image=True)
    if _PPM.match(data):
        return Sniffed("PPM", is_image=True)
    if data[4:6] in {b"\x11\xaf", b"\x12\xaf"} and len(data) >= 128:
        return Sniffed("FLI", is_image=True)
    if data[:4] in {b"\0\0\1\0", b"\0\0\2\0"} and data[4:6] > b"\0\0" and data[9:10] == b"\0":
        return Sniffed("ICO" if data[2] == 1 else "CUR", is_image=True)
    if data.startswith(b"\1\0\0\0") and data[40:44] == b" EMF":
        return Sniffed("EMF", is_image=True)
    return None


def _is_bare_dib(data: bytes) -> bool:
    """A bitmap without the file header before it, as `.dib` files and clipboards have it: one plane, known depth."""
    size, width = int.from_bytes(data[:4], "little"), int.from_bytes(data[4:8], "little")
    planes, depth = int.from_bytes(data[12:14], "little"), int.from_bytes(data[14:16], "little")
    return (
        size in _DIB_HEADER_SIZES
        and 0 < width < 2**31
        and planes == 1
        and depth in _DIB_DEPTHS
        and int.from_bytes(data[16:20], "little") <= _DIB_MAX_COMPRESSION
    )


def _sniff_ftyp(data: bytes) -> Sniffed:
    """ISO base media file (ISO 14496-12): the brands in its first box tell still images from video."""
    size = min(int.from_bytes(data[:4], "big"), 1024)
    brands = {data[8:12], *(data[i : i + 4] for i in range(16, size, 4))}
    if brands & _AVIF_BRANDS:
        return Sniffed("AVIF", is_image=True)
    if brands & _HEIF_BRANDS:
        return Sniffed("HEIF", is_image=True)
    return Sniffed("ISO media (video or audio)", is_image=False)


def _sniff_other(data: bytes) -> Sniffed | None:
    for magic, name in _OTHER:
        if data.startswith(magic):
            return Sniffed(name, is_image=False)
    if data.startswith(b"RIFF"):
        return Sniffed("RIFF media", is_image=False)
    return None


def _sniff_text(data: bytes) -> Sniffed | None:
    head = data[:_TEXT_WINDOW]
    if b"%PDF-" in head[:1024]:  # readers allow junk before it (ISO 32000-1, Annex H)
        return Sniffed("PDF", is_image=True)
    if markup := _MARKUP.search(head):  # the first: pages hold drawings, drawings hold pages
        is_svg = (markup["type"] or markup["tag"]).lower() == b"svg"
        return Sniffed("SVG", is_image=True) if is_svg else Sniffed("an HTML page", is_image=False)
    if re.match(rb"#define \S+_width \d", head):
        return Sniffed("XBM", is_image=True)
    if head.lstrip().startswith((b"{", b"[")) and b"\0" not in head:
        return Sniffed("JSON or text", is_image=False)
    if head and b"\0" not in head and _is_text(head):
        return Sniffed("text", is_image=False)
    return None


def _is_text(head: bytes) -> bool:
    try:
        text = head.decode("utf-8", errors="strict" if len(head) < _TEXT_WINDOW else "ignore")
    except UnicodeDecodeError:
        return False
    return all(c.isprintable() or c.isspace() for c in text)


def _sniff_tga(data: bytes) -> Sniffed | None:
    """Targa has no magic number: a footer in version 2, else a header whose every field is plausible."""
    if data[-18:] == b"TRUEVISION-XFILE.\0":
        return Sniffed("TGA", is_image=True)
    if len(data) < 18:
        return None
    colour_map, kind, depth = data[1], data[2], data[16]
    sides = int.from_bytes(data[12:14], "little"), int.from_bytes(data[14:16], "little")
    mapped = colour_map == 1 and kind in {1, 9} and depth in {8, 16}
    direct = colour_map == 0 and kind in {2, 3, 10, 11} and depth in {8, 15, 16, 24, 32}
    plain_map = colour_map == 1 or not any(data[3:8])
    if (mapped or direct) and plain_map and all(sides) and not data[17] & 0xC0:
        return Sniffed("TGA", is_image=True)
    return None
