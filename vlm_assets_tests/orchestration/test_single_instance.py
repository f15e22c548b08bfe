"""Two at the same thing: one works, the other waits or stops with the name of the first; a dead one blocks nobody."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dagster as dg
import pytest
from rich.console import Console

from vlm_assets.installation.opening import Installation
from vlm_assets.locks import hold_lock
from vlm_assets.orchestration.command.build import run_build
from vlm_assets.orchestration.names import ALLOCATION_KEY, CORPUS_KEY
from vlm_assets.orchestration.night.jobs import slices_config
from vlm_assets.orchestration.run.kind_slots import hold_kind_slot, slots_of
from vlm_assets.settings import load_settings
from vlm_assets.words.errors import LockHeldError
from vlm_assets_tests.orchestration.kit import Line, failure_of
from vlm_assets_tests.waiting import HANG_S, until
from vlm_assets_tests.workplace import STREET, fill, install

HOLDER = """
import sys
from pathlib import Path
from vlm_assets.locks import hold_lock
with hold_lock(Path(sys.argv[1]), sys.argv[2]):
    print("held", flush=True)
    sys.stdin.read()
"""
NOW = {"vlm/lock_wait_s": "0"}


@contextmanager
def held_elsewhere(path: Path, purpose: str) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds a lock, until it is killed or the block ends."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path), purpose],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def city(base: Path, **settings: Any) -> Installation:
    for number in range(2):
        fill(base / "in" / f"s{number}", 3, start=10 * number)
    corpus = {"targets": {"4": 4}}
    return install(base, {**STREET, "path": base / "in"}, corpus=corpus, **settings)


@pytest.fixture
def line(tmp_path: Path, instance: dg.DagsterInstance) -> Line:
    line = Line(city(tmp_path), instance)
    line.list_sources("street")
    return line


def scattered(line: Line, **tags: str) -> dg.ExecuteInProcessResult:
    job = line.defs.resolve_job_def("slices")
    config: Any = slices_config("street", line.slices("street"))
    return job.execute_in_process(instance=line.instance, run_config=config, tags=tags, raise_on_error=False)


@pytest.fixture
def refused(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Set when somebody in this process found a lock taken and waits to try again."""
    event = threading.Event()

    def sleep(seconds: float) -> None:
        event.set()
        time.sleep(seconds)

    patient = SimpleNamespace(monotonic=time.monotonic, sleep=sleep)
    monkeypatch.setattr("vlm_assets.locks.time", patient)
    monkeypatch.setattr("vlm_assets.locks._UNSAID_S", 0.0)
    return event


def in_background(call: Callable[[], Any]) -> tuple[threading.Thread, list[Any]]:
    done: list[Any] = []
    thread = threading.Thread(target=lambda: done.append(call()))
    thread.start()
    return thread, done


def waiting(line: Line) -> list[str]:
    """What the newest run said about whom it waits for."""
    [run_id] = line.instance.get_run_ids(limit=1)
    words = [entry.user_message for entry in line.instance.all_logs(run_id)]
    return [one for one in words if one.startswith("Waiting: ")]


def assert_names(told: str, process: subprocess.Popen[str]) -> None:
    assert f"held by pid {process.pid} on " in told
    assert " since 20" in told


def fetched(line: Line, **tags: str) -> dg.ExecuteInProcessResult:
    return line.fetch("street", **tags)


def allocated(line: Line, **tags: str) -> dg.ExecuteInProcessResult:
    line.fetch("street")
    return line.run(ALLOCATION_KEY, partition_key="4", tags=tags)


@pytest.mark.parametrize(
    ("lock", "run", "node"),
    [
        pytest.param("fetch.street", scattered, "fetch_slices", id="scattered-slices-beside-a-source"),
        pytest.param("slice.street.s0", fetched, "dataset__street", id="one-slice"),
        pytest.param("allocation.small.4", allocated, "allocation", id="allocation"),
    ],
)
def test_who_may_not_wait_names_the_holder_in_another_process(line, lock, run, node):
    with held_elsewhere(line.installation.root.locks / lock, "the other") as holder:
        result = run(line, **NOW)
        assert not result.success
        assert_names(failure_of(result, node), holder)


@pytest.mark.slow
def test_a_corpus_that_another_seals_is_waited_for_or_named(line, refused):
    from vlm_assets.corpus.build import corpus_lock

    line.fetch("street")
    line.run(ALLOCATION_KEY, partition_key="4")
    with held_elsewhere(
        corpus_lock(line.installation.root, "small", "4"), "sealing corpus small/4"
    ) as holder:
        result = line.run(CORPUS_KEY, partition_key="4", tags=NOW)
        assert not result.success
        assert_names(failure_of(result, "corpus.plan_shards"), holder)
        thread, done = in_background(lambda: line.run(CORPUS_KEY, partition_key="4"))
        assert refused.wait(HANG_S)
        assert not done
        holder.kill()  # as a crash does: the lock goes with the process
        thread.join(HANG_S)
    assert done[0].success


