"""Locks at the remote: `locks/<name>.lock` as it stands in git, and its items file as an object."""

from collections.abc import Iterator
from pathlib import Path

from pydantic import ValidationError

from vlm_assets.remote.bucket import Bucket
from vlm_assets.remote.download import fetch_object
from vlm_assets.remote.inventory import Inventory
from vlm_assets.remote.names import LOCKS
from vlm_assets.remote.push import Push, Write
from vlm_assets.store.arrow_files import replace_file
from vlm_assets.store.corpus_lock import CorpusLock, items_path, lock_path, read_lock
from vlm_assets.words.errors import RemoteError
from vlm_assets.words.layout import DataRoot


def plan_locks(root: DataRoot, inventory: Inventory) -> Iterator[Push]:
    """What the remote lacks of the locks that are kept here: items, then the lock.

    Raises:
        StoreError: a lock that cannot be read.
    """
    for path in sorted((root.path / ".catalogs").glob("*.lock")):
        entry, items = read_lock(path).items_file, items_path(path)
        lacking = items.is_file() and not inventory.holds(entry.blake3, entry.size_bytes)
        written = inventory.tag(f"{LOCKS}{path.name}") is not None
        writes = () if written else (Write(f"{LOCKS}{path.name}", path.read_bytes()),)
        yield Push(f"{LOCKS}{path.name}", ((items, entry),) if lacking else (), writes)


def pull_lock(bucket: Bucket, root: DataRoot, name: str) -> None:
    """Brings a lock here, unless it is; its items before it.

    Raises:
        RemoteError: the remote does not have it, or it is damaged there.
    """
    path = lock_path(root, name)
    if path.is_file() and items_path(path).is_file():
        return
    key = f"{LOCKS}{path.name}"
    content = bucket.get(key)
    if content is None:
        raise RemoteError(f"{bucket.address}/{key}: missing; run vlm-assets lock on the machine that has it")
    lock = lock_of_bytes(key, content.data)
    path.parent.mkdir(exist_ok=True)
    fetch_object(bucket, lock.items_file, items_path(path))
    replace_file(path, content.data)


def pull_items(bucket: Bucket, lock: CorpusLock, path: Path) -> None:
    """Puts the items file of a lock at `path`, verified; does nothing where a file is.

    Raises:
        RemoteError: missing or damaged at the remote.
    """
    if not path.is_file():
        fetch_object(bucket, lock.items_file, path)


def lock_of_bytes(key: str, data: bytes) -> CorpusLock:
    """A lock as the remote has it.

    Raises:
        RemoteError: it is none.
    """
    try:
        return CorpusLock.from_bytes(data)
    except ValidationError as error:
        raise RemoteError(f"{key} at the remote is not a corpus.lock: {error}") from error
