"""`jpeg`: how hard a JPEG was compressed, by its quantisation tables."""

from bisect import bisect_left
from collections.abc import Sequence
from typing import ClassVar, Final

import pyarrow as pa
from PIL.JpegImagePlugin import JpegImageFile

from vlm_assets.annotators.picture import Picture
from vlm_assets.annotators.protocol import Reads, Values

_LUMA: Final = (
    16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55, 14, 13, 16, 24, 40, 57, 69, 56,
    14, 17, 22, 29, 51, 87, 80, 62, 18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92,
    49, 64, 78, 87, 103, 121, 120, 101, 72, 92, 95, 98, 112, 100, 103, 99,
)  # fmt: skip
"""ITU-T T.81, table K.1."""


def _sum_at(quality: int) -> int:
    """Sum of the table that libjpeg's `jpeg_quality_scaling` and `jpeg_add_quant_table` make of a quality."""
    scale = 5000 // quality if quality < 50 else 200 - 2 * quality
    return sum(min(max((value * scale + 50) // 100, 1), 255) for value in _LUMA)


_SUMS: Final = [-_sum_at(quality) for quality in range(1, 101)]
"""Negative, so that they rise with the quality."""


class Jpeg:
    """`quality`: 1 to 100, the setting of libjpeg that quantises the luma most nearly as hard; null of other formats.

    A file that was saved again keeps the loss of the harder time and shows the last one.
    """

    name: ClassVar[str] = "jpeg"
    version: ClassVar[int] = 1
    reads: ClassVar[Reads] = Reads.IMAGES
    columns: ClassVar[pa.Schema] = pa.schema([("quality", pa.int32())])
    cost_s: ClassVar[float] = 0.1

    def missing(self) -> str:
        """Nothing; see `Annotator.missing`."""
        return ""

    def annotate(self, batch: Sequence[Picture]) -> Sequence[Values]:
        """See `Annotator.annotate`."""
        return [_quality(one) for one in batch]


def _quality(picture: Picture) -> Values:
    image = picture.opened
    tables = image.quantization if isinstance(image, JpegImageFile) else {}
    if not tables:
        return None
    return {"quality": quality_of(tables[min(tables)])}


def quality_of(table: Sequence[int]) -> int:
    """The quality whose table has the sum nearest to this one's; the order of the table does not matter."""
    wanted = -sum(table)
    place = bisect_left(_SUMS, wanted)
    near = [at for at in (place - 1, place) if 0 <= at < len(_SUMS)]
    return 1 + min(near, key=lambda at: abs(_SUMS[at] - wanted))


ANNOTATOR = Jpeg()
