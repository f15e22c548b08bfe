import pytest

from vlm_assets.words.tolerance import Tolerance, tolerance_for

DEFAULT = Tolerance(0.05, said=False)


@pytest.mark.parametrize(
    ("tolerance", "rejects", "total", "passes"),
    [
        pytest.param(DEFAULT, 0, 0, True, id="nothing_at_all"),
        pytest.param(DEFAULT, 1, 1, False, id="the_only_one"),
        pytest.param(DEFAULT, 1, 2, False, id="half"),
        pytest.param(DEFAULT, 1, 3, True, id="one_of_few"),
        pytest.param(DEFAULT, 2, 11, True, id="two_of_a_small_folder"),
        pytest.param(DEFAULT, 3, 9, True, id="three_of_nine"),
        pytest.param(DEFAULT, 4, 12, False, id="four_are_not_few"),
        pytest.param(DEFAULT, 5, 100, True, id="the_share"),
        pytest.param(DEFAULT, 6, 100, False, id="above_the_share"),
        pytest.param(Tolerance(0.05), 1, 11, False, id="what_is_said_is_exact"),
        pytest.param(Tolerance(0), 1, 1000, False, id="none_at_all"),
        pytest.param(Tolerance(0.29), 29, 100, True, id="a_share_that_binary_has_not"),
        pytest.param(Tolerance(1), 4, 4, True, id="everything"),
    ],
)
def test_what_passes(tolerance, rejects, total, passes):
    assert tolerance.allows(rejects, total) is passes


@pytest.mark.parametrize(
    ("rejects", "total", "line"),
    [(2, 11, "0.2"), (1, 5, "0.2"), (11, 11, "1"), (6, 100, "0.06"), (7, 1000, "0.007"), (3, 10, "0.3")],
)
def test_the_share_to_write_lets_them_pass(rejects, total, line):
    assert tolerance_for(rejects, total) == line
    assert Tolerance(float(line)).allows(rejects, total)
