"""The suite of benchmarks counts right: what a way tells, medians and ratios of rounds, what fell since."""

import sys
from contextlib import nullcontext
from pathlib import Path

import pytest

from vlm_assets_tests.benchmarks.suite.case import PEER_SCRIPTS, Bar, Case, Inputs, Peer
from vlm_assets_tests.benchmarks.suite.cases import CASES
from vlm_assets_tests.benchmarks.suite.measuring import Run, WayError, run
from vlm_assets_tests.benchmarks.suite.table import (
    RATIO_COLUMNS,
    WAY_COLUMNS,
    CaseResult,
    markdown,
    regressions,
    rows_of_ratios,
    rows_of_ways,
)

_CLOCKED = """
import sys
sys.path.insert(0, {scripts!r})
from clock import timed
def work():
    block = bytearray(80_000_000)
    block[::4096] = bytes(len(block[::4096]))
    with open({file!r}, "wb") as file:
        file.write(bytes(5_000_000))
    import time
    end = time.process_time() + 0.3
    while time.process_time() < end:
        pass
print("words of a library")
timed(work)
"""


def of(seconds: float, cpu_s: float = 1.0) -> Run:
    return Run(seconds, cpu_s, 10.0, 1.0, 2.0)


def result() -> CaseResult:
    bars = (Bar("ours", "peer", 2), Bar("ours", "peer", 2, "cpu"), Bar("ours", "absent", 9))
    case = Case("a case", "rows", lambda folder, _: nullcontext(Inputs(folder, 100)), {}, bars)
    found = CaseResult(case, 100)
    found.runs = {"ours": [of(1.0), of(4.0), of(1.0)], "peer": [of(3.0, 1.5), of(8.0, 1.5), of(2.5, 1.5)]}
    found.left_out = {"absent": "no network"}
    return found


def test_a_way_is_watched_and_tells_its_own_seconds(tmp_path: Path) -> None:
    code = _CLOCKED.format(scripts=str(PEER_SCRIPTS), file=str(tmp_path / "written"))
    found = run([sys.executable, "-c", code], tmp_path)
    assert found.cpu_s >= 0.3
    assert found.seconds >= 0.3
    assert found.peak_mib > 76


@pytest.mark.parametrize("code", ["raise SystemExit('no room')", "pass"], ids=["an-error", "nothing-told"])
def test_a_way_that_fails_is_an_error_with_its_words(tmp_path: Path, code: str) -> None:
    with pytest.raises(WayError, match="no room" if "room" in code else "ended with 0"):
        run([sys.executable, "-c", code], tmp_path)


def test_ratios_are_of_the_rounds_and_say_what_is_missed() -> None:
    wall, cpu = result().ratios()
    assert (wall.median, wall.least, wall.most, wall.is_met) == (2.5, 2.0, 3.0, True)
    assert (cpu.median, cpu.is_met) == (1.5, False)


def test_the_tables_name_every_way_and_each_missed_bar() -> None:
    ways = markdown(WAY_COLUMNS, rows_of_ways(result()))
    assert "| ours | 100 rows/s | 1.00 | 1.00-4.00 |" in ways
    assert "not run: no network" in ways
    lines = markdown(RATIO_COLUMNS, rows_of_ratios([result()])).splitlines()[2:]
    assert lines == [
        "| a case | ours | peer | 2.50 | 2.00-3.00 | 2 |  |",
        "| a case | ours | peer per CPU-s | 1.50 | 1.50-1.50 | 2 | missed |",
    ]


@pytest.mark.parametrize(("now", "fell"), [(2.2, []), (2.1, [("a case", "ours / peer", 2.5, 2.1)])])
def test_what_fell_by_more_than_the_tolerance_is_told(
    now: float, fell: list[tuple[str, str, float, float]]
) -> None:
    before = {"cases": {"a case": result().as_json(), "gone": {"ratios": {"x": 9}}}}
    after = {"cases": {"a case": {"ratios": {"ours / peer": now, "ours / peer per CPU-s": 1.5}}}}
    assert list(regressions(before, after, 0.15)) == fell


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_each_case_sets_ways_that_it_has_beside_each_other(case: Case) -> None:
    assert case.bars
    for bar in case.bars:
        assert {bar.ours, bar.peer} <= case.ways.keys()
    for way in case.ways.values():
        if isinstance(way, Peer):
            assert (PEER_SCRIPTS / way.script).is_file()
