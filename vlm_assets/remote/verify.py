"""Compares the remote with its own manifests; mends what is wrong from this machine where asked to."""

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

from blake3 import blake3
from pydantic import BaseModel, Field, ValidationError

from vlm_assets.remote.bucket import Bucket, open_remote
from vlm_assets.remote.download import body_of
from vlm_assets.remote.faults import broken_connections
from vlm_assets.remote.fetch import read_remote_version
from vlm_assets.remote.inventory import Inventory, take_inventory
from vlm_assets.remote.leases import HeldLease, hold_work_lease
from vlm_assets.remote.local import Beside, read_version, version_of_manifest
from vlm_assets.remote.names import LISTINGS, LOCKS, TOMBSTONES, Name, object_key
from vlm_assets.remote.pointers import read_pointer
from vlm_assets.remote.purge import RemoteLook
from vlm_assets.remote.report import SilentProgress, TransferProgress
from vlm_assets.remote.takedowns import remote_tombstones
from vlm_assets.remote.upload import Uploader
from vlm_assets.settings import Settings
from vlm_assets.store.corpus_lock import CorpusLock, items_path
from vlm_assets.store.tombstones import Tombstone
from vlm_assets.words.disk import named_disk_errors
from vlm_assets.words.errors import RemoteError, VlmAssetsError
from vlm_assets.words.layout import MANIFEST, DataRoot
from vlm_assets.words.manifest import FileEntry, Listing

_TRIES: Final = 4
"""Reads of one object that break off before it has failed."""


class RemoteProblem(BaseModel):
    """One key of the remote that is not what it must be."""

    key: str
    what: Literal["missing", "size", "hash", "content", "taken_down"]
    told: str
    names: list[str] = Field(default_factory=list)
    """Versions that need it."""
    mended: bool = False

    def __str__(self) -> str:
        """One line for a person."""
        state = "MENDED " if self.mended else ""
        needed = f" (of {', '.join(self.names[:3])})" if self.names else ""
        return f"{state}{self.key}: {self.what}: {self.told}{needed}"


class RemoteVerifyReport(BaseModel):
    """What was looked at, and what is wrong."""

    remote: str
    deep: bool
    versions: int = 0
    objects: int = 0
    object_bytes: int = 0
    problems: list[RemoteProblem] = Field(default_factory=list)
    requests: dict[str, int] = Field(default_factory=dict)
    seconds: float = 0.0

    @property
    def exit_code(self) -> int:
        """0: the remote is whole, or was mended; 1: something is wrong."""
        return 1 if any(not one.mended for one in self.problems) else 0


@named_disk_errors
def verify_remote(
    settings: Settings,
    *,
    deep: bool = False,
    repair: bool = False,
    progress: TransferProgress | None = None,
    bucket: Bucket | None = None,
) -> RemoteVerifyReport:
    """Compares the remote with its own manifests.

    Reads and hashes every small key: manifests, listings, takedowns, pointers. Of every object that one of them names
    it looks at presence and size, as the bucket lists them; `deep` fetches each once and hashes it, and looks whether
    any version holds what was taken down. With `repair`,
    objects and manifests that are wrong are sent again from the files of this machine, each verified on its way.

    Raises:
        ConfigError: no remote, or no data root.
        RemoteError: the remote cannot be listed.
    """
    started = time.monotonic()
    bucket = bucket or open_remote(settings)
    work = _Verify(bucket, settings.root, progress or SilentProgress(), deep=deep)
    work.run()
    if repair and work.report.problems:
        with hold_work_lease(bucket, f"repair of {bucket.address}") as lease:
            work.mend(lease)
    work.report.requests = bucket.requests
    work.report.seconds = round(time.monotonic() - started, 3)
    return work.report


@dataclass(slots=True)
class _Wanted:
    """An object that something names, and where its file would lie on this machine."""

    entry: FileEntry
    paths: list[Path] = field(default_factory=list)
    names: list[str] = field(default_factory=list)


