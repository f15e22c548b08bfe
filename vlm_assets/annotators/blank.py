"""`blank`: how much of an image is one even ground: empty pages, placeholders, failed renders."""

from collections.abc import Sequence
from typing import ClassVar, Final

import numpy as np
import pyarrow as pa

from vlm_assets.annotators.picture import Picture, Pixels
from vlm_assets.annotators.protocol import Reads, Values

_NEAR: Final = 6
"""Luma on either side of the ground that counts as it."""


class Blank:
    """`share`: of the pixels, those near the commonest brightness (1: blank). `ground`: that brightness, 0 to 255."""

    name: ClassVar[str] = "blank"
    version: ClassVar[int] = 1
    reads: ClassVar[Reads] = Reads.IMAGES
    columns: ClassVar[pa.Schema] = pa.schema([("share", pa.float32()), ("ground", pa.int32())])
    cost_s: ClassVar[float] = 3.0

    def missing(self) -> str:
        """Nothing; see `Annotator.missing`."""
        return ""

    def annotate(self, batch: Sequence[Picture]) -> Sequence[Values]:
        """See `Annotator.annotate`."""
        return [blankness(one.grey) for one in batch]


def blankness(grey: Pixels) -> dict[str, float | int]:
    """See `Blank`; of several that are as common, the darkest is the ground."""
    counts = np.bincount(grey.ravel(), minlength=256)
    ground = int(counts.argmax())
    near = int(counts[max(ground - _NEAR, 0) : ground + _NEAR + 1].sum())
    return {"share": near / grey.size, "ground": ground}


ANNOTATOR = Blank()
