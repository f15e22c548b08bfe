"""What this machine has seen at the remote: a cache beside the data. Lost, it costs requests, never a wrong write."""

import threading
from pathlib import Path
from typing import Final, Literal

from blake3 import blake3
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from vlm_assets.locks import hold_lock
from vlm_assets.remote.names import RemoteAddress
from vlm_assets.store.arrow_files import replace_file
from vlm_assets.words.layout import DataRoot

_LOCK_WAIT_S: Final = 600.0


class Seen(BaseModel):
    """One state of a key: its tag and what it held (a version for pointers, blake3 of the bytes for the rest)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    etag: str
    content: str


class FileStamp(BaseModel):
    """How a file looked when it was copied, and the hash of the copy."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    stamp: tuple[int, ...]
    size_bytes: int
    blake3: str


class _Stored(BaseModel):
    model_config = ConfigDict(extra="forbid")

    type: Literal["remote_memory"] = "remote_memory"
    keys: dict[str, Seen] = Field(default_factory=dict)
    had: dict[str, str] = Field(default_factory=dict)
    lent: dict[str, str] = Field(default_factory=dict)
    files: dict[str, FileStamp] = Field(default_factory=dict)


class Memory:
    """The cache of one remote. Safe to share between threads; `save` writes what changed into the one on disk.

    *Seen* is what a key held when this machine looked, *had* what it held when this machine put it there or took it
    over: only over that may it write. To look at another machine's state, or to be refused by it, is not to have it.
    """

    def __init__(self, root: DataRoot, address: RemoteAddress) -> None:
        name = blake3(str(address).encode()).hexdigest()[:12]
        self._path: Path = root.path / ".remote" / f"{name}.json"
        self._lock = threading.Lock()
        self._stored = self._read()
        self._changed = _Stored()

    def _read(self) -> _Stored:
        try:
            return _Stored.model_validate_json(self._path.read_bytes())
        except (FileNotFoundError, ValidationError):
            return _Stored()

    def content(self, key: str, etag: str) -> str | None:
        """What the key holds in the state of that tag; None where this machine has not seen that state."""
        with self._lock:
            seen = self._stored.keys.get(key)
        return seen.content if seen is not None and seen.etag == etag else None

    def had(self, key: str) -> str | None:
        """What the key held when this machine last put it there or took it over."""
        with self._lock:
            return self._stored.had.get(key)

    def lent(self, key: str) -> str | None:
        """What was last fetched of the key for somebody else's plan, without this machine showing it."""
        with self._lock:
            return self._stored.lent.get(key)

    def note(self, key: str, etag: str, content: str, *, own: bool = False) -> None:
        """Remembers a state; `own`: this machine put it there or took it over."""
        with self._lock:
            for stored in (self._stored, self._changed):
                stored.keys[key] = Seen(etag=etag, content=content)
        if own:
            self.take_over(key, content)

    def take_over(self, key: str, content: str) -> None:
        """Remembers that this machine shows what the key holds."""
        with self._lock:
            for stored in (self._stored, self._changed):
                stored.had[key] = content

    def lend(self, key: str, content: str) -> None:
        """Remembers what was fetched without this machine showing it."""
        with self._lock:
            for stored in (self._stored, self._changed):
                stored.lent[key] = content

    def file(self, path: str) -> FileStamp | None:
        """How a file looked when it was last copied."""
        with self._lock:
            return self._stored.files.get(path)

    def note_file(self, path: str, stamp: FileStamp) -> None:
        """Remembers a copied file."""
        with self._lock:
            self._stored.files[path] = stamp
            self._changed.files[path] = stamp

    def save(self) -> None:
        """Adds what was learnt to the cache on disk, where others have added theirs meanwhile."""
        with self._lock:
            if self._changed == _Stored():
                return
            self._path.parent.mkdir(exist_ok=True)
            with hold_lock(self._path.with_suffix(".lock"), "memory of the remote", wait_s=_LOCK_WAIT_S):
                stored = self._read()
                for name in ("keys", "had", "lent", "files"):
                    getattr(stored, name).update(getattr(self._changed, name))
                replace_file(self._path, stored.model_dump_json().encode())
            self._changed = _Stored()
