"""SIGKILL, EIO and ENOSPC at calls of every step that changes the disk: the same bytes in the end, and no litter."""

import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from vlm_assets_tests.faults.steps import STEPS
from vlm_assets_tests.faults.trials import Trial, from_line
from vlm_assets_tests.faults.watched import Ended, Fault, Mode, watched
from vlm_assets_tests.waiting import LONG_HANG_S

DEFAULT = [step.name for step in STEPS if step.points]


def watched_or_skipped(action: Callable[[], int], base: Path, fault: Fault | None = None) -> Ended:
    (base / "data").mkdir(exist_ok=True)
    try:
        return watched(action, base / "said", base / "data", fault)
    except OSError as error:
        pytest.skip(f"the kernel lets no process watch the calls of another here: {error}")


def run_faults(base: Path, *words: str) -> tuple[list[Trial], str]:
    """Runs the trials in a process of their own; what came of each, and their counts."""
    watched_or_skipped(lambda: 0, base)
    command = [sys.executable, "-m", "vlm_assets_tests.faults.run", str(base / "faults"), *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    trials = [from_line(line) for line in done.stdout.splitlines()]
    assert done.returncode in {0, 1}, done.stderr
    assert trials, done.stderr
    return trials, done.stderr.strip()


@pytest.fixture(scope="module")
def tried(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Trial], str]:
    return run_faults(tmp_path_factory.mktemp("tried"))


@pytest.mark.parametrize("step", DEFAULT)
def test_each_step_bears_what_happens(tried: tuple[list[Trial], str], step: str):
    trials = [one for one in tried[0] if one.step == step]
    assert trials
    assert [one for one in trials if one.problems] == []


def test_forty_points_were_tried(tried: tuple[list[Trial], str], record_property):
    record_property("told", f"faults: {tried[1]}")
    assert len([one for one in tried[0] if one.point]) >= 40
    assert {one.mode for one in tried[0]} == set(Mode)


@pytest.mark.slow
@pytest.mark.timeout(4 * LONG_HANG_S)
def test_hundreds_of_points_are_borne(tmp_path: Path, record_property):
    trials, told = run_faults(tmp_path, "--all", "--every", os.environ.get("TEST_EVERY_FAULT", "13"))
    record_property("told", f"faults: {told}")
    assert len({(one.step, one.mode, one.number) for one in trials if one.point}) >= 300
    assert [one for one in trials if one.problems] == []


def writes(folder: Path) -> int:
    """Arrow, sqlite, Python and another program, one after the other."""
    pq.write_table(pa.table({"a": [1]}), folder / "a.parquet")
    with sqlite3.connect(folder / "b.db") as database:
        database.execute("create table t (a)")
    database.close()
    (folder / "c").write_text("c")
    (folder / "c").rename(folder / "d")
    (folder / "e").symlink_to("d")
    subprocess.run(["cp", folder / "d", folder / "f"], check=True)
    return 0


def test_whoever_calls_is_seen(tmp_path: Path):
    ended = watched_or_skipped(lambda: writes(tmp_path / "data"), tmp_path)
    assert (ended.code, ended.said) == (0, "")
    seen = [str(point) for point in ended.points]
    for wanted in (
        "write a.parquet",
        "pwrite* b.db",
        "fdatasync b.db",
        "write c",
        "rename d",
        "symlink e",
        "open f",
    ):
        assert wanted in [one.replace("pwrite64", "pwrite*") for one in seen], seen


@pytest.mark.parametrize(
    ("mode", "wanted", "code", "left"),
    [
        pytest.param(Mode.KILL, "rename d", -9, {"a.parquet", "b.db", "c"}, id="kill"),
        pytest.param(Mode.BROKEN, "rename d", 70, {"a.parquet", "b.db", "c"}, id="broken"),
        pytest.param(Mode.FULL, "symlink e", 70, {"a.parquet", "b.db", "d"}, id="full"),
    ],
)
def test_the_fault_is_met_where_it_was_put(
    tmp_path: Path, mode: Mode, wanted: str, code: int, left: set[str]
):
    (tmp_path / "first").mkdir()
    points = watched_or_skipped(lambda: writes(tmp_path / "first" / "data"), tmp_path / "first").points
    at = [str(point) for point in points].index(wanted) + 1
    ended = watched_or_skipped(lambda: writes(tmp_path / "data"), tmp_path, Fault(mode, at))
    assert (ended.code, str(ended.at)) == (code, wanted)
    assert {path.name for path in (tmp_path / "data").iterdir()} == left


# Names that begin with VLM_ are settings, and others than those there are refused.
SOAKS = [
    pytest.param(("--actions", "20"), id="20-actions"),
    pytest.param(
        ("--minutes", os.environ.get("TEST_SOAK_MINUTES", "60")),
        id="an-hour",
        marks=[pytest.mark.slow, pytest.mark.timeout(4 * LONG_HANG_S)],
    ),
]


@pytest.mark.parametrize("size", SOAKS)
def test_a_soak_ends_as_an_undisturbed_build(tmp_path: Path, size: tuple[str, str], record_property):
    watched_or_skipped(lambda: 0, tmp_path)
    command = [sys.executable, "-m", "vlm_assets_tests.faults.soak", str(tmp_path / "soak"), *size]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    record_property("told", f"soak: {done.stdout.strip()}")
    assert done.returncode == 0, done.stdout + done.stderr
