"""Bars: shown to people alone, with what is over, the rate and the time left."""

from io import StringIO

import pytest
from rich.console import Console

from vlm_assets.operate import bars
from vlm_assets.operate.bars import shown_moves, shown_steps
from vlm_assets.words.moving import moving


@pytest.mark.parametrize(
    ("steps", "shown"),
    [
        pytest.param(
            [("a/a", 0, 4), ("a/b", 1, 4), ("a/b", 2, 4)], ["lock: a/b", "2/4", "/s", "0:00:0"], id="steps"
        ),
        pytest.param(
            [("keys", 1000, None), ("keys", 2000, None)], ["lock: keys", "2000/?", "/s"], id="no end"
        ),
        pytest.param(
            [("read", 8, 9), ("gone", 0, 2), ("gone", 1, 2)], ["lock: gone", "1/2"], id="begun anew"
        ),
    ],
)
@pytest.mark.parametrize("terminal", [True, False])
def test_steps_are_shown_to_people_alone(monkeypatch: pytest.MonkeyPatch, steps, shown, *, terminal: bool):
    out = StringIO()
    monkeypatch.setattr(bars, "Console", lambda **_: Console(file=out, force_terminal=terminal, width=120))
    with shown_steps("lock") as progress:
        for one in steps:
            progress(*one)
    assert [one for one in shown if terminal and one not in out.getvalue()] == []
    assert bool(out.getvalue()) is terminal


@pytest.mark.parametrize(
    ("steps", "shown"), [pytest.param([], False, id="none"), pytest.param([1], True, id="one")]
)
def test_without_a_step_nothing_is_shown(monkeypatch: pytest.MonkeyPatch, steps: list[int], *, shown: bool):
    out = StringIO()
    monkeypatch.setattr(bars, "Console", lambda **_: Console(file=out, force_terminal=True, width=120))
    with shown_moves():
        for _ in steps:
            with moving("reading", 3) as advance:
                advance(3)
    assert bool(out.getvalue()) is shown
