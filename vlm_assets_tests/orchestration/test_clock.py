"""A clock that ran ahead and was set back: schedules and sensors go on from now, not from where it was."""

import logging
import time
from collections.abc import Callable
from typing import Any

import dagster as dg
import pytest
from dagster._core.remote_origin import (
    RegisteredCodeLocationOrigin,
    RemoteInstigatorOrigin,
    RemoteRepositoryOrigin,
)
from dagster._core.scheduler.instigation import (
    InstigatorState,
    InstigatorStatus,
    InstigatorType,
    ScheduleInstigatorData,
    SensorInstigatorData,
    TickData,
    TickStatus,
)
from dagster._daemon.sensor import get_elapsed

from vlm_assets.orchestration.run.clock import forget_future_ticks, forget_future_ticks_here

YEARS_S = 20 * 365.25 * 86_400
DATA: dict[str, tuple[InstigatorType, Callable[[float], Any]]] = {
    "nightly": (InstigatorType.SCHEDULE, lambda at: ScheduleInstigatorData("0 2 * * *", at - 9, at)),
    "changed_slices": (
        InstigatorType.SENSOR,
        lambda at: SensorInstigatorData(at, None, 30, "7", at, at - 9),
    ),
}


def ticked(instance: dg.DagsterInstance, name: str, *times: float) -> None:
    """Leaves what the daemon leaves after ticks at these times."""
    kind, data = DATA[name]
    repository = RemoteRepositoryOrigin(RegisteredCodeLocationOrigin("vlm_assets"), "__repository__")
    origin = RemoteInstigatorOrigin(repository, name)
    state = InstigatorState(origin, kind, InstigatorStatus.RUNNING, data(times[-1]))
    instance.add_instigator_state(state)
    for at in times:
        tick = TickData(
            origin.get_id(), name, kind, TickStatus.SUCCESS, at, [], [], selector_id=state.selector_id
        )
        instance.create_tick(tick)


def state_of(instance: dg.DagsterInstance) -> tuple[InstigatorState, list[float]]:
    [state] = instance.all_instigator_state()
    ticks = instance.get_ticks(state.instigator_origin_id, state.selector_id)
    return state, [tick.timestamp for tick in ticks]


@pytest.mark.parametrize("name", DATA)
@pytest.mark.parametrize(
    ("ahead_s", "found"), [(YEARS_S, True), (7_200.0, True), (600.0, False), (-YEARS_S, False)]
)
def test_what_lies_ahead_is_now(instance: dg.DagsterInstance, *, name: str, ahead_s: float, found: bool):
    now = time.time()
    ticked(instance, name, now - 500, now + ahead_s)
    before = state_of(instance)
    assert forget_future_ticks(instance, now=now) == [name] * found
    state, ticks = state_of(instance)
    if not found:
        assert (state, ticks) == before
        return
    assert sorted(ticks) == [now - 500, now]
    data = DATA[name][1](now)
    times = [key for key in data._fields if key.endswith("timestamp") and getattr(data, key)]
    assert state.instigator_data == data._replace(**dict.fromkeys(times, now))
    assert (state.status, state.selector_id) == (before[0].status, before[0].selector_id)
    assert forget_future_ticks(instance, now=now) == []


def test_a_sensor_then_waits_for_its_interval_alone(instance: dg.DagsterInstance):
    ticked(instance, "changed_slices", time.time() + YEARS_S)
    before = get_elapsed(state_of(instance)[0])
    assert before is not None
    assert before < -YEARS_S / 2  # under its interval for years
    forget_future_ticks(instance)
    after = get_elapsed(state_of(instance)[0])
    assert after is not None
    assert after >= 0


def test_a_code_server_looks_when_it_starts_and_says_so(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    monkeypatch.setenv("DAGSTER_HOME", instance.root_directory)
    monkeypatch.setattr(logging.getLogger("vlm_assets"), "propagate", True)
    ticked(instance, "nightly", time.time() + YEARS_S)
    forget_future_ticks_here()
    assert "the clock was set back: nightly" in caplog.text
    assert state_of(instance)[1][0] < time.time() + 1


def test_a_home_that_cannot_be_opened_stops_no_code_server(
    tmp_path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    (tmp_path / "dagster.yaml").write_text("storage: [", "utf-8")
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    monkeypatch.setattr(logging.getLogger("vlm_assets"), "propagate", True)
    forget_future_ticks_here()
    assert "ticks of the future were not looked for" in caplog.text
