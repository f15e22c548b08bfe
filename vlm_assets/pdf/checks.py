"""What can be noticed about a page image without a full decode: size, blankness."""

from pathlib import Path
from typing import Final

from PIL import Image

from vlm_assets.pdf.facts import PageFlag

_REDUCTION: Final = 8
_BLANK_RANGE: Final = 8
_BLANK_BITS_PER_PIXEL: Final = 0.35
"""A JPEG or PNG with more bits than this is never blank: measured, an empty page at quality 90 takes 0.02 to 0.15,
a page with one paragraph 0.2. Spares nearly every page the decode that would be half the cost of taking it."""

_HEADER_BYTES: Final = 4096  # tables and metadata, which outweigh the pixels of a small page


def page_flags(file: Path, width_px: int, height_px: int, size_bytes: int) -> tuple[PageFlag, ...]:
    """The flags that one page image earns by itself. One that cannot be decoded is not blank: a probe will say so.

    Raises:
        OSError: with a number: the file cannot be read.
    """
    flags = []
    if (size_bytes - _HEADER_BYTES) * 8 <= _BLANK_BITS_PER_PIXEL * width_px * height_px:
        try:
            with Image.open(file) as opened:
                if is_blank(opened):
                    flags.append(PageFlag.BLANK)
        except (OSError, SyntaxError, ValueError) as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise
    if min(width_px, height_px) <= 1:
        flags.append(PageFlag.TINY)
    return tuple(flags)


def is_blank(image: Image.Image) -> bool:
    """Whether the page, averaged over squares of 8 x 8 pixels, spans at most 8 of 255 grey levels."""
    image.draft("L", (max(1, image.width // _REDUCTION), max(1, image.height // _REDUCTION)))
    grey = image.convert("L")
    scale = min(_REDUCTION, grey.width, grey.height)
    if grey.size == image.size and grey.width > scale and image.format != "JPEG":
        grey = grey.reduce(scale)
    low, high = grey.getextrema()
    return float(high) - float(low) <= _BLANK_RANGE  # type: ignore[arg-type]  # one band: two numbers
