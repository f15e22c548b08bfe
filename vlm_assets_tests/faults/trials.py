"""One step under one fault after the other: what was said, what a rerun makes, what is left, what `prune` leaves.

Everything is a fork of one process that has all modules: a trial costs half a second, not four starts of a command.
"""

import gc
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from functools import partial
from itertools import cycle
from pathlib import Path

from vlm_assets.store.papers import DERIVED_FILES
from vlm_assets.words.layout import STAGING
from vlm_assets_tests.faults.place import (
    Place,
    bucket_of,
    command,
    contents,
    core,
    empty_bucket,
    files_that_say,
    says,
)
from vlm_assets_tests.faults.steps import KEPT, Step
from vlm_assets_tests.faults.syscalls import NEEDS_SPACE
from vlm_assets_tests.faults.watched import Ended, Fault, Mode, Point, forked, warmed, watched

_HOURS_S = 7_200
_OF_PAPERS = {*DERIVED_FILES, "beside.json"}
"""Papers, and the list of them at the remote."""


@dataclass(slots=True)
class Trial:
    """What came of one fault. Without `problems` everything held."""

    step: str
    mode: str
    number: int
    point: str
    code: int
    said: str = ""
    problems: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Trials:
    """The trials of one place, whose kept data roots are made first, each in a fork."""

    place: Place
    _untidied: dict[str, dict[str, str]] = field(default_factory=dict)
    """What the undisturbed step leaves; `_wanted`: after `verify` and `prune`."""
    _wanted: dict[str, dict[str, str]] = field(default_factory=dict)
    _litter: dict[str, set[str]] = field(default_factory=dict)
    """In the data root after the undisturbed step: what the next step goes on with."""

    def prepare(self) -> None:
        """Makes what the steps begin with."""
        place = self.place
        place.make()
        place.keep("empty")
        for name, before, make in KEPT:
            place.take(before)
            _expect(warmed(partial(core(make), place), place.said), f"making {name}")
            place.keep(name)
        place.take("sealed")
        place.remote = "full"
        for words in (("backup",), ("restore",), ("verify",), ("prune",)):
            _expect(warmed(partial(command(*words), place), place.said), words[0])
        gc.collect()
        gc.freeze()  # or each fork's first collection copies everything

    def points(self, step: Step) -> list[Point]:
        """Calls of the undisturbed step, whose end is then what every other must come to."""
        self._begin(step)
        ended = watched(partial(step.act, self.place), self.place.said, self.place.root)
        _expect(ended, step.name)
        if problems := self._said_after(step):
            raise AssertionError(f"{step.name}, undisturbed: {problems}")
        self._litter[step.name] = {one for one in contents(self.place.root) if is_litter(one)}
        self._untidied[step.name] = self._outcome(step)
        self._tidy()
        self._wanted[step.name] = self._outcome(step)
        return ended.points

    def run(self, step: Step, faults: Sequence[Fault]) -> Iterator[Trial]:
        """Each fault from the same beginning."""
        for number, fault in enumerate(faults):
            tidy_first = number % 2 == 1 and step.name != "migrate"  # `prune` leaves an old root to it
            yield self._trial(step, fault, tidy_first=tidy_first)

    def _begin(self, step: Step) -> None:
        place = self.place
        place.remote = ""
        place.take(step.before)
        if step.remote == "full":
            place.remote = "full"
        elif step.remote:
            place.remote = "trial"  # of one name: what is written of a corpus tells it
            empty_bucket(place.servers, place.remote)
            if step.remote == "backed up":
                _expect(forked(partial(command("backup"), place), place.said), "backing up")

    def _trial(self, step: Step, fault: Fault, *, tidy_first: bool) -> Trial:
        place = self.place
        self._begin(step)
        ended = watched(partial(step.act, place), place.said, place.root, fault)
        trial = Trial(step.name, fault.mode, fault.at, str(ended.at or ""), ended.code, ended.said[-2_000:])
        trial.problems += _judge(fault, ended)
        if ended.code == 0:
            trial.problems += self._said_after(step)
        if tidy_first:
            trial.problems += self._tidy()
        again = forked(partial(step.act, place), place.said)
        if again.code != 0:
            trial.problems.append(f"rerun: exit {again.code}: {again.said[-1_500:]}")
        else:
            trial.problems += self._said_after(step)
            left = {one for one in contents(place.root) if is_litter(one)} - self._litter[step.name]
            if fault.mode is Mode.KILL:  # that one is for `prune`: it may be another process's
                left = {one for one in left if not one.endswith((".tmp", ".link", ".migrate/"))}
            if step.by_kind:  # nothing is due of the slice that was placed then: prune takes its downloads
                excused = ("cache/", "corpora/") if fault.mode is Mode.KILL else ("cache/",)
                left = {one for one in left if not one.startswith(excused)}
            trial.problems += [f"left by the rerun: {one}" for one in sorted(left)]
        if self._outcome(step) not in (self._untidied[step.name], self._wanted[step.name]):
            trial.problems += self._tidy()
            trial.problems += self._differences(step)
        return trial

    def _tidy(self) -> list[str]:
        """`verify` and `prune`, hours later: what is left over is named, then it is gone."""
        place, problems = self.place, list[str]()
        _age(place.root)
        before = contents(place.root)
        ended = forked(partial(_tidied, place), place.said)
        if ended.code != 0 or "Traceback" in ended.said:
            return [f"verify and prune: exit {ended.code}: {ended.said[-1_500:]}"]
        verified, _ = json.JSONDecoder().raw_decode(ended.said)
        named = set(verified["leftovers"])
        after = contents(place.root)
        strange = [one for one in after if is_litter(one) and not _is_resumed(one)]
        unnamed = {
            one
            for one in before.keys() - after.keys()
            if is_litter(one) and not _is_resumed(one) and not any(_is_in(one, name) for name in named)
        }  # fmt: skip
        problems += [f"prune leaves {one}" for one in strange]
        problems += [f"verify does not name {one}" for one in sorted(unnamed)]
        return problems

    def _outcome(self, step: Step) -> dict[str, str]:
        found = contents(self.place.root)
        if step.remote in {"empty", "backed up"}:
            objects = bucket_of(self.place.servers, self.place.remote)
            found |= {
                f"remote {name}": ""
                for name, content in objects.items()
                if not name.startswith("leases/") and " " not in name and not _is_paper(name, content)
            }
        return found

    def _differences(self, step: Step) -> list[str]:
        wanted, found = self._wanted[step.name], self._outcome(step)
        told = [f"missing at the end: {one}" for one in sorted(wanted.keys() - found.keys())]
        left = found.keys() - wanted.keys()
        if (
            step.gone
        ):  # whether a corpus had papers is not known once its version is gone; then the new one gets some
            left = {one for one in left if Path(one).name not in _OF_PAPERS}
        told += [f"left at the end: {one}" for one in sorted(left) if not _goes_with_its_staging(one)]
        both = sorted(found.keys() & wanted.keys())
        return told + [f"another at the end: {one}" for one in both if found[one] != wanted[one]]

    def _said_after(self, step: Step) -> list[str]:
        """Files here and at the remote that still say what was taken down."""
        if not step.gone:
            return []
        found = files_that_say(self.place.root)
        if step.remote:
            objects = bucket_of(self.place.servers, self.place.remote)
            found += [f"remote {name}" for name, content in objects.items() if says(content)]
        return [f"says it still: {one}" for one in found]


