"""CPU slots that all runs on a machine share, so that many runs at once do not start many times the processes."""

import fcntl
import os
from pathlib import Path


class CpuSlots:
    """Up to `count` holders at once over all processes that use the same folder; the kernel frees a dead one's."""

    def __init__(self, folder: Path, count: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._paths = [folder / f"page-worker-{number}" for number in range(count)]
        self._held: dict[int, int] = {}

    def take(self, holder: int) -> bool:
        """Takes a slot for `holder` (any number) if one is free; True also when it has one already."""
        if holder in self._held:
            return True
        for path in self._paths:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(descriptor)
            else:
                self._held[holder] = descriptor
                return True
        return False

    def give_back(self, holder: int) -> None:
        """Frees the holder's slot, if it has one."""
        descriptor = self._held.pop(holder, None)
        if descriptor is not None:
            os.close(descriptor)
