"""Brings versions from the remote to disk: each object fetched once, verified, linked wherever it is needed.

Fetched objects lie in `<data root>/.remote/objects` until a run ends well: an interrupted one goes on where it was.
"""

import errno
import os
import shutil
import threading
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Final

import orjson
from pydantic import ValidationError

from vlm_assets.remote.away import files_done_without
from vlm_assets.remote.bucket import Bucket
from vlm_assets.remote.download import OnReceived, fetch_object
from vlm_assets.remote.inventory import Inventory
from vlm_assets.remote.local import Beside, StoredVersion, files_of_manifest, version_of_manifest
from vlm_assets.remote.names import AREAS, Name
from vlm_assets.store.arrow_files import replace_file, sync_directory
from vlm_assets.store.away import away, came_back, note_away
from vlm_assets.store.slices import INDEX_FILE, file_hash
from vlm_assets.store.taken_down import covered_rows, refuse_taken_down
from vlm_assets.store.tombstones import read_tombstones
from vlm_assets.store.versions import place_version
from vlm_assets.words.disk import naming
from vlm_assets.words.errors import DiskFullError, RemoteError, StoreError
from vlm_assets.words.layout import MANIFEST, STAGING, VERSIONS, DataRoot
from vlm_assets.words.manifest import FileEntry

_RESERVE_BYTES: Final = 2**30


def read_remote_version(
    bucket: Bucket, name: Name, version: str, inventory: Inventory | None = None
) -> StoredVersion:
    """A version's manifest and what lies beside it; an inventory that knows there is nothing saves a request.

    Raises:
        RemoteError: missing, or the manifest does not hash to its version.
    """
    manifest = bucket.get(name.manifest(version))
    if manifest is None or version_of_manifest(manifest.data) != version:
        state = "is missing" if manifest is None else "does not hash to its version"
        raise RemoteError(f"{bucket.address}/{name.manifest(version)} {state}; back {name} up again")
    nothing = inventory is not None and inventory.tag(name.beside(version)) is None
    beside = None if nothing else bucket.get(name.beside(version))
    try:
        files = files_of_manifest(manifest.data, name.manifest(version))
        history = Beside() if beside is None else Beside.from_bytes(beside.data)
    except (StoreError, ValidationError) as error:
        raise RemoteError(f"{bucket.address}/{name.beside(version)}: {error}") from error
    for path in (*files, *history.files):
        if path.startswith("/") or ".." in path.split("/"):
            raise RemoteError(f"{bucket.address}/{name.manifest(version)} names {path!r}, outside its folder")
    return StoredVersion(name, version, manifest.data, files, history)


