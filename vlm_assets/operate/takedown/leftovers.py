"""What cut runs left on disk, and caches: no name shows it, and it may hold what is taken down."""

import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from hashlib import file_digest
from pathlib import Path
from typing import Final

from vlm_assets.locks import hold_lock
from vlm_assets.store.caches import downloads, remove, remove_download
from vlm_assets.words.disk import remove_tree
from vlm_assets.words.errors import LockHeldError, StoreError
from vlm_assets.words.layout import MANIFEST, STAGING, VERSIONS, DataRoot

_AREAS: Final = ("datasets", "allocations", "corpora")
_LOCK_WAIT_S: Final = 24 * 3600.0
_LITTER_S: Final = 3600.0
"""A file under way is renamed within seconds. One that is hours younger than now is of a clock that ran ahead."""


def uncommitted_folders(root: DataRoot) -> list[Path]:
    """Folders among the versions that have no manifest: a deletion that was cut left them, nobody commits them."""
    return [
        path
        for area in _AREAS
        for path in sorted((root.path / area).glob(f"*/{VERSIONS}/*"))
        if path.is_dir() and not (path / MANIFEST).is_file()
    ]


def litter(root: DataRoot) -> list[Path]:
    """Temporary files and links that killed processes left beside what they were to replace; none of a live one."""
    now = time.time()
    places = (
        "listings",
        "tombstones",
        "tombstones/receipts",
        "tombstones/met",
        ".catalogs",
        ".remote",
        "*/*",
        f"*/*/{VERSIONS}/*",
        "annotations/*/*",
        "cache/*/rejected",
    )
    found = [
        path
        for place in places
        for ending in ("tmp", "link")
        for path in root.path.glob(f"{place}/.*.{ending}")
        if abs(now - path.lstat().st_mtime) > _LITTER_S
    ]
    return sorted(set(found))


def remove_uncommitted(root: DataRoot) -> list[str]:
    """Removes them; returns their paths below the data root."""
    found = uncommitted_folders(root)
    for path in found:
        remove_tree(path)
    return [path.relative_to(root.path).as_posix() for path in found]


@dataclass(frozen=True, slots=True)
class HalfDone:
    """What somebody is at work on, or was when it was cut: who is, holds the lock."""

    path: Path
    lock: Path

    @property
    def abandoned(self) -> bool:
        """Whether nobody is at work on it."""
        try:
            with hold_lock(self.lock, "looking for leftovers"):
                return True
        except LockHeldError:
            return False


def half_done(root: DataRoot) -> list[HalfDone]:
    """Folders in which versions are made before they are committed, and what is on its way to or from the remote."""
    found = [
        HalfDone(path, root.locks / _lock_of(area, path))
        for area in _AREAS
        for path in sorted((root.path / area).glob(f"*/{STAGING}/*"))
    ]
    remote = root.path / ".remote"
    found += [HalfDone(path, root.locks / "restore") for path in sorted((remote / "objects").glob("*"))]
    found += [HalfDone(path, root.locks / "backup") for path in sorted((remote / "storage").glob("*"))]
    return found + [HalfDone(path, root.locks / "takedown") for path in sorted((remote / "look").glob("*"))]


def _lock_of(area: str, staging: Path) -> str:
    group, name = staging.parent.parent.name, staging.name
    if name.startswith("restore-"):
        return "restore"
    if area == "datasets":
        return f"slice.{group}.{name.removesuffix('.takedown').removesuffix('.migrate')}"
    if area == "allocations":
        return f"allocation.{group}.{name}"
    return f"corpus.{group}.{name.rsplit('-', 2)[0]}"


def clear_staging(root: DataRoot) -> None:
    """Waits for whoever works by the takedowns of before, then removes what was left half done.

    What cannot be removed is an error: it may hold what is taken down.
    """
    for lock in sorted(root.locks.glob("slice.*")):
        with hold_lock(lock, "clearing after a takedown", wait_s=_LOCK_WAIT_S):
            pass
    for one in half_done(root):
        if one.lock.name == "takedown":
            remove(one.path)  # the caller's own
            continue
        with hold_lock(one.lock, "clearing after a takedown", wait_s=_LOCK_WAIT_S):
            remove(one.path)


def clean_caches(root: DataRoot, sources: Collection[str], hashes: frozenset[str]) -> list[str]:
    """Empties the caches of these sources, takes files with one of these hashes out of all; names those changed.

    Raises:
        StoreError: something cannot be read or removed.
    """
    changed = []
    for folder in (
        sorted(path for path in root.cache.iterdir() if path.is_dir()) if root.cache.is_dir() else ()
    ):
        found = list(downloads(folder)) if folder.name in sources else list(_with_hash(folder, hashes))
        for path in found:
            remove_download(path)
        if found:
            changed.append(folder.name)
    return changed


def _with_hash(folder: Path, hashes: frozenset[str]) -> Iterator[Path]:
    for path in sorted(folder.rglob("*")) if hashes else ():
        if path.is_file() and not path.is_symlink() and _sha256(path) in hashes:
            yield path


def _sha256(path: Path) -> str:
    """Of a file; "" where it is gone meanwhile.

    Raises:
        StoreError: it cannot be read: nobody knows whether it is one that was taken down.
    """
    try:
        with path.open("rb") as file:
            return file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise StoreError(f"{path}: cannot be read: {error.strerror}; give this takedown again") from error
