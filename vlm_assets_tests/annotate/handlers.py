"""Handlers of worker processes that behave as badly as an annotator can."""

import os
import signal
from collections.abc import Callable, Sequence
from typing import Any


def odd(names: Sequence[str]) -> Callable[[Any, Any], Any]:
    """Each thing of a batch says what is done; else its length is its value."""
    del names

    def handle(request: tuple[Sequence[str], Sequence[str]], _say: object) -> dict[str, Any]:
        asked, batch = request
        for one in batch:
            _do(one, asked)
        return {name: ([{"size": len(one)} for one in batch], {}) for name in asked}

    return handle


def _do(thing: str, names: Sequence[str]) -> None:
    if thing == "crash":
        os._exit(11)
    if thing == "crash for bad" and "bad" in names:
        os._exit(11)
    if thing == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if thing == "spin":
        while True:
            pass
    if thing == "raise":
        raise RuntimeError("odd")
    if thing.startswith("once:"):
        path = thing.removeprefix("once:")
        if not os.path.exists(path):  # noqa: PTH110 - nothing else is loaded here
            os.close(os.open(path, os.O_CREAT))
            os._exit(11)
