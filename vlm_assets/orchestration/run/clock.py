"""Ticks that a clock left behind which ran ahead: Dagster waits for their time, a night or twenty years.

Its scheduler goes on after the last tick and the last look, a sensor waits out its interval since them, and neither
asks whether they lie ahead (`dagster._scheduler.scheduler`, `dagster._daemon.sensor`).
"""

import logging
import os
import time
from typing import Any, Final

import dagster as dg

logger = logging.getLogger("vlm_assets.service")

_AHEAD_S: Final = 3600.0
"""Clocks of the processes of one instance differ by less."""


def forget_future_ticks(instance: dg.DagsterInstance, *, now: float | None = None) -> list[str]:
    """Brings schedules and sensors whose last tick lies ahead back to now; their names. Nothing else changes.

    A daemon that was at work when the clock was set back remembers the time of its last look: it is to be restarted.
    """
    now = time.time() if now is None else now
    found = []
    for state in instance.all_instigator_state():
        ahead = instance.get_ticks(state.instigator_origin_id, state.selector_id, after=now + _AHEAD_S)
        for tick in ahead:
            instance.update_tick(tick._replace(tick_data=tick.tick_data._replace(timestamp=now)))
        data: Any = state.instigator_data
        times = _times_ahead(data, now)
        if times:
            instance.update_instigator_state(state.with_data(data._replace(**dict.fromkeys(times, now))))
        if ahead or times:
            found.append(state.instigator_name)
    return sorted(found)


def _times_ahead(data: Any, now: float) -> list[str]:
    """Fields of a schedule's or sensor's data that hold a time to come."""
    names = [name for name in getattr(data, "_fields", ()) if name.endswith("timestamp")]
    return [name for name in names if (getattr(data, name) or 0.0) > now + _AHEAD_S]


def forget_future_ticks_here() -> None:
    """`forget_future_ticks` of this DAGSTER_HOME, where one is set; what goes wrong is said, and stops nothing."""
    if not os.environ.get("DAGSTER_HOME"):
        return
    try:
        with dg.DagsterInstance.get() as instance:
            found = forget_future_ticks(instance)
    except Exception as error:  # noqa: BLE001 - the boundary: recorded, and the code location is served
        logger.warning("ticks of the future were not looked for: %s: %s", type(error).__name__, error)
        return
    if found:
        logger.warning(
            "the clock was set back: %s had their last tick in the future, and go on from now",
            ", ".join(found),
        )
