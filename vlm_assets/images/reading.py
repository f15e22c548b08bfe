"""What `datasets` does with an image besides decoding it: opens it by Pillow's own choice, reads EXIF, turns it.

`Image.decode_example` (datasets 5.2, `features/image.py`) calls `getexif` on every image, and on those with an
orientation `ImageOps.exif_transpose`. Both raise on EXIF that no decoder minds, so such an image would be in the
corpus and could not be read from it.
"""

import warnings
from io import BytesIO
from typing import Final

from PIL import ExifTags, Image, ImageOps

MAX_OPENED_PIXELS: Final = 2 * (Image.MAX_IMAGE_PIXELS or 0)
"""Pillow opens no larger ones."""
_READ_ON_OPENING: Final = ("exif", "mp")
"""Blocks of a JPEG that Pillow reads while it opens it, beyond the decoder."""
_TOLD_APART: Final = frozenset({*_READ_ON_OPENING, "Raw profile type exif", "XML:com.adobe.xmp", "xmp"})
"""Where Pillow looks for EXIF, or an orientation, in what is no TIFF (`Image.getexif`)."""


def check_reading(image: Image.Image, data: bytes | None = None) -> None:
    """Returns where a reader gets this image. It is loaded, unless nobody asks for its pixels.

    `data`: its bytes, where it was not opened by `Image.open`, which chooses a format by itself.

    Raises:
        Exception: whatever the reader would raise.
    """
    if _TOLD_APART.isdisjoint(image.info) and not hasattr(image, "tag_v2"):
        return  # there is nothing besides pixels
    warnings.filterwarnings("ignore", module=r"PIL\.")  # it warns of EXIF that it reads all the same
    if data is not None and any(name in image.info for name in _READ_ON_OPENING):
        image = Image.open(BytesIO(data))  # what is read on opening is not read again, be it broken
    if image.getexif().get(ExifTags.Base.Orientation) is None:
        return
    # The same as of the image itself: what is turned is new, has its `info`, and one pixel is as good as all.
    one_pixel = Image.new("1", (1, 1))
    one_pixel.info = dict(image.info)
    ImageOps.exif_transpose(one_pixel)
