"""A process whose clock is set ahead, is set back and stands still under it: nothing is lost, nothing waits for ever.

`python -m vlm_assets_tests.faults.clocks FOLDER PICTURES S3 TRIAL…`, in the `environment` of libfaketime: the clock
is that of libc, so whatever the process loads sees it jump. The servers are others' and keep the right time. A line
of JSON for each trial and jump.
"""

import importlib.util
import json
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from vlm_assets.ingest.due import Due
from vlm_assets.installation.opening import Installation
from vlm_assets.remote.leases import hold_prune_lease, hold_work_lease
from vlm_assets.words.errors import LockHeldError
from vlm_assets_tests.faults.place import Place, Servers, command
from vlm_assets_tests.faults.watched import forked, warmed
from vlm_assets_tests.remote.s3 import open_bucket
from vlm_assets_tests.workplace import STREET, fill, ingest, install, picture, relist

HOUR_S, DAY_S = 3_600.0, 86_400.0
YEAR_S = 365 * DAY_S
JUMPS: dict[str, float | None] = {"a year ahead": YEAR_S, "a day back": -DAY_S, "stands": None}
"""Seconds from the right time; None: it shows the same time for as long as nobody touches it."""
_HANGS_S = 40.0
_HANDS = "hands"


def library() -> Path | None:
    """The library that is loaded before libc; None where it is not installed, or not made for this machine."""
    spec = importlib.util.find_spec("libfaketime")
    found = spec and spec.origin and Path(spec.origin).parent / "vendor/libfaketime/src/libfaketime.so.1"
    return found if found and found.is_file() else None


def environment(folder: Path, loaded: Path) -> dict[str, str]:
    """Of a process whose clock `Hands` of this folder move; what `time.monotonic` counts goes on as ever."""
    Hands(folder).right()
    return {
        "LD_PRELOAD": str(loaded),
        "FAKETIME_TIMESTAMP_FILE": str(folder / _HANDS),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "DONT_FAKE_MONOTONIC": "1",
        "FAKETIME_FORCE_MONOTONIC_FIX": "0",
    }


