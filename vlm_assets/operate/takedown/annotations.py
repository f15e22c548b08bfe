"""Values of rows that are taken down, out of the annotations: words read from an image are content as it is."""

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Final

from vlm_assets.annotate.files import read_annotation
from vlm_assets.annotate.slice import ANNOTATE_LOCK, annotation_lock
from vlm_assets.annotate.taken_down import make_null, slice_of, with_values
from vlm_assets.locks import hold_lock
from vlm_assets.store.caches import remove
from vlm_assets.words.errors import AnnotationError
from vlm_assets.words.layout import ANNOTATING, DataRoot

_LOCK_WAIT_S: Final = 24 * 3600.0
_ENDING: Final = ".parquet"


def empty_annotations(
    root: DataRoot, hashes: frozenset[str], ids: frozenset[str], affected: Collection[str]
) -> list[str]:
    """Makes the values of covered rows null in every annotation; returns the files changed, below the data root.

    To be called once the slices are emptied: whoever annotates later sees nothing more of the rows, and whoever is at
    it is waited for. Files that are damaged, and those of the sources `affected` that are of older content, go.
    """
    changed: list[str] = []
    for source, key in _slices(root):
        purpose = f"takedown in annotations of {source}/{key}"
        with hold_lock(annotation_lock(root, source, key), purpose, wait_s=_LOCK_WAIT_S):
            # Of a killed process: who holds the lock is at no other.
            for path in root.annotations.glob(f"*/{source}/.{key}{_ENDING}.*.tmp"):
                path.unlink(missing_ok=True)
            remove(root.annotating(source, key))
            changed += [
                path.relative_to(root.path).as_posix()
                for path in sorted(root.annotations.glob(f"*/{source}/{key}{_ENDING}"))
                if _empty(root, path, hashes, ids, drop_older=source in affected)
            ]
    return changed


def _slices(root: DataRoot) -> Iterator[tuple[str, str]]:
    """Those that have values, or of which somebody is about to write the first: whoever ever did has left a lock."""
    found = {
        (path.parent.name, path.name.removesuffix(_ENDING)) for path in root.annotations.glob("*/*/*.parquet")
    }
    found |= {
        (path.parent.name, path.name[1:].rpartition(f"{_ENDING}.")[0])
        for path in root.annotations.glob("*/*/.*.tmp")
    }
    found |= {(path.parent.parent.name, path.name) for path in root.cache.glob(f"*/{ANNOTATING}/*")}
    for path in root.locks.glob(f"{ANNOTATE_LOCK}.*.*"):
        _, source, key = path.name.split(".", 2)  # a source's name has no dot
        found.add((source, key))
    yield from sorted(found)


def _empty(
    root: DataRoot, path: Path, hashes: frozenset[str], ids: frozenset[str], *, drop_older: bool
) -> bool:
    """Whether the file was changed, or removed."""
    try:
        found = read_annotation(path)
    except AnnotationError:
        path.unlink(missing_ok=True)  # nobody can say what it holds; it is computed anew
        return True
    if found is None:
        return False
    version = slice_of(root, found)
    if version is None:
        if drop_older:
            path.unlink(missing_ok=True)
        return drop_older
    gone = with_values(found, version, ids, hashes)
    if gone.any():
        make_null(path, found, gone)
    return bool(gone.any())
