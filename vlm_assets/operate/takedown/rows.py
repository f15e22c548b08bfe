"""Which rows on disk a takedown covers: index columns of every version of every slice. Reads only."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from vlm_assets.store.slices import INDEX_FILE
from vlm_assets.words.errors import StoreError
from vlm_assets.words.layout import MANIFEST, VERSIONS, DataRoot

_COLUMNS: Final = ("id", "origin", "image_sha256", "dhash")


def source_folders(root: DataRoot) -> list[Path]:
    """Folders of all sources, of the catalogue or not."""
    folder = root.path / "datasets"
    return sorted(path for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []


def versions_in(folder: Path) -> list[Path]:
    """Committed versions in a folder of slices or corpora."""
    return sorted(path for path in folder.glob(f"{VERSIONS}/*") if (path / MANIFEST).is_file())


def slice_tables(root: DataRoot) -> Iterator[pa.Table]:
    """Index columns of every version of every slice, of sources that the catalogue no longer has too."""
    for source in source_folders(root):
        for version in versions_in(source):
            yield read_index(version / INDEX_FILE, _COLUMNS)


def read_index(path: Path, columns: tuple[str, ...]) -> pa.Table:
    """Columns of an index file, one chunk each.

    Raises:
        StoreError: missing or damaged.
    """
    try:
        with pa.OSFile(str(path)) as file:
            table = pa.ipc.open_file(file).read_all().select(list(columns))
        return table.combine_chunks()
    except (OSError, pa.ArrowInvalid, KeyError) as error:
        raise StoreError(f"{path}: {error}; run `vlm-assets verify`") from error


def covered_rows(
    path: Path, ids: frozenset[str], hashes: frozenset[str]
) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Row numbers in an index file that ids or image hashes cover."""
    table = read_index(path, ("id", "image_sha256"))
    mask = pc.or_(
        pc.is_in(table.column("id"), value_set=pa.array(sorted(ids), pa.string())),
        pc.is_in(table.column("image_sha256"), value_set=pa.array(sorted(hashes), pa.string())),
    )
    return np.flatnonzero(mask.to_numpy())
