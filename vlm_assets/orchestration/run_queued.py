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

from vlm_assets.orchestration.runs import RunOutcome, RunWish, job_of, outcome_of, tags_of

LOCATION: Final = "vlm_assets"
"""Name of the code location in both workspace files; the daemon finds it by that."""
_MODULE: Final = "vlm_assets.definitions"
_POLL_S: Final = 1.0


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
        queued = {self.submit(wish): wish for wish in wishes}
        done: dict[str, RunOutcome] = {}
        while len(done) < len(queued):
            for run_id, wish in queued.items():
                run = self._instance.get_run_by_id(run_id)
                if run_id not in done and (run is None or run.is_finished):
                    done[run_id] = outcome_of(self._instance, wish, run_id)
                    self._say(
                        f"{wish.label}: {'done' if done[run_id].success else 'failed'} (run {run_id[:8]})"
                    )
            if len(done) < len(queued):
                time.sleep(_POLL_S)
        return [done[run_id] for run_id in queued]

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
    return RemoteRepositoryOrigin(location, "__repository__")
