"""The spool of one slice: bodies and rejects in the order of their arrival, appended, safe against kill -9.

A record is `VLS1`, length of its JSON, length of its body, 16 bytes of blake3 over both, JSON, body. What follows
the last whole record is cut off at the next opening. Bodies above `INLINE_BYTES` lie in files of their own.
"""

import logging
import os
import struct
import time
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Final

import orjson
from blake3 import blake3

from vlm_assets.locks import lock, open_file
from vlm_assets.words.disk import naming
from vlm_assets.words.errors import LockHeldError, Reject, RejectReason, StoreError, write_error

INLINE_BYTES: Final = 4 * 2**20
_HEAD: Final = struct.Struct("<4sIQ16s")
_MAGIC: Final = b"VLS1"
_FILE: Final = "bodies.spool"
_MAX_META: Final = 1 << 20
_FIELDS: Final = tuple(one.name for one in fields(Reject))
_log = logging.getLogger("vlm_assets.transfer")


@dataclass(frozen=True, slots=True)
class Stored:
    """One spooled body: where it lies and the sha256 it was declared with and verified against ("" where none)."""

    offset: int
    size_bytes: int
    declared: str
    file: str = ""
    """Name of the file that holds a large body; "" where it lies in the spool itself."""


@dataclass(frozen=True, slots=True)
class HostNote:
    """A host that was given up: visits in a row without a good answer, the end of its pause (Unix seconds), why."""

    visits: int
    until: float
    detail: str


