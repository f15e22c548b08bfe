"""Brings a data root up to the remote: what it lacks, and names that moved on there. Verified, linked, resumed."""

import logging
import time
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import orjson
from blake3 import blake3
from pydantic import ValidationError

from vlm_assets.ingest.summary import refresh_summary
from vlm_assets.locks import hold_lock
from vlm_assets.remote.annotations import keys_of, restore_annotation
from vlm_assets.remote.away import files_done_without, keeps_data, lend_data
from vlm_assets.remote.bucket import Bucket, open_remote
from vlm_assets.remote.fetch import Fetcher, check_room, read_remote_version
from vlm_assets.remote.inventory import Inventory, take_inventory
from vlm_assets.remote.local import StoredVersion, read_version
from vlm_assets.remote.memory import Memory
from vlm_assets.remote.names import CATALOGS, DAGSTER, LISTINGS, PINS, Name, lock_of
from vlm_assets.remote.pointers import shown_version
from vlm_assets.remote.report import RestoreReport, SilentProgress, TransferProgress
from vlm_assets.remote.scope import Scope
from vlm_assets.remote.storage import dagster_home, restore_storage
from vlm_assets.remote.takedowns import pull_tombstones
from vlm_assets.settings import Settings
from vlm_assets.store.arrow_files import replace_file
from vlm_assets.store.away import away_in
from vlm_assets.store.listings import read_listing
from vlm_assets.store.met import name_covered
from vlm_assets.store.taken_down import refuse_taken_down
from vlm_assets.store.tombstones import read_tombstones
from vlm_assets.store.versions import current_version, swap_link
from vlm_assets.words.disk import named_disk_errors
from vlm_assets.words.errors import (
    ConfigError,
    DiskFullError,
    Problem,
    RemoteError,
    StoreError,
    VlmAssetsError,
)
from vlm_assets.words.layout import MANIFEST, VERSIONS, DataRoot
from vlm_assets.words.manifest import FileEntry, Listing

logger = logging.getLogger("vlm_assets.remote")

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class RestoreOptions:
    """How to restore. `overwrite`: also over versions of this machine that were never pushed.

    `thorough`: files that are on disk are hashed, not only measured. `storage`: Dagster's SQLite files come back too,
    into a DAGSTER_HOME that has none; of this host, else of the host that pushed last. `slices`: False brings only
    the listings of the sources. `known_only`: a chosen source or target that the remote lacks is no error.
    """

    overwrite: bool = False
    thorough: bool = False
    storage: bool = True
    slices: bool = True
    known_only: bool = False
    lock_wait_s: float = 0.0


@named_disk_errors
def restore(
    settings: Settings,
    *,
    sources: Collection[str] | None = None,
    targets: Collection[str] | None = None,
    options: RestoreOptions | None = None,
    progress: TransferProgress | None = None,
    bucket: Bucket | None = None,
) -> RestoreReport:
    """Restores everything, or the chosen sources (listing and slices) and targets (plan and corpus).

    Where shards take rows from the remote (`rows_from`), data files of slices stay there; else those come back too
    that this machine does without. Needs no catalogue; the data root has its marker. Tombstones come first, whatever
    is chosen. A name is shown only when its version is complete and every byte that was fetched is verified. Run
    again, it goes on where it was. What fails is named in the report (exit 1) and stops nothing else.

    Raises:
        ConfigError: no remote, no data root, or a chosen source or target that the remote does not have.
        RemoteError: the remote cannot be listed, or a tombstone cannot be read.
        DiskFullError: what is to come does not fit.
        LockHeldError: another restore of this data root is under way.
    """
    started = time.monotonic()
    bucket = bucket or open_remote(settings)
    options = options or RestoreOptions()
    root = settings.root
    scope = Scope(sources, targets, storage=options.storage, slices=options.slices)
    with hold_lock(root.locks / "restore", f"restore from {bucket.address}", wait_s=options.lock_wait_s):
        lend_data(settings)
        whole = keeps_data(settings)
        work = _Restore(bucket, root, scope, options, progress or SilentProgress(), whole=whole)
        report = work.run()
    report.requests = bucket.requests
    report.seconds = round(time.monotonic() - started, 3)
    logger.info(
        "restore from %s: %d restored, %d unchanged, %d kept, %d failed, %d objects, %d bytes, %.1f s",
        bucket.address, len(report.done), report.unchanged, len(report.kept), len(report.failed), report.objects,
        report.transferred_bytes, report.seconds,
    )  # fmt: skip
    return report


