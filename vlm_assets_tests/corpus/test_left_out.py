import pytest

from vlm_assets.allocation.certificate import SourceTotal
from vlm_assets.allocation.reasons import ExclusionReason
from vlm_assets.corpus.left_out import left_out_of, left_out_told


@pytest.mark.parametrize(
    ("excluded", "not_selected", "told"),
    [
        pytest.param(
            {"duplicate": 1}, 0, "1 row of street is left out: 1 duplicate or near duplicate", id="one"
        ),
        pytest.param(
            {"duplicate": 4, "licence": 0},
            0,
            "4 rows of street are left out: 4 duplicates or near duplicates",
            id="several",
        ),
        pytest.param(
            {"filter:sharp": 1_200, "decontaminate": 2, "min_side": 2},
            86,
            "1,290 rows of street are left out: 1,200 by the filter sharp, 86 more than the quotas ask for, "
            "2 like a benchmark's (decontamination), 2 smaller than min_side_px",
            id="each_way",
        ),
    ],
)
def test_rows_that_are_left_out_are_told_with_why(excluded, not_selected, told):
    total = SourceTotal(
        source="street", admitted=9_000, selected=9, excluded={**excluded, "unmapped_label": 3},
        not_selected=not_selected, cause="",
    )  # fmt: skip
    assert left_out_told("full", "street", left_out_of(total)) == f"full: {told}"


@pytest.mark.parametrize("reason", sorted(set(ExclusionReason) - {ExclusionReason.UNMAPPED_LABEL}))
def test_every_reason_has_words(reason):
    assert not left_out_told("full", "street", {reason: 2}).endswith(f": 2 {reason}")
