"""The suite of benchmarks counts right: what a way tells, medians and ratios of rounds, what fell since."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from vlm_assets_tests.benchmarks.suite import table
from vlm_assets_tests.benchmarks.suite.case import PEER_SCRIPTS, Bar, Case, Inputs, Limit, Peer
from vlm_assets_tests.benchmarks.suite.cases import CASES
from vlm_assets_tests.benchmarks.suite.cases_allocation import _plan, granted_rows, make_indexes
from vlm_assets_tests.benchmarks.suite.environments import Environments, NoPeerError
from vlm_assets_tests.benchmarks.suite.measuring import Run, WayError, run
from vlm_assets_tests.benchmarks.suite.result import CaseResult
from vlm_assets_tests.benchmarks.suite.rounds import run_case

_CLOCKED = """
import os, subprocess, sys, time
sys.path.insert(0, {scripts!r})
from clock import timed
BUSY = "import time\\nwhile time.process_time() < 0.2: pass\\nprint(flush=True)\\n"
def moved():
    with open("/proc/self/io") as file:
        return int(dict(line.split(": ") for line in file.read().splitlines())["write_bytes"])
def work():
    block = bytearray(80_000_000)
    block[::4096] = bytes(len(block[::4096]))
    before = moved()
    subprocess.run([sys.executable, "-c", BUSY + "open({file!r}, 'wb').write(bytes(5_000_000))"], check=True)
    {living}
    print("wrote", moved() - before)
