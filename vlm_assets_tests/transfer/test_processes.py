"""What must hold over several processes: progress survives a kill, and two runs are one guest to a host."""

import random
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import orjson
import pytest

from vlm_assets_tests.servers import FaultServer, Reply
from vlm_assets_tests.transfer.conftest import jpeg
from vlm_assets_tests.transfer.gate_log import shortest_gap_s
from vlm_assets_tests.waiting import HANG_S, until

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


def finish(process: Process) -> tuple[str, list[float]]:
    """Hash of what it got, and when its requests were let go."""
    out, _ = process.communicate("go\n", timeout=HANG_S)
    assert process.returncode == 0
    digest, let_go = out.split(" ", 1)
    return digest, orjson.loads(let_go)


def until_asked(server: FaultServer, times: int) -> None:
    until(lambda: sum(server.counts.values()) >= times, f"request {times}")


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
            until_asked(server, sum(server.counts.values()) + dice.randint(1, 60))
            process.kill()
            process.communicate()
            kills += 1
        got, _ = finish(start(tmp_path, urls, "spool"))
        wanted = sha256(
            b"".join(bodies.get(name, f"{server.url(name)} not_found".encode()) for name in names)
        ).hexdigest()
        assert got == wanted
        # What was in flight at a kill may be asked twice, nothing else.
        assert sum(server.counts.values()) <= 300 + kills * 8
        assert set(server.counts) == set(names)
        server.log.clear()
        assert finish(start(tmp_path, urls, "spool"))[0] == wanted
        assert server.counts == {"/7": 1}


def test_two_runs_do_not_double_the_rate_or_the_concurrency(tmp_path):
    script = {
        f"/{n}": Reply(body=jpeg(str(n)), delay_s=0.08, when=lambda: server.most_in_flight >= 2)
        for n in range(24)
    }
    with FaultServer(script) as server:
        halves = [[server.url(f"/{n}") for n in range(k, 24, 2)] for k in (0, 1)]
        processes = [start(tmp_path, urls, f"s{k}", interval_s=0.1) for k, urls in enumerate(halves)]
        go(*processes)
        let_go = [at for process in processes for at in finish(process)[1]]
        assert sum(server.counts.values()) == 24
        assert len(let_go) >= len(server.log)  # a turn may find the rules that the other process asked for
        assert shortest_gap_s(let_go) > 0.0999
        server.log.clear()
        server.most_in_flight = 0
        processes = [start(tmp_path, urls, f"t{k}", concurrency=2) for k, urls in enumerate(halves)]
        go(*processes)
        for process in processes:
            finish(process)
        assert sum(server.counts.values()) == 24
        assert server.most_in_flight == 2
