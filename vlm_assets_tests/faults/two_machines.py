"""Two machines on one bucket, in any order, at the same time, and cut anywhere.

`python -m vlm_assets_tests.faults.two_machines FOLDER --actions 400 --seed 1`. A model knows what was ordered: once a
command says 0, nothing of it lies where the command looked, and once it is gone from the bucket it never comes back.
No machine moves a pointer over a version that it never had. In the end both have what an undisturbed build makes.
"""

import argparse
import gc
import json
import os
import random
import shutil
import sys
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

import boto3

from vlm_assets_tests.faults.cut_actions import ACTIONS, Action, Cut, line
from vlm_assets_tests.faults.place import TARGET, Place, Servers, command, copy_takedowns, core, served
from vlm_assets_tests.faults.upstream import FILES, FORMS, Seen, digest, make, pictures, put, read
from vlm_assets_tests.faults.watched import Ended, Fault, Mode, forked, together, warmed, watched
from vlm_assets_tests.remote.s3 import BUCKET

_MOST_TAKEN: Final = 6
_SETTLING: Final = 8
_MACHINES: Final = ("one", "two")


@dataclass(slots=True)
class Told:
    """What was done, and what did not hold."""

    actions: Counter[str] = field(default_factory=Counter)
    ended: Counter[str] = field(default_factory=Counter)
    cuts: Counter[str] = field(default_factory=Counter)
    orders: int = 0
    met: int = 0
    """Pictures that came again after they were taken down."""
    looks: int = 0
    """Files and objects that were looked into after the actions."""
    moves: int = 0
    """Pointers that an action moved."""
    problems: list[str] = field(default_factory=list)
    root_hashes: list[str] = field(default_factory=list)

    @property
    def sound(self) -> bool:
        return not self.problems and len(self.root_hashes) == 3 and len(set(self.root_hashes)) == 1

    def __str__(self) -> str:
        shown = [
            ", ".join(f"{k} {v}" for k, v in sorted(one.items()))
            for one in (self.actions, self.ended, self.cuts)
        ]
        return (
            f"two machines: {self.actions.total()} actions ({shown[0]}); ended {shown[1]}; cut {shown[2] or 'none'}; "
            f"{self.orders} takedowns, {self.met} met again, {self.looks} looks, {self.moves} pointers moved; "
            f"{len(self.problems)} problems; "
            f"root hashes {' '.join(one[:12] for one in self.root_hashes)}"
        )