def test_a_run_of_scattered_slices_waits_for_the_source_and_says_for_whom(line, refused):
    with held_elsewhere(line.installation.root.locks / "fetch.street", "slices of street") as holder:
        thread, done = in_background(lambda: scattered(line))
        assert refused.wait(HANG_S)
        assert not done
        os.kill(holder.pid, signal.SIGKILL)
        thread.join(HANG_S)
    [result] = done
    assert result.success
    [told] = waiting(line)
    assert_names(told, holder)
    assert line.materialized("street") == {"s0": 1, "s1": 1}


def test_a_command_waits_for_whoever_holds_what_it_needs_and_says_for_whom(tmp_path, monkeypatch):
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("vlm_assets.locks._UNSAID_S", 0.0)
    installation, out = city(tmp_path), StringIO()
    needed = ("fetch.street", "slice.street.s1", "build.small.4", "allocation.small.4", "corpus.small.4")
    with ExitStack() as stack:
        holders = {
            name: stack.enter_context(held_elsewhere(installation.root.locks / name, "the other"))
            for name in needed
        }

        over = threading.Event()

        def said(words: str) -> bool:
            return words in out.getvalue() or over.is_set()

        def let_go() -> None:
            for name, holder in holders.items():
                told = f"Waiting: {name}: held by pid {holder.pid} on "
                until(partial(said, told), told)
                holder.kill()

        thread, _ = in_background(let_go)
        code = run_build(installation, targets=[], sources=[], console=Console(file=out, width=200))
        over.set()
        thread.join()
    assert code == 0, out.getvalue()
    assert out.getvalue().count("Waiting: ") == len(needed)


BUILD = """
import sys
from vlm_assets.cli import main
sys.argv = ["vlm-assets", "build", "--json"]
main()
"""


@pytest.mark.slow
def test_two_first_builds_at_once_both_make_the_corpus(tmp_path):
    installation = city(tmp_path)
    environment = {
        **os.environ, "DAGSTER_HOME": str(tmp_path / "home"), "VLM_CATALOG": str(tmp_path / "catalog"),
        "VLM_DATA_ROOT": str(tmp_path / "data"),
    }  # fmt: skip
    (tmp_path / "home").mkdir()
    both = [
        subprocess.Popen(
            [sys.executable, "-c", BUILD], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for _ in range(2)
    ]  # fmt: skip
    said = [one.communicate(timeout=HANG_S) for one in both]
    assert [one.returncode for one in both] == [0, 0], said
    roots = {target["root_hash"] for out, _ in said for target in json.loads(out)["targets"]}
    assert len(roots) == 1
    assert "Traceback" not in said[0][1] + said[1][1]
    assert len(list((installation.root.corpus("small", "4").parent / ".versions").iterdir())) == 1


@pytest.mark.parametrize(
    ("cores", "kind", "told", "slots"),
    [
        (2, "pdf_folder", {}, 1), (8, "newspapers", {}, 2), (64, "pdf_folder", {}, 16),
        (1, "image_urls", {}, 2), (2, "hf_dataset", {}, 2), (64, "image_urls", {}, 16),
        (2, "pdf_folder", {"pdf_folder": 3}, 3), (64, "kaggle", {"kaggle": 1}, 1),
    ],
)  # fmt: skip
def test_slots_of_a_kind_follow_cores_and_setting(monkeypatch, cores, kind, told, slots):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(cores)))
    assert slots_of(kind, load_settings(None, kind_slots=told)) == slots


def test_kind_slots_come_from_the_environment(monkeypatch):
    monkeypatch.setenv("VLM_KIND_SLOTS", '{"pdf_folder": 4}')
    assert load_settings(None).kind_slots == {"pdf_folder": 4}


def test_a_taken_kind_is_waited_for_or_told_with_its_holders(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr("vlm_assets.locks._UNSAID_S", 0.0)
    paths = [tmp_path / "kinds" / f"kaggle.{number}" for number in (0, 1)]
    with held_elsewhere(paths[0], "a/s0") as first, hold_lock(paths[1], "b/s0"), caplog.at_level("INFO"):
        with (
            pytest.raises(LockHeldError) as raised,
            hold_kind_slot(tmp_path, "kaggle", 2, "c/s0", wait_s=0),
        ):
            pass
        assert f"pid {first.pid} on " in str(raised.value)
        assert f"pid {os.getpid()} on " in str(raised.value)
        told = "Waiting: all 2 slots of kind kaggle are taken."
        killed = threading.Event()

        def end_first() -> None:
            until(lambda: told in caplog.text, told)
            killed.set()
            first.kill()

        thread = threading.Thread(target=end_first)
        thread.start()
        with hold_kind_slot(tmp_path, "kaggle", 2, "c/s0", wait_s=HANG_S):
            assert killed.is_set()
        thread.join()


@pytest.mark.slow
def test_sources_of_one_kind_share_its_slots(tmp_path, instance):
    for name in ("street", "nature"):
        fill(tmp_path / name / "s0", 2)
    sources = [{**STREET, "name": name, "path": tmp_path / name} for name in ("street", "nature")]
    line = Line(install(tmp_path, *sources, kind_slots={"client_folder": 1}), instance)
    line.list_sources("street", "nature")
    with held_elsewhere(line.installation.root.locks / "kinds" / "client_folder.0", "nature/s0") as holder:
        result = line.fetch("street", **NOW)
    assert not result.success
    assert f"pid {holder.pid} on " in failure_of(result)
    assert line.fetch("street", **NOW).success
