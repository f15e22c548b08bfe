"""What Dagster starts beside a step does not see the Ctrl-C of a terminal."""

import os
import signal
import sys
from pathlib import Path

import psutil
import pytest
from dagster._core.execution import compute_logs

from vlm_assets.orchestration.run.log_helpers import keep_ctrl_c_from_log_helpers


def blocked(pid: int) -> set[int]:
    (line,) = [
        one for one in Path(f"/proc/{pid}/status").read_text().splitlines() if one.startswith("SigBlk")
    ]
    mask = int(line.split()[1], 16)
    return {number for number in range(1, 32) if mask >> (number - 1) & 1}


def test_log_helpers_do_not_see_ctrl_c(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        compute_logs, "execute_posix_tail", compute_logs.execute_posix_tail
    )  # put back after it
    keep_ctrl_c_from_log_helpers()
    (tmp_path / "log").touch()
    with compute_logs.tail_to_stream(str(tmp_path / "log"), sys.__stdout__) as pids:
        assert len(pids) == 2
        assert all(signal.SIGINT in blocked(pid) for pid in pids)
        assert signal.SIGINT not in blocked(os.getpid())
    assert not any(psutil.pid_exists(pid) for pid in pids)
