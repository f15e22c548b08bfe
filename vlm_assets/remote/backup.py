"""Brings the remote up to the data root: whatever it lacks, manifests after their files, pointers last."""

import logging
import shutil
import time
from collections.abc import Collection, Iterator
from pathlib import Path

import orjson

from vlm_assets.installation.opening import Installation
from vlm_assets.installation.snapshot import write_snapshot
from vlm_assets.locks import hold_lock
from vlm_assets.remote.annotations import annotation_files, plan_annotation
from vlm_assets.remote.bucket import Bucket, open_remote
from vlm_assets.remote.inventory import Inventory, take_inventory
from vlm_assets.remote.leases import HeldLease, hold_work_lease, prune_mark
from vlm_assets.remote.listings import ListingPushes, plan_catalogs
from vlm_assets.remote.local import current_on_disk, read_version
from vlm_assets.remote.locks import plan_locks
from vlm_assets.remote.memory import Memory
from vlm_assets.remote.names import LISTINGS, Name, names_on_disk, pin_key, pins_on_disk
from vlm_assets.remote.push import Push, Pusher, Write, plan_version
from vlm_assets.remote.report import BackupReport, SilentProgress, TransferProgress
from vlm_assets.remote.scope import Scope
from vlm_assets.remote.storage import copy_storage, dagster_home
from vlm_assets.remote.takedowns import plan_tombstones, pull_tombstones
from vlm_assets.store.taken_down import refuse_taken_down
from vlm_assets.store.tombstones import StoredTombstones, read_tombstones
from vlm_assets.words.disk import named_disk_errors
from vlm_assets.words.errors import StoreError, VlmAssetsError
from vlm_assets.words.layout import MANIFEST, VERSIONS, DataRoot

logger = logging.getLogger("vlm_assets.remote")


@named_disk_errors
def backup(
    installation: Installation,
    *,
    sources: Collection[str] | None = None,
    targets: Collection[str] | None = None,
    storage: bool = True,
    take_over: bool = False,
    progress: TransferProgress | None = None,
    bucket: Bucket | None = None,
) -> BackupReport:
    """Pushes what the remote lacks; run again after any end, it goes on where it was. Deletes nothing.

    Without `sources` and `targets` everything on disk goes, also what the catalogue no longer names; with one of
    them, only those. `storage`: Dagster's SQLite files too. `take_over`: pointers are moved over versions of other
    machines that this one never had. What fails is named in the report (exit 1) and stops nothing else.

    Raises:
        ConfigError: no remote is named.
        RemoteError: the remote cannot be listed.
        LockHeldError: another backup of this data root, or a prune of the remote, is under way.
    """
    started = time.monotonic()
    bucket = bucket or open_remote(installation.settings)
    root = installation.root
    with hold_lock(root.locks / "backup", f"backup to {bucket.address}"):
        write_snapshot(root, installation.catalog)
        work = _Backup(bucket, root, progress or SilentProgress(), take_over=take_over)
        try:
            work.run(Scope(sources, targets, storage=storage))
        finally:
            work.end()
    work.report.requests = bucket.requests
    work.report.seconds = round(time.monotonic() - started, 3)
    logger.info(
        "backup to %s: %d pushed, %d unchanged, %d failed, %d objects, %d bytes, %.1f s",
        bucket.address, len(work.report.done), work.report.unchanged, len(work.report.failed),
        work.report.objects, work.report.transferred_bytes, work.report.seconds,
    )  # fmt: skip
    return work.report


