"""Pushes one name right after its commit, asking only about that name; `backup` looks at everything."""

from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

from vlm_assets.installation import Installation
from vlm_assets.manifest import FileEntry
from vlm_assets.store.remote.bucket import Bucket, Listed, open_remote
from vlm_assets.store.remote.inventory import Inventory, take_inventory
from vlm_assets.store.remote.leases import hold_work_lease
from vlm_assets.store.remote.local import StoredVersion, current_on_disk
from vlm_assets.store.remote.memory import Memory
from vlm_assets.store.remote.names import Name, object_key
from vlm_assets.store.remote.push import Pusher, plan_version


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


def push_target(installation: Installation, target: str, *, bucket: Bucket | None = None) -> bool:
    """Pushes a target's plan and corpus, as far as there are any; False where the remote had them.

    Raises:
        LockHeldError: another machine sealed the same corpus; names it. Or a prune of the remote is under way.
        RemoteError: the remote refused.
        StoreError: a file is not what its manifest says.
    """
    corpus = installation.catalog.corpus.name
    return _push(installation, [Name(area, corpus, target) for area in ("allocations", "corpora")], bucket)


def _push(installation: Installation, names: Collection[Name], bucket: Bucket | None) -> bool:
    root = installation.root
    bucket = bucket or open_remote(installation.settings)
    memory = Memory(root, bucket.address)
    stored = [one for one in (current_on_disk(root, name) for name in names) if one is not None]
    with hold_work_lease(bucket, f"push of {', '.join(map(str, names))}"):
        inventory = _inventory(bucket, stored)
        pushes = [
            plan_version(bucket, memory, inventory, root, one, one.name.versions(root) / one.version)
            for one in stored
        ]
        result = Pusher(bucket, memory).run([push for push in pushes if not push.empty])
    memory.save()
    for error in result.failed.values():
        raise error
    return bool(result.done)


def _inventory(bucket: Bucket, stored: Collection[StoredVersion]) -> Inventory:
    """What the remote holds of these versions: a listing a name, a question an object."""
    inventory = take_inventory(bucket, [f"{one.name}/" for one in stored])
    files = {entry.blake3: entry for one in stored for entry in one.every_file().values()}

    def ask(entry: FileEntry) -> int | None:
        return bucket.size_of(object_key(entry.blake3))

    with ThreadPoolExecutor(bucket.concurrency, "vlm-head") as pool:
        for digest, size in zip(files, pool.map(ask, files.values()), strict=True):
            if size is not None:
                inventory.objects[digest] = Listed(object_key(digest), size, "", datetime.now(UTC))
    return inventory
