"""Data files of slices that lie at the remote alone: freed here once it has them whole, lent to whoever reads one.

Which files a machine does without is decided here; what that looks like on disk, in `store.away`.
"""

import logging
import secrets
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from vlm_assets.corpus.seal import pinned_versions
from vlm_assets.locks import hold_lock
from vlm_assets.remote.bucket import Bucket, open_remote
from vlm_assets.remote.download import fetch_object
from vlm_assets.remote.local import StoredVersion, current_on_disk
from vlm_assets.remote.names import Name, lock_of, object_key
from vlm_assets.store.away import lend_by, send_away
from vlm_assets.store.layout import LAYOUT_FILE
from vlm_assets.store.slices import data_file_names
from vlm_assets.words.disk import remove_tree
from vlm_assets.words.errors import RemoteError
from vlm_assets.words.layout import DataRoot
from vlm_assets.words.manifest import FileEntry

if TYPE_CHECKING:
    from vlm_assets.settings import Settings

logger = logging.getLogger("vlm_assets.remote")

_LOCK_WAIT_S: Final = 24 * 3600.0
_FORGOTTEN_S: Final = 24 * 3600.0
"""Nobody reads one file for that long: whoever was lent it was killed."""


def keeps_data(settings: "Settings") -> bool:
    """Whether data of slices stays on this disk: unless shards take their rows from the remote."""
    return not settings.remote or settings.rows_from == "disk"


def leaves_at_once(settings: "Settings") -> bool:
    """Whether data leaves this disk as it is committed: once it was pushed, which `backup` may be left to."""
    return not keeps_data(settings) and settings.remote_push == "commit"


def files_done_without(stored: StoredVersion) -> Mapping[str, FileEntry]:
    """The files of a version that a machine does without where it reads rows by range: data of slices and shards.

    Of a slice from before layouts there are none: without one, the place of a row is not known.
    """
    if stored.name.area == "datasets" and LAYOUT_FILE not in stored.files:
        return {}
    return {name: stored.files[name] for name in data_file_names(stored.files)}


def free_data(bucket: Bucket, root: DataRoot, name: Name) -> int:
    """Frees the data files of the version that a name shows, each that the remote has; returns how many bytes.

    The caller holds the lock of the name, and has pushed it. A pin says that somebody reads the version here.

    Raises:
        RemoteError: the remote does not answer.
    """
    stored = current_on_disk(root, name)
    if stored is None:
        return 0
    folder = name.versions(root) / stored.version
    if name.area == "corpora" and stored.version in pinned_versions(name.link(root).parent):
        return 0
    return free_files(bucket, {folder / one: entry for one, entry in files_done_without(stored).items()})


def free_files(bucket: Bucket, files: Mapping[Path, FileEntry]) -> int:
    """Frees those of the files that are seen to be at the remote; returns how many bytes.

    Raises:
        RemoteError: the remote does not answer.
    """
    there = {
        path: entry
        for path, entry in files.items()
        if path.is_file() and bucket.size_of(object_key(entry.blake3)) == entry.size_bytes
    }
    freed = send_away(there, str(bucket.address))
    for path in there:
        logger.info("%s lies at %s alone now", path, bucket.address)
    return freed


def free_pushed(settings: "Settings", bucket: Bucket, names: Iterable[Name]) -> None:
    """Frees the data of these names, which were pushed, where shards take their rows from the remote; raises nothing.

    What the remote does not have, or does not tell of, stays here.
    """
    if keeps_data(settings):
        return
    for name in names:
        try:
            with hold_lock(lock_of(settings.root, name), f"freeing {name}", wait_s=_LOCK_WAIT_S):
                free_data(bucket, settings.root, name)
        except RemoteError as error:
            logger.warning("%s: its data stays on this disk: %s", name, error)


def lend_data(settings: "Settings") -> None:
    """Has readers of this process lent what of the data root lies at the remote; asks nothing of it yet."""
    if not settings.remote:
        return
    lending, root = _Lending(settings), settings.root.path
    for path in {root, root.resolve()}:
        lend_by(path, lending.fetch)


class _Lending:
    """Copies of files that are away, for as long as somebody reads them."""

    def __init__(self, settings: "Settings") -> None:
        self._settings = settings
        self._folder = settings.root.path / ".remote" / "lent"

    def fetch(self, path: Path, entry: FileEntry, size_bytes: int | None) -> Path:
        """The verified copy of a file, or its beginning, in a folder of its own.

        Raises:
            RemoteError: the object is missing or damaged; names the file.
            DiskFullError: the volume is full.
        """
        self._forget_old()
        bucket = open_remote(self._settings)
        wanted = entry.size_bytes if size_bytes is None else min(size_bytes, entry.size_bytes)
        logger.info("%s: %d bytes come from the remote to be read", path, wanted)
        lent = self._folder / secrets.token_hex(8) / path.name
        lent.parent.mkdir(parents=True)
        if wanted < entry.size_bytes:
            lent.write_bytes(bucket.get_part(object_key(entry.blake3), 0, wanted, entry.size_bytes))
        else:
            fetch_object(bucket, entry, lent)
        return lent

    def _forget_old(self) -> None:
        for folder in self._folder.glob("*"):
            with suppress(FileNotFoundError):
                if time.time() - folder.stat().st_mtime > _FORGOTTEN_S:
                    remove_tree(folder)
