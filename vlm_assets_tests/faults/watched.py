"""A fork whose calls are counted below a folder, and that meets a fault at the n-th of them."""

import errno
import importlib
import os
import re
import select
import signal
import socket
import sys
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from vlm_assets_tests.faults.syscalls import NEEDS_SPACE, Call, answer, ask_before_each, next_call

_HANG_S = 240.0
_VARIES = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9a-f]{8,}|\d+")


class Mode(StrEnum):
    """What happens."""

    KILL = "SIGKILL"
    """The process is gone before the call is made; what it started is not killed."""
    BROKEN = "EIO"
    """This one call fails."""
    FULL = "ENOSPC"
    """From this call on nothing that needs space succeeds."""


class Faults(Protocol):
    """Which calls meet what."""

    def meets(self, number: int, call: Call) -> Mode | None:
        """What happens at the n-th call, counted from 1; None: nothing."""


@dataclass(frozen=True, slots=True)
class Fault:
    """At the n-th call, counted from 1."""

    mode: Mode
    at: int

    def meets(self, number: int, call: Call) -> Mode | None:
        """A full disk stays so."""
        if self.mode is Mode.FULL:
            return self.mode if number >= self.at and needs_space(call) else None
        return self.mode if number == self.at else None


def needs_space(call: Call) -> bool:
    """Whether a full disk refuses it."""
    return call.name in NEEDS_SPACE and not (call.name == "open" and os.path.lexists(call.path))


@dataclass(frozen=True, slots=True)
class Point:
    """A call that changes the disk: its name, and the path below the folder with what varies taken out."""

    call: str
    path: str

    def __str__(self) -> str:
        return f"{self.call} {self.path}"


@dataclass(slots=True)
class Ended:
    """How a fork ended. `code` is negative for a signal; `said` is what it printed."""

    code: int
    said: str
    points: list[Point] = field(default_factory=list)
    """Calls below the folder, in order."""
    at: Point | None = None
    """The first call that met a fault."""
    met: Counter[Mode] = field(default_factory=Counter)
    """How many calls met which."""


def forked(action: Callable[[], int], said: Path) -> Ended:
    """The action in a fork, unwatched."""
    return _waited(_fork(action, said), said)


def together(actions: Sequence[tuple[Callable[[], int], Path]]) -> list[Ended]:
    """Actions with the files that they say something into, each in a fork, all at the same time."""
    children = [(_fork(action, said), said) for action, said in actions]
    return [_waited(child, said) for child, said in children]


def warmed(action: Callable[[], int], said: Path) -> Ended:
    """The action in a fork, whose modules are imported here too: later forks have them."""
    names = said.with_suffix(".modules")

    def listed() -> int:
        try:
            return action()
        finally:
            names.write_text("\n".join(sys.modules))

    ended = forked(listed, said)
    for name in names.read_text().split("\n"):
        if name not in sys.modules and not name.startswith("__"):
            with suppress(ImportError, AttributeError):  # made by hand, under a name that is no file's
                importlib.import_module(name)
    return ended


def watched(
    action: Callable[[], int], said: Path, below: Path, faults: Faults | None = None, *, reads: bool = False
) -> Ended:
    """The action in a fork of which each call below a folder is counted, until everything it started is gone too.

    Calls are those that change the disk, or with `reads` those that read from it.

    Raises:
        OSError: the kernel does not allow it.
    """
    near, far = socket.socketpair()

    def guarded() -> int:
        near.close()
        listener = ask_before_each(reads=reads)
        socket.send_fds(far, [b"."], [listener])
        os.close(listener)
        far.close()
        return action()

    child = _fork(guarded, said)
    far.close()
    with near:
        _, descriptors, _, _ = socket.recv_fds(near, 1, 1)
    if not descriptors:
        ended = _waited(child, said)
        raise OSError(errno.EPERM, ended.said)
    watch = _Watch(child, descriptors[0], f"{below}/", faults)
    try:
        watch.run()
    finally:
        os.close(descriptors[0])
    ended = _waited(child, said)
    ended.points, ended.at, ended.met = watch.points, watch.at, watch.met
    return ended


class _Watch:
    def __init__(self, child: int, listener: int, below: str, faults: Faults | None) -> None:
        self.points: list[Point] = []
        self.at: Point | None = None
        self.met: Counter[Mode] = Counter()
        self._killed = False
        self._child, self._listener, self._below, self._faults = child, listener, below, faults

    def run(self) -> None:
        """Until the last process under the filter is gone."""
        poll = select.poll()
        poll.register(self._listener, select.POLLIN)
        deadline = time.monotonic() + _HANG_S
        while True:
            [(_, events)] = poll.poll(1_000) or [(0, 0)]
            if events & select.POLLIN:
                deadline = time.monotonic() + _HANG_S  # whoever calls does not hang, however long it takes
                if call := next_call(self._listener):
                    own = Path(f"/proc/{self._child}/task/{call.thread}").exists()
                    error = self._judge(call)
                    if not (own and self._killed):  # answered, it might be quicker than the signal
                        answer(self._listener, call, error)
            elif events & select.POLLHUP:
                return
            elif time.monotonic() > deadline:
                os.killpg(self._child, signal.SIGKILL)
                raise TimeoutError(f"after {_HANG_S:.0f} s something still runs; last: {self.points[-1:]}")

    def _judge(self, call: Call) -> int:
        if not call.path.startswith(self._below):
            return 0
        point = Point(call.name, _VARIES.sub("*", call.path.removeprefix(self._below)))
        self.points.append(point)
        mode = self._faults.meets(len(self.points), call) if self._faults else None
        if mode is None:
            return 0
        self.at = self.at or point
        self.met[mode] += 1
        if mode is Mode.KILL:
            self._killed = True
            os.kill(self._child, signal.SIGKILL)
            return 0
        return errno.EIO if mode is Mode.BROKEN else errno.ENOSPC


def _fork(action: Callable[[], int], said: Path) -> int:
    sys.stdout.flush()
    sys.stderr.flush()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # a test's process may have threads
        child = os.fork()
    if child:
        return child
    code = 70
    try:
        os.setpgid(0, 0)
        output = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.close(output)
        # Who runs the tests may have put something in their place.
        sys.stdout, sys.stderr = (open(number, "w", encoding="utf-8", closefd=False) for number in (1, 2))  # noqa: SIM115
        code = action()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    except BaseException:  # noqa: BLE001 - the end of the process: told by its code and what it says
        traceback.print_exc()
    finally:
        with suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def _waited(child: int, said: Path) -> Ended:
    _, status = os.waitpid(child, 0)
    return Ended(
        os.waitstatus_to_exitcode(status), said.read_text("utf-8", "replace") if said.exists() else ""
    )
