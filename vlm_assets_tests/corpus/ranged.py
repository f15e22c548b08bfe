"""Slices whose data files lie elsewhere: an object store that is a folder, and writes down what is asked of it."""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from vlm_assets.corpus.slice_files import SliceFiles
from vlm_assets.store.layout import LAYOUT_FILE
from vlm_assets.store.slices import INDEX_FILE, data_file_names
from vlm_assets.store.versions import current_version, read_manifest
from vlm_assets.words.layout import DataRoot
from vlm_assets.words.manifest import FileEntry, SliceManifest


@dataclass
class FolderOfObjects:
    """A `RangedObjects` over files by their blake3. `harm` has the say over every answer."""

    concurrency: int = 3
    files: dict[str, Path] = field(default_factory=dict)
    asked: list[tuple[int, int]] = field(default_factory=list)
    harm: Callable[[int, bytes], bytes] = lambda _begin, data: data

    def fill(self, entry: FileEntry, begin: int, targets: Sequence[memoryview]) -> None:
        end = begin + sum(map(len, targets))
        self.asked.append((begin, end))
        with self.files[entry.blake3].open("rb") as file:
            file.seek(begin)
            data = self.harm(begin, file.read(end - begin))
        place = 0
        for target in targets:
            target[:] = data[place : place + len(target)]
            place += len(target)

    def name(self, entry: FileEntry) -> str:
        return f"objects/{entry.blake3}"

    @property
    def asked_bytes(self) -> int:
        return sum(end - begin for begin, end in self.asked)


def on_disk(root: DataRoot, source: str, name: str) -> SliceFiles:
    """A committed slice."""
    version = current_version(root.slice(source, name))
    assert version is not None
    manifest = read_manifest(version, SliceManifest)
    return SliceFiles(
        source,
        name,
        version,
        tuple(data_file_names(manifest.files)),
        manifest.rows,
        manifest.multi_image_rows,
    )


def taken_away(root: DataRoot, source: str, name: str, into: Path, store: FolderOfObjects) -> SliceFiles:
    """The same slice: index and layout in a folder of their own, data files in the store."""
    here = on_disk(root, source, name)
    manifest = read_manifest(here.directory, SliceManifest)
    into.mkdir(parents=True)
    for file in (INDEX_FILE, LAYOUT_FILE):
        shutil.copy(here.directory / file, into)
    store.files |= {manifest.files[one].blake3: here.directory / one for one in here.data_files}
    objects = tuple(manifest.files[one] for one in here.data_files)
    return SliceFiles(source, name, into, here.data_files, here.rows, here.multi_image_rows, objects)
