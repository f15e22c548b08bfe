"""SIGKILL, EIO and ENOSPC at calls of every step that changes the disk: the same bytes in the end, and no litter."""

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import Any

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from vlm_assets.words.disk import naming_database
from vlm_assets.words.errors import StoreError
from vlm_assets_tests.faults.soak import bytes_in_use, growth
from vlm_assets_tests.faults.steps import STEPS
from vlm_assets_tests.faults.syscalls import NEEDS_SPACE
from vlm_assets_tests.faults.trials import Trial, chosen
from vlm_assets_tests.faults.watched import Ended, Fault, Mode, Point, watched
from vlm_assets_tests.waiting import LONG_HANG_S

DEFAULT = [step.name for step in STEPS if step.points]


def watched_or_skipped(action: Callable[[], int], base: Path, fault: Fault | None = None) -> Ended:
    (base / "data").mkdir(exist_ok=True)
    try:
        return watched(action, base / "said", base / "data", fault)
    except OSError as error:
        pytest.skip(f"the kernel lets no process watch the calls of another here: {error}")


@dataclass(frozen=True, slots=True)
class Ran:
    """What one process tried: each trial, what was tried besides by name, and the trials' counts."""

    trials: list[Trial]
    beside: dict[str, dict[str, Any]]
    counts: str


