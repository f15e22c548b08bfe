import pytest

from vlm_assets.words.clock import Clock, has_come

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


class Times:
    """What `time` says; both are set by hand."""

    def __init__(self) -> None:
        self.wall, self.ticks = NOW, 50.0

    def time(self) -> float:
        return self.wall

    def monotonic(self) -> float:
        return self.ticks


@pytest.mark.parametrize(
    ("walls", "told"),
    [
        pytest.param([0, 10, 20], [0, 10, 20], id="goes"),
        pytest.param([0, 9.5, 19.2], [0, 9.5, 19.2], id="corrected-by-little"),
        pytest.param([0, YEAR_S, YEAR_S + 10], [0, YEAR_S, YEAR_S + 10], id="set-ahead"),
        pytest.param([0, 10 - DAY_S, 20 - DAY_S], [0, 10 - DAY_S, 20 - DAY_S], id="set-back"),
        pytest.param([0, YEAR_S, 20], [0, YEAR_S, 20], id="ahead-and-back"),
        pytest.param([0, 0, 0, 0], [0, 10, 20, 30], id="stands"),
        pytest.param([0, 0, 0, 10, 20], [0, 10, 20, 30, 40], id="stood-and-goes"),
        pytest.param([0, 0, 30, 40], [0, 10, 30, 40], id="stood-and-was-set-right"),
        pytest.param([0, 0, -DAY_S, 10 - DAY_S], [0, 10, -DAY_S, 10 - DAY_S], id="stood-and-was-set-back"),
        pytest.param([0, 1, 2, 3], [0, 10, 20, 30], id="slow"),
    ],
)
def test_a_deadline_comes_nearer_whatever_the_clock_does(
    monkeypatch: pytest.MonkeyPatch, walls: list[float], told: list[float]
):
    """Asked every ten seconds."""
    times, clock = Times(), Clock()
    monkeypatch.setattr("vlm_assets.words.clock.time", times)
    found = []
    for wall in walls:
        times.wall = NOW + wall
        found.append(clock.now() - NOW)
        times.ticks += 10
    assert found == pytest.approx(told)


def test_after_an_hour_unwatched_the_wall_clock_is_right(monkeypatch: pytest.MonkeyPatch):
    times, clock = Times(), Clock()
    monkeypatch.setattr("vlm_assets.words.clock.time", times)
    clock.now()
    times.ticks, times.wall = times.ticks + 7_200, NOW + 3_600
    assert clock.now() == NOW + 3_600
