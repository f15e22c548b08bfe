"""What counts as the same sample, what as nearly the same, and which of them stays."""

import pytest

from vlm_assets.allocation.reasons import ExclusionReason
from vlm_assets.catalog.spec import DedupSpec
from vlm_assets_tests.allocation.builders import catalog, commit, row, source
from vlm_assets_tests.allocation.plans import PICTURE, ids_of, plan


@pytest.mark.parametrize(
    ("precedence", "kept"), [((), "a/s/x"), (("b",), "b/s/x")], ids=["by name", "as declared"]
)
def test_of_equal_images_the_row_of_precedence_stays(tmp_path, precedence, kept):
    cat = catalog([source("a"), source("b")], dedup=DedupSpec(precedence=precedence))
    supply = [commit(tmp_path, name, "s", [row("same", key="x")]) for name in ("b", "a")]
    assert ids_of(plan(cat, supply)) == [kept]


def test_of_equal_images_in_one_slice_the_lowest_id_stays(tmp_path):
    rows = [row("same", key=key) for key in ("m", "b", "z", "é")]
    supply = [commit(tmp_path, "a", "s", rows), commit(tmp_path, "a", "t", [row("same", key="a")])]
    assert ids_of(plan(catalog([source("a")]), supply)) == ["a/s/b"]


@pytest.mark.parametrize(
    ("exact", "expected"),
    [("image", ["1"]), ("record", ["1", "2", "4"]), ("none", ["1", "2", "3", "4"])],
)
def test_what_counts_as_the_same_sample(tmp_path, exact, expected):
    rows = [row("same", key="1", text="x"), row("same", key="2", text="y"), row("same", key="3", text="x"),
            row("same", key="4", text="x", messages="m")]  # fmt: skip
    cat = catalog([source("a")], dedup=DedupSpec(exact=exact))
    assert ids_of(plan(cat, [commit(tmp_path, "a", "s", rows)])) == [f"a/s/{key}" for key in expected]


@pytest.mark.parametrize(
    ("other", "bits", "near"),
    [
        (PICTURE ^ 0b1111, 4, True),
        (PICTURE ^ 0b11111, 4, False),
        (PICTURE, 1, True),
        (PICTURE, 0, False),
        (PICTURE ^ 0b1111, {"photos": 4}, True),
        (PICTURE ^ 0b1111, {"photos": 3}, False),
    ],
    ids=["4 of 4", "5 of 4", "the same picture", "off", "of the category", "fewer in the category"],
)
def test_near_pictures(tmp_path, other, bits, near):
    rows = [row(1, dhash=PICTURE), row(2, dhash=other)]
    cat = catalog([source("a")], dedup=DedupSpec(exact="image", near_bits=bits))
    assert len(ids_of(plan(cat, [commit(tmp_path, "a", "s", rows)]))) == (1 if near else 2)


@pytest.mark.parametrize("dhash", [None, 0, 0b1111, 2**64 - 1], ids=["null", "black", "4 bits", "all bits"])
def test_flat_pictures_are_near_nothing(tmp_path, dhash):
    cat = catalog([source("a")], dedup=DedupSpec(exact="image", near_bits=8))
    supply = [commit(tmp_path, "a", "s", [row(1, dhash=dhash), row(2, dhash=dhash)])]
    assert len(ids_of(plan(cat, supply))) == 2


def test_a_duplicate_still_stands_for_its_likeness(tmp_path):
    """b is near a and out; c is near b only, and out as well: what is dropped does not depend on an order."""
    rows = [row(1, key="a", dhash=PICTURE), row(2, key="b", dhash=PICTURE ^ 0b1111),
            row(3, key="c", dhash=PICTURE ^ 0b11111111)]  # fmt: skip
    cat = catalog([source("a")], dedup=DedupSpec(exact="image", near_bits=4))
    assert ids_of(plan(cat, [commit(tmp_path, "a", "s", rows)])) == ["a/s/a"]


@pytest.mark.parametrize(
    "other",
    [
        {"image": 2, "messages": "m", "dhash": PICTURE},
        {"image": 2, "images": [2, 3], "dhash": [PICTURE, PICTURE]},
    ],
    ids=["with messages", "of several images"],
)
def test_conversations_and_records_of_several_images_are_near_nothing(tmp_path, other):
    cat = catalog([source("a")], dedup=DedupSpec(exact="image", near_bits=8))
    rows = [row(1, dhash=PICTURE), row(**other)]
    assert len(ids_of(plan(cat, [commit(tmp_path, "a", "s", rows)]))) == 2


def test_of_equal_images_those_with_other_words_are_told_apart(tmp_path):
    rows = [row("same", key="1", text="x"), row("same", key="2", text="y"), row("same", key="3", text="x"),
            row("same", key="4", messages="m"), row("else", key="5")]  # fmt: skip
    cat = catalog([source("a")], dedup=DedupSpec(exact="image"))
    result = plan(cat, [commit(tmp_path, "a", "s", rows)])
    assert ids_of(result) == ["a/s/1", "a/s/5"]
    assert result.excluded[ExclusionReason.DUPLICATE] == 1
    assert result.excluded[ExclusionReason.DUPLICATE_OTHER_WORDS] == 2


def test_records_are_equal_where_all_their_images_are_in_one_order(tmp_path):
    rows = [row("r", images=["a", "b"], key="1"), row("r", images=["b", "a"], key="2"),
            row("r", images=["a"], key="3"), row("r", images=["a", "b"], key="4")]  # fmt: skip
    assert ids_of(plan(catalog([source("a")]), [commit(tmp_path, "a", "s", rows)])) == [
        "a/s/1",
        "a/s/2",
        "a/s/3",
    ]
