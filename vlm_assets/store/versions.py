"""Immutable versions behind symlinks: what a name shows is complete, and changes in one step."""

import os
from pathlib import Path
from stat import S_ISREG
from typing import TypeVar

from pydantic import ValidationError

from vlm_assets.store.arrow_files import sync_directory, write_bytes
from vlm_assets.words.disk import remove_tree
from vlm_assets.words.errors import StoreError, of_the_disk
from vlm_assets.words.layout import MANIFEST, VERSIONS, temporary_beside
from vlm_assets.words.manifest import Manifest

ManifestT = TypeVar("ManifestT", bound=Manifest)


def commit_version(staging: Path, link: Path, manifest: Manifest) -> Path:
    """Makes the finished folder `staging` the current version of `link`; returns the version's folder.

    The files in `staging` are complete and synced by now. The manifest is written last, the folder is renamed
    to `.versions/<hash>` beside the link, then the link is swapped. A version that exists already (the same
    manifest) is kept and `staging` removed. The caller holds the lock of `link`.
    """
    target = place_version(staging, link.parent / VERSIONS, manifest.version, manifest.to_bytes())
    swap_link(link, Path(VERSIONS) / manifest.version)
    return target


def place_version(staging: Path, versions: Path, version: str, manifest: bytes) -> Path:
    """Makes `staging` a version that no name shows yet: the first half of `commit_version`."""
    versions.mkdir(parents=True, exist_ok=True)
    target = versions / version
    if (target / MANIFEST).is_file():
        remove_tree(staging)
        return target
    (staging / MANIFEST).unlink(missing_ok=True)
    write_bytes(staging / MANIFEST, manifest)
    for path in staging.iterdir():
        path.chmod(0o755 if path.is_dir() else 0o444)
    sync_directory(staging)
    if target.exists():  # left by a crash between copy and manifest on a foreign file system
        remove_tree(target)
    staging.rename(target)
    sync_directory(versions)
    return target


def remove_version(path: Path) -> None:
    """Deletes a version; its manifest goes first, so that what is left of a cut deletion was never committed."""
    (path / MANIFEST).unlink()
    remove_tree(path)


def swap_link(link: Path, target: Path) -> None:
    """Points the symlink `link` at the relative `target` in one step."""
    temporary = temporary_beside(link, "link")
    try:
        temporary.symlink_to(target)
        temporary.replace(link)
    finally:
        temporary.unlink(missing_ok=True)
    sync_directory(link.parent)


def current_version(link: Path) -> Path | None:
    """Real folder of the current version; None where nothing was committed.

    Raises:
        StoreError: the disk does not say; taken for nothing, the slice would be fetched again.
    """
    target = _target_of(str(link.parent), link.name)
    return None if target is None else link.parent / target


def current_versions(folder: Path) -> dict[str, str]:
    """Names of the current versions of a folder's symlinks, by the symlinks' names, sorted.

    Paths are text in here: of 100,000 slices that is what the time goes into.

    Raises:
        StoreError: as `current_version`.
    """
    try:
        with os.scandir(folder) as entries:
            names = sorted(one.name for one in entries if one.is_symlink() and not one.name.startswith("."))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    place = str(folder)
    found = ((name, _target_of(place, name)) for name in names)
    return {name: target.rpartition("/")[2] for name, target in found if target is not None}


def _target_of(folder: str, name: str) -> str | None:
    """What a symlink says, where a committed version is there."""
    link = f"{folder}/{name}"
    try:
        target = os.readlink(link)
        place = target if target[:1] == "/" else f"{folder}/{target}"
        return target if S_ISREG(os.stat(f"{place}/{MANIFEST}").st_mode) else None
    except OSError as error:
        if of_the_disk(error):
            raise StoreError(f"{link}: cannot be read: {error.strerror}") from error
        return None


def read_manifest(directory: Path, kind: type[ManifestT]) -> ManifestT:
    """The manifest of a version.

    Raises:
        StoreError: missing, unreadable, or of another kind.
    """
    path = directory / MANIFEST
    try:
        return kind.from_bytes(path.read_bytes())
    except FileNotFoundError:
        raise StoreError(f"{path}: missing; the folder was never committed") from None
    except ValidationError as error:
        raise StoreError(f"{path}: not a {kind.__name__}: {error}") from error
