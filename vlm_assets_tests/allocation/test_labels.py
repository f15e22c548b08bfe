"""Labels that lead nowhere: the most frequent are told apart, and however many there are, not all are kept."""

from collections import Counter

import pyarrow as pa
import pytest

from vlm_assets.allocation import labels
from vlm_assets.allocation.labels import count_labels, most_frequent


@pytest.mark.parametrize(
    ("batches", "wanted"),
    [
        pytest.param([["b", "a", "b"], ["a", None, "b"]], {"b": 3, "a": 2, "": 1}, id="by frequency"),
        pytest.param([["b", "a"]], {"a": 1, "b": 1}, id="then by name"),
        pytest.param([["a", "b", "c"], ["d", "a"]], {"a": 2, "b": 1}, id="no more than are kept"),
        pytest.param([["sentence", "sent"]], {"sent": 2}, id="no longer than are kept"),
    ],
)
def test_labels_are_counted(
    monkeypatch: pytest.MonkeyPatch, batches: list[list[str | None]], wanted: dict[str, int]
):
    monkeypatch.setattr(labels, "_COUNTED", 3)
    monkeypatch.setattr(labels, "_LONGEST", 4)
    monkeypatch.setattr(labels, "LABELS_KEPT", 3 if "" in wanted else 2)
    counts: Counter[str] = Counter()
    for batch in batches:
        count_labels(counts, pa.array(batch, pa.string()))
    assert list(most_frequent(counts).items()) == list(wanted.items())
    assert len(counts) <= 3
