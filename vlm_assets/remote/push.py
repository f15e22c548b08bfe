"""One thing to push: its objects, then its small keys in order, then, last and conditionally, its pointer."""

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from hashlib import md5
from pathlib import Path
from typing import Final

from blake3 import blake3

from vlm_assets.remote.bucket import Bucket, ConditionUnmetError
from vlm_assets.remote.inventory import Inventory
from vlm_assets.remote.leases import HeldLease
from vlm_assets.remote.local import StoredVersion
from vlm_assets.remote.memory import Memory
from vlm_assets.remote.names import Name
from vlm_assets.remote.pointers import ADVICE, move_pointer, shown_version
from vlm_assets.remote.upload import OnSent, Uploader
from vlm_assets.store.away import away
from vlm_assets.words.errors import LockHeldError, RemoteError, StoreError, VlmAssetsError
from vlm_assets.words.layout import DataRoot
from vlm_assets.words.manifest import FileEntry

_FAILURES: Final = 8
"""Pushes that the remote may refuse before the rest is not tried: it is down, or the role may not write."""


@dataclass(frozen=True, slots=True)
class Write:
    """A small key to write. `replaces`: only over that tag; `new`: only where nothing is; else over anything."""

    key: str
    data: bytes
    replaces: str | None = None
    new: bool = False


@dataclass(frozen=True, slots=True)
class Move:
    """A pointer to move; `replaces` is the tag of the state that was looked at, None where there was none."""

    name: Name
    version: str
    replaces: str | None


@dataclass(frozen=True, slots=True)
class Push:
    """What of one name, listing or small file the remote lacks."""

    label: str
    objects: tuple[tuple[Path, FileEntry], ...] = ()
    writes: tuple[Write, ...] = ()
    move: Move | None = None

    @property
    def empty(self) -> bool:
        """Nothing is lacking."""
        return not (self.objects or self.writes or self.move)


@dataclass(slots=True)
class Pushed:
    """What came of pushes."""

    done: list[str] = field(default_factory=list)
    failed: dict[str, VlmAssetsError] = field(default_factory=dict)
    objects: int = 0
    sent_bytes: int = 0
    found_bytes: int = 0
    """Of parts that an earlier, interrupted upload had brought there."""


def missing_objects(
    inventory: Inventory, directory: Path, files: dict[str, FileEntry]
) -> tuple[tuple[Path, FileEntry], ...]:
    """The files that are no objects yet.

    Raises:
        StoreError: one of them is not on this disk either.
    """
    missing = tuple(
        (directory / path, entry)
        for path, entry in sorted(files.items())
        if not inventory.holds(entry.blake3, entry.size_bytes)
    )
    for path, _ in missing:
        if (found := away(path)) is not None:
            raise StoreError(
                f"{path}: its bytes lie at {found.remote} alone, and this remote lacks them; bring them back from "
                "there first (VLM_ROWS_FROM=disk vlm-assets restore), or fetch the slice again "
                "(build --force-redownload)"
            )
    return missing


def unchanged(inventory: Inventory, memory: Memory, key: str, data: bytes) -> bool:
    """Whether a key holds `data`, as memory tells, or the tag where it is an MD5 (any bucket without KMS keys)."""
    etag, content = inventory.tag(key), blake3(data).hexdigest()
    if etag is None:
        return False
    if memory.content(key, etag) == content:
        return True
    if etag.strip('"') != md5(data, usedforsecurity=False).hexdigest():
        return False
    memory.note(key, etag, content, own=True)
    return True


def small_write(inventory: Inventory, memory: Memory, key: str, data: bytes) -> Write | None:
    """The write that brings a key up to `data`; None where it is.

    It goes over a state that this machine had, or where nothing is; over any other it fails when it is made.
    """
    if unchanged(inventory, memory, key, data):
        return None
    etag = inventory.tag(key)
    had = memory.content(key, etag) if etag is not None else None
    return (
        Write(key, data, replaces=etag)
        if had is not None and had == memory.had(key)
        else Write(key, data, new=True)
    )


