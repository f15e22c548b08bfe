"""Workers, disturbed by real signals, and what is left of them."""

import math
import os
import pickle
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import psutil
import pytest

import vlm_assets
from vlm_assets.words.errors import DiskFullError
from vlm_assets.workers.errors import (
    TaskError,
    WorkerClosedError,
    WorkerDiedError,
    WorkerSilentError,
    WorkerStartError,
)
from vlm_assets.workers.pool import WorkerPool
from vlm_assets.workers.program import CALLS, Limits, Program

ROOT = Path(vlm_assets.__file__).parent.parent
ACTS = Program("test", "vlm_assets_tests.workers.handlers:acts")
WAIT_S = 120


def gone(pid: int) -> bool:
    """Waits until a process has ended. Ours are never reaped by others, so a zombie has."""
    try:
        process = psutil.Process(pid)
        process.wait(WAIT_S) if process.status() != psutil.STATUS_ZOMBIE else None
    except psutil.NoSuchProcess:
        return True
    except psutil.TimeoutExpired:
        return False
    return True


@contextmanager
def at_work(pool: WorkerPool, request: Any) -> Iterator[tuple[int, Any]]:
    """A request under way in a thread: process id of its worker, which has said something, and the answer to come."""
    said: SimpleQueue[Any] = SimpleQueue()
    with ThreadPoolExecutor(1) as threads:
        answer = threads.submit(pool.ask, request, said.put)
        said.get(timeout=WAIT_S)
        [pid] = pool.pids()
        yield pid, answer


def test_answers_come_to_whoever_asked_and_prints_are_none():
    program = Program("test", "vlm_assets_tests.workers.handlers:echo", ("a",), quiet=True)
    with WorkerPool(program, 3) as pool, ThreadPoolExecutor(8) as threads:
        answers = threads.map(pool.ask, [{"value": number} for number in range(40)])
        assert list(answers) == [["a", number] for number in range(40)]
        assert 1 <= len(pool.pids()) <= 3
        heard: list[int] = []
        assert pool.ask({"value": 1, "messages": 3}, heard.append) == ["a", 1]
        assert heard == [0, 1, 2]


def test_requests_are_begun_in_order_and_told_as_they_are_done():
    program = Program("test", CALLS, ("math",))
    with WorkerPool(program, 2, at_once=True) as pool:
        assert len(pool.pids()) == 2
        told = pool.run([(math.sqrt, float(n * n)) for n in range(20)])
        assert sorted(told) == [(n, float(n)) for n in range(20)]


def test_nothing_is_started_before_it_is_needed_and_one_worker_serves_many():
    with WorkerPool(ACTS, 4) as pool:
        assert pool.pids() == []
        assert {pool.ask(("pid", None)) for _ in range(10)} == set(pool.pids())
        assert len(pool.pids()) == 1


@pytest.mark.parametrize("size", [0, 5, 3 * 2**20], ids=["none", "few", "much"])
def test_buffers_go_beside_the_request(size: int):
    data = os.urandom(size)
    with WorkerPool(ACTS, 1) as pool:
        answer = pool.ask(("size", pickle.PickleBuffer(data)))
        assert answer == ("bytes", size, data[-4:])


@pytest.mark.parametrize("deadly", [signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT])
def test_a_crash_costs_one_request_and_the_worker_is_replaced(deadly: signal.Signals):
    with WorkerPool(ACTS, 1) as pool:
        before = pool.ask(("pid", None))
        with pytest.raises(WorkerDiedError, match="a test process ended with status") as caught:
            pool.ask(("kill", deadly))
        assert (caught.value.status, caught.value.killed) == (-deadly, deadly is signal.SIGKILL)
        assert pool.ask(("pid", None)) != before


