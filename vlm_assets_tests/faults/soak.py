"""Hours in one process: fetching, building, takedowns, growth, backups, while the disk fails and kills come.

`python -m vlm_assets_tests.faults.soak FOLDER --minutes 60` (or `--actions N`). At the end the weather clears, and
what stands there must be what an undisturbed build makes of the same inputs. What each process has in use of memory
and open files is told after each action: it must not grow with the number of actions. `--only fetch,build` does these
alone, one after the other in calm weather, and tells what each kind leaves behind.
"""

import argparse
import ctypes
import gc
import json
import os
import random
import sys
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from hashlib import sha256
from itertools import cycle, pairwise
from pathlib import Path
from statistics import median
from typing import Any

import psutil
import pyarrow as pa

from vlm_assets.allocation.step import allocate, tombstones_in_force
from vlm_assets.corpus.build import build_corpus
from vlm_assets.installation.opening import Installation
from vlm_assets.operate.prune import prune_data_root
from vlm_assets.operate.takedown import TakedownOrder, finish_takedowns, take_down
from vlm_assets.operate.verify import verify
from vlm_assets.remote.backup import backup
from vlm_assets.store.tombstones import read_tombstones
from vlm_assets.words.errors import VlmAssetsError
from vlm_assets_tests.faults.place import TARGET, Place, copy_takedowns, served
from vlm_assets_tests.faults.steps import fetch
from vlm_assets_tests.faults.syscalls import Call
from vlm_assets_tests.faults.watched import Mode, forked, needs_space, warmed, watched
from vlm_assets_tests.workplace import picture

_PICTURES = 40
_TAKEDOWNS = 12
_WARM_ACTIONS = 60
"""By then every kind of action was done some times, and pools and caches are as large as they get."""
_CALLS_BETWEEN = 300
_STRETCH, _STEPS = 20, 4
_GROWN_MIB = 1.0
_RESIDENT_MIB = 320.0
"""At 16 heaps (2 cores) a process comes to 220 in 200 actions, however many it does."""
_SMALL_BYTES = 512
"""Most that one of Python's own blocks takes; it tells their number."""
_FILES = 32


@dataclass(slots=True)
class Weather:
    """Faults at random calls; a full disk stays full for some calls, and not for good.

    Processes that no kill ends show whether memory and open files stay flat.
    """

    draw: random.Random
    deadly: bool = True
    full: int = 0

    def meets(self, number: int, call: Call) -> Mode | None:
        """By chance alone; `number` does not count."""
        del number
        if self.full:
            self.full -= 1
            return Mode.FULL if needs_space(call) else None
        if self.draw.random() * _CALLS_BETWEEN > 1:
            return None
        mode = self.draw.choices(list(Mode), (2 * self.deadly, 4, 4))[0]
        if mode is Mode.FULL:
            self.full = self.draw.randrange(1, 15)
            return Mode.FULL if needs_space(call) else None
        return mode


@dataclass(slots=True)
class Told:
    """What the processes reported."""

    actions: Counter[str] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)
    met: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)
    processes: int = 0
    grown_mib: float = 0.0
    """Most that what a process has in use grew, as `growth` has it."""
    resident_mib: float = 0.0
    """Most that a process ever was, with what malloc keeps for the next action."""
    files: int = 0
    """Most files that a process had open between two actions."""
    grown_by: dict[str, list[float]] = field(default_factory=dict)
    """MiB that each action of a kind left in a warm process."""
    files_by: dict[str, int] = field(default_factory=dict)
    """Files that all actions of a kind left open."""
    root_hash: str = ""
    undisturbed: str = ""

    @property
    def sound(self) -> bool:
        """Whether all held: what is kept for an action would make 100 of them grow by more."""
        flat = self.grown_mib < _GROWN_MIB and self.resident_mib < _RESIDENT_MIB and self.files < _FILES
        return flat and not self.problems and bool(self.root_hash) and self.root_hash == self.undisturbed


