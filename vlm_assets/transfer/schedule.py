"""Which request goes next: hosts in turn, each within its slots, rate and pauses; a dead host is given up whole.

Does no I/O but through `HostGate`; time is an argument.
"""

import heapq
import logging
import random
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

from yarl import URL

from vlm_assets.transfer.politeness import GiveUp, HostLimits, Patience
from vlm_assets.transfer.redirects import Trail
from vlm_assets.transfer.slots import HostGate
from vlm_assets.words.counts import so_many
from vlm_assets.words.errors import RejectReason

_SLOT_POLL_S: Final = 0.05
_SET_BACK_S: Final = 1.0
"""By less, clocks are corrected all the time."""
_YIELD_EVERY_S: Final = 1.0
_YIELD_S: Final = 0.15
_log = logging.getLogger("vlm_assets.transfer")
_CALM_ANSWERS: Final = 20
"""Good answers before a host that asked for less gets one request more in flight."""
EVIDENCE_URLS: Final = 5
"""So many distinct URLs must fail, with no good answer between, before a host is given up."""
_EVIDENCE_AGAINST_ANSWERS: Final = 20
"""The same for a host that has given good answers: two of three URLs may be bad without a run of that length."""
_LATER: Final = 32
"""Jobs that have a turn before one that failed has another: whatever is wrong with it is not theirs."""
_SPREAD: Final = 0.618
"""A host in doubt is asked for URLs from all over its queue: a bad stretch of a list is no bad host."""


@dataclass(slots=True)
class Job:
    """One URL on its way. `url` is where it stands after redirects."""

    index: int
    key: str
    url: URL
    declared: str = ""
    failures: int = 0
    mismatches: int = 0
    trail: Trail = field(default_factory=Trail)
    lenient: bool = False
    """Whether the lenient client asks for it."""
    settled: bool = False
    """Whether a verdict of an earlier visit stands if it is not asked for now."""


