"""Runs whose process was killed while no daemon looked: Dagster has them at work for ever, unless somebody looks."""

import socket
from typing import Final

import dagster as dg
from dagster._core.launcher.base import WorkerStatus

from vlm_assets.orchestration.names import HOST_TAG
from vlm_assets.orchestration.run.launcher import WatchedRunLauncher

_AT_WORK: Final = [dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]


def fail_lost_runs(instance: dg.DagsterInstance) -> list[str]:
    """Marks runs of `build` on this machine as failed whose process is gone, each with that sentence; their ids.

    A daemon does so for every run; this is for homes that have none.
    """
    launcher = instance.run_launcher
    if not isinstance(launcher, WatchedRunLauncher):
        return []
    lost = []
    here = {HOST_TAG: socket.gethostname()}  # in another container the same ids are other processes
    for run in instance.get_runs(dg.RunsFilter(statuses=_AT_WORK, tags=here)):
        health = launcher.check_run_worker_health(run)
        if health.status is WorkerStatus.FAILED:
            instance.report_run_failed(run, health.msg)
            lost.append(run.run_id)
    return lost
