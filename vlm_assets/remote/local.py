"""Committed versions of the data root as they are to be pushed: manifest bytes, its files, and the files beside."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import orjson
from blake3 import blake3
from pydantic import Field, TypeAdapter, ValidationError

from vlm_assets.remote.names import Name
from vlm_assets.store.slices import file_hash
from vlm_assets.store.versions import current_version
from vlm_assets.words.errors import StoreError
from vlm_assets.words.layout import MANIFEST, DataRoot
from vlm_assets.words.manifest import VERSION_HASH_LENGTH, FileEntry, Manifest

_FILES = TypeAdapter(dict[str, FileEntry])


class Beside(Manifest):
    """`beside.json`: the files of a version that its manifest does not name (rejects, run, card, report)."""

    type: Literal["beside"] = "beside"
    files: dict[str, FileEntry] = Field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class StoredVersion:
    """One version, on disk or at the remote."""

    name: Name
    version: str
    manifest: bytes
    files: dict[str, FileEntry]
    beside: Beside = field(default_factory=Beside)

    def every_file(self) -> dict[str, FileEntry]:
        """Files by relative path."""
        return {**self.beside.files, **self.files}


def files_of_manifest(data: bytes, where: object) -> dict[str, FileEntry]:
    """The files that manifest bytes name, whatever kind and schema version they are of.

    Raises:
        StoreError: not a manifest.
    """
    try:
        return _FILES.validate_python(orjson.loads(data)["files"])
    except (orjson.JSONDecodeError, KeyError, TypeError, ValidationError) as error:
        raise StoreError(f"{where}: not a manifest with files: {error}") from error


def version_of_manifest(data: bytes) -> str:
    """The version that manifest bytes name."""
    return blake3(data).hexdigest()[:VERSION_HASH_LENGTH]


def read_version(name: Name, directory: Path) -> StoredVersion:
    """A committed version of the data root.

    Raises:
        StoreError: its manifest is missing, damaged, or not that of its folder.
    """
    path = directory / MANIFEST
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise StoreError(f"{path}: missing; the folder was never committed") from None
    if version_of_manifest(data) != directory.name:
        raise StoreError(f"{path}: does not hash to the folder's name; it was changed after the commit")
    files = files_of_manifest(data, path)
    return StoredVersion(name, directory.name, data, files, _read_beside(directory, files))


def current_on_disk(root: DataRoot, name: Name) -> StoredVersion | None:
    """The version that the name shows; None where nothing is committed."""
    directory = current_version(name.link(root))
    return None if directory is None else read_version(name, directory)


def _read_beside(directory: Path, files: dict[str, FileEntry]) -> Beside:
    found = {
        path: FileEntry(size_bytes=(directory / path).stat().st_size, blake3=file_hash(directory / path))
        for path in sorted(_regular_files(directory, ""))
        if path != MANIFEST and path not in files
    }
    return Beside(files=found)


def _regular_files(directory: Path, prefix: str) -> Iterator[str]:
    """Relative paths; without temporary files and what `datasets` caches in an opened folder."""
    with os.scandir(directory / prefix) as entries:
        for entry in entries:
            if entry.name.startswith((".", "cache-")):
                continue
            if entry.is_dir(follow_symlinks=False):
                yield from _regular_files(directory, f"{prefix}{entry.name}/")
            elif entry.is_file(follow_symlinks=False):
                yield f"{prefix}{entry.name}"