def test_a_crash_costs_no_other_request():
    requests = [("exit", 3) if n == 5 else ("use_cpu", 0.05) for n in range(10)]
    answers: list[Any] = []

    def ask(request: Any) -> None:
        try:
            answers.append(pool.ask(request))
        except WorkerDiedError as error:
            answers.append(error.status)

    with WorkerPool(ACTS, 2) as pool, ThreadPoolExecutor(4) as threads:
        list(threads.map(ask, requests))
    assert sorted(answers) == [0.05] * 9 + [3]


def test_one_that_died_while_idle_costs_nothing():
    with WorkerPool(ACTS, 1) as pool:
        pid = pool.ask(("pid", None))
        os.kill(pid, signal.SIGKILL)
        assert gone(pid)
        assert pool.ask(("pid", None)) != pid


@pytest.mark.parametrize("stopped", [False, True], ids=["waits", "is_stopped"])
def test_silence_costs_one_request(*, stopped: bool):
    with WorkerPool(Program("test", ACTS.handler, limits=Limits(silent_s=1.5)), 1) as pool:
        pid = pool.ask(("pid", None))
        if stopped:
            os.kill(pid, signal.SIGSTOP)
        with pytest.raises(WorkerSilentError, match=r"said nothing for 1\.5 s"):
            pool.ask(("size", bytes(10**6)) if stopped else ("wait", None))
        assert gone(pid)
        assert pool.ask(("pid", None)) != pid


def test_processor_time_is_bounded_for_each_request():
    with WorkerPool(Program("test", ACTS.handler, limits=Limits(cpu_s=1)), 1) as pool:
        pids = {pool.ask(("use_cpu", 0.6)) and pool.pids()[0] for _ in range(3)}
        assert len(pids) == 1
        assert pool.ask(("renew", 2)) == 2
        with pytest.raises(WorkerDiedError, match="used up its processor time") as caught:
            pool.ask(("spin", None))
        assert caught.value.used_up


def test_memory_is_bounded():
    with WorkerPool(Program("test", ACTS.handler, limits=Limits(memory_bytes=300 * 2**20)), 1) as pool:
        with pytest.raises(TaskError, match="MemoryError"):
            pool.ask(("allocate", 400 * 2**20))
        assert pool.ask(("allocate", 2**20)) == 2**20


def test_errors_of_this_package_come_as_they_are_others_with_their_traceback():
    with WorkerPool(ACTS, 1) as pool:
        with pytest.raises(DiskFullError, match="no room"):
            pool.ask(("raise", "own"))
        with pytest.raises(TaskError, match=r"Traceback(.|\n)*ValueError: not this one"):
            pool.ask(("raise", "other"))
        assert len(pool.pids()) == 1


def test_answers_as_json_run_nothing():
    with WorkerPool(Program("test", ACTS.handler, answers="json"), 1) as pool:
        assert pool.ask(("group", None)) == [pool.pids()[0], []]
        with pytest.raises(TaskError, match="no room"):
            pool.ask(("raise", "own"))
        with pytest.raises(TaskError, match="not JSON serializable"):
            pool.ask(("object", None))


def test_close_ends_workers_at_work_and_blames_no_request():
    pool = WorkerPool(ACTS, 1)
    with at_work(pool, ("wait", None)) as (pid, answer):
        pool.close()
        with pytest.raises(WorkerClosedError, match="closed"):
            answer.result(WAIT_S)
    assert gone(pid)
    with pytest.raises(WorkerClosedError, match="closed"):
        pool.ask(("pid", None))


def test_a_request_that_fails_ends_the_run_and_leaves_nothing():
    requests = [("raise", "other"), *[("wait", None)] * 5]
    with WorkerPool(ACTS, 2) as pool:
        with pytest.raises(TaskError):
            list(pool.run(requests))
        pids = pool.pids()
    assert all(gone(pid) for pid in pids)


def test_a_listener_that_fails_costs_the_worker_nobody_else_gets_its_answer():
    def refuse(_message: Any) -> None:
        raise ZeroDivisionError

    with WorkerPool(ACTS, 1) as pool:
        before = pool.ask(("pid", None))
        with pytest.raises(ZeroDivisionError):
            pool.ask(("wait", None), refuse)
        assert gone(before)
        assert pool.ask(("pid", None)) != before


