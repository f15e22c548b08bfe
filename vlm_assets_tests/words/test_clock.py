import pytest

from vlm_assets.words.clock import has_come

NOW, DAY_S, YEAR_S = 1_800_000_000.0, 86_400.0, 365.25 * 86_400


@pytest.mark.parametrize(
    ("ahead_s", "over"),
    [
        pytest.param(-20 * YEAR_S, True, id="years-ago"),
        pytest.param(0.0, True, id="now"),
        pytest.param(1.0, False, id="in-a-second"),
        pytest.param(DAY_S, False, id="in-as-long-as-may-be"),
        pytest.param(DAY_S + 1, True, id="longer-than-anything-is-put-off"),
        pytest.param(20 * YEAR_S, True, id="in-years"),
    ],
)
def test_a_time_on_record_is_over(*, ahead_s: float, over: bool):
    assert has_come(NOW + ahead_s, NOW, longest_s=DAY_S) == over