class Fetcher:
    """Fetches objects and versions for one data root. Safe between threads; the caller holds the lock `restore`.

    Not `whole`: data files of slices stay at the remote, and are on record as being there.
    """

    def __init__(
        self,
        bucket: Bucket,
        root: DataRoot,
        *,
        whole: bool = True,
        on_received: OnReceived | None = None,
    ) -> None:
        self.bucket = bucket
        self.whole = whole
        self._root = root
        self._pool = root.path / ".remote" / "objects"
        self._pool.mkdir(parents=True, exist_ok=True)
        self._threads = ThreadPoolExecutor(bucket.concurrency, "vlm-fetch")
        self._on_received = on_received
        self._fetching: dict[str, Future[Path]] = {}
        self._lock = threading.Lock()
        self._local: dict[str, Path] | None = None
        self.objects = 0
        self.received_bytes = 0
        self.found_bytes = 0
        self.linked = 0

    def fetch_version(self, stored: StoredVersion) -> Path:
        """The version's folder on disk, complete and verified; no name is moved.

        Raises:
            RemoteError: an object is missing or damaged.
            TakenDownError: it holds what was taken down.
            DiskFullError: the volume is full.
        """
        versions = stored.name.versions(self._root)
        staging = versions.parent / STAGING / f"restore-{stored.name.leaf}-{stored.version}"
        shutil.rmtree(staging, ignore_errors=True)
        staging.mkdir(parents=True)
        try:
            self._place(stored, staging)
            return place_version(staging, versions, stored.version, stored.manifest)
        finally:
            shutil.rmtree(staging, ignore_errors=True)

    def _place(self, stored: StoredVersion, staging: Path) -> None:
        """Places all files but those that stay away; where rows are covered, these are looked at first."""
        left = {} if self.whole else files_done_without(stored)
        self.place_files(
            staging, {path: one for path, one in stored.every_file().items() if path not in left}
        )
        takedowns = read_tombstones(self._root)
        index = (
            staging / INDEX_FILE
        )  # of a slice: in a corpus a covered row is one too many, whatever its data says
        if left and index.is_file() and len(covered_rows(index, takedowns.ids, takedowns.image_sha256)):
            self.place_files(staging, dict(left))
        refuse_taken_down(f"{stored.name}@{stored.version}", staging, takedowns)
        for path, entry in left.items():
            note_away(staging / path, entry, str(self.bucket.address))
            (staging / path).unlink(missing_ok=True)

    def mend_version(self, stored: StoredVersion, directory: Path, *, thorough: bool) -> list[str]:
        """Replaces files of a version on disk that are missing or not of their size; returns their names.

        `thorough` reads and hashes every file that the manifest names. Files beside the manifest are history and may
        be newer here; only missing ones are fetched. What is away is not missing, and comes back with `whole` alone.
        """
        wrong = {
            path: entry
            for path, entry in stored.files.items()
            if _differs(directory / path, entry, thorough) and (self.whole or away(directory / path) is None)
        }
        wrong |= {p: e for p, e in stored.beside.files.items() if not (directory / p).is_file()}
        if wrong:
            self.place_files(directory, {f"{path}.mended": entry for path, entry in wrong.items()})
            for path in wrong:
                (directory / f"{path}.mended").replace(directory / path)
            sync_directory(directory)
            came_back(directory / path for path in wrong)
        mended = sorted(wrong)
        if version_of_manifest((directory / MANIFEST).read_bytes()) != stored.version:
            replace_file(directory / MANIFEST, stored.manifest)
            mended.append(MANIFEST)
        return mended

    def place_files(self, directory: Path, files: dict[str, FileEntry]) -> None:
        """Puts files into a folder, by hard link to the one fetched copy of each."""
        wanted = [(path, entry, self.ensure(entry)) for path, entry in sorted(files.items())]
        for path, entry, fetched in wanted:
            target = directory / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.unlink(missing_ok=True)
            _link(fetched.result(), target, entry)

    def ensure(self, entry: FileEntry) -> "Future[Path]":
        """The verified copy of an object in the pool, under way or there."""
        with self._lock:
            future = self._fetching.get(entry.blake3)
            if future is None:
                future = self._threads.submit(self._obtain, entry)
                self._fetching[entry.blake3] = future
            else:
                self.linked += 1
        return future

    def _obtain(self, entry: FileEntry) -> Path:
        path = self._pool / entry.blake3
        if path.is_file() and path.stat().st_size == entry.size_bytes:  # appeared only when it was verified
            self._count(found=entry.size_bytes)
            return path
        path.unlink(missing_ok=True)
        local = self._local_copy(entry)
        if local is not None:
            _link(local, path, entry)
            self._count(linked=1)
            return path
        before = _size(path.with_name(f"{path.name}.part"))
        fetch_object(self.bucket, entry, path, self._on_received)
        self._count(objects=1, received=entry.size_bytes - before, found=before)
        return path

    def _count(self, *, objects: int = 0, received: int = 0, found: int = 0, linked: int = 0) -> None:
        with self._lock:
            self.objects += objects
            self.received_bytes += received
            self.found_bytes += found
            self.linked += linked

    def _local_copy(self, entry: FileEntry) -> Path | None:
        """A file of a committed version with these bytes, read to be sure."""
        with self._lock:
            if self._local is None:
                self._local = _files_on_disk(self._root)
        path = self._local.get(entry.blake3)
        return path if path is not None and not _differs(path, entry, thorough=True) else None

    def close(self, *, complete: bool) -> None:
        """Ends the threads; where all came over, the pool's own links go."""
        self._threads.shutdown(wait=True, cancel_futures=True)
        if complete:
            shutil.rmtree(self._pool, ignore_errors=True)


def check_room(root: DataRoot, needed_bytes: int) -> None:
    """Returns where so many bytes fit on the data root's volume beside a reserve of 1 GiB.

    Raises:
        DiskFullError: they do not.
    """
    stat = os.statvfs(root.path)
    free = stat.f_bavail * stat.f_frsize
    if free < needed_bytes + _RESERVE_BYTES:
        raise DiskFullError(
            f"{root.path}: {needed_bytes:,} bytes are to come, {free:,} are free and {_RESERVE_BYTES:,} of them "
            "stay free; grow the volume, or restore chosen sources and targets"
        )


def _files_on_disk(root: DataRoot) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for area in AREAS:
        for path in sorted((root.path / area).glob(f"*/{VERSIONS}/*/{MANIFEST}")):
            found |= {entry.blake3: path.parent / name for name, entry in _manifest_files(path)}
    return found


def _manifest_files(path: Path) -> Iterable[tuple[str, FileEntry]]:
    try:
        return files_of_manifest(path.read_bytes(), path).items()
    except (StoreError, OSError, orjson.JSONDecodeError):
        return ()


def _differs(path: Path, entry: FileEntry, thorough: bool) -> bool:  # noqa: FBT001 - passed on as it is
    if _size(path) != entry.size_bytes or not path.is_file():
        return True
    return thorough and file_hash(path) != entry.blake3


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _link(source: Path, target: Path, entry: FileEntry) -> None:
    """A hard link; a copy where the file has as many links as the file system allows, or none are possible."""
    try:
        os.link(source, target)
    except OSError as error:
        if error.errno not in {errno.EMLINK, errno.EXDEV, errno.EPERM, errno.EOPNOTSUPP}:
            raise
        shutil.copyfile(source, target)
        with target.open("rb") as file, naming(target):
            os.fsync(file.fileno())
        if file_hash(target) != entry.blake3:
            raise StoreError(f"{target}: the copy of {source} differs from it") from error
