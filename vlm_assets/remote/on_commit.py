"""Pushes one thing right after its commit, asking only about that thing; `backup` looks at everything."""

from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

from vlm_assets.installation.opening import Installation
from vlm_assets.installation.snapshot import write_snapshot
from vlm_assets.remote.annotations import annotation_files, plan_annotation
from vlm_assets.remote.bucket import Bucket, Listed, open_remote
from vlm_assets.remote.inventory import Inventory, take_inventory
from vlm_assets.remote.leases import hold_work_lease, prune_mark
from vlm_assets.remote.listings import ListingPushes, plan_catalogs
from vlm_assets.remote.local import StoredVersion, current_on_disk
from vlm_assets.remote.locks import plan_locks
from vlm_assets.remote.memory import Memory
from vlm_assets.remote.names import ANNOTATIONS, CATALOGS, LISTINGS, LOCKS, TOMBSTONES, Name, object_key
from vlm_assets.remote.push import Push, Pusher, plan_version
from vlm_assets.remote.takedowns import plan_tombstones, pull_tombstones
from vlm_assets.store.corpus_lock import lock_path, read_lock
from vlm_assets.store.listings import read_listing
from vlm_assets.store.taken_down import refuse_taken_down
from vlm_assets.store.tombstones import read_tombstones
from vlm_assets.words.disk import named_disk_errors
from vlm_assets.words.layout import DataRoot
from vlm_assets.words.manifest import FileEntry


@named_disk_errors
def push_listing(installation: Installation, source: str, *, bucket: Bucket | None = None) -> bool:
    """Pushes a source's listing and the catalogue's snapshot; False where the remote had both.

    Raises:
        LockHeldError: another machine listed the source meanwhile. Or a prune of the remote is under way.
        RemoteError: the remote refused.
    """
    root = installation.root
    bucket = bucket or open_remote(installation.settings)
    memory = Memory(root, bucket.address)
    snapshot = write_snapshot(root, installation.catalog)
    listing, path = read_listing(root, source, older=True), root.listing(source)
    if listing is None:
        return False

    def plan() -> list[Push]:
        inventory = take_inventory(bucket, [f"{LISTINGS}{path.name}", f"{CATALOGS}{snapshot.name}"])
        sizes = {name: (path.parent / name).stat().st_size for name in listing.tables}
        _ask_for(
            bucket,
            inventory,
            [FileEntry(size_bytes=sizes[name], blake3=digest) for name, digest in listing.tables.items()],
        )
        catalogs = [one for one in plan_catalogs(root, inventory) if one.label.endswith(snapshot.name)]
        return [*catalogs, ListingPushes(bucket, memory, inventory, root).plan(path)]

    return _run(root, bucket, memory, plan, f"push of listing {source}")


@named_disk_errors
def push_slice(
    installation: Installation, source: str, slice_key: str, *, bucket: Bucket | None = None
) -> bool:
    """Pushes a slice's current version; False where the remote had it.

    Raises:
        LockHeldError: another machine committed the same slice; names it. Or a prune of the remote is under way.
        RemoteError: the remote refused.
        StoreError: a file is not what its manifest says.
    """
    return _push(installation, [Name("datasets", source, slice_key)], bucket)


@named_disk_errors
def push_target(installation: Installation, target: str, *, bucket: Bucket | None = None) -> bool:
    """Pushes a target's plan and corpus, as far as there are any; False where the remote had them.

    Raises:
        LockHeldError: another machine sealed the same corpus; names it. Or a prune of the remote is under way.
        RemoteError: the remote refused.
        StoreError: a file is not what its manifest says.
    """
    corpus = installation.catalog.corpus.name
    return _push(installation, [Name(area, corpus, target) for area in ("allocations", "corpora")], bucket)


@named_disk_errors
def push_plan(installation: Installation, target: str, *, bucket: Bucket | None = None) -> bool:
    """Pushes a target's plan alone; errors as of `push_target`."""
    return _push(installation, [Name("allocations", installation.catalog.corpus.name, target)], bucket)


@named_disk_errors
def push_names(installation: Installation, names: Collection[Name], *, bucket: Bucket | None = None) -> bool:
    """Pushes the current versions of any names; errors as of `push_target`."""
    return _push(installation, names, bucket)


@named_disk_errors
def push_tombstones(installation: Installation, *, bucket: Bucket | None = None) -> bool:
    """Pushes the takedowns that the remote lacks; False where it had all.

    Raises:
        LockHeldError: a prune of the remote is under way.
        RemoteError: the remote refused.
    """
    bucket = bucket or open_remote(installation.settings)
    root = installation.root

    def plan() -> list[Push]:
        return plan_tombstones(root, take_inventory(bucket, [TOMBSTONES]))

    return _run(root, bucket, Memory(root, bucket.address), plan, "push of takedowns")


