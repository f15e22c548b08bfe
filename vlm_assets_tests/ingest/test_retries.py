"""When what failed is due again, also where the clock jumped between the two."""

from types import SimpleNamespace
from typing import Any

import pytest

from vlm_assets.ingest.due import Due, slice_due
from vlm_assets.ingest.retries import due_at, is_due, retry_at

NOW, HOUR_S, WEEK_S, YEAR_S = 1_800_000_000, 3_600, 7 * 86_400, 31_557_600


@pytest.mark.parametrize(
    ("attempts", "hours"), [(0, 1), (1, 1), (2, 4), (3, 16), (4, 64), (5, 168), (50, 168)]
)
def test_pauses_grow_to_a_week(attempts: int, hours: int):
    assert retry_at(attempts, now=NOW) == NOW + hours * HOUR_S


@pytest.mark.parametrize(
    ("not_before", "due"),
    [
        pytest.param(0, HOUR_S, id="no-wish"),
        pytest.param(NOW + HOUR_S / 2, HOUR_S, id="sooner"),
        pytest.param(NOW + 86_400 - 0.5, 86_400, id="a-day"),
        pytest.param(NOW + 20 * YEAR_S, HOUR_S, id="years-of-a-clock-that-ran-ahead"),
    ],
)
def test_a_wish_counts_where_a_server_may_have_it(not_before: float, due: int):
    assert due_at(1, not_before, now=NOW) == NOW + due


def due_after(jump_s: int, later_s: int) -> Due:
    """Of a slice whose reject was recorded under a clock that then jumps, so much later."""
    recorded: Any = SimpleNamespace(next_retry=due_at(1, 0, now=NOW))
    manifest: Any = SimpleNamespace(listing_fingerprint="f", transient_rejects=1, renderer=None, rejects={})
    listed: Any = SimpleNamespace(fingerprint="f")
    return slice_due(listed, manifest, recorded, now=NOW + jump_s + later_s)


@pytest.mark.parametrize(
    ("jump_s", "later_s", "due"),
    [
        pytest.param(0, 60, Due.COMMITTED, id="no-jump"),
        pytest.param(0, HOUR_S, Due.RETRY, id="no-jump-an-hour-later"),
        pytest.param(20 * YEAR_S, 0, Due.RETRY, id="ahead"),
        pytest.param(-20 * YEAR_S, 0, Due.RETRY, id="back-by-years"),
        pytest.param(-HOUR_S, HOUR_S, Due.COMMITTED, id="back-by-an-hour"),
        pytest.param(-HOUR_S, 2 * HOUR_S, Due.RETRY, id="back-by-an-hour-two-later"),
    ],
)
def test_no_jump_postpones_a_retry_for_years(jump_s: int, later_s: int, due: Due):
    assert due_after(jump_s, later_s) is due


@pytest.mark.parametrize("now", [NOW, NOW + 20 * YEAR_S, NOW - 20 * YEAR_S])
def test_after_a_jump_there_is_a_pause_as_before_it(now: int):
    assert not is_due(due_at(1, 0, now=now), now)
    assert not is_due(due_at(9, 0, now=now), now + WEEK_S - 1)
    assert is_due(due_at(9, 0, now=now), now + WEEK_S)
