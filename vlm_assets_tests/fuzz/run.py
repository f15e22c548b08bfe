"""Opens one door for many mutants, in a process of its own: `python -m vlm_assets_tests.fuzz.run DOOR FIRST COUNT`.

Prints the number of each case before it is tried, so that whoever watches knows which one ended the process, then a
line of JSON a fault, and at the end the outcomes. `DOOR FIRST 1 -v` shows the traceback of one case. Negative COUNT:
so many seconds of processor time.
"""

import json
import os
import random
import sys
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from vlm_assets.workers.bounds import cpu_timer, leave_no_core
from vlm_assets_tests.fuzz.doors import DOORS, Door, enter
from vlm_assets_tests.fuzz.mutate import mutated

MOST_MIB: Final = 1024


def case_of(door: Door, number: int) -> tuple[str, bytes]:
    """The seed's name and the mutant of a number: the same on every machine."""
    seeds = door.seeds()
    rng = random.Random(number)
    name = sorted(seeds)[number % len(seeds)]
    if name == "7z" and number % 5:  # each takes a process
        name = "zip"
    others = tuple(seeds[one] for one in sorted(seeds))
    return name, mutated(seeds[name], door.changes, rng, others)


def numbers(first: int, count: int) -> Iterator[int]:
    """`count` numbers from `first` on; of a negative count, so many seconds of processor time of them."""
    number, start = first, time.process_time()
    while number < first + count if count >= 0 else time.process_time() - start < -count:
        yield number
        number += 1


def memory_mib() -> int:
    """The most that this process ever held."""
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) // 1024


def main(name: str, first: int, count: int, *, verbose: bool = False) -> None:
    """Tries them all; faults are told and none ends it but a signal."""
    warnings.simplefilter("ignore")
    leave_no_core()
    door, told, faults = DOORS[name], Counter[str](), 0
    door.seeds()
    with TemporaryDirectory() as folder:
        for number in numbers(first, count):
            os.write(2, b"%d\n" % number)
            seed, data = case_of(door, number)
            cpu_timer().start(door.cpu_s)
            try:
                told[enter(door, Path(folder), seed, data)] += 1
            except Exception as error:  # noqa: BLE001 - what a door raises is what is looked for
                faults += 1
                last = traceback.extract_tb(error.__traceback__)[-1]
                what = f"{type(error).__name__}: {error}"[:300]
                print(
                    json.dumps([number, seed, what, f"{Path(last.filename).name}:{last.lineno}"]), flush=True
                )
                if verbose:
                    traceback.print_exc()
            if (held := memory_mib()) > MOST_MIB:
                print(json.dumps([number, seed, f"holds {held} MiB", ""]), flush=True)
                break
        print(
            json.dumps({"held_mib": memory_mib(), "cpu_s": round(time.process_time(), 1), **told}), flush=True
        )
        sys.stdout.flush()
        os._exit(0)  # pools of the doors end with it


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), verbose="-v" in sys.argv)
