"""Tombstones travel both ways before anything else does: nothing is fetched, planned or sealed past one."""

from concurrent.futures import ThreadPoolExecutor

from pydantic import ValidationError

from vlm_assets.remote.bucket import Bucket
from vlm_assets.remote.inventory import Inventory
from vlm_assets.remote.names import TOMBSTONES
from vlm_assets.remote.push import Push, Write
from vlm_assets.store.arrow_files import replace_file
from vlm_assets.store.tombstones import StoredTombstones, Tombstone, in_force
from vlm_assets.words.errors import RemoteError
from vlm_assets.words.layout import DataRoot


def remote_tombstones(bucket: Bucket, inventory: Inventory) -> StoredTombstones:
    """The remote's takedowns, whatever lies on this machine.

    Raises:
        RemoteError: one cannot be read.
    """
    keys = [key for key in inventory.keys if key.startswith(TOMBSTONES)]
    return in_force({key: Tombstone.from_bytes(_read(bucket, key)) for key in sorted(keys)})


def pull_tombstones(bucket: Bucket, root: DataRoot, inventory: Inventory | None = None) -> list[str]:
    """Brings the remote's tombstones here; returns the names of those that were new.

    Raises:
        RemoteError: one cannot be read; nothing may be done past it.
    """
    listed = (
        [one.key for one in bucket.list(TOMBSTONES)]
        if inventory is None
        else [key for key in inventory.keys if key.startswith(TOMBSTONES)]
    )
    missing = [key for key in listed if not (root.path / key).is_file()]
    with ThreadPoolExecutor(bucket.concurrency, "vlm-tombstone") as pool:
        for key, data in zip(missing, pool.map(lambda key: _read(bucket, key), missing), strict=True):
            root.tombstones.mkdir(parents=True, exist_ok=True)
            replace_file(root.path / key, data)
    return [key.removeprefix(TOMBSTONES).removesuffix(".json") for key in missing]


def _read(bucket: Bucket, key: str) -> bytes:
    content = bucket.get(key)
    try:
        if content is not None and key == f"{TOMBSTONES}{Tombstone.from_bytes(content.data).name}.json":
            return content.data
    except ValidationError as error:
        raise RemoteError(f"{bucket.address}/{key}: not a tombstone: {error}") from error
    raise RemoteError(f"{bucket.address}/{key}: gone, or does not hash to its name")


def plan_tombstones(root: DataRoot, inventory: Inventory) -> list[Push]:
    """The tombstones that the remote lacks."""
    pushes = []
    for path in sorted(root.tombstones.glob("*.json")):
        key = f"{TOMBSTONES}{path.name}"
        if inventory.tag(key) is None:
            pushes.append(Push(key, writes=(Write(key, path.read_bytes()),)))
    return pushes