def run_faults(base: Path, *words: str) -> Ran:
    """Runs the trials in a process of their own."""
    watched_or_skipped(lambda: 0, base)
    command = [sys.executable, "-m", "vlm_assets_tests.faults.run", str(base / "faults"), *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode in {0, 1}, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert lines, done.stderr
    beside = {line["name"]: line for line in lines if "name" in line}
    return Ran([Trial(**line) for line in lines if "name" not in line], beside, done.stderr.strip())


@pytest.fixture(scope="module")
def tried(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """Everything of the default run: what has to be loaded is loaded once."""
    return run_faults(tmp_path_factory.mktemp("tried"), "--soak", "14", "--machines", "4")


@pytest.mark.parametrize("step", DEFAULT)
def test_each_step_bears_what_happens(tried: Ran, step: str):
    trials = [one for one in tried.trials if one.step == step]
    assert trials
    assert [one for one in trials if one.problems] == []


def test_forty_points_were_tried(tried: Ran, record_property):
    record_property("told", f"faults: {tried.counts}")
    assert len([one for one in tried.trials if one.point]) >= 40
    assert {one.mode for one in tried.trials} == set(Mode)


@pytest.mark.slow
@pytest.mark.timeout(4 * LONG_HANG_S)
def test_hundreds_of_points_are_borne(tmp_path: Path, record_property):
    ran = run_faults(tmp_path, "--all", "--every", os.environ.get("TEST_EVERY_FAULT", "13"))
    record_property("told", f"faults: {ran.counts}")
    assert len({(one.step, one.mode, one.number) for one in ran.trials if one.point}) >= 300
    assert [one for one in ran.trials if one.problems] == []


@pytest.mark.parametrize(
    ("by_kind", "found"),
    [
        (False, [("SIGKILL", 1), ("EIO", 1), ("ENOSPC", 1), ("SIGKILL", 2), ("EIO", 2), ("ENOSPC", 2),
                 ("SIGKILL", 3), ("EIO", 3), ("ENOSPC", 3), ("SIGKILL", 4), ("EIO", 4)]),
        (True, [("SIGKILL", 2), ("EIO", 2), ("ENOSPC", 2), ("SIGKILL", 4), ("EIO", 4)]),
    ],
    ids=["every-call", "of-each-kind"],
)  # fmt: skip
def test_what_is_tried_of_all_calls(*, by_kind: bool, found: list[tuple[str, int]]):
    points = [*[Point("write", "a")] * 3, Point("unlink", "a")]
    assert [(str(one.mode), one.at) for one in chosen(points, 0, by_kind=by_kind)] == found


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


@pytest.mark.parametrize(
    ("keep", "least_mib"),
    [
        pytest.param(lambda: bytes(3 << 20), 3, id="one-block"),
        pytest.param(lambda: [bytes(1_000) for _ in range(3_000)], 2.8, id="many"),
        pytest.param(lambda: [str(number) for number in range(100_000)], 4, id="small-objects"),
        pytest.param(lambda: pa.array(range(400_000)), 3, id="arrow"),
    ],
)
def test_what_an_action_leaves_behind_is_seen_and_what_it_gave_back_is_not(
    keep: Callable[[], object], least_mib: float
):
    process = psutil.Process()
    keep()
    before = bytes_in_use(process)
    kept = keep()
    assert (bytes_in_use(process) - before) / 2**20 >= least_mib
    del kept
    assert abs(bytes_in_use(process) - before) / 2**20 < 0.3


@pytest.mark.parametrize(
    ("each", "found"),
    [
        pytest.param(lambda _: 0.02, 2.0, id="every-action"),
        pytest.param(lambda at: 0.3 * (at % 15 == 0), 2.0, id="every-fifteenth"),
        pytest.param(lambda at: 3.0 * (at in {70, 130}), 0.0, id="first-needs"),
        pytest.param(lambda at: (-1) ** at, 0.0, id="given-back"),
        pytest.param(lambda at: 1.0 * (at < 60), 0.0, id="warming"),
    ],
)
def test_growth_is_what_comes_with_the_number(each: Callable[[int], float], found: float):
    sizes = list(accumulate(map(each, range(200)), initial=400.0))
    assert growth(sizes) == pytest.approx(found, rel=0.3)
    assert growth(sizes[:120]) == 0


def logs(folder: Path) -> int:
    """A database with a log and an index of it (`-wal`, `-shm`), as Dagster's are."""
    try:
        with naming_database(folder / "l.db"), closing(sqlite3.connect(folder / "l.db")) as database:
            database.execute("pragma journal_mode=wal")
            database.execute("create table t (a)")
            database.commit()
    except StoreError as error:
        print(f"{type(error).__name__}: {error}")
        return 1
    return 0


def test_a_disk_that_is_full_under_any_file_of_a_database_is_told_as_that(tmp_path: Path):
    base = tmp_path / "first"
    base.mkdir()
    points = watched_or_skipped(lambda: logs(base / "data"), base).points
    told: dict[str, str] = {}
    for at, point in enumerate(points, 1):
        if point.call in NEEDS_SPACE:
            (base := tmp_path / str(at)).mkdir()
            ended = watched_or_skipped(partial(logs, base / "data"), base, Fault(Mode.FULL, at))
            told[f"{at} {point}"] = ended.said.partition(":")[0] or f"exit {ended.code}"
    of_the_index = {said for point, said in told.items() if point.endswith("l.db-shm")}
    assert of_the_index == {"DiskFullError"}
    # What is in the log needs no room elsewhere.
    assert set(told.values()) <= {"DiskFullError", "exit 0"}, told


@pytest.mark.parametrize("name", ["soak", "machines"])
def test_what_ends_in_the_middle_ends_as_what_is_undisturbed(tried: Ran, name: str, record_property):
    """A soak of one machine, and two machines on one bucket: `two_machines` says what must hold."""
    record_property("told", tried.beside[name]["told"])
    assert tried.beside[name]["problems"] == []


# Names that begin with VLM_ are settings, and others than those there are refused.
LONG = [
    pytest.param("soak", ("--minutes", os.environ.get("TEST_SOAK_MINUTES", "60")), id="soak-an-hour"),
    pytest.param(
        "two_machines", ("--seed", "2", "--actions", os.environ.get("TEST_MACHINE_ACTIONS", "400")),
        id="machines-400-actions",
    ),
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.timeout(4 * LONG_HANG_S)
@pytest.mark.parametrize(("program", "size"), LONG)
def test_so_it_does_for_long(tmp_path: Path, program: str, size: tuple[str, ...], record_property):
    watched_or_skipped(lambda: 0, tmp_path)
    command = [sys.executable, "-m", f"vlm_assets_tests.faults.{program}", str(tmp_path / "long"), *size]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    record_property("told", f"{program}: {done.stdout.strip()}")
    assert done.returncode == 0, done.stdout + done.stderr
