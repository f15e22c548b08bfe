"""`python -m vlm_assets_tests.faults.run FOLDER [STEP…] [--all]`: a line of JSON for each fault, and their counts."""

import argparse
import sys
import warnings
from pathlib import Path

from vlm_assets_tests.faults.place import Place, served
from vlm_assets_tests.faults.steps import STEPS
from vlm_assets_tests.faults.trials import Trial, Trials, as_line, chosen, summary


def main(words: list[str]) -> int:
    """Exit 1 where something did not hold."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("folder", type=Path)
    asked.add_argument("steps", nargs="*", help="those of the default run if none is named")
    asked.add_argument("--all", action="store_true", help="every call in every mode")
    asked.add_argument("--every", type=int, default=1, help="with --all: only each so many-th fault")
    asked.add_argument("--show", action="store_true", help="the calls of each step")
    given = asked.parse_args(words)
    told: list[Trial] = []
    with served() as servers:
        trials = Trials(Place(given.folder, servers))
        trials.prepare()
        for step in STEPS:
            if step.name not in given.steps and (given.steps or not (given.all or step.points)):
                continue
            points = trials.points(step)
            if given.show:
                for number, point in enumerate(points, 1):
                    print(step.name, number, point, file=sys.stderr)
            faults = chosen(points, 0 if given.all else step.points)
            for trial in trials.run(step, faults[:: given.every]):
                told.append(trial)
                print(as_line(trial), flush=True)
    print(summary(told), file=sys.stderr)
    return int(any(trial.problems for trial in told))


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    sys.exit(main(sys.argv[1:]))