class Spool:
    """Append-only store of what one slice has fetched so far. One process at a time; reading from any thread."""

    def __init__(self, folder: Path, *, forced: bool = False) -> None:
        """Open or make the spool and take over what an earlier process left in it.

        A spool whose fetch had come to its end keeps its bodies but not its rejects: whoever fetches again wants
        those asked again. With `forced` nothing of an unforced or ended fetch is kept.

        Raises:
            LockHeldError: another process has it open.
        """
        self._folder = folder
        self.bodies: dict[str, Stored] = {}
        self.rejects: dict[str, Reject] = {}
        self.hosts: dict[str, HostNote] = {}
        """Those that were given up, by name."""
        self._fd = open_file(folder / _FILE)
        if not lock(self._fd):
            os.close(self._fd)
            raise LockHeldError(f"{folder}: another process is fetching this slice")
        try:
            with naming(folder / _FILE):
                self._begin(forced=forced)
        except BaseException:  # the lock would stay until the process ends, and the next attempt is refused
            os.close(self._fd)
            raise

    def _begin(self, *, forced: bool) -> None:
        for part in self._folder.glob("*.part"):
            part.unlink()
        self._end = 0
        self._forced = self._ended = False
        self.unsynced = 0
        self.synced_at = time.monotonic()
        self._replay()
        if (forced and not (self._forced and not self._ended)) or self._end == 0:
            self._reset(forced=forced)
        elif self._ended:
            self.rejects.clear()
            self.hosts.clear()
            self._append({"type": "again"})

    def _reset(self, *, forced: bool) -> None:
        os.ftruncate(self._fd, 0)
        for stored in self.bodies.values():
            if stored.file:
                (self._folder / stored.file).unlink(missing_ok=True)
        self.bodies.clear()
        self.rejects.clear()
        self.hosts.clear()
        self._end = 0
        self._append({"type": "open", "forced": forced})

    def _replay(self) -> None:
        size = os.fstat(self._fd).st_size
        offset = 0
        with os.fdopen(os.dup(self._fd), "rb", buffering=1 << 20) as file:
            file.seek(0)
            while (length := self._take_over(file, offset, size)) > 0:
                offset += length
        if offset < size:
            _log.info("%s: cut off %d bytes of an unfinished record", self._folder.name, size - offset)
            os.ftruncate(self._fd, offset)
        self._end = offset

    def _take_over(self, file: Any, offset: int, size: int) -> int:
        """Length of the whole record at `offset`, 0 where there is none."""
        head = file.read(_HEAD.size)
        if len(head) < _HEAD.size:
            return 0
        magic, meta_length, body_length, digest = _HEAD.unpack(head)
        length = _HEAD.size + meta_length + body_length
        if magic != _MAGIC or meta_length > _MAX_META or offset + length > size:
            return 0
        meta, body = file.read(meta_length), file.read(body_length)
        if blake3(meta).update(body).digest(16) != digest:
            return 0
        self._note(orjson.loads(meta), offset + _HEAD.size + meta_length, body_length)
        return int(length)

    def _note(self, meta: dict[str, Any], offset: int, length: int) -> None:
        match meta["type"]:
            case "body":
                self.bodies[meta["key"]] = Stored(offset, length, meta["declared"])
                self.rejects.pop(meta["key"], None)
            case "file":
                path = self._folder / meta["file"]
                if path.is_file() and path.stat().st_size == meta["size_bytes"]:
                    self.bodies[meta["key"]] = Stored(0, meta["size_bytes"], meta["declared"], meta["file"])
            case "reject":
                # Only what is known: a spool may be of another version.
                known = {name: meta["reject"][name] for name in _FIELDS if name in meta["reject"]}
                reject = Reject(**{**known, "reason": RejectReason(known["reason"])})
                self.rejects[reject.item] = reject
            case "open":
                self._forced = meta["forced"]
            case "end":
                self._ended = True
            case "again":
                self._ended = False
                self.rejects.clear()
                self.hosts.clear()
            case "host":
                self.hosts[meta["host"]] = HostNote(**meta["note"])

    def add_body(self, key: str, declared: str, body: bytes) -> Stored:
        """Append a body; it survives a kill at once, a power cut after the next `sync`."""
        offset = self._append({"type": "body", "key": key, "declared": declared}, body)
        self.bodies[key] = stored = Stored(offset, len(body), declared)
        self.rejects.pop(key, None)
        return stored

    def add_file(self, key: str, declared: str, path: Path) -> Stored:
        """Take over a file of the spool's folder, already synced, as the body of `key`."""
        size_bytes = path.stat().st_size
        name = f"{blake3(key.encode()).hexdigest(16)}.body"
        path.replace(self._folder / name)
        self._append(
            {"type": "file", "key": key, "declared": declared, "file": name, "size_bytes": size_bytes}
        )
        self.bodies[key] = stored = Stored(0, size_bytes, declared, name)
        return stored

    def add_reject(self, reject: Reject) -> None:
        """Append a reject."""
        self._append({"type": "reject", "reject": asdict(reject)})
        self.rejects[reject.item] = reject

    def note_host(self, host: str, note: HostNote) -> None:
        """Append what is to be remembered of a host."""
        self._append({"type": "host", "host": host, "note": asdict(note)})
        self.hosts[host] = note

    def end(self) -> None:
        """Note that every item has been dealt with, and sync."""
        self._append({"type": "end"})
        self._ended = True
        self.sync()

    def _append(self, meta: dict[str, Any], body: bytes = b"") -> int:
        """Write one record; the offset of its body."""
        head_json = orjson.dumps(meta)
        digest = blake3(head_json).update(body).digest(16)
        head = _HEAD.pack(_MAGIC, len(head_json), len(body), digest) + head_json
        total, written = len(head) + len(body), 0
        try:
            written = os.pwritev(self._fd, [head, body], self._end)
            while written < total:
                rest = head[written:] if written < len(head) else memoryview(body)[written - len(head) :]
                written += os.pwrite(self._fd, rest, self._end + written)
        except OSError as error:
            raise write_error(self._folder, error) from error
        start = self._end + len(head)
        self._end += total
        self.unsynced += 1
        return start

    def read(self, stored: Stored) -> bytes | Path:
        """A body, or the file that holds just it.

        Raises:
            StoreError: the spool is shorter than what was written to it.
        """
        if stored.file:
            return self._folder / stored.file
        data = os.pread(self._fd, stored.size_bytes, stored.offset)
        if len(data) != stored.size_bytes:
            raise StoreError(
                f"{self._folder / _FILE}: {len(data)} of {stored.size_bytes} bytes at {stored.offset}"
            )
        return data

    def sync(self) -> None:
        """Make everything appended so far survive a power cut."""
        self.unsynced = 0
        self.synced_at = time.monotonic()
        try:
            os.fsync(self._fd)
        except OSError as error:
            raise write_error(self._folder, error) from error

    @property
    def folder(self) -> Path:
        """Where large bodies may be put before `add_file`."""
        return self._folder

    def close(self) -> None:
        """Close the file and free its lock."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