class _Backup:
    """One backup under way."""

    def __init__(
        self, bucket: Bucket, root: DataRoot, progress: TransferProgress, *, take_over: bool
    ) -> None:
        self.report = BackupReport(remote=str(bucket.address))
        self._bucket = bucket
        self._root = root
        self._progress = progress
        self._take_over = take_over
        self._memory = Memory(root, bucket.address)
        self._takedowns = StoredTombstones.none()
        self._copies = root.path / ".remote" / "storage"

    def end(self) -> None:
        """Keeps what was learnt, removes the copies."""
        self._memory.save()
        shutil.rmtree(self._copies, ignore_errors=True)

    def run(self, scope: Scope) -> None:
        """Plans, and where something is lacking plans again under a lease and pushes."""
        mark = prune_mark(self._bucket)
        pushes = self._plan(scope)
        if not pushes:
            return
        with hold_work_lease(self._bucket, f"backup to {self._bucket.address}") as lease:
            news = pull_tombstones(self._bucket, self._root)
            if (
                news or lease.mark != mark
            ):  # something was taken down or deleted since the inventory was taken
                pushes = self._plan(scope)
            self._push(pushes, lease)

    def _push(self, pushes: list[Push], lease: HeldLease) -> None:
        wanted = {entry.blake3: entry.size_bytes for push in pushes for _, entry in push.objects}
        self._progress.start(len(wanted), sum(wanted.values()))
        pushed = Pusher(self._bucket, self._memory, lease, on_sent=self._progress.advance).run(pushes)
        report = self.report
        report.done = sorted(pushed.done)
        report.failed |= {label: str(error) for label, error in pushed.failed.items()}
        report.objects, report.transferred_bytes = pushed.objects, pushed.sent_bytes
        report.found_bytes = pushed.found_bytes

    def _plan(self, scope: Scope) -> list[Push]:
        inventory = take_inventory(self._bucket)
        pull_tombstones(self._bucket, self._root, inventory)
        self._takedowns = read_tombstones(self._root)
        self.report.failed.clear()
        pushes: list[Push] = []
        self.report.unchanged = 0
        for push in self._every_push(inventory, scope):
            if push.empty:
                self.report.unchanged += 1
            else:
                pushes.append(push)
        return pushes

    def _every_push(self, inventory: Inventory, scope: Scope) -> Iterator[Push]:
        """Takedowns first; what others are made from before what is made from it."""
        yield from plan_tombstones(self._root, inventory)
        yield from plan_catalogs(self._root, inventory)
        yield from plan_locks(self._root, inventory)
        yield from self._listings(inventory, scope)
        for name in names_on_disk(self._root):
            if scope.name(name):
                yield from self._name(inventory, name)
        yield from self._annotations(inventory, scope)
        yield from self._pins(inventory, scope)
        if scope.storage and scope.everything:
            yield from self._storage(inventory)

    def _listings(self, inventory: Inventory, scope: Scope) -> Iterator[Push]:
        pushes = ListingPushes(self._bucket, self._memory, inventory, self._root, take_over=self._take_over)
        for path in sorted(self._root.listings.glob("*.json")):
            if scope.source(path.stem):
                try:
                    yield pushes.plan(path)
                except StoreError as error:
                    self.report.failed[f"{LISTINGS}{path.name}"] = str(error)

    def _name(self, inventory: Inventory, name: Name) -> Iterator[Push]:
        try:
            stored = current_on_disk(self._root, name)
            if stored is not None:
                folder = name.versions(self._root) / stored.version
                push = plan_version(
                    self._bucket,
                    self._memory,
                    inventory,
                    self._root,
                    stored,
                    folder,
                    take_over=self._take_over,
                )
                if not push.empty:
                    refuse_taken_down(name, folder, self._takedowns)
                yield push
        except VlmAssetsError as error:
            self.report.failed[str(name)] = str(error)

    def _annotations(self, inventory: Inventory, scope: Scope) -> Iterator[Push]:
        for path in annotation_files(self._root, scope.source):
            try:
                yield plan_annotation(self._root, inventory, self._memory, path)
            except StoreError as error:
                self.report.failed[path.relative_to(self._root.path).as_posix()] = str(error)

    def _pins(self, inventory: Inventory, scope: Scope) -> Iterator[Push]:
        """Pins, and the versions that they protect where those are no longer shown."""
        for corpus, pin in pins_on_disk(self._root):
            directory = self._root.path / "corpora" / corpus / VERSIONS / pin.name
            key = pin_key(corpus, pin.name)
            try:
                name = name_of_version(directory, corpus)
                if name is None or not scope.name(name):
                    continue
                stored = read_version(name, directory)
                push = plan_version(
                    self._bucket, self._memory, inventory, self._root, stored, directory, show=False
                )
                if not push.empty:
                    refuse_taken_down(name, directory, self._takedowns)
            except VlmAssetsError as error:
                self.report.failed[key] = str(error)
                continue
            lacking = inventory.tag(key) is None
            writes = (*push.writes, *((Write(key, pin.read_bytes()),) if lacking else ()))
            yield Push(key, push.objects, writes)

    def _storage(self, inventory: Inventory) -> Iterator[Push]:
        try:
            stored = copy_storage(dagster_home(self._root), self._copies, self._memory, inventory.holds)
            if stored is not None:
                yield plan_version(
                    self._bucket, self._memory, inventory, self._root, stored, self._copies, take_over=True
                )
        except VlmAssetsError as error:
            self.report.failed["dagster"] = str(error)


def name_of_version(directory: Path, corpus: str) -> Name | None:
    """The corpus name that a version belongs to, by its manifest; None where the folder is gone."""
    try:
        target = orjson.loads((directory / MANIFEST).read_bytes())["target"]
    except (FileNotFoundError, KeyError, orjson.JSONDecodeError):
        return None
    return Name("corpora", corpus, str(target))