def grow(place: Place, draw: random.Random) -> None:
    """A picture more, or another one at an old name; where the disk never fails."""
    number = draw.randrange(_PICTURES)
    content = picture(1_000 + number * 50 + draw.randrange(3))
    path = place.base / "in" / f"{number:04d}.jpeg"
    new = path.with_suffix(".new")
    new.write_bytes(content)
    new.replace(path)


def build(installation: Installation) -> None:
    """Plan and corpus of what is there."""
    plan = allocate(installation, TARGET)
    build_corpus(plan.path, installation.root, tombstones_in_force(installation.root), reserve_bytes=0)


def take(installation: Installation, draw: random.Random) -> None:
    """One picture more is taken down, whether it is there or not."""
    if len(read_tombstones(installation.root).names) < _TAKEDOWNS:
        number = draw.randrange(_PICTURES)
        take_down(installation, TakedownOrder(sha256=digest(number, draw.randrange(3))))
    finish_takedowns(installation)


def digest(number: int, form: int) -> str:
    return sha256(picture(1_000 + number * 50 + form)).hexdigest()


def check(installation: Installation) -> None:
    """Nothing on disk is other than its manifest says."""
    if problems := verify(installation, fresh=True).problems:
        raise AssertionError(f"verify: {'; '.join(map(str, problems))}")


Action = Callable[[Place, Installation, random.Random], object]
ACTIONS: dict[str, tuple[int, Action]] = {
    "grow": (3, lambda place, _, draw: grow(place, draw)),
    "fetch": (4, lambda _, installation, __: fetch(installation)),
    "build": (4, lambda _, installation, __: build(installation)),
    "takedown": (1, lambda _, installation, draw: take(installation, draw)),
    "backup": (1, lambda _, installation, __: backup(installation)),
    "verify": (1, lambda _, installation, __: check(installation)),
    "prune": (1, lambda _, installation, __: prune_data_root(installation)),
}


def work(place: Place, seed: int, left: Callable[[], bool], only: Sequence[str] = ()) -> int:
    """One action after the other until none is left, each kind once at first; a line of JSON for each.

    The first backup of a process leaves 22 MiB (the client, a heap for each thread), 300 more of them 0.6 MiB.
    """
    place.settle()
    gc.freeze()  # what was loaded before would be looked through each time
    draw, process = random.Random(seed), psutil.Process()
    names, weights = list(ACTIONS), [weight for weight, _ in ACTIONS.values()]
    in_turn, first = cycle(only), iter(names)
    while left():
        name = next(in_turn) if only else next(first, "") or draw.choices(names, weights)[0]
        outcome = attempt(partial(act, name, place, draw))
        told = {
            "action": name, **outcome, "used": bytes_in_use(process), "rss": process.memory_info().rss,
            "files": process.num_fds(),
            "objects": len(gc.get_objects()), "arrow": pa.total_allocated_bytes(), "threads": process.num_threads(),
        }  # fmt: skip
        print(json.dumps(told), flush=True)
    return 0


class _Malloc(ctypes.Structure):
    """`struct mallinfo2` of glibc."""

    _fields_ = tuple(
        (name, ctypes.c_size_t)
        for name in (
            "heap", "free_chunks", "fast_chunks", "mapped_chunks", "mapped_bytes", "unused", "fast_bytes",
            "used_bytes", "free_bytes", "top_bytes",
        )
    )  # fmt: skip


def bytes_in_use(process: psutil.Process) -> int:
    """What actions have left behind in malloc, Arrow and Python; none of what these keep free for the next action.

    malloc gives threads up to 8 heaps a core. Which thread does what in which of them is chance, so each comes to the
    size of the largest action in its own time and stays so: up to 13 MiB in 200 actions, of which 0.03 were in use.
    And pages of libraries come in as their code is met for the first time.
    """
    gc.collect()
    asked = getattr(ctypes.CDLL(None), "mallinfo2", None)
    if asked is None:  # no glibc, or one from before 2.33
        memory = process.memory_info()
        return int(memory.rss - memory.shared)
    asked.restype = _Malloc
    told = asked()
    small = _SMALL_BYTES * sys.getallocatedblocks()
    return int(told.used_bytes + told.mapped_bytes + pa.total_allocated_bytes() + small)


