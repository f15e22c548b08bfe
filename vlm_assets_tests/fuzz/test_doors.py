"""No bytes make a door do anything but give a record, a reject with its reason, or an error that names the input.

A fixed run each time; `-m slow` tries other mutants for an hour of processor time. What is found is mended and gets a
test of its own beside what was mended: numbers of mutants mean others once a seed or a change is added.
"""

import json
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from vlm_assets_tests.fuzz.doors import DOORS, enter
from vlm_assets_tests.fuzz.run import MOST_MIB, case_of

_HOUR_S = 3600


def run(door: str, first: int, count: int) -> dict[str, Any]:
    """The outcomes of one process; fails with what it found, and with the case that ended it."""
    command = [sys.executable, "-m", "vlm_assets_tests.fuzz.run", door, str(first), str(count)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, errors="replace")
    at = done.stderr.strip().splitlines()[-1:]
    assert done.returncode == 0, f"{door}: ended with {done.returncode} at {at}"
    *faults, told = map(json.loads, done.stdout.splitlines())
    assert not faults, f"{door}: {len(faults)} faults, of them {faults[:5]}"
    print(f"{door}: {told}")
    return dict(told)


@pytest.mark.parametrize("door", [name for name in DOORS if name != "documents"])
def test_no_mutant_does_anything_else(door: str) -> None:
    told = run(door, 0, DOORS[door].cases)
    assert told["held_mib"] < MOST_MIB
    assert len(told) > 3, "every case had the same outcome: the changes change nothing, or all"


def test_no_document_does_anything_else() -> None:
    """Pages are drawn in workers, which cost more than all else here together."""
    assert run("documents", 0, DOORS["documents"].cases)["PageImage"]


@pytest.mark.slow
@pytest.mark.timeout(3 * _HOUR_S)
@pytest.mark.parametrize("door", DOORS)
def test_no_other_mutant_does_either(door: str) -> None:
    first = random.SystemRandom().randrange(10**9)
    run(door, first, -(_HOUR_S // len(DOORS)))


def test_seeds_are_sound(tmp_path: Path) -> None:
    """What is mutated is taken as it is, or its mutants would tell nothing of what lies behind the first check."""
    for name, door in DOORS.items():
        if name == "documents":
            continue
        told = {seed: enter(door, tmp_path, seed, data) for seed, data in door.seeds().items()}
        refused = {seed for seed, word in told.items() if word.endswith(("Error", "Fault", "nothing"))}
        assert not refused, (name, told)


def test_a_mutant_is_the_same_each_time() -> None:
    for name in ("images", "archives", "captions"):
        assert [case_of(DOORS[name], one) for one in range(20)] == [
            case_of(DOORS[name], one) for one in range(20)
        ]


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ("raise KeyError('x')", "KeyError"),
        ("import os; os.kill(os.getpid(), 11)", "ended with -11"),
        ("exec('while True: pass')", "ended with -"),
        ("held.append(bytearray(100_000_000))", "holds"),
    ],
)
def test_a_fault_is_seen(body: str, told: str) -> None:
    """The runner itself, over a door that does what none may."""
    program = (
        "from dataclasses import replace; from vlm_assets_tests.fuzz import doors, run\nheld = []\n"
        "run.MOST_MIB = run.memory_mib() + 50\n"
        "def enter(folder, name, data):\n"
        f"    {body}\n"
        "    return 'x'\n"
        "doors.DOORS['robots'] = replace(doors.DOORS['robots'], enter=enter, cpu_s=3)\n"
        "run.main('robots', 0, 1)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert told in f"{done.stdout} ended with {done.returncode}"
