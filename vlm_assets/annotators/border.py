"""`border`: even bars around an image, as of scans on a larger sheet, letterboxes and screenshots."""

from collections.abc import Sequence
from typing import ClassVar, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from vlm_assets.annotators.picture import Picture, Pixels
from vlm_assets.annotators.protocol import Reads, Values

_EVEN: Final = 12
"""Luma that a bar may vary by: noise of JPEG and of a scanner."""


class Border:
    """`top`, `bottom`, `left`, `right`: the bars' heights and widths, as shares of the image's. `share`: of its area.

    A bar is of lines that are even in themselves and like the outermost one. Of an image that is even as a whole all
    are bars: `share` is 1.
    """

    name: ClassVar[str] = "border"
    version: ClassVar[int] = 1
    reads: ClassVar[Reads] = Reads.IMAGES
    columns: ClassVar[pa.Schema] = pa.schema(
        [(name, pa.float32()) for name in ("share", "top", "bottom", "left", "right")]
    )
    cost_s: ClassVar[float] = 0.5

    def missing(self) -> str:
        """Nothing; see `Annotator.missing`."""
        return ""

    def annotate(self, batch: Sequence[Picture]) -> Sequence[Values]:
        """See `Annotator.annotate`."""
        return [borders(one.grey) for one in batch]


def borders(grey: Pixels) -> dict[str, float]:
    """Shares of the bars; see `Border`."""
    height, width = grey.shape
    lows, highs = grey.min(axis=1), grey.max(axis=1)
    top, bottom = _bar(lows, highs), _bar(lows[::-1], highs[::-1])
    if top + bottom >= height:
        return {"share": 1.0, "top": 1.0, "bottom": 1.0, "left": 1.0, "right": 1.0}
    middle = grey[top : height - bottom]
    lows, highs = middle.min(axis=0), middle.max(axis=0)
    left, right = _bar(lows, highs), _bar(lows[::-1], highs[::-1])
    inside = (height - top - bottom) * max(width - left - right, 0)
    return {
        "share": 1 - inside / (height * width),
        "top": top / height,
        "bottom": bottom / height,
        "left": left / width,
        "right": right / width,
    }


def _bar(lows: NDArray[np.uint8], highs: NDArray[np.uint8]) -> int:
    """How many lines from the first on vary, all together, by no more than `_EVEN`."""
    low, high = np.minimum.accumulate(lows), np.maximum.accumulate(highs)
    even = high.astype(np.int32) - low <= _EVEN
    return int(len(even) if even.all() else even.argmin())


ANNOTATOR = Border()
