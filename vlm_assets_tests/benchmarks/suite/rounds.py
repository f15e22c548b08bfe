"""A case from its inputs to its result: every way once a round, in turns."""

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

from vlm_assets_tests.benchmarks.page_cache import drop, warm
from vlm_assets_tests.benchmarks.suite.case import Case, Inputs, Peer, Size
from vlm_assets_tests.benchmarks.suite.environments import Environments, NoPeerError
from vlm_assets_tests.benchmarks.suite.measuring import Run, run
from vlm_assets_tests.benchmarks.suite.table import CaseResult

_WAY: Final = "vlm_assets_tests.benchmarks.suite.way"


def run_case(
    case: Case, folder: Path, size: Size, rounds: int, peers: Environments, told: Callable[[str], object]
) -> CaseResult:
    """Makes the inputs, then runs every way `rounds` times, each round in the other direction.

    A machine that turns slow slows all ways of a round alike, and none is always first. What a way wrote is removed
    before the next begins. A peer that cannot be installed is left out, with the reason.

    Raises:
        WayError: a way ended in an error.
    """
    inputs_folder = folder / "inputs"
    inputs_folder.mkdir(parents=True)
    with case.inputs(inputs_folder, size) as inputs:
        result = CaseResult(case, inputs.units)
        commands = _commands(case, inputs, folder / "out", peers, result)
        result.runs = {name: [] for name in commands}
        for number in range(rounds):
            for name in list(commands) if number % 2 == 0 else reversed(commands):
                one = _clean_run(commands[name], folder, inputs, cold=case.cold)
                result.runs[name].append(one)
                told(f"{case.name}: round {number + 1} of {rounds}, {name}: {one.seconds:.2f} s")
    shutil.rmtree(inputs_folder)
    return result


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
                sys.executable, "-m", _WAY, case.name, name, str(inputs.folder), str(out), str(inputs.units),
                inputs.address,
            ]  # fmt: skip
    return commands


def _clean_run(command: list[str], folder: Path, inputs: Inputs, *, cold: bool) -> Run:
    out = folder / "out"
    out.mkdir()
    os.sync()
    files = [path for path in inputs.folder.rglob("*") if path.is_file() and not path.is_symlink()]
    (drop if cold else warm)(files)
    try:
        return run(command, folder)
    finally:
        shutil.rmtree(out)
