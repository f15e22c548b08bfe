"""Values of rows that are taken down, in one file of annotations: found, and made null."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from vlm_assets.annotate.files import ID, Annotation, read_annotation, write_annotation
from vlm_assets.store.schema_1 import read_content
from vlm_assets.store.slices import INDEX_FILE
from vlm_assets.store.taken_down import covered_rows
from vlm_assets.store.versions import current_version
from vlm_assets.words.layout import DataRoot

Bool = np.ndarray[Any, np.dtype[np.bool_]]


def slice_of(root: DataRoot, found: Annotation) -> Path | None:
    """The version that the values are of, where it is the slice's current one."""
    version = current_version(root.slice(found.header.source, found.header.slice))
    if version is None:
        return None
    return version if read_content(version).get("content_hash") == found.header.content_hash else None


def with_values(found: Annotation, version: Path, ids: frozenset[str], hashes: frozenset[str]) -> Bool:
    """Which rows are covered by ids or image hashes, none where none of these has a value any more."""
    rows = covered_rows(version / INDEX_FILE, ids, hashes)
    gone = np.isin(np.arange(found.table.num_rows), rows)
    names = [name for name in found.table.schema.names if name != ID]
    filled = any((found.table.column(name).is_valid().to_numpy() & gone).any() for name in names)
    return gone if filled else np.zeros_like(gone)


def make_null(path: Path, found: Annotation, gone: Bool) -> None:
    """Writes the file anew without the values of these rows."""
    # `take` copies what stays: nothing of a null is left in the buffers.
    places = pa.array(np.arange(found.table.num_rows), mask=gone)
    columns = [
        found.table.column(name) if name == ID else found.table.column(name).take(places)
        for name in found.table.schema.names
    ]
    keys = None if found.keys is None else found.keys.take(places)
    write_annotation(path, found.header, pa.table(columns, schema=found.table.schema), keys)


def may_be_shown(root: DataRoot, path: Path, ids: frozenset[str], hashes: frozenset[str]) -> bool:
    """Whether a file holds no value of what is taken down, as far as that can be told here.

    Values of other content than the slice has now cannot be told, where anything of their source is taken down.

    Raises:
        AnnotationError: it is damaged.
    """
    found = read_annotation(path)
    if found is None or not (ids or hashes):
        return True
    version = slice_of(root, found)
    if version is None:
        return not any(one.startswith(f"{found.header.source}/") for one in ids)
    return not with_values(found, version, ids, hashes).any()
