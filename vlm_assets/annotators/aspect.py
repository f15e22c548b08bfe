"""`aspect`: the shape of an image as people see it, turned as its EXIF says."""

from collections.abc import Sequence
from typing import ClassVar, Final

import pyarrow as pa
from PIL import ExifTags

from vlm_assets.annotators.picture import Picture
from vlm_assets.annotators.protocol import Reads, Values

_LYING: Final = range(5, 9)
"""EXIF orientations with width and height exchanged."""


class Aspect:
    """`ratio`: width / height. `width_px`, `height_px`: upright. Reads the header alone."""

    name: ClassVar[str] = "aspect"
    version: ClassVar[int] = 1
    reads: ClassVar[Reads] = Reads.IMAGES
    columns: ClassVar[pa.Schema] = pa.schema(
        [("ratio", pa.float32()), ("width_px", pa.int32()), ("height_px", pa.int32())]
    )
    cost_s: ClassVar[float] = 0.1

    def missing(self) -> str:
        """Nothing; see `Annotator.missing`."""
        return ""

    def annotate(self, batch: Sequence[Picture]) -> Sequence[Values]:
        """See `Annotator.annotate`."""
        return [_shape(one) for one in batch]


def _shape(picture: Picture) -> Values:
    width, height = picture.opened.size
    if picture.opened.getexif().get(ExifTags.Base.Orientation) in _LYING:
        width, height = height, width
    return {"ratio": width / height, "width_px": width, "height_px": height}


ANNOTATOR = Aspect()
