"""All runs of a case, and what follows from them: medians, ratios of the rounds, what is reached. As JSON."""

import statistics
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

from vlm_assets_tests.benchmarks.suite.case import Bar, Case
from vlm_assets_tests.benchmarks.suite.measuring import Run


@dataclass(frozen=True, slots=True)
class Judged:
    """A bar or a limit, and what was measured: median, least and most of the rounds."""

    way: str
    beside: str
    """The other way, with what is compared; empty where a way is held to seconds alone."""
    median: float
    least: float
    most: float
    must: float
    met: bool
    why: str = ""

    @property
    def name(self) -> str:
        """By which an earlier run has the same."""
        return f"{self.way} / {self.beside}" if self.beside else f"{self.way}, seconds"

    @property
    def worth(self) -> float:
        """The median as a figure of which more is better."""
        return self.median if self.beside else 1 / self.median


@dataclass(slots=True)
class CaseResult:
    """All runs of a case: of each way one a round, the rounds in the order in which they were run."""

    case: Case
    units: int
    runs: dict[str, list[Run]] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    """Ways that could not be run, and why."""
    failed: dict[str, str] = field(default_factory=dict)
    """Ways that ended in an error, or gave something else than the first."""
    versions: dict[str, str] = field(default_factory=dict)

    def judged(self) -> Iterator[Judged]:
        """Each bar whose ways were both run, each limit whose way was."""
        for bar in self.case.bars:
            if {bar.ours, bar.peer} <= self.runs.keys():
                pairs = zip(self.runs[bar.ours], self.runs[bar.peer], strict=True)
                costs = [
                    (self._cost(ours, bar.ours, bar), self._cost(peer, bar.peer, bar)) for ours, peer in pairs
                ]
                found = [peer / max(ours, 1e-9) for ours, peer in costs]
                yield _judged(bar.ours, f"{bar.peer}{_PER[bar.per]}", found, bar.least, bar.why)
        for limit in self.case.limits:
            if limit.way in self.runs:
                seconds = [one.seconds for one in self.runs[limit.way]]
                yield _judged(limit.way, "", seconds, limit.most_s, limit.why)

    def _cost(self, run: Run, way: str, bar: Bar) -> float:
        if bar.per == "memory":
            return run.peak_mib
        return (run.cpu_s if bar.per == "cpu" else run.seconds) / self.case.times.get(way, 1)

    def as_json(self) -> dict[str, Any]:
        """Everything, every run."""
        return {
            "unit": self.case.unit, "units": self.units, "versions": self.versions, "left_out": self.left_out,
            "failed": self.failed,
            "ways": {
                name: {"units": self.units * self.case.times.get(name, 1), "runs": [one.as_json() for one in runs]}
                for name, runs in self.runs.items()
            },
            "judged": [
                {"name": one.name, "worth": round(one.worth, 4), **_rounded(asdict(one))} for one in self.judged()
            ],
        }  # fmt: skip


_PER = {"second": "", "cpu": ", per CPU-s", "memory": ", peak memory"}


def _judged(way: str, beside: str, found: list[float], must: float, why: str) -> Judged:
    median = statistics.median(found)
    met = median >= must if beside else median <= must
    return Judged(way, beside, median, min(found), max(found), must, met, why)


def _rounded(told: dict[str, Any]) -> dict[str, Any]:
    return {name: round(value, 4) if isinstance(value, float) else value for name, value in told.items()}
