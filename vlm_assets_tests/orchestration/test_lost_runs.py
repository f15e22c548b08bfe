"""Runs of `build` whose process was killed are not at work for ever, though no daemon looks."""

import os
import socket
import subprocess
import sys

import dagster as dg
import pytest
from dagster._core.events import EngineEventData
from dagster._core.test_utils import create_run_for_test

from vlm_assets.orchestration.command.lost_runs import fail_lost_runs
from vlm_assets.orchestration.names import HOST_TAG
from vlm_assets.orchestration.run.runs import failures_told

HERE = socket.gethostname()


def dead() -> int:
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        return ended.pid


@pytest.mark.parametrize(
    ("pid", "host", "status"),
    [
        pytest.param(dead, HERE, "FAILURE", id="killed"),
        pytest.param(os.getpid, HERE, "STARTED", id="at-work"),
        pytest.param(dead, "other", "STARTED", id="of-another-machine"),
        pytest.param(None, HERE, "STARTED", id="has-not-begun"),
    ],
)
def test_a_run_without_its_process_has_failed(instance: dg.DagsterInstance, pid, host: str, status: str):
    run = create_run_for_test(instance, "line", tags={HOST_TAG: host}, status=dg.DagsterRunStatus.STARTED)
    if pid is not None:
        instance.report_engine_event("at work", run, EngineEventData.in_process(pid()))
    lost = status == "FAILURE"
    assert fail_lost_runs(instance) == [run.run_id] * lost
    found = instance.get_run_by_id(run.run_id)
    assert found is not None
    assert found.status.value == status
    assert ("is gone (killed, or the machine went down)" in failures_told(instance, run.run_id)) == lost
    assert fail_lost_runs(instance) == []