def _tidied(place: Place) -> int:
    """`verify` and `prune` in one process; 0 also where `verify` found something."""
    try:
        command("verify", "--json")(place)
    except SystemExit as end:
        if end.code not in {0, 1}:
            raise
    sys.stdout.flush()
    return command("prune")(place)


def _expect(ended: Ended, what: str) -> None:
    if ended.code != 0:
        raise AssertionError(f"{what}: exit {ended.code}: {ended.said}")


def _judge(fault: Fault, ended: Ended) -> list[str]:
    """What is wrong with how the command ended."""
    if ended.at is None:
        return []
    if fault.mode is Mode.KILL:
        return [] if ended.code == -9 else [f"exit {ended.code} of a killed command"]
    problems = []
    if "Traceback" in ended.said:
        problems.append(f"traceback: {ended.said[-1_500:]}")
    if ended.code < 0 or ended.code == 70:
        problems.append(f"exit {ended.code}")
    if ended.code > 0 and "/data/" not in ended.said:
        problems.append(f"names no path: {ended.said[-500:]}")
    wanted = "DiskFullError" if fault.mode is Mode.FULL else "StoreError"
    # `restore` tells a line a slice, `build` what each run said, without types.
    named = wanted in ended.said or "FAILED " in ended.said or " failed (run " in ended.said
    if "OSError" in ended.said:
        problems.append(f"raw: {ended.said[-1_500:]}")
    if ended.code > 0 and not named:
        problems.append(f"not a {wanted}: {ended.said[-500:]}")
    return problems


