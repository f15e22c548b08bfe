"""What workers of these tests run. Each name is a handler's maker; see `Program`."""

import ctypes
import os
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

from vlm_assets.words.errors import DiskFullError
from vlm_assets.workers.bounds import cpu_timer
from vlm_assets.workers.far_end import Handler, Say


def echo(prefix: str) -> Handler:
    def handle(request: Any, say: Say) -> Any:
        print("a library that prints")
        for number in range(request.get("messages", 0)):
            say(number)
        return [prefix, request["value"]]

    return handle


def acts() -> Handler:
    def handle(request: tuple[str, Any], say: Say) -> Any:
        name, argument = request
        return ACTS[name](argument, say)

    return handle


def _child(_argument: Any, say: Say) -> None:
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]) as process:
        say(process.pid)


def _spin(_argument: Any, say: Say) -> None:
    say("spinning")
    while True:
        pass


def _use_cpu(seconds: float, _say: Say) -> float:
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass
    return seconds


def _wait(_argument: Any, say: Say) -> None:
    say("waiting")
    time.sleep(600)


def _hold_the_lock(_argument: Any, say: Say) -> None:
    """As a decoder does that hangs in C: no thread of the interpreter runs any more."""
    say("holding")
    ctypes.PyDLL(None).sleep(600)


def _renew(times: int, _say: Say) -> int:
    for _ in range(times):
        cpu_timer().start(1)
        _use_cpu(0.8, _say)
    return times


def _raise(kind: str, _say: Say) -> None:
    raise DiskFullError("no room") if kind == "own" else ValueError("not this one")


ACTS: dict[str, Callable[[Any, Say], Any]] = {
    "pid": lambda _argument, _say: os.getpid(),
    "group": lambda _argument, _say: (os.getpgid(0), [name for name in sys.modules if "dagster" in name]),
    "main": lambda _argument, _say: getattr(sys.modules["__main__"], "__file__", None),
    "kill": lambda number, _say: os.kill(os.getpid(), number),
    "exit": lambda status, _say: os._exit(status),
    "allocate": lambda size, _say: len(bytearray(size)),
    "raise": _raise,
    "size": lambda data, _say: (type(data).__name__, len(data), bytes(data[-4:])),
    "object": lambda _argument, _say: object(),
    "spin": _spin,
    "use_cpu": _use_cpu,
    "renew": _renew,
    "wait": _wait,
    "hold": _hold_the_lock,
    "child": _child,
}


def broken() -> Handler:
    raise ValueError("no handler today")
