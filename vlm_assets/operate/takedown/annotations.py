"""Values of rows that are taken down, out of the annotations: words read from an image are content as it is."""

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa

from vlm_assets.annotate.files import ID, read_annotation, write_annotation
from vlm_assets.annotate.slice import annotation_lock
from vlm_assets.locks import hold_lock
from vlm_assets.store.slices import INDEX_FILE
from vlm_assets.store.taken_down import covered_rows
from vlm_assets.store.versions import current_version, read_manifest
from vlm_assets.words.errors import AnnotationError
from vlm_assets.words.layout import DataRoot
from vlm_assets.words.manifest import SliceManifest

_LOCK_WAIT_S: Final = 24 * 3600.0
_ENDING: Final = ".parquet"

Bool = np.ndarray[Any, np.dtype[np.bool_]]


def empty_annotations(
    root: DataRoot, hashes: frozenset[str], ids: frozenset[str], affected: Collection[str]
) -> list[str]:
    """Makes the values of covered rows null in every annotation; returns the files changed, below the data root.

    To be called once the slices are emptied: whoever annotates later sees nothing more of the rows, and whoever is at
    it is waited for. Files that are damaged, and those of the sources `affected` that are of older content, go.
    """
    changed = []
    for source, key in _slices(root):
        with hold_lock(
            annotation_lock(root, source, key), f"takedown in annotations of {source}/{key}", wait_s=_LOCK_WAIT_S
        ):
            for path in root.annotations.glob(f"*/{source}/.{key}{_ENDING}.*.tmp"):
                path.unlink(missing_ok=True)  # of a killed process: who holds the lock is at no other
            version = current_version(root.slice(source, key))
            for path in sorted(root.annotations.glob(f"*/{source}/{key}{_ENDING}")):
                if _empty(path, version, hashes, ids, drop_older=source in affected):
                    changed.append(path.relative_to(root.path).as_posix())
    return changed


def _slices(root: DataRoot) -> Iterator[tuple[str, str]]:
    found = {(path.parent.name, path.name.removesuffix(_ENDING)) for path in root.annotations.glob("*/*/*.parquet")}
    for path in root.annotations.glob("*/*/.*.tmp"):
        found.add((path.parent.name, path.name[1:].rpartition(f"{_ENDING}.")[0]))
    yield from sorted(found)


def _empty(
    path: Path, version: Path | None, hashes: frozenset[str], ids: frozenset[str], *, drop_older: bool
) -> bool:
    """Whether the file was changed, or removed."""
    try:
        found = read_annotation(path)
    except AnnotationError:
        path.unlink(missing_ok=True)  # nobody can say what it holds; it is computed anew
        return True
    if found is None:
        return False
    manifest = None if version is None else read_manifest(version, SliceManifest)
    if version is None or manifest is None or manifest.content_hash != found.header.content_hash:
        if drop_older:
            path.unlink(missing_ok=True)
        return drop_older
    rows = covered_rows(version / INDEX_FILE, ids, hashes)
    gone = np.isin(np.arange(found.table.num_rows), rows)
    if not _has_values(found.table, gone):
        return False
    write_annotation(path, found.header, _emptied(found.table, gone))
    return True


def _has_values(table: pa.Table, gone: Bool) -> bool:
    return any(
        (table.column(name).is_valid().to_numpy() & gone).any() for name in table.schema.names if name != ID
    )


def _emptied(table: pa.Table, gone: Bool) -> pa.Table:
    # `take` copies what stays: nothing of a null is left in the buffers.
    places = pa.array(np.arange(table.num_rows), mask=gone)
    columns = [
        table.column(name) if name == ID else table.column(name).take(places) for name in table.schema.names
    ]
    return pa.table(columns, schema=table.schema)
