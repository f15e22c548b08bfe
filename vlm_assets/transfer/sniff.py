"""Whether the first bytes of a body can be an image at all. Probing it properly comes later, elsewhere."""

import re
from typing import Final

_KNOWN: Final = (
    (b"%PDF", "a PDF"),
    (b"PK\x03\x04", "a zip archive"),
    (b"\x1f\x8b", "gzip data"),
    (b"Rar!", "a RAR archive"),
    (b"7z\xbc\xaf", "a 7z archive"),
    (b"\x1a\x45\xdf\xa3", "a video"),
    (b"OggS", "audio or video"),
    (b"ID3", "audio"),
    (b"\x7fELF", "a program"),
)
_IMAGES: Final = (
    b"\xff\xd8",
    b"\x89PNG",
    b"GIF8",
    b"RIFF",
    b"BM",
    b"II",
    b"MM",
    *(b"P%d" % n for n in range(1, 8)),
)
_VIDEO_BRANDS: Final = (b"isom", b"iso2", b"mp41", b"mp42", b"qt  ", b"M4V ", b"avc1", b"3gp")
_MARKUP: Final = re.compile(
    rb"^(?:\xef\xbb\xbf)?\s*<(?:!doctype|html|head|body|\?xml|!--|script|error)", re.IGNORECASE
)
_TEXT_TYPES: Final = ("text/html", "application/xhtml", "application/json", "text/plain")
_PRINTABLE: Final = frozenset(range(32, 127)) | {9, 10, 13} | frozenset(range(128, 256))


def not_an_image(head: bytes, content_type: str) -> str | None:
    """What the body plainly is instead of an image, or None where it may be one.

    `head` is the first chunk received. Doubtful bytes pass: only the probe may say that they are corrupt.
    """
    for magic, name in _KNOWN:
        if head.startswith(magic):
            return name
    if head[4:8] == b"ftyp" and head[8:12] in _VIDEO_BRANDS:
        return "a video"
    if _MARKUP.match(head[:256]) and b"<svg" not in head[:1024]:
        return "a page of markup"
    textual = content_type.lower().startswith(_TEXT_TYPES)
    if textual and not head.startswith(_IMAGES) and all(byte in _PRINTABLE for byte in head[:256]):
        return f"text ({content_type.partition(';')[0].strip()})"
    return None
