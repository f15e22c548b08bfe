"""A case from its inputs to its result: every way once a round, in turns."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from vlm_assets_tests.benchmarks.page_cache import drop, warm
from vlm_assets_tests.benchmarks.suite.case import Case, Inputs, Peer, Size
from vlm_assets_tests.benchmarks.suite.cases import MODULE_OF
from vlm_assets_tests.benchmarks.suite.environments import Environments, NoPeerError
from vlm_assets_tests.benchmarks.suite.measuring import Run, WayError, run
from vlm_assets_tests.benchmarks.suite.result import CaseResult

_WAY: Final = "vlm_assets_tests.benchmarks.suite.way"


def run_case(
    case: Case, folder: Path, size: Size, rounds: int, peers: Environments, told: Callable[[str], object]
) -> CaseResult:
    """Makes the inputs, then runs every way `rounds` times, each round in the other direction.

    A machine that turns slow slows all ways of a round alike, and none is always first. What a way wrote is removed
    before the next begins. A peer that cannot be installed is left out, with the reason; a way that ends in an error,
    or gives something else than the first one, is failed, and the others go on.
    """
    inputs_folder = folder / "inputs"
    inputs_folder.mkdir(parents=True)
    with case.inputs(inputs_folder, size) as inputs:
        result = CaseResult(case, inputs.units)
        _prepare(case, inputs, folder, peers, result)
        commands = _commands(case, inputs, folder / "out", peers, result)
        result.runs = {name: [] for name in commands}
        rounds_of = _Rounds(case, inputs, folder, commands, result)
        for number in range(rounds):
            for name in list(result.runs) if number % 2 == 0 else reversed(list(result.runs)):
                one = rounds_of.run(name)
                how = f"{one.seconds:.2f} s" if one else result.failed[name]
                told(f"{case.name}: round {number + 1} of {rounds}, {name}: {how}")
    shutil.rmtree(inputs_folder)
    return result


@dataclass(slots=True)
class _Rounds:
    """The ways of a case that still run, and what the first of them gave."""

    case: Case
    inputs: Inputs
    folder: Path
    commands: dict[str, list[str]]
    result: CaseResult
    expected: tuple[str, str] | None = None
    """A way, and what it gave."""

    def run(self, name: str) -> Run | None:
        """One run of a way, noted; None where it failed, and then none of its runs counts."""
        out = self.folder / "out"
        out.mkdir()
        os.sync()
        files = [path for path in self.inputs.folder.rglob("*") if path.is_file() and not path.is_symlink()]
        (drop if self.case.cold else warm)(files)
        try:
            one = run(self.commands[name], self.folder)
            self._compare(name, out)
        except WayError as error:
            self.result.failed[name] = str(error)
            del self.result.runs[name]
            return None
        finally:
            shutil.rmtree(out)
        self.result.runs[name].append(one)
        return one

    def _compare(self, name: str, out: Path) -> None:
        if self.case.answer is None:
            return
        given = self.case.answer(self.inputs, out)
        first, expected = self.expected = self.expected or (name, given)
        if given != expected:
            raise WayError(f"gave {given}, and {first} gave {expected}")


def _prepare(case: Case, inputs: Inputs, folder: Path, peers: Environments, result: CaseResult) -> None:
    for peer in case.prepared_by:
        try:
            command = peers.command(peer, inputs.folder, inputs.folder, inputs.units, inputs.address)
        except NoPeerError as error:
            result.left_out[peer.script] = str(error)
            continue
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)
        if done.returncode:
            result.failed[peer.script] = done.stderr[-2000:]


def _commands(
    case: Case, inputs: Inputs, out: Path, peers: Environments, result: CaseResult
) -> dict[str, list[str]]:
    commands: dict[str, list[str]] = {}
    for name, way in case.ways.items():
        if isinstance(way, Peer):
            try:
                commands[name] = peers.command(way, inputs.folder, out, inputs.units, inputs.address)
                result.versions[name] = peers.version(way)
            except NoPeerError as error:
                result.left_out[name] = str(error)
        else:
            commands[name] = [
                sys.executable, "-m", _WAY, MODULE_OF[case.name], case.name, name, str(inputs.folder), str(out),
                str(inputs.units), inputs.address,
            ]  # fmt: skip
    return commands
