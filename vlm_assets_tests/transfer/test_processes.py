"""What must hold over several processes: progress survives a kill, and two runs are one guest to a host."""

import random
import subprocess
import sys
import time
from hashlib import sha256
from itertools import pairwise
from pathlib import Path

import orjson
import pytest

from vlm_assets_tests.servers import FaultServer, Reply
from vlm_assets_tests.transfer.conftest import jpeg

Process = subprocess.Popen[str]
FETCH = [sys.executable, "-m", "vlm_assets_tests.transfer.fetch_process"]


def start(
    folder: Path, urls: list[str], spool: str, *, concurrency: int = 8, interval_s: float = 0.0
) -> Process:
    path = folder / f"{spool}.json"
    job = {"urls": urls, "concurrency": concurrency, "interval_s": interval_s}
    path.write_bytes(
        orjson.dumps(
            {
                **job,
                "spool": str(folder / spool),
                "cache": str(folder / "cache"),
                "locks": str(folder / "locks"),
            }
        )
    )
    process = subprocess.Popen([*FETCH, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline().strip() == "ready"
    return process


def go(*processes: Process) -> None:
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()


def finish(process: Process) -> str:
    out, _ = process.communicate("go\n", timeout=60)
    assert process.returncode == 0
    return out.strip()


@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_killed_at_random_points_nothing_spooled_is_asked_again(tmp_path, seed):
    dice = random.Random(seed)
    names = [f"/{n}" for n in range(300)]
    bodies = {name: jpeg(name, dice.choice([500, 20_000, 300_000])) for name in names if name != "/7"}
    script = {name: Reply(body=body, delay_s=0.01) for name, body in bodies.items()}
    with FaultServer(script) as server:
        urls = [server.url(name) for name in names]
        kills = 0
        while kills < 3:
            process = start(tmp_path, urls, "spool")
            go(process)
            time.sleep(dice.uniform(0.05, 0.25))
            process.kill()
            process.communicate()
            kills += 1
        got = finish(start(tmp_path, urls, "spool"))
        wanted = sha256(
            b"".join(bodies.get(name, f"{server.url(name)} not_found".encode()) for name in names)
        ).hexdigest()
        assert got == wanted
        # What was in flight at a kill may be asked twice, nothing else.
        assert sum(server.counts.values()) <= 300 + kills * 8
        assert set(server.counts) == set(names)
        server.log.clear()
        assert finish(start(tmp_path, urls, "spool")) == wanted
        assert server.counts == {"/7": 1}


def test_two_runs_do_not_double_the_rate_or_the_concurrency(tmp_path):
    script = {f"/{n}": Reply(body=jpeg(str(n)), delay_s=0.08) for n in range(24)}
    with FaultServer(script) as server:
        halves = [[server.url(f"/{n}") for n in range(k, 24, 2)] for k in (0, 1)]
        processes = [start(tmp_path, urls, f"s{k}", interval_s=0.1) for k, urls in enumerate(halves)]
        go(*processes)
        for process in processes:
            finish(process)
        starts = sorted(asked.at for asked in server.log if asked.path != "/robots.txt")
        assert len(starts) == 24
        assert starts[-1] - starts[0] > 23 * 0.1 * 0.97
        assert min(b - a for a, b in pairwise(starts)) > 0.06
        server.log.clear()
        server.most_in_flight = 0
        processes = [start(tmp_path, urls, f"t{k}", concurrency=2) for k, urls in enumerate(halves)]
        go(*processes)
        for process in processes:
            finish(process)
        assert server.most_in_flight == 2