@named_disk_errors
def push_annotations(
    installation: Installation,
    slices: Collection[tuple[str, str]] | None = None,
    *,
    bucket: Bucket | None = None,
) -> bool:
    """Pushes annotations that the remote lacks, all or those of some (source, slice); False where it had them.

    Raises:
        LockHeldError: a prune of the remote is under way.
        RemoteError: the remote refused.
        StoreError: a file is damaged, or has values of what was taken down.
    """
    bucket = bucket or open_remote(installation.settings)
    root = installation.root
    memory = Memory(root, bucket.address)
    every = annotation_files(root, lambda _: True)
    wanted = [
        path
        for path in every
        if slices is None or (path.parent.name, path.name.removesuffix(".parquet")) in slices
    ]
    if not wanted:
        return False

    def plan() -> list[Push]:
        keys = [path.relative_to(root.path).as_posix() for path in wanted]
        inventory = take_inventory(bucket, [ANNOTATIONS] if slices is None else keys)
        return [plan_annotation(root, inventory, memory, path) for path in wanted]

    return _run(root, bucket, memory, plan, "push of annotations")


def push_lock(installation: Installation, name: str, *, bucket: Bucket | None = None) -> bool:
    """Pushes a kept lock with its items; False where the remote had both. Errors as of `push_tombstones`."""
    bucket = bucket or open_remote(installation.settings)
    root = installation.root
    path = lock_path(root, name)

    def plan() -> list[Push]:
        inventory = take_inventory(bucket, [f"{LOCKS}{path.name}"])
        _ask_for(bucket, inventory, [read_lock(path).items_file])
        return [one for one in plan_locks(root, inventory) if one.label.endswith(path.name)]

    return _run(root, bucket, Memory(root, bucket.address), plan, "push of corpus.lock")


def _push(installation: Installation, names: Collection[Name], bucket: Bucket | None) -> bool:
    root = installation.root
    bucket = bucket or open_remote(installation.settings)
    memory = Memory(root, bucket.address)
    stored = [one for one in (current_on_disk(root, name) for name in names) if one is not None]

    def plan() -> list[Push]:
        inventory = _inventory(bucket, memory, stored)
        pushes = [
            plan_version(bucket, memory, inventory, root, one, one.name.versions(root) / one.version)
            for one in stored
        ]
        takedowns = read_tombstones(root)
        for one, push in zip(stored, pushes, strict=True):
            if not push.empty:
                refuse_taken_down(one.name, one.name.versions(root) / one.version, takedowns)
        return pushes

    return _run(root, bucket, memory, plan, f"push of {', '.join(map(str, names))}")


def _run(
    root: DataRoot, bucket: Bucket, memory: Memory, plan: Callable[[], list[Push]], purpose: str
) -> bool:
    """Plans, and where something is lacking pushes it under a lease; whether anything was.

    Takedowns are read again under the lease: whoever purges afterwards waits for it, whoever purged before has pushed
    the takedown.
    """
    mark = prune_mark(bucket)
    pushes = plan()
    if all(push.empty for push in pushes):
        memory.save()
        return False
    with hold_work_lease(bucket, purpose) as lease:
        news = pull_tombstones(bucket, root)
        if news or lease.mark != mark:  # something was taken down or deleted since the remote was asked
            pushes = plan()
        result = Pusher(bucket, memory, lease).run([push for push in pushes if not push.empty])
    memory.save()
    for error in result.failed.values():
        raise error
    return bool(result.done)


def _inventory(bucket: Bucket, memory: Memory, stored: Collection[StoredVersion]) -> Inventory:
    """What the remote holds of these versions: a listing a name, and a question an object.

    A version that its pointer shows is there whole, since the pointer was written last: only the files beside its
    manifest, which may be newer here, are asked for.
    """
    inventory = take_inventory(bucket, [f"{one.name}/" for one in stored])
    wanted: dict[str, FileEntry] = {}
    for one in stored:
        etag = inventory.tag(one.name.current)
        # Only what this machine remembers: to look it up would count as having had that version.
        shown = None if etag is None else memory.content(one.name.current, etag)
        if shown == one.version:
            _hold(inventory, one.files.values())
            wanted |= {entry.blake3: entry for entry in one.beside.files.values()}
        else:
            wanted |= {entry.blake3: entry for entry in one.every_file().values()}
    _ask_for(bucket, inventory, wanted.values())
    return inventory


def _ask_for(bucket: Bucket, inventory: Inventory, entries: Collection[FileEntry]) -> None:
    """Enters the objects that are there."""

    def ask(entry: FileEntry) -> int | None:
        return bucket.size_of(object_key(entry.blake3))

    with ThreadPoolExecutor(bucket.concurrency, "vlm-head") as pool:
        for entry, size in zip(entries, pool.map(ask, entries), strict=True):
            if size is not None:
                inventory.objects[entry.blake3] = _listed(entry, size)


def _hold(inventory: Inventory, entries: Collection[FileEntry]) -> None:
    for entry in entries:
        inventory.objects[entry.blake3] = _listed(entry, entry.size_bytes)


def _listed(entry: FileEntry, size_bytes: int) -> Listed:
    return Listed(object_key(entry.blake3), size_bytes, "", datetime.now(UTC))
