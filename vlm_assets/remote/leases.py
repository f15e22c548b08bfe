"""Who is at work at the remote: so that nothing is deleted under an upload, and nothing uploaded under a deletion.

A lease is an object that its holder renews; one that nobody has written for as long as a lease lives is nobody's: its
process is dead. How long that is tells the store, by its own clock: clocks of machines jump, and whoever's is a year
ahead would take every lease for dead.
Whoever takes one writes first and looks second, so of two that exclude each other at least one sees the other.
"""

import logging
import os
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Literal

from pydantic import ValidationError

from vlm_assets.remote.bucket import Bucket, ConditionUnmetError
from vlm_assets.words.clock import unix_now
from vlm_assets.words.errors import LeaseLostError, LockHeldError, RemoteError
from vlm_assets.words.manifest import Manifest

logger = logging.getLogger("vlm_assets.remote")

LEASES: Final = "leases/"
PRUNE: Final = f"{LEASES}prune"
_WORK: Final = f"{LEASES}work/"
_LIFE_S: Final = 900.0
_MARGIN_S: Final = 120.0
"""Before its end nothing is begun under a lease any more."""
_TURN_S: Final = _LIFE_S / 5

_PROCESS: Final = secrets.token_hex(4)
"""Tells this process from one of the same number in another container of the same host name."""
_held: set[int] = set()
_held_lock = threading.Lock()


@contextmanager
def _own_key() -> Iterator[str]:
    """A key that no other lease has meanwhile; used again after it, so that many pushes leave few keys behind."""
    with _held_lock:
        number = next(n for n in range(len(_held) + 1) if n not in _held)
        _held.add(number)
    try:
        yield f"{_WORK}{socket.gethostname()}.{os.getpid()}.{_PROCESS}.{number}"
    finally:
        with _held_lock:
            _held.discard(number)


class Lease(Manifest):
    """One lease. `until`: its end as its holder's clock has it, for people; 0: given back."""

    type: Literal["lease"] = "lease"
    purpose: str
    host: str
    pid: int
    since: str
    until: float

    def __str__(self) -> str:
        """Words for a message."""
        return f"{self.purpose}, pid {self.pid} on {self.host} since {self.since}"


def _new(purpose: str) -> Lease:
    since = datetime.now(UTC).isoformat(timespec="seconds")
    return Lease(
        purpose=purpose, host=socket.gethostname(), pid=os.getpid(), since=since, until=unix_now() + _LIFE_S
    )


@dataclass(frozen=True, slots=True)
class FoundLease:
    """A lease as it lies at the remote. `live`: somebody may hold it."""

    lease: Lease
    etag: str
    live: bool


def read_lease(bucket: Bucket, key: str) -> FoundLease | None:
    """The lease, live or not; None where none was ever taken.

    Raises:
        RemoteError: not a lease.
    """
    content = bucket.get(key)
    if content is None:
        return None
    try:
        lease = Lease.from_bytes(content.data)
    except ValidationError as error:
        raise RemoteError(f"{key} at the remote is not a lease: {error}") from error
    return FoundLease(lease, content.etag, live=lease.until > 0 and content.age_s <= _LIFE_S)


def prune_mark(bucket: Bucket) -> str | None:
    """Tag of the prune lease: it has changed when something was deleted in between."""
    found = read_lease(bucket, PRUNE)
    return None if found is None else found.etag


class HeldLease:
    """A lease of this process. `mark`: the `prune_mark` as it was when the lease was taken.

    It counts from before the last renewal that the store has confirmed, by a clock that nobody sets: whoever was
    stopped for long, or cut off from the store, finds out by itself.
    """

    def __init__(self, bucket: Bucket, key: str, lease: Lease, etag: str, taken_s: float) -> None:
        self.mark: str | None = None
        self._bucket = bucket
        self._key = key
        self._lease = lease
        self._etag = etag
        self._renewed_s = taken_s
        self._taken_away = False

    def check(self) -> None:
        """Returns while the lease holds; asked before each write that it protects.

        Raises:
            LeaseLostError: it could not be renewed in time, or somebody took it.
        """
        if self._taken_away or time.monotonic() - self._renewed_s > _LIFE_S - _MARGIN_S:
            raise LeaseLostError(
                f"{self._bucket.address}: the lease {self._key} ({self._lease.purpose}) was not renewed in time; the "
                "work under it stops here. Run it again, it goes on where it was"
            )

    def renew(self) -> None:
        """Renews it; what fails now is tried again at the next turn, and `check` tells when it was too late."""
        began_s = time.monotonic()
        lease = self._lease.model_copy(update={"until": unix_now() + _LIFE_S})
        try:
            self._etag = self._bucket.put(self._key, lease.to_bytes(), replaces=self._etag)
        except ConditionUnmetError:
            self._taken_away = True
        except RemoteError as error:
            logger.warning("lease %s is not renewed: %s", self._key, error)
        else:
            self._renewed_s = began_s

    def give_back(self) -> None:
        """Ends it, unless somebody else has it by now; where the store does not answer it ends by itself."""
        if self._taken_away:
            return
        try:
            data = self._lease.model_copy(update={"until": 0.0}).to_bytes()
            self._bucket.put(self._key, data, replaces=self._etag)
        except RemoteError as error:
            logger.warning("lease %s is not given back, it ends by itself: %s", self._key, error)


@contextmanager
def hold_work_lease(bucket: Bucket, purpose: str) -> Iterator[HeldLease]:
    """Keeps deletions away for the block, as long as its `check` returns. Others may work as well.

    Raises:
        LockHeldError: a prune is under way; names it.
    """
    lease, began_s = _new(purpose), time.monotonic()
    with _own_key() as key:
        held = HeldLease(bucket, key, lease, bucket.put(key, lease.to_bytes()), began_s)
        with _renewed(held):
            found = read_lease(bucket, PRUNE)
            if found is not None and found.live:
                raise LockHeldError(f"{bucket.address}: {found.lease}; wait for it")
            held.mark = None if found is None else found.etag
            yield held


@contextmanager
def hold_prune_lease(bucket: Bucket) -> Iterator[HeldLease]:
    """Keeps uploads and other deletions away for the block, as long as its `check` returns.

    Raises:
        LockHeldError: someone is at work; names who.
    """
    lease, began_s = _new("prune"), time.monotonic()
    found = read_lease(bucket, PRUNE)
    if found is not None and found.live:
        raise LockHeldError(f"{bucket.address}: {found.lease}; wait for it")
    try:
        etag = bucket.put(PRUNE, lease.to_bytes(), replaces=found.etag if found else None, new=found is None)
    except ConditionUnmetError:
        raise LockHeldError(f"{bucket.address}: another prune has just begun; wait for it") from None
    held = HeldLease(bucket, PRUNE, lease, etag, began_s)
    with _renewed(held):
        for listed in bucket.list(_WORK):
            other = read_lease(bucket, listed.key)
            if other is not None and other.live:
                raise LockHeldError(f"{bucket.address}: {other.lease}; wait for it")
        yield held


def dead_work_leases(bucket: Bucket) -> list[str]:
    """Keys of work leases that are nobody's."""
    found = ((one.key, read_lease(bucket, one.key)) for one in bucket.list(_WORK))
    return [key for key, lease in found if lease is not None and not lease.live]


@contextmanager
def _renewed(held: HeldLease) -> Iterator[None]:
    ended = threading.Event()

    def renew() -> None:
        while not ended.wait(_TURN_S):
            held.renew()

    thread = threading.Thread(target=renew, name="vlm-lease", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        held.give_back()
