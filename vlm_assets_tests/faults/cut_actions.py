"""What two machines do, and how it is cut: at a request to the bucket, or at a call that changes the disk."""

import os
import signal
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import botocore.httpsession

from vlm_assets.allocation.step import allocate, tombstones_in_force
from vlm_assets.corpus.build import build_corpus
from vlm_assets.ingest.listing import refresh_listing
from vlm_assets.ingest.slice import build_slice
from vlm_assets.installation.opening import Installation
from vlm_assets.operate.takedown import finish_takedowns
from vlm_assets.remote.line import line_remote
from vlm_assets_tests.faults.place import TARGET, Act, Place, command, core
from vlm_assets_tests.faults.watched import Fault


def line(installation: Installation) -> None:
    """What the assets do with a remote, moment by moment."""
    remote, root = line_remote(installation), installation.root
    remote.before_listing([spec.name for spec in installation.catalog.sources])
    listings = {}
    for spec in installation.catalog.sources:
        listings[spec.name] = refresh_listing(installation, spec).listing
        remote.after_listing(spec.name)
    remote.before_slices()
    finish_takedowns(installation)
    for spec in installation.catalog.sources:
        for key in listings[spec.name].slices:
            remote.before_slice(listings[spec.name], key)
            build_slice(installation, spec, listings[spec.name], key)
            remote.after_slice(spec.name, key)
    remote.before_allocation()
    finish_takedowns(installation)
    plan = allocate(installation, TARGET)
    remote.after_allocation(TARGET)
    build_corpus(plan.path, root, tombstones_in_force(root), reserve_bytes=0)
    remote.after_seal(TARGET)


@dataclass(frozen=True, slots=True)
class Action:
    """`gone`: once it says 0, nothing on the machine holds what a takedown there covers; `bucket`: nor the bucket."""

    weight: int
    act: Act
    gone: bool = True
    bucket: bool = False
    takes_over: bool = False


ACTIONS: Final[Mapping[str, Action]] = {
    "line": Action(5, core(line)),
    "finish": Action(1, command("takedown", "--finish"), bucket=True),
    "backup": Action(3, command("backup")),
    "take over": Action(1, command("backup", "--take-over"), takes_over=True),
    "restore": Action(3, command("restore")),
    "overwrite": Action(1, command("restore", "--overwrite")),
    "prune": Action(1, command("prune")),
    "prune remote": Action(1, command("prune", "--remote")),
}


@dataclass(slots=True)
class Cut:
    """How an action is cut: at a request to the bucket, or at a call that changes the disk."""

    fault: Fault | None = None
    request: int = 0
    answered: bool = False
    """The store has done what was asked."""

    def __str__(self) -> str:
        if self.fault is not None:
            return f"{self.fault.mode} at call {self.fault.at}"
        return f"killed {'after' if self.answered else 'before'} request {self.request}"

    def around(self, act: Act) -> Act:
        """The act in a process that dies at that request."""

        def acted(place: Place) -> int:
            _die_at_request(self.request, answered=self.answered)
            return act(place)

        return acted if self.request else act


def _die_at_request(number: int, *, answered: bool) -> None:
    real, counted = botocore.httpsession.URLLib3Session.send, iter(range(1, 1_000_000))
    lock = threading.Lock()

    def send(self: Any, request: Any) -> Any:
        with lock:
            mine = next(counted)
        if mine == number and not answered:
            os.kill(os.getpid(), signal.SIGKILL)
        answer = real(self, request)
        if mine == number:
            os.kill(os.getpid(), signal.SIGKILL)
        return answer

    botocore.httpsession.URLLib3Session.send = send