def act(name: str, place: Place, draw: random.Random) -> None:
    """One action, from opening the installation on."""
    ACTIONS[name][1](place, place.installation(), draw)


def attempt(action: Callable[[], object]) -> dict[str, str]:
    """What came of it: nothing, an error of ours, or a problem."""
    try:
        action()
    except VlmAssetsError as error:
        return {"failed": type(error).__name__}
    except Exception:  # noqa: BLE001 - told: nothing but errors of ours may come out
        return {"problem": traceback.format_exc()[-2_000:]}
    return {}


def soak(place: Place, seed: int, *, minutes: float, actions: int) -> Told:
    """Until the time is up, or so many actions are done; then both corpora."""
    told, draw = Told(), random.Random(seed)
    place.make()
    place.remote = "soak"
    warmed(lambda: each_kind(place), place.said)
    deadline = time.monotonic() + minutes * 60
    while time.monotonic() < deadline if minutes else told.actions.total() < actions:
        before = told.actions.total()
        limit = actions - before if not minutes else 200

        def left(count: list[int] = [limit]) -> bool:  # noqa: B006 - one a process
            count[0] -= 1
            return count[0] >= 0 and (not minutes or time.monotonic() < deadline)

        process_seed = draw.randrange(2**32)
        ended = watched(
            partial(work, place, process_seed, left),
            place.said, place.root, Weather(random.Random(process_seed), deadly=told.processes % 3 > 0),
        )  # fmt: skip
        take_in(told, ended.said)
        told.met.update({str(mode): count for mode, count in ended.met.items()})
        if ended.code not in {0, -9}:
            told.problems.append(f"exit {ended.code}: {ended.said[-2_000:]}")
        told.actions["killed"] += told.actions.total() == before
    told.root_hash = ended_as(place, told)
    place.data, place.remote = "undisturbed", ""
    place.empty()
    copy_takedowns(place.base / "data", place.root)
    told.undisturbed = ended_as(place, told)
    return told


def take_in(told: Told, said: str) -> None:
    """What one process told, action by action; its last line may be cut."""
    told.processes += 1
    sizes: list[float] = []
    before: dict[str, Any] = {}
    for line in said.splitlines():
        try:
            one = json.loads(line)
        except json.JSONDecodeError:
            continue
        told.actions[one["action"]] += 1
        if "failed" in one:
            told.failed[one["failed"]] += 1
        if "problem" in one:
            told.problems.append(f"{one['action']}: {one['problem']}")
        sizes.append(one["used"] / 2**20)
        if len(sizes) > _WARM_ACTIONS:
            told.grown_by.setdefault(one["action"], []).append((one["used"] - before["used"]) / 2**20)
            more = told.files_by.get(one["action"], 0) + one["files"] - before["files"]
            told.files_by[one["action"]] = more
        before = one
        told.files = max(told.files, one["files"])
        told.resident_mib = max(told.resident_mib, one["rss"] / 2**20)
    told.grown_mib = max(told.grown_mib, growth(sizes))


def growth(sizes: Sequence[float]) -> float:
    """Growth per 100 actions once warm: the median step between the lowest of each so many actions; 0 where too few.

    What is loaded at its first need, which faults may have put off, is one step of many; what an action holds for the
    next one, the next one gives back.
    """
    starts = range(_WARM_ACTIONS, len(sizes) - _STRETCH + 1, _STRETCH)
    steps = [after - before for before, after in pairwise(min(sizes[at : at + _STRETCH]) for at in starts)]
    return median(steps) * 100 / _STRETCH if len(steps) >= _STEPS else 0.0