def lives_on():
    one = subprocess.Popen([sys.executable, "-c", BUSY + "input()"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    one.stdout.readline()
print("words of a library")
timed(work)
"""


def of(seconds: float, cpu_s: float = 1.0, peak_mib: float = 10.0) -> Run:
    return Run(seconds, cpu_s, peak_mib, 1.0, 2.0)


def result() -> CaseResult:
    bars = (
        Bar("ours", "peer", 2), Bar("ours", "peer", 2, "cpu", "it reads twice"), Bar("ours", "peer", 1, "memory"),
        Bar("ours", "absent", 9), Bar("tenfold", "ours", 1),
    )  # fmt: skip
    limits = (Limit("ours", 1.5), Limit("peer", 2))
    case = Case(
        "a case", "rows", lambda folder, _: nullcontext(Inputs(folder, 100)), {}, bars, limits=limits,
        times={"tenfold": 10},
    )  # fmt: skip
    found = CaseResult(case, 100)
    found.runs = {
        "ours": [of(1.0), of(4.0), of(1.0)], "peer": [of(3.0, 1.5), of(8.0, 1.5), of(2.5, 1.5)],
        "tenfold": [of(5.0), of(20.0), of(10.0)],
    }  # fmt: skip
    found.left_out = {"absent": "no network"}
    found.failed = {"broken": "gave\n9 rows"}
    found.versions = {"peer": "peer 1.0"}
    return found


def told(**changes: Any) -> dict[str, Any]:
    on = {"cpus": 2, "model": "M", "arch": "x86_64", "memory_gib": 8, "load": 0.1, "python": "3.11",
          "packages": {"pyarrow": "1"}}  # fmt: skip
    cases = {"a case": result().as_json()}
    return {"day": "2026-01-15", "size": "small", "rounds": 3, "machine": on, "cases": cases, **changes}


@pytest.mark.parametrize(
    ("living", "cpu_s"), [("pass", 0.2), ("lives_on()", 0.4)], ids=["waited-for", "living"]
)
def test_a_way_tells_what_its_whole_tree_spent_once(tmp_path: Path, living: str, cpu_s: float) -> None:
    code = _CLOCKED.format(scripts=str(PEER_SCRIPTS), file=str(tmp_path / "written"), living=living)
    found = run([sys.executable, "-c", code], tmp_path)
    wrote = int((tmp_path / "said").read_text().split("wrote ")[1].split()[0])
    assert cpu_s <= found.cpu_s < cpu_s + 0.35
    assert found.written_mib == pytest.approx(wrote / 2**20, abs=0.5)
    assert found.peak_mib > 76


@pytest.mark.parametrize("code", ["raise SystemExit('no room')", "pass"], ids=["an-error", "nothing-told"])
def test_a_way_that_fails_is_an_error_with_its_words(tmp_path: Path, code: str) -> None:
    with pytest.raises(WayError, match="no room" if "room" in code else "ended with 0"):
        run([sys.executable, "-c", code], tmp_path)


def test_bars_and_limits_are_of_the_rounds_and_say_what_is_missed() -> None:
    wall, cpu, memory, tenfold, quick, slow = result().judged()
    assert (wall.median, wall.least, wall.most, wall.met) == (2.5, 2.0, 3.0, True)
    assert (cpu.median, cpu.met, cpu.why) == (1.5, False, "it reads twice")
    assert (memory.beside, memory.median, memory.met) == ("peer, peak memory", 1, True)
    assert (tenfold.median, tenfold.least) == (2, 1)  # of the same rows ten times as many
    assert (quick.median, quick.met, slow.median, slow.met) == (1.0, True, 3.0, False)


def test_the_tables_name_every_way_and_each_missed_bar() -> None:
    [case] = told()["cases"].values()
    ways = table.markdown(table.WAY_COLUMNS, table.rows_of_ways(case))
    assert "| ours | 100 rows/s | 1.00 | 1.00-4.00 | 1.0 | 10 | 1 | 2 |" in ways
    assert "| tenfold | 100 rows/s | 10.00 |" in ways
    assert "left out: no network" in ways
    assert "failed: gave 9 rows" in ways
    lines = table.markdown(table.JUDGED_COLUMNS, table.rows_of_judged({"a case": case})).splitlines()[2:]
    assert lines[:2] == [
        "| a case | ours | peer | 2.50 | 2.00-3.00 | 2 |  |",
        "| a case | ours | peer, per CPU-s | 1.50 | 1.50-1.50 | 2 | missed: it reads twice |",
    ]
    assert lines[-1] == "| a case | peer |  | 3.00 s | 2.50-8.00 | at most 2 s | missed |"


def test_the_page_is_written_between_its_marks_again_and_again(tmp_path: Path) -> None:
    page = tmp_path / "README.md"
    page.write_text(f"before\n{table.BEGIN}\nbefore it\n{table.END}\nafter\n", "utf-8")
    once = []
    for _ in range(2):
        table.write_between(page, table.page_of(told()))
        once.append(page.read_text("utf-8"))
    assert once[0] == once[1]
    assert once[0].startswith(f"before\n{table.BEGIN}\n\nMeasured 2026-01-15, 2 CPUs (M, x86_64)")
    assert once[0].endswith(f"{table.END}\nafter\n")
    assert "before it" not in once[0]
    assert "Peers: peer 1.0." in once[0]
    page.write_text(f"{table.END}", "utf-8")
    with pytest.raises(ValueError, match="has no lines"):
        table.write_between(page, "")


def test_the_readme_has_the_marks() -> None:
    text = (PEER_SCRIPTS.parents[1] / "README.md").read_text("utf-8")
    assert 0 < text.find(table.BEGIN) < text.find(table.END)


def test_cases_that_were_not_run_again_stay() -> None:
    whole = table.merged(told(), told(day="later", cases={"another": {}}))
    assert (whole["day"], list(whole["cases"])) == ("later", ["a case", "another"])
    assert table.merged(None, told()) == told()
    assert list(table.merged(told(size="large"), told(cases={"another": {}}))["cases"]) == ["another"]


def with_median(name: str, median: float | None) -> dict[str, Any]:
    """The run with another median of one figure, or without it."""
    changed = told()
    judged = changed["cases"]["a case"]["judged"]
    for one in [one for one in judged if one["name"] == name]:
        judged.remove(one)
        if median is not None:
            worth = median if one["beside"] else 1 / median
            judged.append({**one, "median": median, "worth": worth})
    return changed


@pytest.mark.parametrize(
    ("now", "fell"),
    [
        pytest.param(told(), [], id="the-same"),
        pytest.param(with_median("ours / peer", 2.2), [], id="within-the-tolerance"),
        pytest.param(with_median("ours / peer", 2.1), ["ours / peer: 2.50 before, 2.10 now"], id="a-ratio"),
        pytest.param(with_median("ours / peer", 9), [], id="better"),
        pytest.param(with_median("ours, seconds", 1.1), [], id="seconds-within"),
        pytest.param(
            with_median("ours, seconds", 1.3), ["ours, seconds: 1.00 before, 1.30 now"], id="seconds"
        ),
        pytest.param(
            with_median("ours / peer", None),
            ["ours / peer: 2.50 before, not measured now"],
            id="not-measured",
        ),
        pytest.param(told(cases={}), [], id="a-case-not-run"),
        pytest.param(told(size="large"), ["nothing to compare"], id="another-size"),
    ],
)
def test_what_fell_by_more_than_the_tolerance_is_told(now: dict[str, Any], fell: list[str]) -> None:
    found = list(table.fallen(told(), now, 0.15))
    assert len(found) == len(fell)
    assert all(one in line for one, line in zip(fell, found, strict=True))


class Here(Environments):
    """Peers are lines of Python, run by this interpreter; one cannot be installed."""

    def command(self, peer: Peer, folder: Path, out: Path, *_: object) -> list[str]:
        if peer.script == "none":
            raise NoPeerError("no network")
        return [sys.executable, "-c", peer.script, str(folder), str(out)]

    def version(self, peer: Peer) -> str:
        return f"peer of {len(peer.script)}"


def _gives(answer: str) -> Peer:
    spent = {"seconds": 1, "cpu_s": 1, "read_bytes": 0, "written_bytes": 0}
    code = f"import sys; open(sys.argv[2] + '/answer', 'w').write({answer!r}); print({json.dumps(spent)!r})"
    return Peer(code, ())


@contextmanager
def _numbers(folder: Path, _: str) -> Iterator[Inputs]:
    (folder / "in").write_text("1")
    yield Inputs(folder, 3)


def test_a_way_that_fails_or_gives_something_else_is_out_and_the_others_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.sync", lambda: None)
    ways = {
        "first": _gives("3 rows"), "same": _gives("3 rows"), "other": _gives("2 rows"),
        "broken": Peer("raise SystemExit('no room')", ()), "none": Peer("none", ()),
    }  # fmt: skip
    adds = Peer("import sys; open(sys.argv[1] + '/added', 'w').close()", ())
    case = Case(
        "a case", "rows", _numbers, ways, prepared_by=(adds,),
        answer=lambda inputs, out: (out / "answer").read_text() + " " * (inputs.folder / "added").is_file(),
    )  # fmt: skip
    found = run_case(case, tmp_path / "work", "small", 2, Here(tmp_path), lambda _: None)
    assert {name: len(runs) for name, runs in found.runs.items()} == {"first": 2, "same": 2}
    assert found.failed["other"] == "gave 2 rows , and first gave 3 rows "
    assert "no room" in found.failed["broken"]
    assert found.left_out == {"none": "no network"}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_each_case_sets_ways_that_it_has_beside_each_other(case: Case) -> None:
    assert case.bars or case.limits
    for bar in case.bars:
        assert {bar.ours, bar.peer} <= case.ways.keys()
    for limit in case.limits:
        assert limit.way in case.ways
    assert case.times.keys() <= case.ways.keys()
    for way in case.ways.values():
        if isinstance(way, Peer):
            assert (PEER_SCRIPTS / way.script).is_file()


def test_what_the_peers_of_the_allocation_are_given_leads_to_the_same_rows(tmp_path: Path) -> None:
    """By pandas here, in the words of the statement that they run."""
    make_indexes(tmp_path, 2_000)
    rules = json.loads((tmp_path / "rules.json").read_text())
    rows = pd.read_parquet(tmp_path / "rows.parquet")
    rows = rows[rows["min_side_px"] >= rules["min_side_px"]].astype({"source": str, "label": str})
    rows = rows.merge(pd.read_parquet(tmp_path / "cells.parquet"), on=["source", "label"]).sort_values(
        "position"
    )
    for source, most in rules["most"].items():
        mine = rows["source"] == source
        lowest = rows[mine].drop_duplicates(["rank", "second"]).nsmallest(most, "rank")
        rows = rows[~mine | (rows["rank"] <= lowest["rank"].max())]
    kept = rows.drop_duplicates(["rank", "second"]).sort_values("rank")
    granted = kept[kept.groupby("cell").cumcount() < kept["granted"]]
    for folder in ("ours", "peer"):
        (tmp_path / folder).mkdir()
    granted[["position"]].to_parquet(tmp_path / "peer" / "granted.parquet")
    inputs = Inputs(tmp_path, 2_000)
    _plan(inputs, tmp_path / "ours")
    assert granted_rows(inputs, tmp_path / "ours") == granted_rows(inputs, tmp_path / "peer")
    assert len(granted) > 900
    assert rows["source"].nunique() > 50


def test_names_of_pytorch_can_be_imported_without_it() -> None:
    code = (
        f"import sys; sys.path.insert(0, {str(PEER_SCRIPTS)!r}); import torch_names; torch_names.install()\n"
        "from torch import Tensor, distributed\n"
        "from torch.utils.data import DataLoader, IterableDataset, get_worker_info\n"
        "from torchvision.datasets import VisionDataset\n"
        "class Rows(IterableDataset[int]): pass\n"
        "class Loader(DataLoader): pass\n"
        "print(Rows().__class__.__name__, get_worker_info(), distributed.is_initialized())\n"
        "Loader()"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert told.stdout.strip() == "Rows None False"
    assert "Loader is only a name here" in told.stderr
