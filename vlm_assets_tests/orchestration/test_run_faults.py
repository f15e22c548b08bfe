"""The disk fails, or the process is killed, within Dagster's runs: the run has failed, and says why in a sentence."""

import os
import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from vlm_assets.orchestration.command.lost_runs import fail_lost_runs
from vlm_assets.orchestration.names import ALLOCATION_KEY, CORPUS_KEY, HOST_TAG, PARTITION_TAG
from vlm_assets.orchestration.run.runs import failures_told
from vlm_assets_tests.faults.place import TARGET, Place, contents, served
from vlm_assets_tests.faults.trials import is_litter
from vlm_assets_tests.faults.watched import Ended, Fault, Mode, Point, forked, warmed, watched
from vlm_assets_tests.orchestration.kit import Line, instance_in
from vlm_assets_tests.waiting import LONG_HANG_S

PARTS = ("fetch", "corpus")
_FAULTS = 24


def runs_of(line: Line, part: str) -> Iterator[dg.ExecuteInProcessResult]:
    """The runs that `dagster asset materialize` makes of a part of the line."""
    tags: dict[str, Any] = {HOST_TAG: os.uname().nodename}
    if part == "fetch":
        yield line.list_sources("street", "web", tags=tags)
        yield line.fetch("street", **tags)
        yield line.fetch("web", **tags)
    else:
        yield line.run(ALLOCATION_KEY, CORPUS_KEY, tags={**tags, PARTITION_TAG: TARGET}, partition_key=TARGET)


def materialize(place: Place, part: str) -> int:
    """Makes a part of the line in runs of the instance beside the data root; tells what failed."""
    place.settle()
    code = 0
    with instance_in(place.base / "home") as instance:
        for result in runs_of(Line(place.installation(), instance), part):
            if not result.success:
                code = 1
                print(failures_told(instance, result.run_id))
                break
    return code


def ended_runs(place: Place) -> list[tuple[str, str]]:
    """Status and words of each run, after whoever comes next has looked for lost ones."""
    with instance_in(place.base / "home") as instance:
        fail_lost_runs(instance)
        return [(run.status.value, failures_told(instance, run.run_id)) for run in instance.get_runs()]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """What each part begins with is kept: `fetch`, `corpus`; `whole` is what comes of both."""
    with served() as servers:
        made = Place(tmp_path_factory.mktemp("runs"), servers)
        made.environment["DAGSTER_HOME"] = str(made.base / "home")
        made.make()
        for part in PARTS:
            keep(made, part)
            ended = warmed(partial(materialize, made, part), made.said)
            assert ended.code == 0, ended.said
        keep(made, "whole")
        yield made


def keep(place: Place, name: str) -> None:
    place.keep(name)
    if (place.base / "home").exists():
        shutil.copytree(place.base / "home", place.base / "kept" / f"{name}-home")


def take(place: Place, name: str) -> None:
    place.take(name)
    shutil.rmtree(place.base / "home", ignore_errors=True)
    if (kept := place.base / "kept" / f"{name}-home").exists():
        shutil.copytree(kept, place.base / "home")


def data_of(root: Path) -> dict[str, str]:
    """What the data root holds, but for summaries, which are written anew by whoever asks."""
    return {name: found for name, found in contents(root).items() if "summary" not in name}


def points(place: Place, part: str) -> list[Point]:
    take(place, part)
    try:
        return watched(lambda: materialize(place, part), place.said, place.root).points
    except OSError as error:
        pytest.skip(f"the kernel lets no process watch the calls of another here: {error}")


def judge(place: Place, part: str, ended: Ended, mode: Mode) -> None:
    """The run has failed with a sentence that names the place, or nothing was lost by the fault."""
    assert ended.code == (-9 if mode is Mode.KILL else ended.code), ended.said
    assert ended.code in {-9, 0, 1}, ended.said
    assert "Traceback" not in ended.said
    told = ended_runs(place)
    assert {status for status, _ in told} <= {"SUCCESS", "FAILURE"}
    if ended.code:
        [words] = [words for status, words in told if status == "FAILURE"]
        wanted = "is gone (killed, or the machine went down)" if mode is Mode.KILL else f"{place.root}"
        assert wanted in words
        assert "Traceback" not in words
    again = forked(lambda: materialize(place, part), place.said)
    assert again.code == 0, again.said


@pytest.mark.slow  # `test_lost_runs` has the short form, `faults.run build --all` the line of the command
@pytest.mark.timeout(LONG_HANG_S)
@pytest.mark.parametrize("part", PARTS)
def test_a_run_under_faults_has_failed_and_the_next_one_ends_the_same(
    place: Place, part: str, record_property
):
    seen = points(place, part)
    wanted = data_of(place.root)
    tried = 0
    for number in range(_FAULTS):
        mode = list(Mode)[number % len(Mode)]
        able = [
            at for at, one in enumerate(seen, 1) if mode is not Mode.FULL or one.call in {"write", "open"}
        ]
        fault = Fault(mode, able[(2 * number + 1) * len(able) // (2 * _FAULTS)])
        take(place, part)
        ended = watched(lambda: materialize(place, part), place.said, place.root, fault)
        tried += ended.at is not None
        judge(place, part, ended, mode)
        found = data_of(place.root)
        left = {one for one in found.keys() - wanted.keys() if is_litter(one) and mode is not Mode.KILL}
        assert left == set(), (fault, left)
        kept = {name: found[name] for name in found if not is_litter(name)}
        assert kept == {name: wanted[name] for name in wanted if not is_litter(name)}, fault
    record_property("told", f"runs: {tried} faults within Dagster's runs of {part}")
