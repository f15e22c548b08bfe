"""Histograms: fixed bins, so that two corpora can be compared and numbers of many shards be added up."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

KILO: Final = 1024


@dataclass(slots=True)
class Histogram:
    """Counts by bin. A value falls into the first bin whose upper edge it is below; the last bin has none."""

    title: str
    labels: tuple[str, ...]
    edges: tuple[float, ...]
    """Upper edges, one less than labels."""
    counts: NDArray[np.int64] = field(init=False)

    def __post_init__(self) -> None:
        """All empty."""
        self.counts = np.zeros(len(self.labels), np.int64)

    def add(self, values: NDArray[Any]) -> None:
        """Counts these values in."""
        places = np.searchsorted(np.array(self.edges), values, side="right")
        self.counts += np.bincount(places, minlength=len(self.labels))

    def to_json(self) -> dict[str, Any]:
        """Title, and a pair (label, count) a bin."""
        return {
            "title": self.title,
            "bins": [[label, int(n)] for label, n in zip(self.labels, self.counts, strict=True)],
        }


def _between(edges: Sequence[float], names: Sequence[str]) -> tuple[str, ...]:
    """`< a`, `a-b`, …, `≥ z`, by the names of the edges."""
    assert len(edges) == len(names)  # noqa: S101 - two constants of this module
    inner = (f"{one}-{other}" for one, other in itertools.pairwise(names))
    return (f"< {names[0]}", *inner, f"≥ {names[-1]}")


def _sides(title: str) -> Histogram:
    edges = (64, 128, 256, 512, 1024, 2048, 4096, 8192)
    return Histogram(title, _between(edges, [str(one) for one in edges]), edges)


def image_histograms() -> dict[str, Histogram]:
    """Of every image: its sides in px as it is shown, their ratio, the bytes of its file."""
    sizes = tuple(KILO * 4**power for power in range(8))
    ratios = (1 / 3, 1 / 2, 2 / 3, 0.95, 1.05, 1.5, 2, 3)
    return {
        "shorter_side": _sides("Shorter side, px"),
        "longer_side": _sides("Longer side, px"),
        "aspect": Histogram(
            "Width to height",
            ("< 1:3", "1:3-1:2", "1:2-2:3", "2:3-1:1", "square", "1:1-3:2", "3:2-2:1", "2:1-3:1", "≥ 3:1"),
            ratios,
        ),
        "bytes": Histogram(
            "Bytes of an image",
            _between(sizes, ["1K", "4K", "16K", "64K", "256K", "1M", "4M", "16M"]),
            sizes,
        ),
    }


def row_histograms() -> dict[str, Histogram]:
    """Of every row: how many images, and how many bytes of words it has."""
    counts = (2, 3, 5, 9, 17)
    words = (1, 17, 65, 257, 1_025, 4_097, 16_385)
    return {
        "images": Histogram("Images of a record", ("1", "2", "3-4", "5-8", "9-16", "≥ 17"), counts),
        "words": Histogram(
            "Words of a record, bytes of UTF-8 (text and messages)",
            ("none", "1-16", "17-64", "65-256", "257-1K", "1K-4K", "4K-16K", "> 16K"),
            words,
        ),
    }
