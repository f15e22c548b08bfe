"""Medians, spreads and ratios of a suite's runs: as JSON, as a table, and beside an earlier one."""

import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from vlm_assets_tests.benchmarks.suite.case import Bar, Case
from vlm_assets_tests.benchmarks.suite.measuring import Run


@dataclass(frozen=True, slots=True)
class Ratio:
    """How many times as fast a way is as another, round for round: median, least and most of the rounds."""

    bar: Bar
    median: float
    least: float
    most: float

    @property
    def is_met(self) -> bool:
        """Whether the bar is reached."""
        return self.median >= self.bar.least


@dataclass(slots=True)
class CaseResult:
    """All runs of a case: of each way one a round, the rounds in the order in which they were run."""

    case: Case
    units: int
    runs: dict[str, list[Run]] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    """Ways that could not be run, and why."""
    versions: dict[str, str] = field(default_factory=dict)

    def ratios(self) -> Iterator[Ratio]:
        """Each bar whose ways were both run."""
        for bar in self.case.bars:
            if {bar.ours, bar.peer} <= self.runs.keys():
                pairs = zip(self.runs[bar.ours], self.runs[bar.peer], strict=True)
                found = [_cost(peer, bar) / max(_cost(ours, bar), 1e-9) for ours, peer in pairs]
                yield Ratio(bar, statistics.median(found), min(found), max(found))

    def as_json(self) -> dict[str, Any]:
        """Everything, every run."""
        return {
            "unit": self.case.unit, "units": self.units, "versions": self.versions, "left_out": self.left_out,
            "ways": {name: [one.as_json() for one in runs] for name, runs in self.runs.items()},
            "ratios": {key_of(one.bar): round(one.median, 3) for one in self.ratios()},
        }  # fmt: skip


def key_of(bar: Bar) -> str:
    """A ratio's name."""
    return f"{bar.ours} / {bar.peer}{' per CPU-s' if bar.per == 'cpu' else ''}"


def _cost(run: Run, bar: Bar) -> float:
    return run.cpu_s if bar.per == "cpu" else run.seconds


def rows_of_ways(result: CaseResult) -> Iterator[list[str]]:
    """A line a way."""
    for name, runs in result.runs.items():
        seconds = [one.seconds for one in runs]
        median = statistics.median(seconds)
        yield [
            name, f"{result.units / median:,.0f} {result.case.unit}/s", f"{median:.2f}",
            f"{min(seconds):.2f}-{max(seconds):.2f}", f"{statistics.median(one.cpu_s for one in runs):.1f}",
            f"{max(one.peak_mib for one in runs):,.0f}", f"{statistics.median(one.read_mib for one in runs):,.0f}",
            f"{statistics.median(one.written_mib for one in runs):,.0f}",
        ]  # fmt: skip
    for name, why in result.left_out.items():
        yield [name, f"not run: {why}", "", "", "", "", "", ""]


WAY_COLUMNS = ("way", "rate", "s", "spread", "CPU-s", "peak MiB", "read MiB", "written MiB")
RATIO_COLUMNS = ("case", "way", "beside", "times as fast", "rounds", "must", "")


def rows_of_ratios(results: Iterable[CaseResult]) -> Iterator[list[str]]:
    """A line a bar, with whether it is reached."""
    for result in results:
        for one in result.ratios():
            per = " per CPU-s" if one.bar.per == "cpu" else ""
            yield [
                result.case.name, one.bar.ours, f"{one.bar.peer}{per}", f"{one.median:.2f}",
                f"{one.least:.2f}-{one.most:.2f}", f"{one.bar.least:g}", "" if one.is_met else "missed",
            ]  # fmt: skip


def markdown(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of Markdown."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def regressions(
    before: Mapping[str, Any], after: Mapping[str, Any], tolerance: float
) -> Iterator[tuple[str, str, float, float]]:
    """Case, ratio, its value before and after, of each that fell by more than the tolerance (a share of it)."""
    for case, told in before["cases"].items():
        for name, was in told["ratios"].items():
            now = after["cases"].get(case, {}).get("ratios", {}).get(name)
            if now is not None and now < was * (1 - tolerance):
                yield case, name, was, now
