"""Words of the card that its figures decide."""

from typing import Any

import pytest

from vlm_assets.corpus import card

FIGURES: dict[str, Any] = {
    "rows": 1_000, "holes": 0, "shards": 2, "mean_fill": 0.5, "data_bytes": 10**9, "image_bytes": 999_999_999,
    "target_rows": 1_200, "formats": {}, "corpus": "c", "version": "v",
}  # fmt: skip


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [
        (0, "0.00 MB"),
        (1_500_000, "1.50 MB"),
        (10**9 - 1, "1,000.00 MB"),
        (10**9, "1.00 GB"),
        (10**12, "1,000.00 GB"),
    ],
)
def test_sizes_are_read_at_a_glance(size_bytes: int, text: str):
    assert card._size(size_bytes) == text


def test_samples_taken_down_later_are_told_with_the_sum_and_only_then():
    assert "taken down" not in card._summary(FIGURES)
    told = card._summary({**FIGURES, "rows": 997, "holes": 3})
    assert "3 samples were taken down after the corpus was planned (997 = 1,000 - 3)" in told