class World:
    """Both machines, the bucket, and the model."""

    def __init__(self, base: Path, servers: Servers, seed: int) -> None:
        self.told, self.draw, self.base, self.servers = Told(), random.Random(seed), base, servers
        self.places = {name: self._place(name) for name in _MACHINES}
        self.client = boto3.client("s3", endpoint_url=servers.s3)
        self._seen = Seen()
        self._purged: set[str] = set()
        """Pictures that a machine has said are gone from the bucket."""
        self._ordered: set[str] = set()
        self._upstream = dict.fromkeys(range(FILES), 0)
        self._had: dict[str, dict[str, set[str]]] = {name: {} for name in _MACHINES}

    def _place(self, name: str) -> Place:
        place = Place(self.base, self.servers, remote="shared", data=name)
        place.environment["VLM_REMOTE_CONCURRENCY"] = "2"
        return place

    def begin(self) -> None:
        """Upstream, catalogue, and both machines with the same corpus; modules are loaded for all later forks."""
        make(self.base, self.servers)
        one, two = self.places.values()
        one.empty()
        for words in ("line", "backup", "restore"):
            self._expect(one.data, warmed(partial(ACTIONS[words].act, one), self._said(one.data)), words)
        shutil.copytree(one.root, two.root, symlinks=True)
        for name in self.places:
            self._note(name)
        gc.collect()
        gc.freeze()  # or each fork's first collection copies everything

    def run(self, actions: int) -> Told:
        """So many actions, then the end."""
        while self.told.actions.total() < actions:
            if self.draw.random() < 0.2:
                self._grow()
            if self.draw.random() < 0.12:
                self._both()
            else:
                self._one()
            if self.draw.random() < 0.7:
                self._end_leases()
        self._settle()
        return self.told

    def _grow(self) -> None:
        """Upstream has another picture at one of its names; maybe one that was taken down, with its words."""
        number, form = self.draw.randrange(FILES), self.draw.randrange(FORMS)
        put(self.base, number, form)
        self.told.actions["grow"] += 1
        if f"loose{number}.{form}" in self._ordered and self._upstream[number] != form:
            self._upstream[number] = form
            self._met()
        self._upstream[number] = form

    def _met(self) -> None:
        """Both fetch it: until then its words stand in listings, for nobody can know. Then they are nowhere."""
        self.told.met += 1
        self._all_done(("overwrite", "line", "backup", "finish"))
        taken = self._taken("one") | self._taken("two")
        for machine in _MACHINES:
            self._note(machine)
            for path, found in self._look_below(machine):
                if left := found & taken:
                    self._problem(machine, "met", f"{path} has {sorted(left)}")
        for key, found in self._look_at_bucket():
            if left := found & taken:
                self._problem("both", "met", f"{key} has {sorted(left)}")

    def _drawn(self) -> tuple[str, Action]:
        if self.told.orders < _MOST_TAKEN and self.draw.random() < 0.12:
            return self._order()
        names = list(ACTIONS)
        name = self.draw.choices(names, [ACTIONS[one].weight for one in names])[0]
        return name, ACTIONS[name]

    def _order(self) -> tuple[str, Action]:
        name = self.draw.choice(sorted(pictures()))
        if any(name == f"loose{number}.{form}" for number, form in self._upstream.items()):
            self._all_done(("overwrite", "line", "backup"))  # what nobody has fetched, nobody can take down
            for machine in _MACHINES:
                self._note(machine)
        self.told.orders += 1
        self._ordered.add(name)
        by_url = name.startswith("web") and self.draw.random() < 0.5
        words = ("--url", f"{self.servers.pictures}{name[3:]}.jpg") if by_url else ("--sha256", digest(name))
        return "takedown", Action(0, command("takedown", *words, "--yes"), bucket=True)

    def _cut(self) -> Cut | None:
        kind = self.draw.random()
        if kind < 0.22:
            return Cut(request=self.draw.randrange(1, 70), answered=self.draw.random() < 0.5)
        if kind < 0.4:
            mode = self.draw.choices(list(Mode), (3, 1, 1))[0]
            return Cut(Fault(mode, self.draw.randrange(1, 250)))
        return None

    def _one(self) -> None:
        machine = self.draw.choice(_MACHINES)
        name, action = self._drawn()
        cut = self._cut()
        place, said = self.places[machine], self._said(machine)
        known, pointers = self._taken(machine), self._pointers()
        if cut is None or cut.fault is None:
            act = action.act if cut is None else cut.around(action.act)
            ended = forked(partial(act, place), said)
        else:
            ended = watched(partial(action.act, place), said, place.root, cut.fault)
        self._count(name, machine, ended, cut)
        self._look(machine, name, action, ended, known)
        self._judge_moves(machine, name, action, pointers)

    def _both(self) -> None:
        """One action each, at the same time."""
        drawn = {machine: self._drawn() for machine in _MACHINES}
        known = {machine: self._taken(machine) for machine in _MACHINES}
        acts = {m: (partial(action.act, self.places[m]), self._said(m)) for m, (_, action) in drawn.items()}
        ended = dict(zip(acts, together(list(acts.values())), strict=True))
        for machine, (name, action) in drawn.items():
            self.told.cuts["beside another"] += 1
            self._count(name, machine, ended[machine], None)
            self._look(machine, name, action, ended[machine], known[machine])
            self._note(machine)

    def _count(self, name: str, machine: str, ended: Ended, cut: Cut | None) -> None:
        self.told.actions[name] += 1
        killed = cut is not None and (
            cut.request > 0 or (cut.fault is not None and cut.fault.mode is Mode.KILL)
        )
        self.told.ended["killed" if ended.code == -9 else f"exit {ended.code}"] += 1
        if cut is not None and (ended.code == -9 or ended.met):
            self.told.cuts["at a request" if cut.request else str(cut.fault.mode) if cut.fault else ""] += 1
        if ended.code not in ({0, 1, -9} if killed else {0, 1}) or "Traceback" in ended.said:
            self._problem(machine, name, f"exit {ended.code} ({cut}): {ended.said[-2_500:]}")

    def _look(self, machine: str, name: str, action: Action, ended: Ended, known: set[str]) -> None:
        """What was known to be taken down before an action that says 0 is not on the machine after it."""
        if ended.code == 0 and action.gone:
            gone = self._taken(machine) if action.bucket else known
            for path, found in self._look_below(machine):
                if left := found & gone:
                    self._problem(machine, name, f"{path} still has {sorted(left)}: {ended.said[-600:]}")
            if action.bucket:
                self._purged |= gone
        for key, found in self._look_at_bucket():
            if back := found & self._purged:
                self._problem(
                    machine, name, f"{key} has {sorted(back)} (exit {ended.code}): {ended.said[-600:]}"
                )

    def _look_below(self, machine: str) -> Iterator[tuple[str, frozenset[str]]]:
        found = self._seen.below(self.places[machine].root)
        self.told.looks += len(found)
        yield from found.items()

    def _look_at_bucket(self) -> Iterator[tuple[str, frozenset[str]]]:
        found = self._seen.objects(self.client, "shared")
        self.told.looks += len(found)
        yield from found.items()

    def _taken(self, machine: str) -> set[str]:
        """Pictures that a takedown on record on this machine covers."""
        taken = set()
        for path in self.places[machine].root.glob("tombstones/*.json"):
            hashes = set(json.loads(path.read_bytes())["image_sha256"])
            taken |= {name for name in pictures() if digest(name) in hashes}
        return taken

    def _pointers(self) -> dict[str, str]:
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix="shared/")
        keys = [one["Key"] for page in pages for one in page.get("Contents", ())]
        shown = [key for key in keys if key.endswith("/current") and "/dagster/" not in key]
        return {
            key.removeprefix("shared/").removesuffix("/current"): json.loads(read(self.client, key))[
                "version"
            ]
            for key in shown
        }

    def _judge_moves(self, machine: str, name: str, action: Action, before: Mapping[str, str]) -> None:
        """No pointer goes, and none moves from a version that the machine never showed."""
        self._note(machine)
        now = self._pointers()
        for key, version in before.items():
            if key not in now:
                self._problem(machine, name, f"{key} is shown no more")
            elif now[key] != version:
                self.told.moves += 1
                had = version in self._had[machine].get(key, ()) or self._lies_on(machine, key, version)
                if not had and not action.takes_over:
                    self._problem(
                        machine, name, f"{key} moved from {version}, which it never had, to {now[key]}"
                    )

    def _lies_on(self, machine: str, key: str, version: str) -> bool:
        """An action may show one version and then the next."""
        return (self.places[machine].root / key).parent.joinpath(".versions", version).is_dir()

    def _note(self, machine: str) -> None:
        root = self.places[machine].root
        for area in ("datasets", "allocations", "corpora"):
            for link in root.glob(f"{area}/*/*"):
                if link.is_symlink():
                    key = link.relative_to(root).as_posix()
                    self._had[machine].setdefault(key, set()).add(link.readlink().name)

    def _end_leases(self) -> None:
        """As if a quarter of an hour had passed since whoever held one was killed."""
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix="shared/leases/")
        for page in pages:
            for one in page.get("Contents", ()):
                lease = json.loads(read(self.client, one["Key"]))
                if lease["until"]:
                    body = json.dumps({**lease, "until": 0.0}).encode()
                    self.client.put_object(Bucket=BUCKET, Key=one["Key"], Body=body)

    def _settle(self) -> None:
        """Nothing is cut any more: within a few rounds all say 0, and both have what an undisturbed machine has."""
        self._all_done(("overwrite", "line", "backup"))
        self.told.root_hashes += [root_hash(place) for place in self.places.values()]
        undisturbed = Place(self.base, self.servers, data="undisturbed")
        undisturbed.empty()
        for place in self.places.values():
            copy_takedowns(place.root, undisturbed.root)
        ended = forked(partial(core(line), undisturbed), self._said("undisturbed"))
        self._expect("undisturbed", ended, "the last build")
        self.told.root_hashes.append(root_hash(undisturbed) if ended.code == 0 else "none")
        ended = forked(
            partial(command("verify", "--remote", "--deep"), self.places["one"]), self._said("one")
        )
        self._expect("one", ended, "verify --remote --deep")
        taken = self._taken("one") | self._taken("two")
        for machine in _MACHINES:
            left = [
                f"{path}: {sorted(found & taken)}"
                for path, found in self._look_below(machine)
                if found & taken
            ]
            self.told.problems += [f"at the end {machine} has {one}" for one in left]
        left = [f"{key}: {sorted(found & taken)}" for key, found in self._look_at_bucket() if found & taken]
        self.told.problems += [f"at the end the bucket has {one}" for one in left]

    def _all_done(self, rounds: Sequence[str]) -> None:
        """Does these on both, again and again, until all say 0."""
        self._end_leases()
        for _ in range(_SETTLING):
            codes = [self._settled(machine, name) for machine in _MACHINES for name in rounds]
            if not any(ended.code for ended in codes):
                return
        self.told.problems += [f"never settles: {one.said[-1_500:]}" for one in codes if one.code]

    def _settled(self, machine: str, name: str) -> Ended:
        return forked(partial(ACTIONS[name].act, self.places[machine]), self._said(machine))

    def _said(self, name: str) -> Path:
        return self.base / f"{name}.txt"

    def _expect(self, machine: str, ended: Ended, what: str) -> None:
        if ended.code != 0:
            self._problem(machine, what, f"exit {ended.code}: {ended.said[-2_500:]}")

    def _problem(self, machine: str, action: str, told: str) -> None:
        self.told.problems.append(f"after {self.told.actions.total()} actions, {action} on {machine}: {told}")


def root_hash(place: Place) -> str:
    return str(
        json.loads((place.root / "corpora" / "tiny" / TARGET / "metadata.json").read_bytes())["root_hash"]
    )


def main(words: list[str]) -> int:
    """Exit 1 where something did not hold."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("folder", type=Path)
    asked.add_argument("--actions", type=int, default=20)
    asked.add_argument("--seed", type=int, default=1)
    given = asked.parse_args(words)
    given.folder.mkdir(parents=True, exist_ok=True)
    with served() as servers:
        world = World(given.folder, servers, given.seed)
        world.begin()
        told = world.run(given.actions)
    for one in told.problems:
        print(one, file=sys.stderr)
    print(told)
    return int(not told.sound)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    os.environ.setdefault("PYTHONWARNINGS", "ignore")
    sys.exit(main(sys.argv[1:]))