@dataclass(slots=True)
class Host:
    """One host's queue and what is known of its health."""

    name: str
    gate: HostGate
    limit: int
    interval_s: float
    width: int
    pending: deque[Job] = field(default_factory=deque)
    delayed: list[tuple[float, int, Job]] = field(default_factory=list)
    active: int = 0
    waves: int = 0
    """Failures in a row, where requests that were in flight together count once and any answer starts anew."""
    last_ok: float = 0.0
    last_wave: float = 0.0
    resting_until: float = 0.0
    calm: int = 0
    throttled: bool = False
    checked_at: float = 0.0
    failing: set[int] = field(default_factory=set)
    """Indexes of the jobs that failed since the last good answer."""
    asked: bool = False
    given_up: GiveUp | None = None
    held: list[tuple[Job, GiveUp]] = field(default_factory=list)
    """Jobs that used up their tries while the host has given no good answer to anybody: it may be the host."""
    placed: bool = False

    def succeeded(self, now: float) -> None:
        """Count an answer that shows that the host works."""
        self.last_ok, self.waves = now, 0
        self.failing.clear()
        self.calm += 1
        if self.calm >= (_CALM_ANSWERS if self.throttled else 1):
            self.calm = 0
            self.width = min(self.limit, self.width + 1)

    def failed(
        self, job: Job, started: float, now: float, detail: str, patience: Patience, jitter: float
    ) -> None:
        """Count a failure of a request begun at `started`; spare the host when it is not one URL's alone.

        It is given up on the evidence of several, over so many waves as a request has tries.
        """
        if started <= self.last_ok:
            return
        self.failing.add(job.index)
        if started > self.last_wave:
            self.last_wave = now
            self.waves += 1
        if len(self.failing) == 1:
            return
        self.width, self.calm = 1, 0
        if self.resting_until <= now:
            self.resting_until = now + patience.backoff_s(min(self.waves, patience.attempts), jitter)
        evidence = _EVIDENCE_AGAINST_ANSWERS if self.last_ok else EVIDENCE_URLS
        # Where all that waits has failed before, nothing is lost by judging it one by one.
        if self.waves >= patience.attempts and len(self.failing) >= evidence and self._has_unasked:
            told = f"no good answer to {so_many(len(self.failing), 'URL')} in a row; the last: {detail}"
            self.given_up = GiveUp(RejectReason.UNREACHABLE, told, transient=True)

    @property
    def waiting(self) -> int:
        """Jobs that were not asked for yet, or are to be again."""
        return len(self.pending) + len(self.delayed)

    @property
    def _has_unasked(self) -> bool:
        return any(not job.failures for job in self.pending)

    def next_job(self) -> Job:
        """The next to be asked for, which stays in front; of a host in doubt a new one from all over its queue."""
        count = len(self.pending)
        if len(self.failing) > 1 and count > 1:
            start = int(self.waves * _SPREAD * count)
            places = ((start + step) % count for step in range(count))
            at = next((place for place in places if not self.pending[place].failures), 0)
            job = self.pending[at]
            del self.pending[at]
            self.pending.appendleft(job)
        return self.pending[0]

    def slow_down(self) -> None:
        """It said that it is asked too much: halve what is in flight, and grow slowly."""
        self.throttled, self.calm = True, 0
        self.width = max(1, self.width // 2)


@dataclass(frozen=True, slots=True)
class Turn:
    """The right to send one request now; to be given back with `Schedule.release`."""

    host: Host
    job: Job
    slot: int


class Schedule:
    """All hosts of one run."""

    def __init__(
        self,
        gate_of: Callable[[str], HostGate],
        limits: HostLimits,
        patience: Patience,
        *,
        start_narrow: bool,
        veto: Callable[[Job], GiveUp | None] = lambda job: None,  # noqa: ARG005 - a callback's shape
    ) -> None:
        """`start_narrow`: one request at a time to a host until its rules are known. `veto`: what not to ask."""
        self._veto = veto
        self._gate_of = gate_of
        self._limits = limits
        self._patience = patience
        self._start_narrow = start_narrow
        self._hosts: dict[str, Host] = {}
        self._ready: deque[Host] = deque()
        self._asleep: list[tuple[float, int, Host]] = []
        self._count = 0
        self._order = 0
        self._latest = 0.0
        self.vetoed: list[tuple[Job, GiveUp]] = []
        """Jobs that may not be asked for; the caller empties it after each `take`."""
        self.put_off: list[tuple[Job, Host, GiveUp]] = []
        """Jobs that are not asked for because of their host; the same."""

    def host(self, name: str) -> Host:
        """The host of that name, made at first sight."""
        host = self._hosts.get(name)
        if host is None:
            limits = self._limits.at(name)
            limit = limits.concurrency or 1
            start_width = 1 if self._start_narrow else limit
            host = Host(name, self._gate_of(name), limit, limits.interval_s, start_width)
            self._hosts[name] = host
        return host

    @property
    def empty(self) -> bool:
        """Whether no job waits; some may be under way."""
        return self._count == 0

    @property
    def hosts(self) -> Iterable[Host]:
        """Every host so far."""
        return self._hosts.values()

    def add(self, name: str, job: Job, *, first: bool = False) -> None:
        """Queue a job at a host."""
        host = self.host(name)
        if first:
            host.pending.appendleft(job)
        else:
            host.pending.append(job)
        self._count += 1
        self._place(host)

    def add_later(self, name: str, job: Job, due: float) -> None:
        """Queue a job that is not to be asked before `due`."""
        host = self.host(name)
        self._order += 1
        heapq.heappush(host.delayed, (due, self._order, job))
        self._count += 1
        self._place(host)

    def take(self, now: float) -> Turn | None:
        """The next request that may be sent now, or None: ask again at `wake_at` or after a release."""
        if now < self._latest - _SET_BACK_S:
            self._set_back(self._latest - now)
        self._latest = now
        while self._asleep and self._asleep[0][0] <= now:
            host = heapq.heappop(self._asleep)[2]
            host.placed = False
            self._place(host)
        while self._ready:
            host = self._ready.popleft()
            host.placed = False
            turn = self._turn_of(host, now)
            if turn is not None:
                self._place(host)
                return turn
        return None

    @property
    def wake_at(self) -> float:
        """When a sleeping host may have a turn; infinity when none sleeps."""
        return self._asleep[0][0] if self._asleep else float("inf")

    def release(self, turn: Turn) -> None:
        """The request is over."""
        host = turn.host
        host.gate.free_slot(turn.slot)
        host.active -= 1
        self._place(host)
        if host.active == 0 and not self._has_ready(host):
            host.gate.close()

    @staticmethod
    def _has_ready(host: Host) -> bool:
        return bool(host.pending) and host.placed

    def _place(self, host: Host) -> None:
        if not host.placed and (host.pending or host.delayed) and host.active < host.width:
            host.placed = True
            self._ready.append(host)

    def _set_back(self, by_s: float) -> None:
        """The clock was set back under the run: what was to come in a second comes in a second, not years later."""
        self._asleep = [(until - by_s, order, host) for until, order, host in self._asleep]
        for host in self._hosts.values():
            host.delayed = [(due - by_s, order, job) for due, order, job in host.delayed]
            host.resting_until -= by_s
            host.last_ok -= by_s if host.last_ok else 0.0
            host.last_wave -= by_s
            host.checked_at -= by_s

    def _sleep(self, host: Host, until: float) -> None:
        host.placed = True
        self._order += 1
        heapq.heappush(self._asleep, (until, self._order, host))

    def _turn_of(self, host: Host, now: float) -> Turn | None:
        """A turn, or None with the host put where it belongs meanwhile."""
        while host.delayed and host.delayed[0][0] <= now:
            host.pending.insert(_LATER, heapq.heappop(host.delayed)[2])
        if host.active >= host.width or self._abandon(host, now):
            return None
        while host.pending and (verdict := self._veto(host.next_job())) is not None:
            self.vetoed.append((host.pending.popleft(), verdict))
            self._count -= 1
        if not host.pending:
            if host.delayed:
                self._sleep(host, host.delayed[0][0])
            return None
        if host.resting_until > now:
            self._sleep(host, host.resting_until)
            return None
        if host.active and now - host.checked_at > _YIELD_EVERY_S:
            host.checked_at = now
            if host.gate.contended:
                self._sleep(host, now + _YIELD_S)
                return None
        slot = host.gate.take_slot(host.limit)
        if slot is None:
            self._sleep(host, now + _SLOT_POLL_S * (0.5 + random.random()))
            return None
        blocked_until = host.gate.try_start(now, host.interval_s)
        if blocked_until > 0:
            host.gate.free_slot(slot)
            self._sleep(host, blocked_until)
            return None
        host.active += 1
        host.asked = True
        self._count -= 1
        return Turn(host, host.pending.popleft(), slot)

    def _abandon(self, host: Host, now: float) -> bool:
        """Give up all jobs of a host that is dead, or that wants a longer pause than the run will wait."""
        give_up = host.given_up
        if give_up is None:
            until = host.gate.paused_until(now)
            if until - now > self._patience.max_wait_s:
                detail = f"the host wants to be left alone for {until - now:.0f} s more"
                give_up = GiveUp(RejectReason.HTTP_ERROR, detail, transient=True, not_before=until)
        if give_up is None or not host.waiting:
            return False
        _log.warning("%s: %s; %d URLs are put off", host.name, give_up.detail, host.waiting)
        jobs = [*host.pending, *(job for _, _, job in sorted(host.delayed))]
        self.put_off.extend((job, host, give_up) for job in jobs)
        self._count -= len(jobs)
        host.pending.clear()
        host.delayed.clear()
        return True

    def close(self) -> None:
        """Free all gates."""
        for host in self._hosts.values():
            host.gate.close()
