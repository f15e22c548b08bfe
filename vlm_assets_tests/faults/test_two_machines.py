"""Two machines on one bucket in any order, cut anywhere: nothing comes back, and nobody's work is written over."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from vlm_assets_tests.faults.test_faults import watched_or_skipped
from vlm_assets_tests.waiting import LONG_HANG_S

SIZES = [
    pytest.param("14", "1", id="14-actions"),
    pytest.param(
        os.environ.get("TEST_MACHINE_ACTIONS", "400"), "2", id="hundreds",
        marks=[pytest.mark.slow, pytest.mark.timeout(4 * LONG_HANG_S)],
    ),
]  # fmt: skip


@pytest.mark.parametrize(("actions", "seed"), SIZES)
def test_what_is_gone_stays_gone_and_what_is_there_stays(
    tmp_path: Path, actions: str, seed: str, record_property
):
    watched_or_skipped(lambda: 0, tmp_path)
    command = [sys.executable, "-m", "vlm_assets_tests.faults.two_machines", str(tmp_path / "two")]
    done = subprocess.run(
        [*command, "--actions", actions, "--seed", seed], capture_output=True, text=True, check=False
    )
    record_property("told", done.stdout.strip())
    assert done.returncode == 0, done.stdout + done.stderr
