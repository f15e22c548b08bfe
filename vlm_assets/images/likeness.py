"""Whether two encoded files show the same picture. Decides by their hashes where these tell, else by their pixels."""

import io
from dataclasses import dataclass
from typing import Final

SAME_PICTURE_BITS: Final = 10
"""dhashes of one picture, encoded again, differ by at most so many bits; those of two pictures by about 32."""
FLAT_BITS: Final = (5, 59)
"""A dhash with fewer or more bits set is of a flat image and says nothing about likeness."""
_LIGHT_CELLS: Final = 16
_LIGHT_STEP: Final = 12
_COLOUR_CELLS: Final = 8
_COLOUR_STEP: Final = 32
"""Averages of a cell, 0..255: after a JPEG of quality 20 light differs by up to 6 and colour, which JPEG keeps at
half the resolution, by up to 23 in an image of 64 pixels; between pictures by 60 and more (measured)."""
_SHAPE: Final = 0.02
_MAX_PIXELS: Final = 40_000_000
_SAFE_FORMATS: Final = ("JPEG", "PNG", "WEBP")
"""Formats whose decoders run in this process anyway."""


def telling(dhash: int | None) -> bool:
    """Whether a dhash says something about likeness: there is one, and not of a flat image."""
    return dhash is not None and FLAT_BITS[0] <= dhash.bit_count() <= FLAT_BITS[1]


def same_by_dhash(one: int | None, other: int | None) -> bool | None:
    """Whether two dhashes are of one picture; None where they cannot tell."""
    if one is None or other is None or not (telling(one) and telling(other)):
        return None
    return (one ^ other).bit_count() <= SAME_PICTURE_BITS


def same_by_pixels(one: bytes, other: bytes) -> bool | None:
    """Whether two files look alike on a coarse grid, colours and shape included; None where one cannot be decoded."""
    left, right = _coarse(one), _coarse(other)
    if left is None or right is None:
        return None
    if abs(left.shape - right.shape) > _SHAPE * max(left.shape, right.shape):
        return False
    light = max(abs(a - b) for a, b in zip(left.light, right.light, strict=True))
    colour = max(abs(a - b) for a, b in zip(left.colour, right.colour, strict=True))
    return light <= _LIGHT_STEP and colour <= _COLOUR_STEP


@dataclass(frozen=True, slots=True)
class _Coarse:
    """A picture in few numbers: width to height, and averages of light and of both colours; transparency is white."""

    shape: float
    light: bytes
    colour: bytes


def _coarse(encoded: bytes) -> _Coarse | None:
    from PIL import Image  # noqa: PLC0415 - where something is alike

    try:
        with Image.open(io.BytesIO(encoded), formats=_SAFE_FORMATS) as image:
            width, height = image.size
            if not 0 < width * height <= _MAX_PIXELS:
                return None
            image.draft("RGB", (_LIGHT_CELLS * 8, _LIGHT_CELLS * 8))
            small = image.convert("RGBA")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None
    small.thumbnail((_LIGHT_CELLS * 8, _LIGHT_CELLS * 8), Image.Resampling.BOX)
    white = Image.new("RGBA", small.size, (255, 255, 255, 255))
    light, *colours = Image.alpha_composite(white, small).convert("RGB").convert("YCbCr").split()
    return _Coarse(
        width / height,
        light.resize((_LIGHT_CELLS, _LIGHT_CELLS), Image.Resampling.BOX).tobytes(),
        b"".join(
            one.resize((_COLOUR_CELLS, _COLOUR_CELLS), Image.Resampling.BOX).tobytes() for one in colours
        ),
    )