class Hands:
    """Moves the clock of every process that looks at this folder's."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / _HANDS

    def right(self) -> None:
        self._put("+0")

    def off_by(self, seconds: float) -> None:
        self._put(f"{seconds:+.0f}")

    def stand(self) -> None:
        self._put(datetime.now().strftime("%Y-%m-%d %H:%M:%S"))  # noqa: DTZ005 - local time is what it reads

    def jump(self, seconds: float | None) -> None:
        if seconds is None:
            self.stand()
        else:
            self.off_by(seconds)

    def _put(self, told: str) -> None:
        new = self._path.with_suffix(".new")
        new.write_text(told)
        new.replace(self._path)


@dataclass(frozen=True, slots=True)
class World:
    """Where a trial works: its own folder, the clock, and the servers, which are not under it."""

    base: Path
    hands: Hands
    servers: Servers

    def web(self, name: str, paths: list[str], http_attempts: int = 3, **keys: Any) -> Installation:
        """A list of pictures at the server, in a data root of its own."""
        base = self.base / name.replace(" ", "-")
        base.mkdir(parents=True)
        urls = base / "urls.txt"
        urls.write_text("".join(f"{self.servers.pictures}{path}\n" for path in paths), "utf-8")
        source = {
            **STREET,
            "name": "web",
            "kind": "image_urls",
            "urls": urls,
            "reject_tolerance": 0.5,
            **keys,
        }
        settings: dict[str, Any] = {"allow_private_hosts": ("127.0.0.1",), "contact": "a@b.example"}
        return install(base, source, http_attempts=http_attempts, **settings)

    @contextmanager
    def limited(self, problems: list[str]) -> Iterator[None]:
        """The clock is set right where the block still waits after so long, which is a problem."""
        done = threading.Event()

        def watch() -> None:
            if not done.wait(_HANGS_S):
                problems.append(f"waits for more than {_HANGS_S:.0f} s")
                self.hands.right()

        thread = threading.Thread(target=watch, daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()
            self.hands.right()


def fetching(world: World, name: str, jump: float | None) -> list[str]:
    """A host with a rate that asks for a pause: the clock jumps while its pictures are waited for."""
    problems: list[str] = []
    paths = [f"busy-{name}.jpg".replace(" ", "-"), *(f"{number}.jpg" for number in range(3))]
    installation = world.web(f"fetching {name}", paths, requests_per_second=10)
    timer = threading.Timer(0.5, world.hands.jump, (jump,))
    with world.limited(problems):
        timer.start()
        rows, _ = fetched(installation)
        timer.join()
    return problems + [f"{rows} rows of 4"] * (rows != 4)


def fetched(installation: Installation) -> tuple[int, Due]:
    """Rows of the one slice, brought up to its listing, and why it was."""
    [outcome] = ingest(installation, "web").values()
    return outcome.manifest.rows, outcome.due


def retrying(world: World, name: str, jump: float | None) -> list[str]:
    """A picture that failed is due again, whether the clock jumped before that was written down or after it."""
    problems: list[str] = []
    for order, (then, now) in {"before": (jump, 0.0), "after": (0.0, jump)}.items():
        failing = f"fails-{name}-{order}.jpg".replace(" ", "-")
        installation = world.web(f"retrying {name} {order}", ["0.jpg", "1.jpg", failing], http_attempts=1)
        with world.limited(problems):
            world.hands.jump(then)
            told = [fetched(installation)]
            for later_s in (0.0, HOUR_S + 60, DAY_S + HOUR_S + 60, 15 * DAY_S):
                world.hands.off_by((now or 0.0) + later_s) if later_s else world.hands.jump(now)
                told.append(fetched(installation))
        problems += [f"{order}: {told}"] * (told[0][0] != 2 or told[-1][0] != 3)
    return problems


def holding(world: World, name: str, jump: float | None) -> list[str]:
    """No lease is taken from whoever lives, whichever clock is wrong: that of the holder or that of who looks."""
    problems: list[str] = []
    bucket = open_bucket(world.servers.s3)
    for order, (then, now) in {"holder": (jump, 0.0), "looker": (0.0, jump)}.items():
        with world.limited(problems):
            world.hands.jump(then)
            with hold_work_lease(bucket, "backup") as lease:
                world.hands.jump(now)
                try:
                    with hold_prune_lease(bucket):
                        problems.append(f"{order} {name}: the lease was taken")
                except LockHeldError:
                    pass
                lease.renew()
                lease.check()
            with hold_prune_lease(bucket):
                pass
    return problems


def listing(world: World, name: str, jump: float | None) -> list[str]:
    """What is new upstream is seen, whatever is said of when that was, and what is not new is not."""
    problems: list[str] = []
    base = world.base / f"listing-{name}".replace(" ", "-")
    installation = install(base, {**STREET, "path": fill(base / "in", 2)})
    relist(installation)
    hashes = set[str]()
    with world.limited(problems):
        for number, off in enumerate((jump, 0.0, jump), 2):
            world.hands.jump(off)
            (base / "in" / f"{number:04d}.jpg").write_bytes(picture(number))
            (base / "in" / "0000.jpeg").write_bytes(picture(100 + number))
            made = relist(installation)
            if made.items != number + 1:
                problems.append(f"{made.items} items of {number + 1}")
            if relist(installation) != made:
                problems.append("what did not change is listed as another")
            ingest(installation)
            [outcome] = ingest(installation).values()
            hashes.add(outcome.manifest.content_hash)
    problems += ["what was replaced is not fetched again"] * (len(hashes) != 3)
    return problems


def nights(world: World, name: str, jump: float | None) -> list[str]:
    """Whole builds under the jump, and after it: each ends, with the same corpus."""
    problems: list[str] = []
    place = Place(world.base / f"nights-{name}".replace(" ", "-"), world.servers)
    place.base.mkdir()
    place.make()
    hashes = list[str]()
    for begins, comes in ((0.0, jump), (jump, jump), (jump, 0.0), (0.0, 0.0)):
        world.hands.jump(begins)
        timer = threading.Timer(4.0, world.hands.jump, (comes,))
        timer.daemon = True
        timer.start()
        ended = (forked if hashes else warmed)(partial(command("build"), place), place.said)
        timer.join()
        if ended.code:
            problems.append(f"exit {ended.code}: {ended.said[-1_500:]}")
            continue
        hashes.append(json.loads((place.root / "corpora/tiny/8/metadata.json").read_bytes())["root_hash"])
    world.hands.right()
    return problems + ["another corpus"] * (len(set(hashes)) > 1)


TRIALS: dict[str, Callable[[World, str, float | None], list[str]]] = {
    one.__name__: one for one in (fetching, retrying, holding, listing, nights)
}


def main(words: list[str]) -> int:
    """Exit 1 where something did not hold."""
    base, pictures, s3, *names = words
    world = World(Path(base), Hands(Path(base)), Servers(pictures, s3))
    sound = True
    for name in names:
        for jump, off in JUMPS.items():
            began = time.monotonic()
            problems = TRIALS[name](world, jump, off)
            told = {
                "trial": name,
                "jump": jump,
                "seconds": round(time.monotonic() - began, 1),
                "problems": problems,
            }
            print(json.dumps(told), flush=True)
            sound = sound and not problems
    return int(not sound)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    sys.exit(main(sys.argv[1:]))
