"""A page's operators before they are read: whether all of them are there, and whether it is worth the reading."""

import re
import zlib
from collections.abc import Iterator
from typing import Final

import pikepdf

from vlm_assets.pdf.resources import unflated

MAX_CONTENT_BYTES: Final = 4 * 2**20
"""Decoded operators of a page, those of its forms each time that they are drawn: a form that draws a form ten times,
ten levels deep, is ten billion of them in 1 KB. A page with more is a drawing, and reading it would cost more than
rendering it."""

_LEAST_BYTES: Final = 64
"""What a stream counts at least: an empty form takes time too."""
_INLINE_PICTURE: Final = re.compile(rb"\bBI\s[^>]{0,400}?/W(?:idth)?\s*\d{3}[\s\S]{0,400}?\bID\s")
_DRAWS: Final = re.compile(rb"/([^\s/\[\]()<>{}%#]+)\s+Do\b")
_ZLIB_HEAD_BYTES: Final = 2


def decoded_bytes(stream: pikepdf.Stream, limit: int) -> int:
    """Size of a content stream once decoded; more than `limit` where it, or what it is packed in, is larger."""
    if int(stream.get("/Length", 0)) > limit:
        return limit + 1
    data = unflated(stream, limit + 1)
    return max(_LEAST_BYTES, len(stream.read_bytes() if data is None else data))


def may_show_pictures(page: pikepdf.Page) -> bool:
    """Whether a large image seems to stand in the page's own operators, or one that they draw is missing.

    Spares drawings the reading of theirs.
    """
    named = page.resources.get("/XObject")
    there = {key[1:].encode() for key, one in dict(named or {}).items() if isinstance(one, pikepdf.Stream)}
    left = MAX_CONTENT_BYTES
    for stream in _streams(page):
        left -= decoded_bytes(stream, left)
        if left < 0:
            return False
        told = stream.read_bytes()
        if _INLINE_PICTURE.search(told) or not there.issuperset(_DRAWS.findall(told)):
            return True
    return False


def operators_end(page: pikepdf.Page) -> bool:
    """Whether the page's operators are there to their end; True where that cannot be told.

    A missing checksum is no missing operator: the end of the deflated data counts (RFC 1951).
    """
    for stream in _streams(page):
        if stream.get("/Filter") != pikepdf.Name.FlateDecode:
            continue
        data = stream.read_raw_bytes()
        if not data.strip() or data[0] & 0x0F != zlib.DEFLATED:
            continue
        unpacking = zlib.decompressobj(-zlib.MAX_WBITS)
        try:
            unpacking.decompress(data[_ZLIB_HEAD_BYTES:], MAX_CONTENT_BYTES)
        except zlib.error:
            return False
        if not unpacking.eof and not unpacking.unconsumed_tail:
            return False
    return True


def _streams(page: pikepdf.Page) -> Iterator[pikepdf.Stream]:
    contents = page.obj.get("/Contents")
    for stream in [contents] if isinstance(contents, pikepdf.Stream) else list(contents or ()):
        if isinstance(stream, pikepdf.Stream):
            yield stream
