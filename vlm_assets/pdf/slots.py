"""CPU slots that all runs on a machine share, so that many runs at once do not start many times the processes."""

import threading
from pathlib import Path

from vlm_assets.locks import Slots


class CpuSlots:
    """Up to `count` holders at once over all processes that use the same folder; the kernel frees a dead one's.

    For any number of threads.
    """

    def __init__(self, folder: Path, count: int) -> None:
        self._slots = Slots(folder / "page-workers")
        self._count = count
        self._held: dict[int, int] = {}
        self._lock = threading.Lock()

    def take(self, holder: int) -> bool:
        """Takes a slot for `holder` (any number) if one is free; True also when it has one already."""
        with self._lock:
            if holder not in self._held and (slot := self._slots.take(self._count)) is not None:
                self._held[holder] = slot
            return holder in self._held

    def give_back(self, holder: int) -> None:
        """Frees the holder's slot, if it has one."""
        with self._lock:
            slot = self._held.pop(holder, None)
            if slot is not None:
                self._slots.give_back(slot)
            if not self._held:
                self._slots.close()
