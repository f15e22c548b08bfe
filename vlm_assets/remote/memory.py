"""What this machine has seen at the remote: a cache beside the data. Lost, it costs requests, never a wrong write."""

import threading
from pathlib import Path
from typing import Literal

from blake3 import blake3
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from vlm_assets.remote.names import RemoteAddress
from vlm_assets.store.arrow_files import replace_file
from vlm_assets.words.layout import DataRoot


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
    files: dict[str, FileStamp] = Field(default_factory=dict)


class Memory:
    """The cache of one remote. Safe to share between threads; `save` writes it when it changed."""

    def __init__(self, root: DataRoot, address: RemoteAddress) -> None:
        name = blake3(str(address).encode()).hexdigest()[:12]
        self._path: Path = root.path / ".remote" / f"{name}.json"
        self._lock = threading.Lock()
        self._stored = self._read()
        self._changed = False

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

    def last(self, key: str) -> str | None:
        """What the key held when this machine last saw it."""
        with self._lock:
            seen = self._stored.keys.get(key)
        return seen.content if seen is not None else None

    def note(self, key: str, etag: str, content: str) -> None:
        """Remembers a state."""
        with self._lock:
            self._stored.keys[key] = Seen(etag=etag, content=content)
            self._changed = True

    def file(self, path: str) -> FileStamp | None:
        """How a file looked when it was last copied."""
        with self._lock:
            return self._stored.files.get(path)

    def note_file(self, path: str, stamp: FileStamp) -> None:
        """Remembers a copied file."""
        with self._lock:
            self._stored.files[path] = stamp
            self._changed = True

    def save(self) -> None:
        """Writes the cache."""
        with self._lock:
            if self._changed:
                self._path.parent.mkdir(exist_ok=True)
                replace_file(self._path, self._stored.model_dump_json().encode())
                self._changed = False
