"""The 64-bit difference hash of a decoded image.

Defined as: the pixels as stored (no EXIF orientation, no colour profile), transparency composited over white,
grey by ITU-R 601-2 luma, averaged to 9 x 8 pixels (box filter). Bit (row, column) is 1 where the pixel is darker
than its right neighbour. Rows run from the top, columns from the left; the top left bit is the most significant.
So it equals `imagehash.dhash` but for the resampling filter. A JPEG is hashed from a reduced decode, so the same
picture in another format may differ in a few bits. (The method: N. Krawetz, "Kind of Like That", 2013.)
"""

from typing import Final

from PIL import Image

WIDTH: Final = 9
HEIGHT: Final = 8

_DRAFT_SIZE: Final = (4 * WIDTH, 4 * HEIGHT)
_WIDE: Final = frozenset({"I", "F", "I;16", "I;16L", "I;16B", "I;16N"})


def reduce_decode(image: Image.Image) -> None:
    """Has a JPEG, not loaded yet, decoded in the reduced size that its hash is taken from; leaves others alone."""
    image.draft("L", _DRAFT_SIZE)


def dhash(image: Image.Image) -> int:
    """64-bit unsigned difference hash of the image's current frame. Loads the image; does not change it."""
    values = _grey_values(image)
    bits = 0
    for start in range(0, WIDTH * HEIGHT, WIDTH):
        for left in range(start, start + WIDTH - 1):
            bits = bits << 1 | (values[left] < values[left + 1])
    return bits


def _grey_values(image: Image.Image) -> bytes | tuple[float, ...]:
    """72 grey values in row order; only their order within a row matters, so wide modes are not scaled."""
    if image.mode in _WIDE:
        small = image.convert("F").resize((WIDTH, HEIGHT), Image.Resampling.BOX)
        return tuple(_number(small.getpixel((x, y))) for y in range(HEIGHT) for x in range(WIDTH))
    if image.mode == "LAB":  # Pillow has no conversion from it; its first band is the lightness
        return image.getchannel(0).resize((WIDTH, HEIGHT), Image.Resampling.BOX).tobytes()
    if image.has_transparency_data:
        # resize() averages colours weighted by alpha; compositing afterwards costs 72 pixels instead of millions
        small = image.convert("RGBA").resize((WIDTH, HEIGHT), Image.Resampling.BOX)
        white = Image.new("RGBA", small.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, small).convert("L").tobytes()
    return image.convert("L").resize((WIDTH, HEIGHT), Image.Resampling.BOX).tobytes()


def _number(value: float | tuple[int, ...] | None) -> float:
    if isinstance(value, (int, float)):
        return float(value)
    raise TypeError(f"expected one band, got {value!r}")
