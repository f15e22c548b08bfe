"""Every image of every slice on disk, for finding what a takedown covers. Reads only."""

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from vlm_assets.store.schema_1 import SliceManifest1, read_slice_manifest
from vlm_assets.store.slices import INDEX_FILE
from vlm_assets.store.taken_down import images_of, read_index
from vlm_assets.words.layout import MANIFEST, VERSIONS, DataRoot


def source_folders(root: DataRoot) -> list[Path]:
    """Folders of all sources, of the catalogue or not."""
    folder = root.path / "datasets"
    return sorted(path for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []


def versions_in(folder: Path) -> list[Path]:
    """Committed versions in a folder of slices or corpora."""
    return sorted(path for path in folder.glob(f"{VERSIONS}/*") if (path / MANIFEST).is_file())


def image_tables(root: DataRoot) -> Iterator[pa.Table]:
    """Every image of every version of every slice, of sources that the catalogue no longer has too: `images_of`."""
    for source in source_folders(root):
        for version in versions_in(source):
            yield images_of(read_index(version / INDEX_FILE))


def imageless_tables(root: DataRoot) -> Iterator[pa.Table]:
    """`id` and `origin` of the records of every version of the slices that have no images: of benchmarks of words."""
    for source in source_folders(root):
        for version in versions_in(source):
            manifest = read_slice_manifest(version)
            if isinstance(manifest, SliceManifest1):  # each of its rows has an image
                continue
            if manifest.rows and not manifest.images:
                yield read_index(version / INDEX_FILE, ("id", "origin"))
