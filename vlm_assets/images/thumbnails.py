"""Small pictures for people: in the UI, in papers, on a contact sheet. Nothing is decided by them."""

import io
import struct
from collections.abc import Mapping
from typing import Any, Final

from PIL import Image

_MAX_PIXELS: Final = 40_000_000
_SAFE_FORMATS: Final = frozenset({"JPEG", "PNG", "WEBP"})
"""Formats whose decoders run in this process anyway; the exotic ones get no thumbnail."""
_TURNS: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""By EXIF orientation."""
_FAULTS: Final = (
    OSError, ValueError, SyntaxError, EOFError, struct.error, TypeError, KeyError, IndexError, AttributeError,
    OverflowError, Image.DecompressionBombError,
)  # fmt: skip
"""What Pillow raises over damaged images."""


def may_be_drawn(fact: Mapping[str, Any]) -> bool:
    """Whether an image with these facts (of `image_facts`) is quick and safe to decode here."""
    return fact["format"] in _SAFE_FORMATS and 0 < fact["width_px"] * fact["height_px"] <= _MAX_PIXELS


def small_picture(encoded: bytes, fact: Mapping[str, Any], side_px: int) -> Image.Image | None:
    """The image in RGB, turned as its EXIF says, no side longer than `side_px`; None where it is not to be had.

    Verified is it only as far as the source's `verify` asks, so a picture less on a page is no failure.
    """
    if not may_be_drawn(fact):
        return None
    try:
        with Image.open(io.BytesIO(encoded), formats=(fact["format"],)) as image:
            image.draft("RGB", (side_px, side_px))
            small = _shrunk(image, side_px)
    except _FAULTS:
        return None
    turn = _TURNS.get(fact.get("orientation") or 1)
    return small.transpose(turn) if turn is not None else small


def _shrunk(image: Image.Image, side_px: int) -> Image.Image:
    """In RGB, on white where it is transparent."""
    clear = "transparency" in image.info or image.mode in ("RGBA", "LA", "PA")
    small = image.convert("RGBA" if clear else "RGB")
    small.thumbnail((side_px, side_px))
    if not clear:
        return small
    return Image.alpha_composite(Image.new("RGBA", small.size, "white"), small).convert("RGB")


def thumbnail(encoded: bytes, fact: Mapping[str, Any], side_px: int) -> bytes | None:
    """`small_picture` as a JPEG of low quality, about 2 KB at 96 px; without EXIF or whatever else came with it."""
    small = small_picture(encoded, fact, side_px)
    if small is None:
        return None
    sink = io.BytesIO()
    small.save(sink, "JPEG", quality=50)
    return sink.getvalue()
