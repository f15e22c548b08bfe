"""`entropy`: how much the brightness of an image's pixels tells."""

import math
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import pyarrow as pa

from vlm_assets.annotators.picture import Picture, Pixels
from vlm_assets.annotators.protocol import Reads, Values


class Entropy:
    """`bits`: Shannon entropy of the histogram of the luma, 0 (flat) to 8 bits a pixel."""

    name: ClassVar[str] = "entropy"
    version: ClassVar[int] = 1
    reads: ClassVar[Reads] = Reads.IMAGES
    columns: ClassVar[pa.Schema] = pa.schema([("bits", pa.float32())])
    cost_s: ClassVar[float] = 3.0

    def missing(self) -> str:
        """Nothing; see `Annotator.missing`."""
        return ""

    def annotate(self, batch: Sequence[Picture]) -> Sequence[Values]:
        """See `Annotator.annotate`."""
        return [{"bits": entropy_bits(one.grey)} for one in batch]


def entropy_bits(grey: Pixels) -> float:
    """Of the values' frequencies."""
    counts = [count for count in np.bincount(grey.ravel(), minlength=256).tolist() if count]
    return math.log2(grey.size) - math.fsum(count * math.log2(count) for count in counts) / grey.size


ANNOTATOR = Entropy()