def plan_version(
    bucket: Bucket,
    memory: Memory,
    inventory: Inventory,
    root: DataRoot,
    stored: StoredVersion,
    directory: Path,
    *,
    show: bool = True,
    take_over: bool = False,
) -> Push:
    """What the remote lacks of a version, and the move of the pointer where `show`.

    Raises:
        LockHeldError: the remote shows a version that this machine never had, and not `take_over`; however often.
        StoreError: a file is neither there nor on this disk.
    """
    name, version = stored.name, stored.version
    writes = []
    if inventory.tag(name.manifest(version)) is None:
        writes.append(Write(name.manifest(version), stored.manifest))
    key, beside = name.beside(version), stored.beside.to_bytes()
    wanted = bool(stored.beside.files) or inventory.tag(key) is not None
    if wanted and not unchanged(inventory, memory, key, beside):
        writes.append(Write(key, beside))
    move = _plan_move(bucket, memory, inventory, root, name, version, take_over=take_over) if show else None
    objects = missing_objects(inventory, directory, stored.every_file())
    return Push(str(name), objects, tuple(writes), move)


def _plan_move(
    bucket: Bucket,
    memory: Memory,
    inventory: Inventory,
    root: DataRoot,
    name: Name,
    version: str,
    *,
    take_over: bool,
) -> Move | None:
    etag = inventory.tag(name.current)
    if etag is None:
        return Move(name, version, None)
    shown = shown_version(bucket, memory, name, etag)
    if shown == version:
        memory.take_over(name.current, shown)
        return None
    known = shown == memory.had(name.current) or (
        (name.versions(root) / shown).is_dir() and shown != memory.lent(name.current)
    )
    if not known and not take_over:
        raise LockHeldError(f"{name}: the remote shows version {shown}; {ADVICE}")
    return Move(name, version, etag)


class Pusher:
    """Runs pushes side by side; an object that several need is sent once, by whoever comes first."""

    def __init__(
        self, bucket: Bucket, memory: Memory, lease: HeldLease, *, on_sent: OnSent | None = None
    ) -> None:
        self._lease = lease
        self._bucket = bucket
        self._memory = memory
        self._uploader = Uploader(bucket, on_sent=on_sent)
        self._objects = ThreadPoolExecutor(bucket.concurrency, "vlm-object")
        self._sending: dict[str, Future[int]] = {}
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._refused = 0
        self._result = Pushed()

    def run(self, pushes: Iterable[Push], told: Callable[[str], None] | None = None) -> Pushed:
        """Makes the pushes; one that fails is on record and leaves the others alone."""
        names = ThreadPoolExecutor(self._bucket.concurrency, "vlm-name")
        try:
            for label in names.map(self._push, pushes):
                if told is not None:
                    told(label)
        finally:
            self._stop.set()
            names.shutdown(wait=True, cancel_futures=True)
            self._objects.shutdown(wait=True, cancel_futures=True)
            self._uploader.__exit__()
        return self._result

    def _push(self, push: Push) -> str:
        try:
            if self._stop.is_set():
                raise RemoteError("not tried: the remote refused too often before")
            for future in [self._send(path, entry) for path, entry in push.objects]:
                future.result()
            for write in push.writes:
                self._lease.check()
                self._write(write)
            if push.move is not None:
                move = push.move
                self._lease.check()
                move_pointer(self._bucket, self._memory, move.name, move.version, replaces=move.replaces)
        except VlmAssetsError as error:
            self._fail(push.label, error)
        else:
            with self._lock:
                self._result.done.append(push.label)
        return push.label

    def _fail(self, label: str, error: VlmAssetsError) -> None:
        with self._lock:
            self._result.failed[label] = error
            if isinstance(error, RemoteError):
                self._refused += 1
                if self._refused >= _FAILURES:
                    self._stop.set()

    def _send(self, path: Path, entry: FileEntry) -> Future[int]:
        with self._lock:
            future = self._sending.get(entry.blake3)
            if future is None:
                future = self._objects.submit(self._send_object, path, entry)
                self._sending[entry.blake3] = future
        return future

    def _send_object(self, path: Path, entry: FileEntry) -> int:
        self._lease.check()
        sent = self._uploader.send(path, entry)
        with self._lock:
            self._result.objects += 1
            self._result.sent_bytes += sent
            self._result.found_bytes += entry.size_bytes - sent
        return sent

    def _write(self, write: Write) -> None:
        content = blake3(write.data).hexdigest()
        try:
            etag = self._bucket.put(write.key, write.data, replaces=write.replaces, new=write.new)
        except ConditionUnmetError:
            raise LockHeldError(
                f"{write.key}: the remote has another one, which this machine has not seen; {ADVICE}"
            ) from None
        self._memory.note(write.key, etag, content, own=True)
