"""The only place that deletes at the remote: versions no longer kept, objects that nothing names any more.

Deleted in an order that leaves no half thing in sight: pointers of dropped names, then manifests, then objects. On a
versioned bucket an ordinary delete leaves the old object to the bucket's lifecycle rule, so a mistake can be undone;
a purge after a takedown removes every stored version of it at once.
"""

import time
from collections.abc import Collection, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice
from typing import Final

import orjson

from vlm_assets.remote.annotations import orphans
from vlm_assets.remote.bucket import Bucket, Listed, open_remote
from vlm_assets.remote.fetch import read_remote_version
from vlm_assets.remote.inventory import Inventory, take_inventory
from vlm_assets.remote.leases import HeldLease, dead_work_leases, hold_prune_lease
from vlm_assets.remote.locks import lock_of_bytes
from vlm_assets.remote.memory import Memory
from vlm_assets.remote.names import ANNOTATIONS, LISTINGS, LOCKS, OBJECTS, PINS, Name, object_key
from vlm_assets.remote.pointers import shown_version
from vlm_assets.remote.report import PruneReport, StepProgress, no_steps
from vlm_assets.remote.staged import STAGED, StagedShard
from vlm_assets.settings import Settings
from vlm_assets.words.counts import so_many
from vlm_assets.words.disk import named_disk_errors
from vlm_assets.words.errors import RemoteError
from vlm_assets.words.layout import DataRoot
from vlm_assets.words.manifest import Listing

_BATCH: Final = 1_000
"""Keys in one DeleteObjects request."""


@dataclass(frozen=True, slots=True)
class PruneOrder:
    """What to delete.

    Args:
        keep_versions: Versions of each name that stay besides the one shown, newest first.
        purge: Names (`datasets/<source>/<slice>`, …) of which only the version shown stays, whatever plan uses an
            older one, and whose old objects go with every stored version: after a takedown.
        drop: Names, or beginnings of names up to a slash, that go altogether.
        release_pins: Pins that this machine does not have are removed first.
        grace_s: Objects that nothing names are left alone while they are younger.
        for_good: Whatever goes, goes with every stored version of it, and uploads that did not end go too.
        forget: Keys of annotations that go with every stored version of them: after a takedown.
        dry_run: Tell, delete nothing.
    """

    keep_versions: int = 2
    purge: frozenset[str] = frozenset()
    drop: frozenset[str] = frozenset()
    release_pins: bool = False
    grace_s: float = 86_400.0
    for_good: bool = False
    forget: frozenset[str] = frozenset()
    dry_run: bool = False


@named_disk_errors
def prune_remote(
    settings: Settings,
    order: PruneOrder | None = None,
    *,
    bucket: Bucket | None = None,
    progress: StepProgress = no_steps,
) -> PruneReport:
    """Deletes at the remote what the order says; a version that is shown, pinned or used by a shown plan stays.

    `outstanding` in the report names versions that a purge wanted gone and a pin holds: a takedown is not done while
    there are any (exit 1). `progress` is told of keys listed, manifests read, and keys deleted.

    Raises:
        ConfigError: no remote, or no data root.
        LockHeldError: a backup or another prune is under way; names it.
        RemoteError: the remote refused, or a manifest cannot be read (then nothing was deleted).
    """
    started = time.monotonic()
    order = order or PruneOrder()
    bucket = bucket or open_remote(settings)
    with nullcontext() if order.dry_run else hold_prune_lease(bucket) as lease:
        work = _Prune(bucket, settings.root, order, lease, progress)
        report = work.run()
    report.requests = bucket.requests
    report.seconds = round(time.monotonic() - started, 3)
    return report


@dataclass(slots=True)
class _Doomed:
    """What is to go."""

    keys: list[str] = field(default_factory=list)
    """In the order in which they must disappear."""
    staged: list[str] = field(default_factory=list)
    """Sidecars of shards that nobody sealed."""
    purged: set[str] = field(default_factory=set)
    """Objects of purged versions, by hash; those still in use are taken out later."""
    dropped: set[str] = field(default_factory=set)
    """Objects of versions that go, by hash."""


