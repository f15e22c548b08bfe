"""Why a slice was not committed when it was last tried, for people: beside the cache of its source, in no version.

Nothing is decided by it. It goes with the cache: a takedown removes it, for it names items.
"""

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final

from vlm_assets.store.arrow_files import replace_file
from vlm_assets.words.errors import VlmAssetsError
from vlm_assets.words.layout import DataRoot

_FOLDER: Final = "failed"


def note_failure(root: DataRoot, source: str, slice_name: str, message: str) -> None:
    """Notes why a slice failed; a disk that takes no note is no second failure."""
    path = _path(root, source, slice_name)
    with suppress(OSError, VlmAssetsError):
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, message.encode())


def forget_failure(root: DataRoot, source: str, slice_name: str) -> None:
    """Removes the note of a slice that was brought up to date."""
    with suppress(OSError):
        _path(root, source, slice_name).unlink(missing_ok=True)


def last_failures(root: DataRoot, source: str, slices: Iterable[str]) -> dict[str, str]:
    """Of these slices those whose last try failed, with why."""
    noted = {path.stem for path in (root.cache_of(source) / _FOLDER).glob("[!.]*.txt")}
    found = {}
    for name in slices:
        if name in noted:
            with suppress(OSError):
                found[name] = _path(root, source, name).read_bytes().decode("utf-8", "replace")
    return found


def _path(root: DataRoot, source: str, slice_name: str) -> Path:
    return root.cache_of(source) / _FOLDER / f"{slice_name}.txt"
