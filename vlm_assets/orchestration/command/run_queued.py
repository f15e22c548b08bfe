"""Runs through the queue of a living daemon: created here, launched in its code location, waited for.

Whoever waits may go away: the runs stay. Launching itself is the daemon's.
"""

import sys
import time
from collections.abc import Callable, Sequence
from typing import Final

import dagster as dg
from dagster._core.remote_origin import ManagedGrpcPythonEnvCodeLocationOrigin, RemoteRepositoryOrigin
from dagster._core.run_coordinator.base import SubmitRunContext
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin

from vlm_assets.orchestration.names import LOCATION, REPOSITORY
from vlm_assets.orchestration.run.runs import RunOutcome, RunWish, job_of, outcome_of, tags_of

_MODULE: Final = "vlm_assets.definitions"
_POLL_S: Final = 1.0
_WILL_RETRY_TAG: Final = "dagster/will_retry"
_RETRIED_AS_TAG: Final = "dagster/auto_retry_run_id"


class RunQueued:
    """A `Runner` that queues all wishes at once and waits for the last."""

    def __init__(
        self, instance: dg.DagsterInstance, defs: dg.Definitions, say: Callable[[str], None]
    ) -> None:
        self._instance = instance
        self._defs = defs
        self._say = say

    def run(self, wishes: Sequence[RunWish]) -> list[RunOutcome]:
        """See `Runner`. Interrupted, it leaves the runs to the daemon and raises on."""
        waiting = {self.submit(wish): number for number, wish in enumerate(wishes)}
        done: dict[int, RunOutcome] = {}
        while waiting:
            for run_id, number in list(waiting.items()):
                run = self._instance.get_run_by_id(run_id)
                if run is not None and not run.is_finished:
                    continue
                again = run.tags.get(_RETRIED_AS_TAG) if run else None
                if again:
                    waiting[again] = waiting.pop(run_id)
                    self._say(
                        f"{wishes[number].label}: its process was lost, started again (run {again[:8]})"
                    )
                elif run is None or run.tags.get(_WILL_RETRY_TAG) != "true":
                    del waiting[run_id]
                    done[number] = outcome_of(self._instance, wishes[number], run_id)
                    ended = "done" if done[number].success else "failed"
                    self._say(f"{wishes[number].label}: {ended} (run {run_id[:8]})")
            time.sleep(_POLL_S if waiting else 0)
        return [done[number] for number in range(len(wishes))]

    def submit(self, wish: RunWish) -> str:
        """Queues one run; returns its id."""
        job = job_of(self._defs, wish)
        run = self._instance.create_run_for_job(
            job,
            run_config=dict(wish.config),
            tags=tags_of(wish),
            asset_selection=frozenset(wish.assets) or None,
            status=dg.DagsterRunStatus.NOT_STARTED,
            remote_job_origin=_repository().get_job_origin(job.name),
        )
        context = SubmitRunContext(run, workspace=None)  # type: ignore[arg-type]  # the queue looks at no workspace
        self._instance.run_coordinator.submit_run(context)
        self._say(f"{wish.label}: queued (run {run.run_id[:8]})")
        return run.run_id


def _repository() -> RemoteRepositoryOrigin:
    target = LoadableTargetOrigin(executable_path=sys.executable, module_name=_MODULE)
    location = ManagedGrpcPythonEnvCodeLocationOrigin(target, LOCATION)
    return RemoteRepositoryOrigin(location, REPOSITORY)
