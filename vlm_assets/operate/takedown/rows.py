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
from vlm_assets.words.schema import FACTS_TYPE

_COLUMNS: Final = ("id", "origin", "image_facts")


def source_folders(root: DataRoot) -> list[Path]:
    """Folders of all sources, of the catalogue or not."""
    folder = root.path / "datasets"
    return sorted(path for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []


def versions_in(folder: Path) -> list[Path]:
    """Committed versions in a folder of slices or corpora."""
    return sorted(path for path in folder.glob(f"{VERSIONS}/*") if (path / MANIFEST).is_file())


def image_tables(root: DataRoot) -> Iterator[pa.Table]:
    """Every image of every version of every slice, of sources that the catalogue no longer has too.

    Columns: `row`, `id`, `origin` of the record, `count` of its images, and of the image `number` in its record,
    `image_origin` (null where it is the record's), `sha256`, `dhash`.
    """
    for source in source_folders(root):
        for version in versions_in(source):
            yield images_of(read_index(version / INDEX_FILE, _COLUMNS))


def images_of(table: pa.Table) -> pa.Table:
    """The images of an index table with `id`, `origin`, `image_facts`, as `image_tables` has them."""
    facts = pa.concat_arrays(table.column("image_facts").chunks or [pa.array([], FACTS_TYPE)])
    rows = pc.list_parent_indices(facts)
    images = facts.flatten()
    owners = rows.to_numpy(zero_copy_only=False)
    first = (
        np.concatenate(([0], np.flatnonzero(np.diff(owners)) + 1)) if len(owners) else np.zeros(0, np.int64)
    )
    counts = pc.list_value_length(facts).take(rows)
    starts = np.repeat(first, np.diff(np.append(first, len(owners))))
    return pa.table(
        {
            "row": rows,
            "id": table.column("id").take(rows),
            "origin": table.column("origin").take(rows),
            "count": counts,
            "number": pa.array(np.arange(len(owners)) - starts),
            "image_origin": images.field("origin"),
            "sha256": images.field("sha256"),
            "dhash": images.field("dhash"),
        }
    ).combine_chunks()


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
    """Row numbers in an index file that ids or image hashes cover; one covered image covers its record."""
    table = read_index(path, _COLUMNS)
    named = pc.is_in(table.column("id"), value_set=pa.array(sorted(ids), pa.string())).to_numpy()
    images = images_of(table)
    shown = pc.is_in(images.column("sha256"), value_set=pa.array(sorted(hashes), pa.string()))
    with_image = images.column("row").filter(shown).to_numpy()
    return np.union1d(np.flatnonzero(named), with_image).astype(np.int64)