def each_kind(place: Place) -> int:
    """Every kind of action, undisturbed."""
    code = calm(place)
    for name in ACTIONS:
        act(name, place, random.Random(0))
    return code


def calm(place: Place) -> int:
    """Everything once, undisturbed; prints the root hash."""
    place.settle()
    installation = place.installation()
    finish_takedowns(installation)
    fetch(installation)
    build(installation)
    check(installation)
    manifest = json.loads((installation.root.corpus("tiny", TARGET) / "metadata.json").read_bytes())
    print(f"root hash {manifest['root_hash']}")
    return 0


def ended_as(place: Place, told: Told) -> str:
    """The root hash of the data root, brought to its end."""
    ended = forked(lambda: calm(place), place.said)
    if ended.code != 0:
        told.problems.append(f"at the end: exit {ended.code}: {ended.said[-2_000:]}")
    return ended.said.rpartition("root hash ")[2].strip()


def alone(place: Place, only: Sequence[str], actions: int) -> str:
    """So many actions of these kinds in turn, in one process and calm weather; what they leave behind, in words."""
    place.make()
    place.remote = "soak" if "backup" in only else ""
    warmed(lambda: calm(place), place.said)
    count = iter(range(actions))
    ended = forked(partial(work, place, 1, lambda: next(count, None) is not None, only), place.said)
    lines = [json.loads(line) for line in ended.said.splitlines() if line.startswith("{")]
    marks = [lines[at] for at in range(len(only) - 1, len(lines), max(1, len(lines) // 8))]
    kept = [shown_mark(one) for one in marks]
    told = Told()
    take_in(told, ended.said)
    return "\n".join([*kept, *told.problems, report(told)])


def shown_mark(one: dict[str, Any]) -> str:
    size_mib, used_mib, arrow_mib = (one[name] / 2**20 for name in ("rss", "used", "arrow"))
    counts = ", ".join(f"{one[name]} {name}" for name in ("objects", "files", "threads"))
    return f"{size_mib:.1f} MiB, in use {used_mib:.1f}, of it Arrow {arrow_mib:.1f}, {counts}"


def kinds(told: Told) -> str:
    """What each kind of action left behind, in words."""
    return ", ".join(
        f"{name} {sum(grown) * 100 / len(grown):+.2f} MiB {told.files_by[name]:+d} files ({len(grown)})"
        for name, grown in sorted(told.grown_by.items())
    )


def report(told: Told) -> str:
    """Counts in words."""
    done = f"{told.actions.total()} actions in {told.processes} processes ({shown(told.actions)})"
    went = f"met {shown(told.met)}; failed {shown(told.failed)}; {len(told.problems)} problems"
    flat = f"memory in use +{told.grown_mib:.2f} MiB in 100 actions, at most {told.resident_mib:.0f} MiB resident, "
    flat += f"{told.files} open files"
    flat += f" (by kind in 100 of it, warm: {kinds(told)})" if told.grown_by else ""
    return f"{done}; {went}; {flat}; root hash {told.root_hash[:12]}, undisturbed {told.undisturbed[:12]}"


def shown(counts: Counter[str]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items()) if count) or "nothing"


def main(words: list[str]) -> int:
    """Exit 1 where something did not hold."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("folder", type=Path)
    asked.add_argument("--minutes", type=float, default=0.0)
    asked.add_argument("--actions", type=int, default=30)
    asked.add_argument("--seed", type=int, default=1)
    asked.add_argument("--only", type=lambda text: text.split(","))
    given = asked.parse_args(words)
    given.folder.mkdir(parents=True, exist_ok=True)
    with served() as servers:
        if given.only:
            print(alone(Place(given.folder, servers), given.only, given.actions))
            return 0
        told = soak(Place(given.folder, servers), given.seed, minutes=given.minutes, actions=given.actions)
    for one in told.problems:
        print(one, file=sys.stderr)
    print(report(told))
    return int(not told.sound)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    os.environ.setdefault("PYTHONWARNINGS", "ignore")
    sys.exit(main(sys.argv[1:]))
