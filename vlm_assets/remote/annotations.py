"""Annotations at the remote: each file under its path, as on disk. They can be computed again: the last one stands.

What is taken down is neither sent nor taken in, and a takedown removes every stored version of a file that had it.
"""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from blake3 import blake3

from vlm_assets.annotate.slice import annotation_lock
from vlm_assets.annotate.taken_down import may_be_shown
from vlm_assets.locks import hold_lock
from vlm_assets.remote.bucket import Bucket
from vlm_assets.remote.inventory import Inventory
from vlm_assets.remote.memory import Memory
from vlm_assets.remote.names import Name
from vlm_assets.remote.push import Push, Write, unchanged
from vlm_assets.store.arrow_files import write_bytes
from vlm_assets.store.tombstones import read_tombstones
from vlm_assets.words.errors import AnnotationError, RemoteError, TakenDownError
from vlm_assets.words.layout import DataRoot, temporary_beside

_KEY: Final = re.compile(r"annotations/(?P<name>[a-z0-9_]+)/(?P<source>[a-z0-9_]+)/(?P<slice>[^/]+)\.parquet")
_LOCK_WAIT_S: Final = 3600.0


def annotation_files(root: DataRoot, source: Callable[[str], bool], key: str = "*") -> list[Path]:
    """Files on disk of the sources that are meant, sorted; of one slice with `key`."""
    found = sorted(root.annotations.glob(f"*/*/{key}.parquet"))
    return [path for path in found if source(path.parent.name)]


def plan_annotation(root: DataRoot, inventory: Inventory, memory: Memory, path: Path) -> Push:
    """What the remote lacks of a file: all of it, or nothing.

    Raises:
        TakenDownError: it still has values of what was taken down.
        AnnotationError: it is damaged.
    """
    key = path.relative_to(root.path).as_posix()
    data = path.read_bytes()
    if unchanged(inventory, memory, key, data):
        return Push(key)
    takedowns = read_tombstones(root)
    if not may_be_shown(root, path, takedowns.ids, takedowns.image_sha256):
        raise TakenDownError(
            f"{key}: still has values of records that were taken down; vlm-assets takedown --finish empties it"
        )
    return Push(key, writes=(Write(key, data),))


def keys_of(inventory: Inventory, source: Callable[[str], bool]) -> list[str]:
    """Keys at the remote of the sources that are meant, sorted."""
    found = ((key, _KEY.fullmatch(key)) for key in inventory.keys)
    return sorted(key for key, match in found if match and source(match["source"]))


def orphans(inventory: Inventory, gone: Callable[[Name], bool]) -> Iterator[str]:
    """Keys of slices that no pointer shows, or whose name is about to go."""
    names = set(inventory.names())
    for key in inventory.keys:
        if match := _KEY.fullmatch(key):
            name = Name("datasets", match["source"], match["slice"])
            if name not in names or gone(name):
                yield key


def restore_annotation(bucket: Bucket, root: DataRoot, memory: Memory, key: str) -> bool:
    """Brings a file that is not here; whether it did. What is here stays: it is as good, or it is computed anew.

    Raises:
        RemoteError: what the remote has is no such file.
        TakenDownError: it has values of what was taken down.
    """
    match, path = _KEY.fullmatch(key), root.path / key
    if match is None or path.is_file():
        return False
    content = bucket.get(key)
    if content is None:
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    takedowns = read_tombstones(root)
    lock = annotation_lock(root, match["source"], match["slice"])
    with hold_lock(lock, f"restoring {key}", wait_s=_LOCK_WAIT_S):
        temporary = temporary_beside(path)
        try:
            write_bytes(temporary, content.data)
            clean = may_be_shown(root, temporary, takedowns.ids, takedowns.image_sha256)
            if clean:
                temporary.replace(path)
        except AnnotationError as error:
            raise RemoteError(f"{key} at the remote: {error}") from error
        finally:
            temporary.unlink(missing_ok=True)
    if not clean:
        raise TakenDownError(f"{key}: the remote's file has values of what was taken down; left there")
    memory.note(key, content.etag, blake3(content.data).hexdigest(), own=True)
    return True


def tainted(root: DataRoot, inventory: Inventory) -> list[str]:
    """Keys whose every stored version goes after a takedown: of its sources, all that the remote has.

    A file there may be of before the takedown whoever pushed it, and is small: what is clean here is sent again.
    """
    affected = {one.partition("/")[0] for one in read_tombstones(root).ids}
    return keys_of(inventory, lambda source: source in affected)
