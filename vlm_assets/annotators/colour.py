"""`colour`: how colourful an image is.

Hasler and Süsstrunk, Measuring colourfulness in natural images (2003), their metric M3.
"""

import math
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import pyarrow as pa

from vlm_assets.annotators._numbers import variance
from vlm_assets.annotators.picture import Picture, Pixels
from vlm_assets.annotators.protocol import Reads, Values


class Colour:
    """`colourfulness`: 0 of grey images; about 15 slightly, 45 averagely, 80 highly colourful, says the paper."""

    name: ClassVar[str] = "colour"
    version: ClassVar[int] = 1
    reads: ClassVar[Reads] = Reads.IMAGES
    columns: ClassVar[pa.Schema] = pa.schema([("colourfulness", pa.float32())])
    cost_s: ClassVar[float] = 16.0

    def missing(self) -> str:
        """Nothing; see `Annotator.missing`."""
        return ""

    def annotate(self, batch: Sequence[Picture]) -> Sequence[Values]:
        """See `Annotator.annotate`."""
        return [{"colourfulness": colourfulness(one.rgb)} for one in batch]


def colourfulness(rgb: Pixels) -> float | None:
    """Of the opponent channels red − green and (red + green) / 2 − blue, the second one doubled to whole numbers."""
    red, green, blue = (rgb[..., channel].astype(np.int16) for channel in range(3))
    red_green, yellow_blue = red - green, red + green - 2 * blue
    first, second = variance(red_green), variance(yellow_blue)
    if first is None or second is None:
        return None
    size = red_green.size
    means = math.hypot(
        int(red_green.sum(dtype=np.int64)) / size, int(yellow_blue.sum(dtype=np.int64)) / (2 * size)
    )
    return math.sqrt(first + second / 4) + 0.3 * means


ANNOTATOR = Colour()
