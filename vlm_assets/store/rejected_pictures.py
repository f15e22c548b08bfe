"""Small pictures of rejects, for people: a few of each slice, beside the cache of its source and in no version.

No index has them, and nothing is decided by them. Any takedown removes all of them.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict, ValidationError

from vlm_assets.store.arrow_files import replace_file
from vlm_assets.words.disk import remove_tree
from vlm_assets.words.errors import RejectReason
from vlm_assets.words.layout import DataRoot

FOLDER: Final = "rejected"
A_SLICE: Final = 8
"""Pictures of a slice, of 2 KB each."""
A_SOURCE: Final = 64
"""Slices of a source that have some."""


class RejectedPicture(BaseModel):
    """What a rejected record looks like: a JPEG of at most 96 px a side."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_bytes="base64", val_json_bytes="base64")

    key: str
    """Of its item."""
    record: int | None
    reason: RejectReason
    image_sha256: str
    """Of the bytes that were rejected."""
    jpeg: bytes


class _Kept(BaseModel):
    pictures: tuple[RejectedPicture, ...]


def keep_rejected(root: DataRoot, source: str, slice_name: str, pictures: Sequence[RejectedPicture]) -> None:
    """Keeps these of a slice, `A_SLICE` at most, in place of those before; none where its source has enough."""
    path = _path(root, source, slice_name)
    if not pictures:
        path.unlink(missing_ok=True)
        return
    if not path.exists() and len(slices_with_pictures(root, source)) >= A_SOURCE:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, _Kept(pictures=tuple(pictures[:A_SLICE])).model_dump_json().encode())


def kept_rejected(root: DataRoot, source: str, slice_name: str) -> tuple[RejectedPicture, ...]:
    """Those of a slice; none where the file is gone or cannot be read, for it is a cache."""
    try:
        return _Kept.model_validate_json(_path(root, source, slice_name).read_bytes()).pictures
    except (OSError, ValidationError):
        return ()


def slices_with_pictures(root: DataRoot, source: str) -> frozenset[str]:
    """Slices of a source of which pictures are kept."""
    return frozenset(path.stem for path in (root.cache_of(source) / FOLDER).glob("[!.]*.json"))


def forget_rejected(root: DataRoot) -> list[str]:
    """Removes all of every source; returns the sources that had some."""
    found = sorted(root.cache.glob(f"*/{FOLDER}"))
    for folder in found:
        remove_tree(folder)
    return [folder.parent.name for folder in found]


def _path(root: DataRoot, source: str, slice_name: str) -> Path:
    return root.cache_of(source) / FOLDER / f"{slice_name}.json"
