"""Clocks that jump under a process, by libfaketime: `clocks` says what must hold."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from vlm_assets_tests.faults.clocks import JUMPS, environment, library
from vlm_assets_tests.remote.s3 import CREDENTIALS, S3Server
from vlm_assets_tests.servers import FaultServer, Reply, Script
from vlm_assets_tests.waiting import LONG_HANG_S
from vlm_assets_tests.workplace import picture

BUSY = (Reply(429, headers={"Retry-After": "1"}), Reply(body=picture(50)))


def script() -> dict[str, Script | Reply]:
    """Pictures, one that is busy at first and one that fails at first, for each jump."""
    made: dict[str, Script | Reply] = {f"/{number}.jpg": Reply(body=picture(number)) for number in range(8)}
    for jump in JUMPS:
        name = jump.replace(" ", "-")
        made[f"/busy-{name}.jpg"] = BUSY
        for order in ("before", "after"):
            made[f"/fails-{name}-{order}.jpg"] = (Reply(503), Reply(body=picture(60)))
    return made


def tried(base: Path, *trials: str) -> list[str]:
    """What did not hold, in words."""
    loaded = library()
    if loaded is None:
        pytest.skip("libfaketime is not made for this machine")
    with FaultServer(script()) as server, S3Server() as s3:
        s3.new_bucket()
        command = [
            sys.executable,
            "-m",
            "vlm_assets_tests.faults.clocks",
            str(base),
            server.url("/"),
            s3.endpoint,
        ]
        done = subprocess.run(
            [*command, *trials], capture_output=True, text=True, check=False, timeout=LONG_HANG_S,
            env={**os.environ, **CREDENTIALS, **environment(base, loaded)},
        )  # fmt: skip
    told = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert len(told) == len(trials) * len(JUMPS), done.stderr[-3_000:]
    return [f"{one['trial']}, {one['jump']}: {problem}" for one in told for problem in one["problems"]]


@pytest.mark.slow  # short: words/test_clock.py, transfer/test_slots.py, remote/test_machines.py
def test_nothing_is_lost_and_nothing_waits_for_ever(tmp_path: Path):
    assert tried(tmp_path, "fetching", "retrying", "holding", "listing") == []


@pytest.mark.slow
def test_a_night_ends_whatever_the_clock_does(tmp_path: Path):
    assert tried(tmp_path, "nights") == []