class _Prune:
    """One prune under way."""

    def __init__(
        self,
        bucket: Bucket,
        root: DataRoot,
        order: PruneOrder,
        lease: HeldLease | None,
        progress: StepProgress,
    ) -> None:
        self._lease = lease
        self._progress = progress
        self._bucket = bucket
        self._root = root
        self._order = order
        self._memory = Memory(root, bucket.address)
        self._inventory = Inventory()
        self._report = PruneReport(remote=str(bucket.address), dry_run=order.dry_run)
        self._doomed = _Doomed()
        self._to_delete = self._deleted = 0

    @property
    def _for_good(self) -> bool:
        return self._order.for_good or bool(self._order.purge)

    def run(self) -> PruneReport:
        self._inventory = take_inventory(
            self._bucket, listed=lambda keys: self._progress("keys listed", keys, None)
        )
        pins = self._pins()
        kept, doomed = self._sort_versions(pins)
        live = self._objects_of(kept) | self._tables() | self._staged()
        for (name, version), files in self._files_of(doomed).items():
            self._doomed.keys += [name.manifest(version), name.beside(version)]
            self._doomed.dropped |= files
            if str(name) in self._order.purge:
                self._doomed.purged |= files
            self._report.versions.append(f"{name}@{version}")
        self._doomed.keys += [*sorted(self._order.forget), *orphans(self._inventory, self._dropped)]
        objects = self._dead_objects(live)
        self._report.objects = len(objects)
        self._report.object_bytes = sum(one.size_bytes for one in objects)
        if not self._order.dry_run:
            self._delete(objects, live)
        self._memory.save()
        return self._report

    def _pins(self) -> set[tuple[str, str]]:
        """(corpus, version) of the pins in force."""
        found = set()
        for key in self._inventory.keys:
            parts = key.split("/")
            if len(parts) != 4 or parts[2] != PINS:
                continue
            if self._order.release_pins and not (self._root.path / key).is_file():
                self._doomed.keys.append(key)
            else:
                found.add((parts[1], parts[3]))
        return found

    def _dropped(self, name: Name) -> bool:
        label = str(name)
        return any(label == one or label.startswith(one.rstrip("/") + "/") for one in self._order.drop)

    def _sort_versions(
        self, pins: set[tuple[str, str]]
    ) -> tuple[list[tuple[Name, str]], list[tuple[Name, str]]]:
        """Versions that stay and versions that go."""
        kept: list[tuple[Name, str]] = []
        doomed: list[tuple[Name, str]] = []
        used = self._used_by_plans()
        for name, versions in sorted(self._inventory.versions().items()):
            stays, pinned = self._staying(name, versions, pins)
            for version in sorted(versions):
                purged = str(name) in self._order.purge or self._dropped(name)
                if version in stays or (version in used.get(name, ()) and not purged):
                    kept.append((name, version))
                elif version in pinned:
                    kept.append((name, version))
                    self._report.pinned.append(f"{name}@{version}")
                    if purged:
                        self._report.outstanding.append(f"{name}@{version}")
                else:
                    doomed.append((name, version))
            if self._dropped(name) and self._inventory.tag(name.current):
                self._doomed.keys.insert(0, name.current)
        return kept, doomed

    def _staying(
        self, name: Name, versions: dict[str, Listed], pins: set[tuple[str, str]]
    ) -> tuple[set[str], set[str]]:
        """(versions that stay by the order, versions that stay for a pin alone)."""
        pinned = {v for v in versions if name.area == "corpora" and (name.group, v) in pins}
        if self._dropped(name):
            return set(), pinned
        etag = self._inventory.tag(name.current)
        if etag is None:  # an upload that has not come to its end
            return set(versions), set()
        shown = shown_version(self._bucket, self._memory, name, etag)
        others = sorted((v for v in versions if v != shown), key=lambda v: versions[v].modified, reverse=True)
        extra = 0 if str(name) in self._order.purge else self._order.keep_versions
        return {shown, *others[:extra]}, pinned

    def _used_by_plans(self) -> dict[Name, set[str]]:
        """Slice versions that a shown plan takes rows from: shards may still be written from them."""
        used: dict[Name, set[str]] = {}
        for name in self._inventory.names():
            if name.area != "allocations" or self._dropped(name):
                continue
            version = shown_version(self._bucket, self._memory, name, self._inventory.keys[name.current].etag)
            plan = orjson.loads(read_remote_version(self._bucket, name, version, self._inventory).manifest)
            for one in plan.get("slices", ()):
                if one["selected"]:
                    used.setdefault(Name("datasets", one["source"], one["slice"]), set()).add(one["version"])
            for one in plan.get("benchmarks", ()):  # an audit holds the corpus against them again
                used.setdefault(Name("datasets", one["source"], one["slice"]), set()).add(one["version"])
        return used

    def _files_of(self, versions: list[tuple[Name, str]]) -> dict[tuple[Name, str], set[str]]:
        """Hashes of the objects that each version names."""

        def read(one: tuple[Name, str]) -> set[str]:
            stored = read_remote_version(self._bucket, *one, self._inventory)
            return {entry.blake3 for entry in stored.every_file().values()}

        found: dict[tuple[Name, str], set[str]] = {}
        with ThreadPoolExecutor(self._bucket.concurrency, "vlm-prune") as pool:
            for one, files in zip(versions, pool.map(read, versions), strict=True):
                self._progress("manifests read", len(found), len(versions))
                found[one] = files
        return found

    def _objects_of(self, versions: list[tuple[Name, str]]) -> set[str]:
        return set().union(*self._files_of(versions).values())

    def _tables(self) -> set[str]:
        """Tables of the listings, items of the locks: a lock that was published stays until somebody deletes it."""
        found: set[str] = set()
        for key in self._inventory.keys:
            if not key.startswith((LISTINGS, LOCKS)):
                continue
            content = self._bucket.get(key)
            if content is None:
                raise RemoteError(f"{key} disappeared from the remote")
            if key.startswith(LOCKS):
                found.add(lock_of_bytes(key, content.data).items_file.blake3)
                continue
            tables = Listing.from_bytes(content.data).tables.values()
            if self._drops_listing(key):
                self._doomed.keys.append(key)
                self._doomed.dropped.update(tables)
            else:
                found.update(tables)
        return found

    def _drops_listing(self, key: str) -> bool:
        """A source that goes altogether takes its listing along: that has words of its rows."""
        source = key.removeprefix(LISTINGS).removesuffix(".json")
        return f"datasets/{source}" in {one.rstrip("/") for one in self._order.drop}

    def _staged(self) -> set[str]:
        """Objects of shards that are not sealed yet; those left behind for longer than the grace time go.

        A purge takes all of them: they may be of rows that were taken down.
        """
        before = datetime.fromtimestamp(self._bucket.now() - self._order.grace_s, UTC)
        live: set[str] = set()
        for listed in self._bucket.list(STAGED):
            content = self._bucket.get(listed.key)
            if content is None:
                continue
            shard = StagedShard.from_bytes(content.data)
            files = {shard.data.blake3, shard.index.blake3}
            if self._for_good or listed.modified <= before:
                self._doomed.staged.append(listed.key)
                self._doomed.dropped |= files
                self._doomed.purged |= files if self._for_good else set()
            else:
                live |= files
        return live

    def _dead_objects(self, live: set[str]) -> list[Listed]:
        """Objects that nothing names: of versions that go now, or old enough to be nobody's upload."""
        before = datetime.fromtimestamp(self._bucket.now() - self._order.grace_s, UTC)
        dead = []
        for digest, listed in self._inventory.objects.items():
            if digest in live:
                continue
            if digest in self._doomed.dropped or listed.modified <= before:
                dead.append(listed)
            else:
                self._report.young_objects += 1
        return dead

    def _delete(self, objects: list[Listed], live: set[str]) -> None:
        existing = self._inventory.keys
        keys = [*self._doomed.staged, *(key for key in self._doomed.keys if key in existing)]
        self._to_delete = len(keys) + len(objects)
        self._delete_keys({"Key": self._bucket.full_key(key)} for key in keys)
        self._delete_keys({"Key": self._bucket.full_key(one.key)} for one in objects)
        self._delete_keys({"Key": self._bucket.full_key(key)} for key in dead_work_leases(self._bucket))
        if self._for_good:
            self._bucket.abort_uploads(OBJECTS)  # under the lease nobody uploads
            gone = {self._bucket.full_key(object_key(h)) for h in self._doomed.purged - live}
            self._delete_keys(_stored_versions(self._bucket, OBJECTS, gone))
            forgotten = {self._bucket.full_key(key) for key in self._order.forget}
            if forgotten:
                self._delete_keys(_stored_versions(self._bucket, ANNOTATIONS, forgotten))

    def _delete_keys(self, entries: Iterable[dict[str, str]]) -> None:
        """Deletes, a thousand a request, as long as the lease holds.

        Raises:
            LeaseLostError: it does not any more.
            RemoteError: some were refused; names the first.
        """
        left = iter(entries)
        while batch := list(islice(left, _BATCH)):
            if self._lease is not None:
                self._lease.check()
            self._progress("keys deleted", self._deleted, max(self._to_delete, self._deleted + len(batch)))
            _delete(self._bucket, batch)
            self._deleted += len(batch)