def test_ctrl_c_and_stop_leave_a_worker_at_work():
    with WorkerPool(ACTS, 1) as pool:
        pid = pool.ask(("pid", None))
        for stop in (signal.SIGINT, signal.SIGTERM):
            os.kill(pid, stop)
        assert pool.ask(("pid", None)) == pid
        assert pool.ask(("group", None)) == (pid, [])


def test_a_worker_outlives_the_thread_that_asked_first():
    with WorkerPool(ACTS, 1) as pool:
        thread = threading.Thread(target=pool.ask, args=(("pid", None),))
        thread.start()
        thread.join()
        [pid] = pool.pids()
        assert pool.ask(("pid", None)) == pid


def test_what_a_worker_started_ends_with_it():
    pool = WorkerPool(ACTS, 1)
    said: SimpleQueue[int] = SimpleQueue()
    with ThreadPoolExecutor(1) as threads:
        threads.submit(pool.ask, ("child", None), said.put)
        grandchild = said.get(timeout=WAIT_S)
        pool.close()
    assert gone(grandchild)


PARENT = """
import sys, threading
from vlm_assets.workers.pool import WorkerPool
from vlm_assets.workers.program import Program
pool = WorkerPool(Program("test", "vlm_assets_tests.workers.handlers:acts"), 1)
said = threading.Event()
threading.Thread(target=pool.ask, args=((sys.argv[1], None), lambda _: said.set()), daemon=True).start()
said.wait()
print(*pool.pids(), flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("act", ["wait", "spin", "hold"])
@pytest.mark.parametrize("end", ["killed", "ends"])
def test_workers_at_work_do_not_outlive_their_parent(act: str, end: str):
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, act],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    ) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        if end == "killed":
            parent.kill()
    assert gone(pid)


def run_script(path: Path, code: str) -> list[str]:
    """What a program of its own prints, in a file as a command's is."""
    path.write_text(code)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    told = subprocess.run(
        [sys.executable, path], check=True, stdout=subprocess.PIPE, text=True, env=environment
    )
    return told.stdout.split()


ONE_REQUEST = """
from vlm_assets.workers.pool import WorkerPool
from vlm_assets.workers.program import Program
print("main", flush=True)
with WorkerPool(Program("test", "vlm_assets_tests.workers.handlers:acts"), 1) as pool:
    print(pool.ask(("main", None)), flush=True)
"""


def test_the_callers_main_is_not_imported(tmp_path: Path):
    assert run_script(tmp_path / "main.py", ONE_REQUEST) == ["main", "None"]


FORK = """
import os
if (pid := os.fork()) == 0:
    with WorkerPool(Program("test", "vlm_assets_tests.workers.handlers:acts"), 1) as pool:
        print(pool.ask(("use_cpu", 0.0)), flush=True)
    os._exit(0)
os.waitpid(pid, 0)
"""


def test_a_fork_starts_workers_of_its_own(tmp_path: Path):
    assert run_script(tmp_path / "main.py", ONE_REQUEST + FORK) == ["main", "None", "0.0"]


@pytest.mark.parametrize(
    ("python", "told"),
    [("/nonexistent", "cannot start a test process"), ("/bin/false", "status 1 before it was ready")],
    ids=["is_not_there", "ends_at_once"],
)
def test_a_worker_that_cannot_start_is_no_fault_of_the_request(
    monkeypatch: pytest.MonkeyPatch, python: str, told: str
):
    monkeypatch.setattr(sys, "executable", python)
    with WorkerPool(ACTS, 1) as pool, pytest.raises(WorkerStartError, match=told):
        pool.ask(("pid", None))


def test_a_handler_that_cannot_be_made_is_named():
    program = Program("test", "vlm_assets_tests.workers.handlers:broken", quiet=True)
    with WorkerPool(program, 1) as pool, pytest.raises(WorkerStartError, match="handlers:broken"):
        pool.ask(1)
