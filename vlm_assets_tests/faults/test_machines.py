"""Machines that are smaller than wanted: a real disk of a few MB, 64 open files, clocks that jump."""

import ctypes
import os
import resource
import time
from collections.abc import Callable, Iterator
from functools import partial
from hashlib import sha256

import pytest

from vlm_assets.allocation.step import allocate, tombstones_in_force
from vlm_assets.corpus.build import build_corpus
from vlm_assets.words.errors import DiskFullError, VlmAssetsError
from vlm_assets_tests.faults.place import GONE, TARGET, Place, command, files_that_say, served
from vlm_assets_tests.faults.steps import fetch
from vlm_assets_tests.faults.watched import Ended, warmed
from vlm_assets_tests.workplace import picture

_NEW_NAMESPACE, _PRIVATE = 0x00020000, 1 << 18 | 1 << 14
_REMOUNT = 32
_libc = ctypes.CDLL(None, use_errno=True)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with served() as servers:
        made = Place(tmp_path_factory.mktemp("machines"), servers)
        made.make()
        yield made


@pytest.fixture(scope="module")
def wanted(place: Place) -> str:
    """Root hash of an undisturbed build."""
    return root_hash(run(place, lambda: line(place)))


def line(place: Place) -> int:
    """Everything in the data root; prints the root hash."""
    place.settle()
    installation = place.installation()
    fetch(installation)
    plan = allocate(installation, TARGET)
    takedowns = tombstones_in_force(installation.root)
    print("root hash", build_corpus(plan.path, installation.root, takedowns, reserve_bytes=0).root_hash)
    return 0


def run(place: Place, action: Callable[[], int]) -> Ended:
    place.empty()
    return warmed(action, place.said)


def root_hash(ended: Ended) -> str:
    assert ended.code == 0, ended.said
    return ended.said.rpartition("root hash ")[2].strip()


def mount(place: Place, size_kib: int, flags: int = 0) -> bool:
    """The data root on a file system of its own that no other process sees; False where that is not permitted."""
    options = f"size={size_kib}k".encode()
    return bool(_libc.mount(b"tmpfs", os.fsencode(place.root), b"tmpfs", flags, options) == 0)


def on_small_disks(place: Place, sizes_kib: tuple[int, ...]) -> int:
    """Goes on with the same data root on disks that grow; tells each end."""
    if (
        _libc.unshare(_NEW_NAMESPACE)
        or _libc.mount(b"none", b"/", None, _PRIVATE, None)
        or not mount(place, 4_096)
    ):
        print("not permitted")
        return 0
    (place.root / ".vlm_root").touch()
    for size in sizes_kib:
        mount(place, size, _REMOUNT)
        try:
            line(place)
        except DiskFullError as error:
            print(f"full at {size}: {error}")
    left = [path for path in place.root.rglob("*") if path.name.endswith((".tmp", ".link"))]
    print("litter", left)
    return 0 if not left else 1


def test_a_disk_of_a_few_kilobytes_is_full_and_then_it_is_not(place: Place, wanted: str):
    ended = run(place, lambda: on_small_disks(place, (16, 60, 120, 160, 200, 240, 300, 16_384)))
    if "not permitted" in ended.said:
        pytest.skip("this user may not mount")
    assert ended.code == 0, ended.said
    assert ended.said.count("full at ") >= 4
    assert str(place.root) in ended.said
    assert ended.said.rpartition("root hash ")[2].split()[0] == wanted


def leave_room(room: int) -> None:
    limit = 1 + room + max(int(name) for name in os.listdir("/proc/self/fd"))  # noqa: PTH208 - names, not paths
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))


def with_few_files(place: Place, room: int) -> int:
    """`room`: files that may be opened beyond those that are open already."""
    leave_room(room)
    try:
        return line(place)
    except VlmAssetsError as error:
        print(f"{type(error).__name__}: {error}")
        return 1


@pytest.mark.parametrize("room", [56, 16, 4])
def test_few_files_are_enough_or_named(place: Place, wanted: str, room: int):
    ended = run(place, lambda: with_few_files(place, room))
    if room >= 56 or ended.code == 0:
        assert root_hash(ended) == wanted
    else:
        assert (ended.code, "Traceback" in ended.said) == (1, False), ended.said
        assert "Error: " in ended.said


def commanded(place: Place, room: int, *words: str) -> int:
    leave_room(room)
    return command(*words)(place)


@pytest.mark.slow  # short: the line above
def test_commands_do_with_64_files(place: Place):
    """Under `ulimit -n 64` there are 60 beside standard input, output and error, and the folder of open files."""
    place.remote = "few"
    place.empty()
    gone = sha256(picture(GONE)).hexdigest()
    try:
        for words in (
            ("build", "--target", TARGET),
            ("backup",),
            ("takedown", "--sha256", gone, "--reason", "asked", "--yes"),
            ("build", "--target", TARGET),
            ("audit", "--target", TARGET),
            ("backup",),
            ("verify", "--remote", "--deep"),
        ):
            ended = warmed(partial(commanded, place, 60, *words), place.said)
            assert (ended.code, "Traceback" in ended.said) == (0, False), (words, ended.said)
            says = bool(files_that_say(place.root))
            assert says != any(place.root.glob("tombstones/*.json")), words
    finally:
        place.remote = ""


def _later(real: Callable[[], float], seconds: float) -> float:
    return real() + seconds


def at_other_times(place: Place, years: tuple[int, ...]) -> int:
    real = time.time
    for jump in years:
        time.time = partial(_later, real, jump * 365.25 * 86_400)
        line(place)
    return 0


def test_clocks_that_jump_decide_no_byte(place: Place, wanted: str):
    ended = run(place, lambda: at_other_times(place, (0, 20, -20, 5)))
    assert root_hash(ended) == wanted
    assert ended.said.count(wanted) == 4
