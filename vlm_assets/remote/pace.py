"""Holds transfers of all threads together to a mean rate."""

import threading
import time


class Pace:
    """Lets bytes through at a mean rate; 0 is no limit. Safe to call from many threads."""

    def __init__(self, bytes_per_s: float) -> None:
        self.bytes_per_s = bytes_per_s
        self._lock = threading.Lock()
        self._free_at = 0.0

    def wait(self, size_bytes: int) -> None:
        """Returns when so many bytes may go: those before them are paid off by then."""
        if self.bytes_per_s <= 0:
            return
        with self._lock:
            starts_at = max(time.monotonic(), self._free_at)
            self._free_at = starts_at + size_bytes / self.bytes_per_s
        time.sleep(max(starts_at - time.monotonic(), 0.0))
