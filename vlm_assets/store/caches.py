"""What lies in the cache of a source besides hashes of files: downloads, and what was made of them."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from vlm_assets.store.rejected_pictures import FOLDER as PICTURES
from vlm_assets.words.disk import remove_tree
from vlm_assets.words.errors import StoreError

_KEPT: Final = (".db", ".db-wal", ".db-shm")
"""Hashes of files: no content, and dear to compute again."""


def downloads(folder: Path) -> Iterator[Path]:
    """Everything in a source's cache that may have content, but for pictures of rejects.

    A takedown removes those in a step of its own; later ones show nothing that it covers, and nobody has them again.
    """
    return (
        path for path in sorted(folder.iterdir()) if path.name != PICTURES and not path.name.endswith(_KEPT)
    )


def remove_download(path: Path) -> None:
    """Removes it.

    Raises:
        StoreError: it cannot be removed; it may hold what is taken down.
    """
    try:
        remove(path)
    except OSError as error:
        told = f"{path}: cannot be removed: {error.strerror}; give this takedown again"
        raise StoreError(told) from error


def remove(path: Path) -> None:
    """Deletes a file, a link or a folder with all in it; nothing where there is none."""
    if path.is_dir() and not path.is_symlink():
        with suppress(FileNotFoundError):
            remove_tree(path)
    else:
        path.unlink(missing_ok=True)
