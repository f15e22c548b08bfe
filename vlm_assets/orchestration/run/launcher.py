"""Launches runs in the code server and notices when their process is gone.

Under the default launcher a run whose host crashed stays STARTED and holds its pool for ever; with the health check
below run monitoring fails it and `run_retries` starts it again. Named in `dagster.yaml`: nothing heavy here.
"""

from typing import Final

import dagster as dg
import psutil
from dagster._core.launcher.base import CheckRunHealthResult, WorkerStatus

_CLOCK_SLACK_S: Final = 2.0
"""A process that began so much later than its start was recorded is another one with the same pid."""


class WatchedRunLauncher(dg.DefaultRunLauncher):
    """`DefaultRunLauncher` with a health check by process id, for runs on this machine."""

    @property
    def supports_check_run_worker_health(self) -> bool:
        """It does."""
        return True

    def check_run_worker_health(self, run: dg.DagsterRun) -> CheckRunHealthResult:
        """RUNNING while the process that reported the run's start lives; FAILED once it is gone."""
        started = self._started(run.run_id)
        if started is None:
            return CheckRunHealthResult(WorkerStatus.UNKNOWN, "the run has not told its process id yet")
        pid, since = started
        try:
            process = psutil.Process(pid)
            reused = process.create_time() > since + _CLOCK_SLACK_S
            gone = reused or process.status() == psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            gone = True
        if gone:
            return CheckRunHealthResult(
                WorkerStatus.FAILED, f"process {pid} of this run is gone (killed, or the machine went down)",
                run_worker_id=str(pid),
            )  # fmt: skip
        return CheckRunHealthResult(WorkerStatus.RUNNING, run_worker_id=str(pid))

    def _started(self, run_id: str) -> tuple[int, float] | None:
        """Process id of the run's worker and when it was recorded, by the run's first engine events."""
        entries = self._instance.all_logs(run_id, of_type=dg.DagsterEventType.ENGINE_EVENT)
        for entry in reversed(entries):
            event = entry.dagster_event
            told = event.engine_event_data.metadata.get("pid") if event and event.step_key is None else None
            if told is not None:
                return int(str(told.value)), entry.timestamp
        return None
