"""When requests were let go, as the gates of their hosts decided: a busy machine does not show in these times.

A server sees a request when the machine gets round to it; two that left at a distance may arrive together.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from vlm_assets.transfer.slots import HostGate


@dataclass(frozen=True)
class Paused:
    """A host asked to be left alone, heard at `at`, until `until`."""

    host: str
    at: float
    until: float


@dataclass(frozen=True)
class LetGo:
    """One request to a host was let go."""

    host: str
    at: float


class GateLog:
    """What all gates of this process decided since `watch`, in order."""

    def __init__(self) -> None:
        self.events: list[LetGo | Paused] = []

    def watch(self, replace: Callable[[type, str, Any], None] = setattr) -> None:
        """Notes from now on; `replace` as `monkeypatch.setattr`."""
        try_start, pause = HostGate.try_start, HostGate.pause

        def noted_start(gate: HostGate, now: float, interval_s: float) -> float:
            blocked_until = try_start(gate, now, interval_s)
            if not blocked_until:
                self.events.append(LetGo(gate.host, now))
            return blocked_until

        def noted_pause(gate: HostGate, now: float, until: float) -> None:
            pause(gate, now, until)
            self.events.append(Paused(gate.host, now, until))

        replace(HostGate, "try_start", noted_start)
        replace(HostGate, "pause", noted_pause)

    def let_go(self, host: str = "") -> list[float]:
        """When requests were let go, to all hosts or to one."""
        return [one.at for one in self.events if isinstance(one, LetGo) and host in {"", one.host}]

    def pauses(self) -> list[Paused]:
        """What hosts asked for."""
        return [one for one in self.events if isinstance(one, Paused)]

    def let_go_after(self, pause: Paused) -> list[float]:
        """When requests were let go, of those that were after the pause was on record."""
        return [one.at for one in self.events[self.events.index(pause) :] if isinstance(one, LetGo)]


def shortest_gap_s(times: Sequence[float]) -> float:
    """The least time between two of them."""
    return min(after - before for before, after in pairwise(sorted(times)))
