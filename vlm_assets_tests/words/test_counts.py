import pytest

from vlm_assets.words.counts import so_many


@pytest.mark.parametrize(
    ("count", "words", "told"),
    [
        (0, ("row",), "0 rows"),
        (1, ("row",), "1 row"),
        (1_200, ("row",), "1,200 rows"),
        (1, ("corpus", "corpora"), "1 corpus"),
        (2, ("corpus", "corpora"), "2 corpora"),
    ],
)
def test_one_is_told_as_one(count, words, told):
    assert so_many(count, *words) == told
