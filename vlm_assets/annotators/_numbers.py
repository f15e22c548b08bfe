"""Sums in whole numbers: the same on every machine, whatever order its processor adds in."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def variance(values: NDArray[Any]) -> float | None:
    """Of whole numbers whose squares sum up to less than 2^53; None of none."""
    count = values.size
    if not count:
        return None
    flat = values.ravel().astype(np.float64)  # several times as fast as integers, and exact below that bound
    total, squares = int(flat.sum()), int(np.dot(flat, flat))
    return (squares * count - total * total) / (count * count)
