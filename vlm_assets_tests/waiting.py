"""Waiting in tests: for what happens, never for a time. The limits are guards against a hang, not measures."""

import time
from collections.abc import Callable
from typing import Final, TypeVar

HANG_S: Final = 240.0
"""No single thing that works takes so long, however busy the machine is; below the limit of a whole test."""

LONG_HANG_S: Final = 3_600.0
"""The same for a whole platform at work: a backfill, a night."""

T = TypeVar("T")


def until(
    question: Callable[[], T], what: str = "it", *, within_s: float = HANG_S, every_s: float = 0.01
) -> T:
    """The first answer that counts as true.

    Raises:
        AssertionError: none came; names `what`.
    """
    deadline = time.monotonic() + within_s
    while not (answer := question()):
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} did not come in {within_s:.0f} s; the last answer was {answer!r}")
        time.sleep(every_s)
    return answer
