"""What time it is, and whether a time on record is over: clocks are set ahead, set back, and stand still.

Whoever waits for a time, or writes down one that others wait for, asks `unix_now`. Ages of files are told by the
clock that stamps them, `time.time`; how long something took, by `time.monotonic`.
"""

import time
from pathlib import Path
from typing import Final

_SET_BACK_S: Final = 1.0
"""By less, clocks are corrected all the time."""
_WATCHED_S: Final = 3600.0
"""Who has not looked for longer cannot tell a clock that stood still from one that was set back."""


class Clock:
    """The wall clock, which goes on where that one stands still. Safe for threads, without a lock that forks keep."""

    def __init__(self) -> None:
        self._seen: tuple[float, float, float] | None = None
        """What the wall clock showed last, what was made of it, and when: by a clock that nobody sets."""

    def now(self) -> float:
        """Unix seconds. Jumps where the wall clock is set; goes on where it stands, and is ahead of it from then."""
        wall, ticks = time.time(), time.monotonic()
        now = wall
        if self._seen is not None:
            shown, told, at = self._seen
            gone = told + ticks - at
            lags = wall == shown or gone - wall > _SET_BACK_S
            if lags and shown - _SET_BACK_S <= wall < gone and ticks - at < _WATCHED_S:
                now = gone
        self._seen = wall, now, ticks
        return now


unix_now = Clock().now
"""Unix seconds for deadlines: the one that all of a process share."""


def has_come(at: float, now: float, *, longest_s: float) -> bool:
    """Whether a time on record (Unix seconds) is over.

    One that lies further ahead than anything is ever put off (`longest_s`) was written by a clock that ran ahead: it
    counts as over, or what waits for it would wait for years.
    """
    return not now < at <= now + longest_s


def days_since(path: Path) -> float | None:
    """Days since a file was last written or touched; None where there is none."""
    try:
        return round(max(0.0, time.time() - path.stat().st_mtime) / 86_400, 1)
    except FileNotFoundError:
        return None
