"""OS locks with a holder that can be named. A lock of a dead process is free at once."""

import fcntl
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import orjson

from vlm_assets.words.errors import LockHeldError

_POLL_S = 0.2


def _holder(descriptor: int) -> str:
    """Words for who holds the lock, from what the holder wrote into the file."""
    try:
        told = orjson.loads(os.pread(descriptor, 4096, 0))
    except orjson.JSONDecodeError:
        return "another process (it has not written its name yet)"
    return f"pid {told['pid']} on {told['host']} since {told['since']} ({told['purpose']})"


@contextmanager
def hold_lock(path: Path, purpose: str, *, wait_s: float = 0.0) -> Iterator[None]:
    """Holds an exclusive OS lock (flock) on `path` for the block; the kernel frees it when the process dies.

    `purpose` is words for the waiter's message. The file stays: removing it would let two holders in.

    Raises:
        LockHeldError: still held after `wait_s`; names pid, host and start of the holder.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        _acquire(descriptor, path, wait_s)
        told = {
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "since": datetime.now(UTC).isoformat(timespec="seconds"),
            "purpose": purpose,
        }
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, orjson.dumps(told), 0)
        yield
    finally:
        os.close(descriptor)


def _acquire(descriptor: int, path: Path, wait_s: float) -> None:
    deadline = time.monotonic() + wait_s
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                raise LockHeldError(
                    f"{path.name}: held by {_holder(descriptor)}. Wait for it, or stop that process."
                ) from None
            time.sleep(min(_POLL_S, left_s))
        else:
            return
