"""Progress lines of a step: at most one every 30 s, with rate and time left. Knows no Dagster.

Each line is a row of the event log (about 20 ms on SQLite), hence the interval.
"""

import threading
import time
from collections.abc import Callable
from typing import Final

from vlm_assets.words.counts import so_many

INTERVAL_S: Final = 30.0


class ProgressLines:
    """Counts what worker threads report and puts it in words now and then."""

    def __init__(
        self, name: str, items: int, say: Callable[[str], None], *, interval_s: float = INTERVAL_S
    ) -> None:
        self._name = name
        self._total = items
        self._say = say
        self._interval_s = interval_s
        self._lock = threading.Lock()
        self._items = 0
        self._size_bytes = 0
        self._began = self._told = time.monotonic()

    def advance(self, items: int, size_bytes: int) -> None:
        """So many items and bytes more. For any thread."""
        with self._lock:
            self._items += items
            self._size_bytes += size_bytes

    def tell(self) -> None:
        """Says a line when the last one is old enough."""
        now = time.monotonic()
        if now - self._told < self._interval_s:
            return
        self._told = now
        self._say(self.line(now - self._began))

    def line(self, seconds: float) -> str:
        """The present state in words."""
        with self._lock:
            items, size_bytes = self._items, self._size_bytes
        rate = items / seconds if seconds > 0 else 0.0
        left = (
            f", about {_duration((self._total - items) / rate)} left" if rate and self._total > items else ""
        )
        return (
            f"{self._name}: {items:,} of {so_many(self._total, 'item')}, {size_bytes / 1e6:,.0f} MB, "
            f"{rate:,.1f} items/s{left}"
        )


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    if minutes < 1:
        return f"{seconds:.0f} s"
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min"
