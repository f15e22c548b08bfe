"""`blur`: how sharp an image is, by the variance of its Laplacian; flat and blurred images have a low one.

Pech-Pacheco et al., Diatom autofocusing in brightfield microscopy (2000), LAPV.
"""

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from vlm_assets.annotators._numbers import variance
from vlm_assets.annotators.picture import Picture, Pixels
from vlm_assets.annotators.protocol import Reads, Values


class Blur:
    """`laplacian`: variance of the 4-neighbour Laplacian of the luma (0 to 255), without the outermost pixels.

    Of images under 3 pixels in a side there is none.
    """

    name: ClassVar[str] = "blur"
    version: ClassVar[int] = 1
    reads: ClassVar[Reads] = Reads.IMAGES
    columns: ClassVar[pa.Schema] = pa.schema([("laplacian", pa.float32())])
    cost_s: ClassVar[float] = 8.0

    def missing(self) -> str:
        """Nothing; see `Annotator.missing`."""
        return ""

    def annotate(self, batch: Sequence[Picture]) -> Sequence[Values]:
        """See `Annotator.annotate`."""
        return [{"laplacian": variance(laplacian(one.grey))} for one in batch]


def laplacian(grey: Pixels) -> NDArray[Any]:
    """Of every pixel that has four neighbours."""
    values = grey.astype(np.int16)
    around = values[:-2, 1:-1] + values[2:, 1:-1] + values[1:-1, :-2] + values[1:-1, 2:]
    return np.asarray(around - 4 * values[1:-1, 1:-1])


ANNOTATOR = Blur()
