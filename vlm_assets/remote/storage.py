"""Dagster's own storage in SQLite: consistent copies of its files, and their way back.

With storage on Postgres there is nothing to copy here: the database has its own backups. Without any of it
`vlm-assets reconcile` rebuilds partition keys and materializations from the manifests.
"""

import os
import shutil
import socket
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import Field

from vlm_assets.remote.bucket import Bucket
from vlm_assets.remote.fetch import Fetcher, read_remote_version
from vlm_assets.remote.inventory import Inventory
from vlm_assets.remote.local import StoredVersion
from vlm_assets.remote.memory import FileStamp, Memory
from vlm_assets.remote.names import DAGSTER, Name
from vlm_assets.remote.pointers import shown_version
from vlm_assets.store.slices import file_hash
from vlm_assets.words.errors import StoreError
from vlm_assets.words.layout import DataRoot
from vlm_assets.words.manifest import FileEntry, Manifest


class StorageManifest(Manifest):
    """The SQLite files of one DAGSTER_HOME, by path under it."""

    schema_version: int = 1
    type: Literal["dagster_storage"] = "dagster_storage"
    files: dict[str, FileEntry] = Field(default_factory=dict)


def dagster_home(root: DataRoot) -> Path:
    """The DAGSTER_HOME in force: the environment's, else the one under the data root."""
    home = os.environ.get("DAGSTER_HOME")
    return Path(home) if home else root.path / ".dagster"


def storage_name(host: str | None = None) -> Name:
    """The name that a host's storage has at the remote."""
    return Name(DAGSTER, host or socket.gethostname(), "storage")


def copy_storage(
    home: Path, copies: Path, memory: Memory, holds: Callable[[str, int], bool]
) -> StoredVersion | None:
    """Copies every SQLite file that changed since the last time into `copies`; None where there is none at all.

    A file that has not changed, and whose last copy the remote `holds` (blake3, size), is named by that copy and not
    copied. The result's files lie under `copies` in their relative paths, as far as they were copied.
    """
    files: dict[str, FileEntry] = {}
    for path in _databases(home):
        relative = path.relative_to(home).as_posix()
        stamp, known = _stamp(path), memory.file(str(path))
        if known is None or known.stamp != stamp or not holds(known.blake3, known.size_bytes):
            copy = copies / relative
            copy.parent.mkdir(parents=True, exist_ok=True)
            _copy(path, copy)
            known = FileStamp(stamp=stamp, size_bytes=copy.stat().st_size, blake3=file_hash(copy))
            memory.note_file(str(path), known)
        files[relative] = FileEntry(size_bytes=known.size_bytes, blake3=known.blake3)
    if not files:
        return None
    manifest = StorageManifest(files=files)
    return StoredVersion(storage_name(), manifest.version, manifest.to_bytes(), files)


def _databases(home: Path) -> Iterator[Path]:
    return (path for path in sorted(home.rglob("*.db")) if path.is_file())


def _stamp(path: Path) -> tuple[int, ...]:
    """Size and time of the file and of its write-ahead log."""
    stamp: list[int] = []
    for one in (path, path.with_name(f"{path.name}-wal")):
        try:
            stat = one.stat()
        except FileNotFoundError:
            continue
        if one == path or stat.st_size:
            stamp += [stat.st_size, stat.st_mtime_ns]
    return tuple(stamp)


def _copy(path: Path, copy: Path) -> None:
    """A consistent copy of a database that others write to meanwhile (SQLite's online backup, in one step)."""
    copy.unlink(missing_ok=True)
    try:
        with (
            closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=60)) as source,
            closing(sqlite3.connect(copy)) as target,
        ):
            source.backup(target)
            target.execute("PRAGMA journal_mode=DELETE")
    except sqlite3.Error as error:
        raise StoreError(f"{path}: cannot be copied: {error}") from error


@dataclass(frozen=True, slots=True)
class StorageRestore:
    """What became of Dagster's storage: its name at the remote (empty: there is none), and whether it was brought."""

    name: str
    restored: bool


def restore_storage(
    bucket: Bucket, memory: Memory, inventory: Inventory, fetcher: Fetcher, home: Path
) -> StorageRestore:
    """Puts the SQLite files of this host, else of the host that pushed last, into a home that has none."""
    stored_hosts = [name for name in inventory.names() if name.area == DAGSTER]
    if not stored_hosts:
        return StorageRestore("", restored=False)
    own = storage_name()
    name = own if own in stored_hosts else max(stored_hosts, key=lambda n: inventory.keys[n.current].modified)
    if next(_databases(home), None) is not None:
        return StorageRestore(str(name), restored=False)
    version = shown_version(bucket, memory, name, inventory.keys[name.current].etag)
    stored = read_remote_version(bucket, name, version)
    home.mkdir(parents=True, exist_ok=True)
    # The pool keeps no second link to a database that will be written to: copies, under a name no one opens.
    for path, entry in stored.files.items():
        target = home / path
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.with_name(f".{target.name}.restored")
        shutil.copyfile(fetcher.ensure(entry).result(), temporary)
        temporary.replace(target)
    return StorageRestore(str(name), restored=True)
