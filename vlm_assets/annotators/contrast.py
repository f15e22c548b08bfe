"""`contrast`: how far the brightness of an image is spread."""

import math
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import pyarrow as pa

from vlm_assets.annotators._numbers import variance
from vlm_assets.annotators.picture import Picture, Pixels
from vlm_assets.annotators.protocol import Reads, Values


class Contrast:
    """`rms`: standard deviation of the luma, as a share of its range: 0 of a flat image, 0.5 of half black/white.

    `spread`: between its 1st and 99th percentile, as a share of its range.
    """

    name: ClassVar[str] = "contrast"
    version: ClassVar[int] = 1
    reads: ClassVar[Reads] = Reads.IMAGES
    columns: ClassVar[pa.Schema] = pa.schema([("rms", pa.float32()), ("spread", pa.float32())])
    cost_s: ClassVar[float] = 4.0

    def missing(self) -> str:
        """Nothing; see `Annotator.missing`."""
        return ""

    def annotate(self, batch: Sequence[Picture]) -> Sequence[Values]:
        """See `Annotator.annotate`."""
        return [{"rms": _rms(one.grey), "spread": _spread(one.grey)} for one in batch]


def _rms(grey: Pixels) -> float | None:
    found = variance(grey)
    return None if found is None else math.sqrt(found) / 255


def _spread(grey: Pixels) -> float:
    below = np.cumsum(np.bincount(grey.ravel(), minlength=256))
    low, high = (int(np.searchsorted(below, grey.size * percent / 100)) for percent in (1, 99))
    return (high - low) / 255


ANNOTATOR = Contrast()
