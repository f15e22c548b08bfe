"""Good manners for client libraries that bring their own HTTP: the same machine-wide gates, in threads.

`huggingface_hub` and `kagglehub` send their own requests. A `SyncGuest` tells them when they may, remembers what a
server answered, and shares rate and pauses of a host with every other process of the machine (`slots`).
"""

import logging
import random
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Self

from vlm_assets.transfer.budget import present_meter
from vlm_assets.transfer.guard import Guard
from vlm_assets.transfer.politeness import GiveUp, HostLimits, LimitedSpec, Patience, Retry, judge_status, utc
from vlm_assets.transfer.slots import HostGate
from vlm_assets.words.clock import unix_now
from vlm_assets.words.contexts import SourceSettings
from vlm_assets.words.errors import PostponedError

logger = logging.getLogger("vlm_assets.transfer")

_POLL_S: Final = 0.05


class SyncGuest:
    """One source's manners towards its hosts. Safe for threads; close it to free its slots.

    `requests` counts what was sent, for `run.json`.
    """

    def __init__(self, settings: SourceSettings, spec: LimitedSpec, locks_dir: Path) -> None:
        self.settings = settings
        self.guard = Guard.of(settings)
        self.patience = Patience.of(settings)
        self.limits = HostLimits.of(spec).tightened(settings)
        self.requests = 0
        self.meter = present_meter()
        self._locks_dir = locks_dir
        self._gates: dict[str, HostGate] = {}
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Free every gate."""
        with self._lock:
            for gate in self._gates.values():
                gate.close()
            self._gates.clear()

    def wait(self, host: str) -> None:
        """Returns when a request to `host` (as in `urls.host_key`) may start; it then counts.

        Raises:
            PostponedError: the host wants to be left alone for longer than this run is willing to wait.
            BudgetSpentError: the night's budget of the source is used up.
        """
        while True:
            with self._lock:
                now = unix_now()
                due = self._gate(host).try_start(now, self.limits.at(host).interval_s)
                if not due:
                    self.meter.request()
                    self.requests += 1
                    return
            if due - now > self.patience.max_wait_s:
                raise PostponedError(
                    f"{host} wants to be left alone for another {due - now:.0f} s; due again {utc(due)}", due
                )
            time.sleep(max(due - now, 0.001))

    @contextmanager
    def slot(self, host: str) -> Iterator[None]:
        """One of the host's slots on this machine, held for a whole download."""
        limit = self.limits.at(host).concurrency or 1
        while True:
            with self._lock:
                taken = self._gate(host).take_slot(limit)
            if taken is not None:
                break
            time.sleep(_POLL_S)
        try:
            yield
        finally:
            with self._lock:
                self._gate(host).free_slot(taken)

    def tries_again(self, host: str, status: int, headers: Mapping[str, str], tries: int) -> bool:
        """Whether an answer is one to ask again for; puts the pause it asks for on record.

        `headers` must not mind the case of names. False: the answer stands, good or bad.

        Raises:
            PostponedError: all tries are used up, or it asks for a longer pause than this run is willing to wait.
        """
        verdict = judge_status(status, headers, tries=tries, patience=self.patience, jitter=random.random())
        if isinstance(verdict, Retry):
            logger.info("%s: %s, waits %.1f s", host, verdict.detail, verdict.pause_s + verdict.delay_s)
            self._pause(host, verdict.pause_s)
            time.sleep(verdict.delay_s)
            return True
        if isinstance(verdict, GiveUp) and verdict.transient:
            self._pause(host, verdict.not_before - unix_now())
            until = max(verdict.not_before, unix_now())
            raise PostponedError(f"{host}: {verdict.detail}; due again {utc(until)}", until)
        return False

    def _pause(self, host: str, seconds: float) -> None:
        if seconds > 0:
            with self._lock:
                now = unix_now()
                self._gate(host).pause(now, now + seconds)

    def _gate(self, host: str) -> HostGate:
        gate = self._gates.get(host)
        if gate is None:
            gate = self._gates[host] = HostGate(self._locks_dir, host)
        return gate
