"""Rows by range: the remote's objects in parts, and the indexes that say which parts.

Of a slice whose rows are read so there lies its manifest, index and layout on this disk, and no data file; it is no
version of the data root, and nobody but the writer of shards looks at it.
"""

import logging
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Final

from vlm_assets.allocation.manifest import AllocatedSlice, AllocationManifest
from vlm_assets.installation.opening import Installation
from vlm_assets.locks import hold_lock
from vlm_assets.remote.bucket import Bucket, open_remote
from vlm_assets.remote.download import fetch_object
from vlm_assets.remote.fetch import read_remote_version
from vlm_assets.remote.local import StoredVersion
from vlm_assets.remote.names import Name, object_key
from vlm_assets.remote.pointers import read_pointer
from vlm_assets.remote.takedowns import pull_tombstones
from vlm_assets.store.arrow_files import sync_directory, write_bytes
from vlm_assets.store.layout import LAYOUT_FILE, ReadPart, layout_table, write_layout
from vlm_assets.store.slices import INDEX_FILE, data_file_names
from vlm_assets.store.versions import current_version, read_manifest
from vlm_assets.words.counts import so_many
from vlm_assets.words.disk import named_disk_errors, remove_tree
from vlm_assets.words.errors import RemoteError
from vlm_assets.words.layout import MANIFEST, STAGING, VERSIONS, DataRoot
from vlm_assets.words.manifest import FileEntry, SliceManifest

if TYPE_CHECKING:
    from vlm_assets.settings import Settings

_SMALL_FOR_ONE: Final = 4
"""A request of 400 KB waits for its answer as long as one of 8 MB, and is over in a twentieth of its time.

At 50 ms to an answer as many as of whole files gave 42 MB/s, four times as many 105 MB/s.
"""

logger = logging.getLogger("vlm_assets.remote")


class BucketRanges:
    """The objects of a remote in parts (a `RangedObjects`); counts what it asked for."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket
        self.requests = 0
        self.received_bytes = 0
        self._lock = Lock()

    @property
    def concurrency(self) -> int:
        """Requests that may be under way at once: more than of whole files."""
        return _SMALL_FOR_ONE * self._bucket.concurrency

    def fill(self, entry: FileEntry, begin: int, targets: Sequence[memoryview]) -> None:
        """Fills memory, one piece after the other, with an object's bytes from a place on.

        Raises:
            RemoteError: it is missing, has another size, or the store does not answer.
        """
        self._bucket.fill_part(object_key(entry.blake3), begin, targets, entry.size_bytes)
        with self._lock:
            self.requests += 1
            self.received_bytes += sum(map(len, targets))

    def read(self, entry: FileEntry, begin: int, end: int) -> memoryview:
        """These bytes of an object; errors as of `fill`."""
        part = memoryview(bytearray(end - begin))
        self.fill(entry, begin, [part])
        return part

    def __str__(self) -> str:
        """What was asked for so far, for people."""
        return f"rows by range: {so_many(self.requests, 'request')} for {self.received_bytes:,} bytes"

    def name(self, entry: FileEntry) -> str:
        """The object's address."""
        return f"{self._bucket.address}/{object_key(entry.blake3)}"


def remote_objects(settings: "Settings") -> BucketRanges | None:
    """The remote's objects, for slices whose data is away; None where no remote is named."""
    return BucketRanges(open_remote(settings)) if settings.remote else None


@named_disk_errors
def hydrate_indexes(
    installation: Installation, target: str, bucket: Bucket, *, lock_wait_s: float = 3600.0
) -> list[Path]:
    """Before shards are planned: the tombstones, and the index of every slice of the plan that is not on this disk.

    Returns the folders that were made. A slice that is here as a whole is left alone.

    Raises:
        RemoteError: a version is neither here nor at the remote, or an object is damaged.
    """
    root, corpus = installation.root, installation.catalog.corpus.name
    pull_tombstones(bucket, root)
    plan = read_manifest(root.allocation(corpus, target).resolve(), AllocationManifest)
    with hold_lock(root.locks / "restore", f"indexes from {bucket.address}", wait_s=lock_wait_s):
        missing = [one for one in plan.slices if one.selected and not _is_here(root, one)]
        with ThreadPoolExecutor(bucket.concurrency, "vlm-indexes") as threads:
            return list(threads.map(lambda one: _fetch_index(bucket, root, one), missing))


def _is_here(root: DataRoot, entry: AllocatedSlice) -> bool:
    """Whether the slice is on this disk with the content of the plan, or its index is."""
    for directory in (
        root.source(entry.source) / VERSIONS / entry.version,
        current_version(root.slice(entry.source, entry.slice)),
        root.index_of_slice(entry.source, entry.slice, entry.version),
    ):
        if (
            directory is not None
            and (directory / MANIFEST).is_file()
            and read_manifest(directory, SliceManifest).content_hash == entry.content_hash
        ):
            return True
    return False


def _fetch_index(bucket: Bucket, root: DataRoot, entry: AllocatedSlice) -> Path:
    stored = _stored(bucket, entry)
    folder = root.index_of_slice(entry.source, entry.slice, entry.version)
    staging = folder.with_name(f".{folder.name}")
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(parents=True)
    fetch_object(bucket, stored.files[INDEX_FILE], staging / INDEX_FILE)
    if LAYOUT_FILE in stored.files:
        fetch_object(bucket, stored.files[LAYOUT_FILE], staging / LAYOUT_FILE)
    else:
        write_layout(staging / LAYOUT_FILE, layout_table(_data_files(bucket, stored)))
    write_bytes(staging / MANIFEST, stored.manifest)
    sync_directory(staging)
    staging.replace(folder)
    sync_directory(folder.parent)
    return folder


def _stored(bucket: Bucket, entry: AllocatedSlice) -> StoredVersion:
    """The version of the plan; the one that the remote shows, where a takedown wrote it since.

    Raises:
        RemoteError: the remote has neither.
    """
    name = Name("datasets", entry.source, entry.slice)
    try:
        return read_remote_version(bucket, name, entry.version)
    except RemoteError:
        shown = read_pointer(bucket, name)
        if shown is None or shown[0].version == entry.version:
            raise
        stored = read_remote_version(bucket, name, shown[0].version)
        if SliceManifest.from_bytes(stored.manifest).content_hash != entry.content_hash:
            raise
        return stored


def _data_files(bucket: Bucket, stored: StoredVersion) -> Iterator[tuple[str, int, ReadPart]]:
    """The data files as `layout_table` wants them: their headers are asked for."""
    source = BucketRanges(bucket)

    def reader(entry: FileEntry) -> ReadPart:
        return lambda begin, end: source.read(entry, begin, end)

    for name in data_file_names(stored.files):
        yield name, stored.files[name].size_bytes, reader(stored.files[name])


def forget_indexes(root: DataRoot) -> None:
    """Removes what `hydrate_indexes` brought, unless shards that were planned by it are still to be written."""
    folder = root.path / ".remote" / "rows"
    planned = any((root.path / "corpora").glob(f"*/{STAGING}/*/plan.json"))
    if folder.is_dir() and not planned:
        remove_tree(folder)