class _Restore:
    """One restore under way."""

    def __init__(
        self,
        bucket: Bucket,
        root: DataRoot,
        scope: Scope,
        options: RestoreOptions,
        progress: TransferProgress,
        *,
        whole: bool,
    ) -> None:
        self.report = RestoreReport(remote=str(bucket.address))
        self._bucket = bucket
        self._root = root
        self._scope = scope
        self._options = options
        self._whole = whole
        self._progress = progress
        self._memory = Memory(root, bucket.address)
        self._inventory = Inventory()
        self._fetcher = Fetcher(bucket, root, whole=whole, on_received=progress.advance)

    def run(self) -> RestoreReport:
        complete = False
        try:
            self._inventory = take_inventory(self._bucket)
            if not self._options.known_only:
                self._check_scope()
            self.report.done += [
                f"tombstones/{n}" for n in pull_tombstones(self._bucket, self._root, self._inventory)
            ]
            self._catalogs()
            wanted = self._plan()
            self._make_room(wanted)
            self._listings()
            self._each(self._restore_name, wanted, lambda stored: str(stored.name))
            self._annotations()
            self._pins()
            self._summaries()
            self._storage()
            complete = not self.report.failed
        finally:
            self._fetcher.close(complete=complete)
            self._memory.save()
        self._take_figures()
        return self.report

    def _take_figures(self) -> None:
        report, fetcher = self.report, self._fetcher
        report.done.sort()
        report.objects, report.linked = fetcher.objects, fetcher.linked
        report.transferred_bytes, report.found_bytes = fetcher.received_bytes, fetcher.found_bytes

    def _check_scope(self) -> None:
        names = self._inventory.names()
        known = {name.group for name in names if name.area == "datasets"}
        known |= {
            k.removeprefix(LISTINGS).removesuffix(".json")
            for k in self._inventory.keys
            if k.startswith(LISTINGS)
        }
        targets = {name.leaf for name in names if name.area in {"allocations", "corpora"}}
        problems = [
            Problem(
                "restore",
                f"{what} {one}",
                f"the remote has none; there are: {', '.join(sorted(there)) or 'none'}",
            )
            for what, chosen, there in (
                ("source", self._scope.sources, known),
                ("target", self._scope.targets, targets),
            )
            for one in sorted(set(chosen or ()) - there)
        ]
        if problems:
            raise ConfigError(problems)

    def _each(self, work: Callable[[T], None], items: Sequence[T], label: Callable[[T], str]) -> None:
        """Does the items side by side; one that fails is on record."""

        def guarded(item: T) -> None:
            try:
                work(item)
            except DiskFullError:
                raise
            except VlmAssetsError as error:
                self.report.failed[label(item)] = str(error)

        with ThreadPoolExecutor(self._bucket.concurrency, "vlm-restore") as pool:
            list(pool.map(guarded, items))

    def _catalogs(self) -> None:
        def fetch(key: str) -> None:
            path = self._root.path / ".catalogs" / key.removeprefix(CATALOGS)
            content = self._bucket.get(key)
            if content is not None:
                path.parent.mkdir(exist_ok=True)
                replace_file(path, content.data)

        keys = [
            key for key in self._inventory.keys
            if key.startswith(CATALOGS) and not (self._root.path / ".catalogs" / key.removeprefix(CATALOGS)).exists()
        ]  # fmt: skip
        self._each(fetch, keys, str)

    def _plan(self) -> list[StoredVersion]:
        """Versions that names show there and not here; for those shown here too, missing files are mended."""
        found: list[StoredVersion] = []

        def look(name: Name) -> None:
            shown = shown_version(self._bucket, self._memory, name, self._inventory.keys[name.current].etag)
            here = current_version(name.link(self._root))
            if here is not None and here.name != shown and not self._superseded(name, here.name):
                self.report.kept[str(name)] = (
                    f"version {here.name} of this machine was never pushed; the remote shows {shown}"
                )
                return
            found.append(self._read(name, shown))

        self._each(look, [name for name in self._inventory.names() if self._wanted(name)], str)
        return sorted(found, key=lambda stored: stored.name)

    def _read(self, name: Name, version: str) -> StoredVersion:
        """The version by its manifest on disk, where that is whole; else as the remote has it."""
        directory = name.versions(self._root) / version
        if (directory / MANIFEST).is_file():
            with suppress(StoreError):
                return read_version(name, directory)
        return read_remote_version(self._bucket, name, version, self._inventory)

    def _wanted(self, name: Name) -> bool:
        return name.area != DAGSTER and self._scope.name(name)

    def _superseded(self, name: Name, version: str) -> bool:
        pushed = self._inventory.tag(name.manifest(version)) is not None
        return pushed or self._options.overwrite

    def _make_room(self, wanted: Sequence[StoredVersion]) -> None:
        files = {entry.blake3: entry.size_bytes for stored in wanted for entry in self._lacking(stored)}
        check_room(self._root, sum(files.values()))
        self._progress.start(len(files), sum(files.values()))

    def _lacking(self, stored: StoredVersion) -> Sequence[FileEntry]:
        """Of a version, the files that are to come."""
        folder = stored.name.versions(self._root) / stored.version
        left = {} if self._whole else files_done_without(stored)
        if folder.is_dir():
            gone = away_in(folder) if self._whole else {}
            return [one.entry for one in gone.values()]
        return [entry for path, entry in stored.every_file().items() if path not in left]

    def _listings(self) -> None:
        keys = [key for key in self._inventory.keys if key.startswith(LISTINGS)]
        wanted = [key for key in keys if self._scope.source(key.removeprefix(LISTINGS).removesuffix(".json"))]
        self._each(self._restore_listing, wanted, str)

    def _restore_listing(self, key: str) -> None:
        path = self._root.path / key
        content = self._bucket.get(key)
        if content is None:
            raise RemoteError(f"{key} disappeared from the remote")
        digest = blake3(content.data).hexdigest()
        here = blake3(path.read_bytes()).hexdigest() if path.is_file() else None
        listing = _parse_listing(key, content.data)
        if here == digest and all((path.parent / name).is_file() for name in listing.tables):
            self._memory.note(key, content.etag, digest, own=True)
            self.report.unchanged += 1
            return
        if here not in {None, digest, self._memory.had(key)} and not self._options.overwrite:
            self.report.kept[key] = "the listing of this machine was never pushed"
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        entries = {
            name: FileEntry(size_bytes=self._object_size(digest), blake3=digest)
            for name, digest in listing.tables.items()
        }
        self._fetcher.place_files(path.parent, entries)
        replace_file(path, content.data)
        self._memory.note(key, content.etag, digest, own=True)
        self.report.done.append(key)

    def _object_size(self, blake3_hex: str) -> int:
        listed = self._inventory.objects.get(blake3_hex)
        if listed is None:
            raise RemoteError(f"objects/{blake3_hex} is missing at the remote")
        return listed.size_bytes

    def _restore_name(self, stored: StoredVersion) -> None:
        name = stored.name
        directory = name.versions(self._root) / stored.version
        with hold_lock(lock_of(self._root, name), f"restoring {name}", wait_s=self._options.lock_wait_s):
            shown = current_version(name.link(self._root)) == directory
            mended = self._bring(stored, directory)
            if not shown:
                refuse_taken_down(name, directory, read_tombstones(self._root))
                swap_link(name.link(self._root), Path(VERSIONS) / stored.version)
                if name.area == "datasets":
                    name_covered(self._root, name.group, name.leaf)
        self._memory.take_over(name.current, stored.version)
        if shown and not mended:
            self.report.unchanged += 1
        else:
            self.report.done.append(str(name))
        if name.area == "corpora":
            self.report.root_hashes[str(name)] = str(orjson.loads(stored.manifest).get("root_hash", ""))

    def _bring(self, stored: StoredVersion, directory: Path) -> bool:
        """Brings a version to disk whole; tells whether anything had to be done."""
        if not (directory / MANIFEST).is_file():
            self._fetcher.fetch_version(stored)
            return True
        return bool(self._fetcher.mend_version(stored, directory, thorough=self._options.thorough))

    def _annotations(self) -> None:
        if self._scope.slices:
            self._each(self._restore_annotation, keys_of(self._inventory, self._scope.source), str)

    def _restore_annotation(self, key: str) -> None:
        if restore_annotation(self._bucket, self._root, self._memory, key):
            self.report.done.append(key)
        else:
            self.report.unchanged += 1

    def _pins(self) -> None:
        keys = [key for key in self._inventory.keys if key.startswith("corpora/") and f"/{PINS}/" in key]
        self._each(self._restore_pin, keys, str)

    def _restore_pin(self, key: str) -> None:
        _, corpus, _, version = key.split("/")
        owners = [
            n for n, found in self._inventory.versions().items() if n.group == corpus and version in found
        ]
        path = self._root.path / key
        if path.exists() or not owners or not self._scope.name(owners[0]):
            return
        content = self._bucket.get(key)
        directory = owners[0].versions(self._root) / version
        self._bring(read_remote_version(self._bucket, owners[0], version), directory)
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, content.data if content is not None else b"")
        self.report.done.append(key)

    def _summaries(self) -> None:
        for source in sorted({name.group for name in self._inventory.names() if name.area == "datasets"}):
            listing = read_listing(self._root, source) if self._scope.source(source) else None
            if listing is not None:
                refresh_summary(self._root, source, listing)

    def _storage(self) -> None:
        if not (self._scope.storage and self._scope.everything):
            return
        try:
            told = restore_storage(
                self._bucket, self._memory, self._inventory, self._fetcher, dagster_home(self._root)
            )
        except VlmAssetsError as error:
            self.report.failed[DAGSTER] = str(error)
            return
        if told.restored:
            self.report.done.append(told.name)
        elif told.name:
            self.report.kept[told.name] = (
                "DAGSTER_HOME has its own storage; move that away to get the remote's"
            )


def _parse_listing(key: str, data: bytes) -> Listing:
    try:
        return Listing.from_bytes(data)
    except ValidationError as error:
        raise RemoteError(f"{key} at the remote is not a listing: {error}") from error
