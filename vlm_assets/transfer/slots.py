"""Limits that hold over all processes of one machine: slots, rate and pauses of one host.

One small file a host. Ranges of it are locked with open-file-description locks (Linux, `fcntl(2)`): the kernel
frees them when a process dies, however it dies. Two doubles in it say when the next request may start and until
when the host is to be left alone.
"""

import fcntl
import os
import struct
from pathlib import Path
from typing import Final

from vlm_assets.transfer.politeness import MAX_PAUSE_S
from vlm_assets.words.layout import slice_key

_STATE: Final = struct.Struct("<dd")
_FLOCK: Final = struct.Struct("@hhqqi4x")
_STATE_BYTE: Final = 1 << 20
_WAITING_BYTE: Final = _STATE_BYTE + 1
_LONGEST_S: Final = MAX_PAUSE_S + 60
"""A pause on record that is longer comes from a clock that was set back."""


def host_folder(locks_dir: Path, host: str) -> Path:
    """Where everything that the machine knows about a host lies."""
    return locks_dir / "http" / slice_key(host)


class HostGate:
    """The machine-wide gate of one host. Not for use by two threads at once; never blocks for long."""

    def __init__(self, locks_dir: Path, host: str) -> None:
        self.host = host
        self._path = host_folder(locks_dir, host) / "gate"
        self._fd = -1
        self._held: set[int] = set()
        self._waiting = False

    def _open(self) -> int:
        if self._fd < 0:
            try:
                self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
            except FileNotFoundError:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        return self._fd

    def close(self) -> None:
        """Free every slot and the file."""
        if self._fd >= 0:
            os.close(self._fd)
        self._fd, self._waiting = -1, False
        self._held.clear()

    def take_slot(self, limit: int) -> int | None:
        """A free one of the first `limit` slots, or None; then others see that someone waits."""
        fd = self._open()
        for slot in reversed(range(limit)):
            if slot not in self._held and _lock(fd, slot, fcntl.F_WRLCK):
                self._held.add(slot)
                if self._waiting:
                    _lock(fd, _WAITING_BYTE, fcntl.F_UNLCK)
                    self._waiting = False
                return slot
        if not self._held and not self._waiting:
            self._waiting = _lock(fd, _WAITING_BYTE, fcntl.F_RDLCK)
        return None

    def free_slot(self, slot: int) -> None:
        """Give a slot back."""
        self._held.discard(slot)
        _lock(self._open(), slot, fcntl.F_UNLCK)

    @property
    def contended(self) -> bool:
        """Whether another process waits for a slot of this host."""
        return not self._waiting and not _free(self._open(), _WAITING_BYTE)

    def try_start(self, now: float, interval_s: float) -> float:
        """0 when a request may start now, which then counts; otherwise the time at which to ask again."""
        next_start, pause_until = self._read(now)
        if pause_until > now:
            return pause_until
        if interval_s <= 0:
            return 0.0
        fd = self._open()
        _lock(fd, _STATE_BYTE, fcntl.F_WRLCK, wait=True)
        try:
            next_start, pause_until = self._read(now)
            blocked_until = max(next_start, pause_until)
            if blocked_until > now:
                return blocked_until
            os.pwrite(fd, _STATE.pack(now + interval_s, pause_until), 0)
        finally:
            _lock(fd, _STATE_BYTE, fcntl.F_UNLCK)
        return 0.0

    def pause(self, now: float, until: float) -> None:
        """Leave the host alone until then: all processes obey. A longer pause on record stays."""
        fd = self._open()
        _lock(fd, _STATE_BYTE, fcntl.F_WRLCK, wait=True)
        try:
            next_start, pause_until = self._read(now)
            os.pwrite(fd, _STATE.pack(next_start, max(until, pause_until)), 0)
        finally:
            _lock(fd, _STATE_BYTE, fcntl.F_UNLCK)

    def paused_until(self, now: float) -> float:
        """When the host may be asked again; 0 when it may be now."""
        return self._read(now)[1]

    def _read(self, now: float) -> tuple[float, float]:
        data = os.pread(self._open(), _STATE.size, 0)
        if len(data) < _STATE.size:
            return 0.0, 0.0
        next_start, pause_until = _STATE.unpack(data)
        return (
            next_start if next_start <= now + _LONGEST_S else 0.0,
            pause_until if now < pause_until <= now + _LONGEST_S else 0.0,
        )


def _lock(fd: int, byte: int, kind: int, *, wait: bool = False) -> bool:
    request = _FLOCK.pack(kind, os.SEEK_SET, byte, 1, 0)
    try:
        fcntl.fcntl(fd, fcntl.F_OFD_SETLKW if wait else fcntl.F_OFD_SETLK, request)
    except (BlockingIOError, PermissionError):
        return False
    return True


def _free(fd: int, byte: int) -> bool:
    answer = fcntl.fcntl(fd, fcntl.F_OFD_GETLK, _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, byte, 1, 0))
    kind: int = _FLOCK.unpack(answer)[0]
    return kind == fcntl.F_UNLCK
