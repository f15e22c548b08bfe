"""`python -m vlm_assets_tests.faults.run FOLDER [STEP…] [--all]`: a line of JSON for each fault, and their counts.

`--soak N` and `--machines N`: so many actions of a soak, and of two machines, after them, with a line each.
All are forks of one process that has loaded everything once.
"""

import argparse
import json
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vlm_assets_tests.faults.place import Place, Servers, served
from vlm_assets_tests.faults.soak import report, soak
from vlm_assets_tests.faults.steps import STEPS
from vlm_assets_tests.faults.trials import Trial, Trials, as_line, chosen, summary
from vlm_assets_tests.faults.two_machines import World


def main(words: list[str]) -> int:
    """Exit 1 where something did not hold."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("folder", type=Path)
    asked.add_argument("steps", nargs="*", help="those of the default run if none is named")
    asked.add_argument(
        "--all", action="store_true", help="every call in every mode, of a build one of each kind"
    )
    asked.add_argument("--every", type=int, default=1, help="with --all: only each so many-th fault")
    asked.add_argument("--show", action="store_true", help="the calls of each step")
    asked.add_argument("--soak", type=int, default=0)
    asked.add_argument("--machines", type=int, default=0)
    given = asked.parse_args(words)
    told: list[Trial] = []
    sound = True
    with served() as servers:
        for trial in _tried(given, servers):
            told.append(trial)
            print(as_line(trial), flush=True)
        for name, line in _beside(given, servers):
            sound = sound and not line["problems"]
            print(json.dumps({"name": name, **line}), flush=True)
    print(summary(told), file=sys.stderr)
    return int(not sound or any(trial.problems for trial in told))


def _tried(given: argparse.Namespace, servers: Servers) -> Iterator[Trial]:
    trials = Trials(Place(given.folder, servers))
    trials.prepare()
    for step in STEPS:
        if step.name not in given.steps and (given.steps or not (given.all or step.points)):
            continue
        points = trials.points(step)
        if given.show:
            for number, point in enumerate(points, 1):
                print(step.name, number, point, file=sys.stderr)
        faults = chosen(points, 0 if given.all else step.points, by_kind=step.by_kind)
        yield from trials.run(step, faults[:: given.every])


def _beside(given: argparse.Namespace, servers: Servers) -> Iterator[tuple[str, dict[str, Any]]]:
    """What was tried besides single steps: its words, and what did not hold."""
    if given.soak:
        (base := given.folder / "soak").mkdir()
        soaked = soak(Place(base, servers), 1, minutes=0, actions=given.soak)
        yield (
            "soak",
            {"told": report(soaked), "problems": soaked.problems + ["not sound"] * (not soaked.sound)},
        )
    if given.machines:
        (base := given.folder / "machines").mkdir()
        world = World(base, servers, 3)
        world.begin()
        done = world.run(given.machines)
        yield "machines", {"told": str(done), "problems": done.problems + ["not sound"] * (not done.sound)}


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    sys.exit(main(sys.argv[1:]))
