"""Locks and slots between processes: bytes of files, held by the kernel, free at once when their holder ends.

Open-file-description locks (Linux, `fcntl(2)`): each byte of a file is a lock of its own, exclusive or shared, owned
by the descriptor. So two descriptors exclude each other within one process as well as between two, and no crash, kill
or reboot leaves one behind. A file stays when it is unlocked: removing it would let two holders in.

All that excludes, counts or queues processes of a machine is made of this; `remote` has the leases between machines.
"""

import fcntl
import logging
import os
import socket
import struct
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from vlm_assets.words.disk import naming
from vlm_assets.words.errors import LockHeldError, write_error

_FLOCK: Final = struct.Struct("@hhqqi4x")
_POLL_S: Final = 0.2
_UNSAID_S: Final = 1.0
"""A wait shorter than this is not worth a line: most locks are held for moments."""

logger = logging.getLogger(__name__)


def lock(descriptor: int, byte: int = 0, *, shared: bool = False, wait: bool = False) -> bool:
    """Locks one byte of a file that is open for writing; False where another has it. With `wait`, when it is free."""
    try:
        _ask(descriptor, fcntl.F_OFD_SETLKW if wait else fcntl.F_OFD_SETLK, byte,
             fcntl.F_RDLCK if shared else fcntl.F_WRLCK)  # fmt: skip
    except (BlockingIOError, PermissionError):
        return False
    return True


def unlock(descriptor: int, byte: int = 0) -> None:
    """Frees the byte; closing the descriptor frees all of its bytes."""
    _ask(descriptor, fcntl.F_OFD_SETLK, byte, fcntl.F_UNLCK)


def is_free(descriptor: int, byte: int = 0) -> bool:
    """Whether no other descriptor has locked the byte, shared or not."""
    return _ask(descriptor, fcntl.F_OFD_GETLK, byte, fcntl.F_WRLCK) == fcntl.F_UNLCK


def _ask(descriptor: int, command: int, byte: int, kind: int) -> int:
    answer = fcntl.fcntl(descriptor, command, _FLOCK.pack(kind, os.SEEK_SET, byte, 1, 0))
    return int(_FLOCK.unpack(answer)[0])


def open_file(path: Path) -> int:
    """A descriptor of the file, made with its folder where it is missing, which children do not inherit."""
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True)
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)


@contextmanager
def locked(path: Path) -> Iterator[int]:
    """The file's descriptor, locked for the block; for short work that everybody waits for."""
    descriptor = open_file(path)
    try:
        lock(descriptor, wait=True)
        yield descriptor
    finally:
        os.close(descriptor)


class Slots:
    """Slots 0 to limit - 1 of one file, over all processes. Not for use by two threads at once."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor = -1
        self.held: set[int] = set()

    @property
    def descriptor(self) -> int:
        """The file, opened when it is first needed."""
        if self._descriptor < 0:
            self._descriptor = open_file(self._path)
        return self._descriptor

    def take(self, limit: int) -> int | None:
        """A free one of the first `limit` slots, or None."""
        for slot in reversed(range(limit)):
            if slot not in self.held and lock(self.descriptor, slot):
                self.held.add(slot)
                return slot
        return None

    def give_back(self, slot: int) -> None:
        """Frees a slot."""
        self.held.discard(slot)
        unlock(self.descriptor, slot)

    def close(self) -> None:
        """Frees every slot and the file."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._descriptor = -1
        self.held.clear()


@contextmanager
def hold_lock(
    path: Path | Sequence[Path], purpose: str, *, wait_s: float = 0.0, taken: str = ""
) -> Iterator[None]:
    """Holds the lock, of several whichever is free, for the block. `purpose` is words for those who find it held.

    A wait that lasts is logged once, with those it is for. The holders are named after the words `taken`.

    Raises:
        LockHeldError: still held after `wait_s`; names pid, host and start of each holder.
        DiskFullError, StoreError: the disk does not let its file be made, opened or written.
    """
    paths = [path] if isinstance(path, Path) else path
    began, said = time.monotonic(), False
    with ExitStack() as stack:
        while holders := _take_first(stack, paths, purpose):
            words = f"{taken}{' '.join(holders)} Wait for it, or stop that process."
            waited_s = time.monotonic() - began
            if waited_s >= wait_s:
                raise LockHeldError(words)
            if not said and waited_s >= _UNSAID_S:
                logger.warning("Waiting: %s", words)
                said = True
            time.sleep(min(_POLL_S, wait_s - waited_s))
        yield


def _take_first(stack: ExitStack, paths: Sequence[Path], purpose: str) -> list[str]:
    """Takes the first lock that is free for as long as the stack lasts; who holds them where there is none."""
    holders = []
    for path in paths:
        with _store_errors(path):
            descriptor = open_file(path)
            if lock(descriptor):
                stack.callback(os.close, descriptor)
                since = datetime.now(UTC).isoformat(timespec="seconds")
                holder = f"pid {os.getpid()} on {socket.gethostname()} since {since} ({purpose})"
                os.ftruncate(descriptor, 0)
                os.pwrite(descriptor, holder.encode(), 0)
                return []
        holder = os.pread(descriptor, 4096, 0).decode() or "another process (it has not written its name yet)"
        holders.append(f"{path.name}: held by {holder}.")
        os.close(descriptor)
    return holders


@contextmanager
def _store_errors(path: Path) -> Iterator[None]:
    try:
        with naming(path):
            yield
    except PermissionError:  # who may not is told of the user
        raise
    except OSError as error:
        raise write_error(path, error) from error