class _Verify:
    """One look at the remote."""

    def __init__(self, bucket: Bucket, root: DataRoot, progress: TransferProgress, *, deep: bool) -> None:
        self.report = RemoteVerifyReport(remote=str(bucket.address), deep=deep)
        self._bucket = bucket
        self._root = root
        self._progress = progress
        self._inventory = Inventory()
        self._wanted: dict[str, _Wanted] = {}
        self._manifests: dict[str, Path] = {}
        """Wrong manifests, and where this machine has them."""

    def run(self) -> None:
        self._inventory = take_inventory(self._bucket)
        with ThreadPoolExecutor(self._bucket.concurrency, "vlm-verify") as pool:
            versions = [
                (n, v) for n, found in sorted(self._inventory.versions().items()) for v in sorted(found)
            ]
            list(pool.map(self._version, versions))
            list(pool.map(self._pointer, self._inventory.names()))
            list(pool.map(self._small, [*self._keys(LISTINGS), *self._keys(TOMBSTONES), *self._keys(LOCKS)]))
            self.report.versions = len(versions)
            self._progress.start(len(self._wanted), self._bytes() if self.report.deep else 0)
            list(pool.map(self._object, self._wanted.values()))
        if self.report.deep:
            self._taken_down(versions)
        self.report.objects, self.report.object_bytes = len(self._wanted), self._bytes()
        self.report.problems.sort(key=lambda one: one.key)

    def _taken_down(self, versions: Sequence[tuple[Name, str]]) -> None:
        """Versions that hold what the remote's own takedowns name."""
        takedowns = remote_tombstones(self._bucket, self._inventory)
        if not takedowns.names:
            return
        look = RemoteLook(self._bucket, self._root, takedowns)
        for name, version in versions:
            if name.area not in {"datasets", "corpora"} or name.manifest(version) in self._manifests:
                continue
            try:
                held = look.holds(name, version)
            except RemoteError as error:
                self._tell(name.manifest(version), "content", str(error))
                continue
            if held:
                told = "holds rows that were taken down; vlm-assets takedown --finish purges it"
                self._tell(name.manifest(version), "taken_down", told)

    def _bytes(self) -> int:
        return sum(one.entry.size_bytes for one in self._wanted.values())

    def _keys(self, prefix: str) -> Iterator[str]:
        return (key for key in self._inventory.keys if key.startswith(prefix))

    def _tell(
        self, key: str, what: Literal["missing", "size", "hash", "content", "taken_down"], told: str
    ) -> None:
        wanted = self._wanted.get(key.removeprefix("objects/"))
        names = sorted(set(wanted.names)) if wanted else []
        self.report.problems.append(RemoteProblem(key=key, what=what, told=told, names=names))

    def _want(self, entry: FileEntry, path: Path, name: str) -> None:
        wanted = self._wanted.setdefault(entry.blake3, _Wanted(entry))  # one step, whatever the threads
        wanted.paths.append(path)
        wanted.names.append(name)

    def _version(self, one: tuple[Name, str]) -> None:
        name, version = one
        directory = name.versions(self._root) / version
        try:
            stored = read_remote_version(self._bucket, name, version, self._inventory)
        except RemoteError as error:
            self._manifests[name.manifest(version)] = directory / MANIFEST
            self._tell(name.manifest(version), "content", str(error))
            return
        for path, entry in stored.every_file().items():
            self._want(entry, directory / path, f"{name}@{version}")

    def _pointer(self, name: Name) -> None:
        try:
            found = read_pointer(self._bucket, name)
        except RemoteError as error:
            self._tell(name.current, "content", str(error))
            return
        if found is not None and self._inventory.tag(name.manifest(found[0].version)) is None:
            self._tell(
                name.current, "content", f"shows version {found[0].version}, whose manifest is not there"
            )

    def _small(self, key: str) -> None:
        content = self._bucket.get(key)
        if content is None:
            return  # gone since it was listed
        try:
            if key.startswith(TOMBSTONES):
                if key != f"{TOMBSTONES}{Tombstone.from_bytes(content.data).name}.json":
                    self._tell(key, "hash", "does not hash to its name")
                return
            if key.startswith(LOCKS):
                path = items_path(self._root.path / ".catalogs" / key.removeprefix(LOCKS))
                self._want(CorpusLock.from_bytes(content.data).items_file, path, key)
                return
            listing = Listing.from_bytes(content.data)
        except ValidationError as error:
            self._tell(key, "content", f"cannot be read: {error}")
            return
        for name, digest in listing.tables.items():
            listed = self._inventory.objects.get(digest)
            entry = FileEntry(size_bytes=listed.size_bytes if listed else 0, blake3=digest)
            self._want(entry, self._root.listings / name, key)

    def _object(self, wanted: _Wanted) -> None:
        entry, key = wanted.entry, object_key(wanted.entry.blake3)
        listed = self._inventory.objects.get(entry.blake3)
        if listed is None:
            self._tell(key, "missing", f"{entry.size_bytes} bytes are named, there is no such object")
        elif listed.size_bytes != entry.size_bytes:
            self._tell(key, "size", f"{listed.size_bytes} bytes, {entry.size_bytes} are named")
        elif self.report.deep:
            try:
                found = self._hash(entry)
            except RemoteError as error:
                self._tell(key, "content", str(error))
                return
            if found != entry.blake3:
                self._tell(key, "hash", f"its bytes hash to {found[:16]}…")

    def _hash(self, entry: FileEntry) -> str:
        """blake3 of the object's bytes.

        Raises:
            RemoteError: it cannot be read to its end.
        """
        told: object = "the body ended early"
        for _ in range(_TRIES):
            digest, size = blake3(), 0
            try:
                for chunk in body_of(self._bucket, entry):
                    digest.update(chunk)
                    size += len(chunk)
            except broken_connections() as error:
                told = error
                continue
            if size == entry.size_bytes:
                self._progress.advance(size)
                return digest.hexdigest()
        raise RemoteError(f"{object_key(entry.blake3)}: cannot be read to its end: {told}")

    def mend(self, lease: HeldLease) -> None:
        """Sends again what is wrong and lies here whole."""
        with Uploader(self._bucket) as uploader:
            for problem in self.report.problems:
                try:
                    lease.check()
                    problem.mended = self._mend(uploader, problem.key)
                except VlmAssetsError as error:
                    problem.told += f"; not mended: {error}"

    def _mend(self, uploader: Uploader, key: str) -> bool:
        manifest = self._manifests.get(key)
        if manifest is not None and manifest.is_file():
            data = manifest.read_bytes()
            if version_of_manifest(data) != manifest.parent.name:
                return False
            self._bucket.put(key, data)
            self._bucket.put(f"{key.removesuffix(MANIFEST)}beside.json", _beside(manifest).to_bytes())
            return True
        digest = key.removeprefix("objects/")
        wanted = self._wanted.get(digest)
        path = next((one for one in wanted.paths if one.is_file()), None) if wanted is not None else None
        if path is None:
            return False
        uploader.send(path, FileEntry(size_bytes=path.stat().st_size, blake3=digest))
        return True


def _beside(manifest: Path) -> Beside:
    return read_version(Name("", "", ""), manifest.parent).beside
