"""Labels that lead to no subcategory, counted by source while rows are read."""

from collections import Counter
from collections.abc import Mapping
from typing import Final

import pyarrow as pa

LABELS_KEPT: Final = 50
"""Labels a source that a plan keeps, the most frequent; of the rest the rows are known."""
_COUNTED: Final = 10_000
"""Different labels a source that are told apart: a column of sentences may have as many as there are rows."""
_LONGEST: Final = 200
"""Characters of a label that are kept."""


def count_labels(counts: Counter[str], labels: pa.Array) -> None:
    """Adds the rows of each label; a row without one is of the label "". Once there are too many, no new ones."""
    for one in labels.value_counts().to_pylist():
        label = (one["values"] or "")[:_LONGEST]
        if label in counts or len(counts) < _COUNTED:
            counts[label] += one["counts"]


def most_frequent(counts: Mapping[str, int]) -> dict[str, int]:
    """Those that are kept, the most frequent first, equally frequent ones by name."""
    return dict(sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))[:LABELS_KEPT])