def _is_paper(name: str, content: bytes) -> bool:
    """Card, report and summary tell of the run that made them, and lie at the remote by their hash."""
    return name.startswith("objects/") and content[:1] in {b"{", b"<", b"#", b"-"}


def is_litter(name: str) -> bool:
    """Temporary files and links, and what is in a staging folder or a spool: these folders themselves stay."""
    inside = any(f"/{folder}/" in name.rstrip("/") for folder in (".staging", "spool", "objects"))
    return name.endswith((".tmp", ".link")) or inside


def _goes_with_its_staging(name: str) -> bool:
    """A killed process's temporary file, in a folder that the seal removes as a whole."""
    return f"/{STAGING}/" in name and _is_resumed(name) and name.endswith((".tmp", ".link"))


def _is_in(name: str, folder: str) -> bool:
    return name == folder or name.startswith(f"{folder}/")


def _is_resumed(name: str) -> bool:
    """What the next run goes on with: shards that are done, downloads."""
    return name.startswith(("corpora/", "cache/"))


def _age(root: Path) -> None:
    """Everything is hours old: what is under way is younger."""
    before = time.time() - _HOURS_S
    for folder, names, files in os.walk(root):
        for name in (*names, *files):
            if is_litter(name):
                with suppress(OSError):
                    os.utime(Path(folder, name), (before, before), follow_symlinks=False)


def chosen(points: Sequence[Point], count: int, *, by_kind: bool = False) -> list[Fault]:
    """So many faults, spread over the kinds of calls and over the modes; 0: every call, in every mode that it has.

    `by_kind`: instead of every call the one in the middle of each kind.
    """
    if not count:
        every = {point: list[int]() for point in points}
        for at, point in enumerate(points, 1):
            every[point].append(at)
        tried = sorted(at for ats in every.values() for at in ([ats[len(ats) // 2]] if by_kind else ats))
        return [Fault(mode, at) for at in tried for mode in Mode if _can(mode, points[at - 1])]
    first = {point: at for at, point in reversed(list(enumerate(points, 1)))}
    kinds = sorted(first.values())
    faults = []
    for number, mode in zip(range(count), cycle(Mode), strict=False):
        able = [at for at in kinds if _can(mode, points[at - 1])] or kinds
        faults.append(Fault(mode, able[(2 * number + 1) * len(able) // (2 * count)]))
    return faults


def _can(mode: Mode, point: Point) -> bool:
    return mode is not Mode.FULL or point.call in NEEDS_SPACE


def as_line(trial: Trial) -> str:
    """JSON of one line."""
    return json.dumps(asdict(trial))


def summary(trials: Sequence[Trial]) -> str:
    """How many points were tried, a step and a mode."""
    counts = Counter((one.step, one.mode) for one in trials if one.point)
    steps = sorted({step for step, _ in counts})
    rows = [f"{step}: " + ", ".join(f"{mode} {counts[step, mode]}" for mode in Mode) for step in steps]
    failed = sum(bool(one.problems) for one in trials)
    return "\n".join([*rows, f"{sum(counts.values())} faults, {failed} not borne"])
