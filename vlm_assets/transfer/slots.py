"""Limits that hold over all processes of one machine: slots, rate and pauses of one host.

One small file a host, whose bytes are locks (`vlm_assets.locks`). Three doubles in it say when the next request may
start, until when the host is to be left alone, and when that was written.
"""

import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from vlm_assets.locks import Slots, is_free, lock, unlock
from vlm_assets.transfer.politeness import MAX_PAUSE_S
from vlm_assets.words.layout import slice_key

_STATE: Final = struct.Struct("<ddd")
_STATE_BYTE: Final = 1 << 20
_WAITING_BYTE: Final = _STATE_BYTE + 1
_LONGEST_S: Final = MAX_PAUSE_S + 60
"""A pause on record that is longer comes from a clock that was set back."""
_SET_BACK_S: Final = 1.0
"""By less, clocks of processes differ, and are corrected all the time."""


def host_folder(locks_dir: Path, host: str) -> Path:
    """Where everything that the machine knows about a host lies."""
    return locks_dir / "http" / slice_key(host)


class HostGate:
    """The machine-wide gate of one host. Not for use by two threads at once; never blocks for long."""

    def __init__(self, locks_dir: Path, host: str) -> None:
        self.host = host
        self._slots = Slots(host_folder(locks_dir, host) / "gate")
        self._waiting = False

    def close(self) -> None:
        """Free every slot and the file."""
        self._slots.close()
        self._waiting = False

    def take_slot(self, limit: int) -> int | None:
        """A free one of the first `limit` slots, or None; then others see that someone waits."""
        slot = self._slots.take(limit)
        if slot is not None and self._waiting:
            unlock(self._slots.descriptor, _WAITING_BYTE)
            self._waiting = False
        if slot is None and not self._slots.held and not self._waiting:
            self._waiting = lock(self._slots.descriptor, _WAITING_BYTE, shared=True)
        return slot

    def free_slot(self, slot: int) -> None:
        """Give a slot back."""
        self._slots.give_back(slot)

    @property
    def contended(self) -> bool:
        """Whether another process waits for a slot of this host."""
        return not self._waiting and not is_free(self._slots.descriptor, _WAITING_BYTE)

    def try_start(self, now: float, interval_s: float) -> float:
        """0 when a request may start now, which then counts; otherwise the time at which to ask again."""
        pause_until = self.paused_until(now)
        if pause_until > now:
            return pause_until
        if interval_s <= 0:
            return 0.0
        with self._state():
            next_start, pause_until = self._read(now)
            blocked_until = max(next_start, pause_until)
            if blocked_until > now:
                return blocked_until
            self._write(now + interval_s, pause_until, now)
        return 0.0

    def pause(self, now: float, until: float) -> None:
        """Leave the host alone until then: all processes obey. A longer pause on record stays."""
        with self._state():
            next_start, pause_until = self._read(now)
            self._write(next_start, max(until, pause_until), now)

    def paused_until(self, now: float) -> float:
        """When the host may be asked again; 0 when it may be now."""
        if self._set_back_s(now) > 0:
            with self._state():
                self._write(*self._read(now), now)
        return self._read(now)[1]

    @contextmanager
    def _state(self) -> Iterator[None]:
        descriptor = self._slots.descriptor
        lock(descriptor, _STATE_BYTE, wait=True)
        try:
            yield
        finally:
            unlock(descriptor, _STATE_BYTE)

    def _write(self, next_start: float, pause_until: float, now: float) -> None:
        os.pwrite(self._slots.descriptor, _STATE.pack(next_start, pause_until, now), 0)

    def _read(self, now: float) -> tuple[float, float]:
        next_start, pause_until, _ = self._record()
        back_s = self._set_back_s(now)
        next_start, pause_until = next_start - back_s, pause_until - back_s
        return (
            next_start if next_start <= now + _LONGEST_S else 0.0,
            pause_until if now < pause_until <= now + _LONGEST_S else 0.0,
        )

    def _set_back_s(self, now: float) -> float:
        """By how much the clock was set back since the record was written: what was to come in a second still is."""
        back_s = self._record()[2] - now
        return back_s if back_s > _SET_BACK_S else 0.0

    def _record(self) -> tuple[float, float, float]:
        data = os.pread(self._slots.descriptor, _STATE.size, 0)
        if len(data) < _STATE.size:
            return 0.0, 0.0, 0.0
        next_start, pause_until, written_at = _STATE.unpack(data)
        return next_start, pause_until, written_at