def _stored_versions(bucket: Bucket, area: str, gone: Collection[str]) -> Iterator[dict[str, str]]:
    """Every stored version of the keys that went, and of keys of that area deleted at any time before."""
    start: dict[str, str] = {}
    deleted: set[str] = set()
    while True:
        answer = bucket.call("list_object_versions", Prefix=bucket.full_key(area), **start)
        entries = [*answer.get("Versions", ()), *answer.get("DeleteMarkers", ())]
        deleted |= {one["Key"] for one in answer.get("DeleteMarkers", ()) if one["IsLatest"]}
        for one in entries:
            if one["Key"] in gone or one["Key"] in deleted:
                yield {"Key": one["Key"], "VersionId": one["VersionId"]}
        if not answer.get("IsTruncated"):
            return
        start = {
            "KeyMarker": answer["NextKeyMarker"], "VersionIdMarker": answer["NextVersionIdMarker"],
        }  # fmt: skip


def _delete(bucket: Bucket, batch: list[dict[str, str]]) -> None:
    answer = bucket.call("delete_objects", Delete={"Objects": batch, "Quiet": True})
    errors = answer.get("Errors", ())
    if errors:
        first = errors[0]
        raise RemoteError(
            f"{bucket.address}: {len(errors)} of {so_many(len(batch), 'object')} not deleted; "
            f"{first.get('Key')}: "
            f"{first.get('Code')}: {first.get('Message')}"
        )
