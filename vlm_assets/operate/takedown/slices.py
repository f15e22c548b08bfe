"""Empties rows of slices: a new version with the same index and content hash, without the content.

Nothing here decides which rows; other files of a version are linked, not copied.
"""

import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any, Final

import numpy as np
import orjson
import pyarrow as pa

from vlm_assets.ingest.summary import note_slice
from vlm_assets.locks import hold_lock
from vlm_assets.operate.takedown.rows import source_folders
from vlm_assets.store.arrow_files import ArrowFile, replace_file
from vlm_assets.store.away import away_in, came_back
from vlm_assets.store.layout import LAYOUT_FILE, layout_on_disk, write_layout
from vlm_assets.store.listings import read_listing
from vlm_assets.store.met import name_covered
from vlm_assets.store.schema_1 import content_columns, identity_without_words, read_slice_manifest
from vlm_assets.store.slices import (
    INDEX_FILE,
    ITEMS_FILE,
    RUN_FILE,
    data_file_names,
    read_items_ledger,
    write_items_ledger,
)
from vlm_assets.store.sound_files import stream_batches
from vlm_assets.store.taken_down import covered_rows
from vlm_assets.store.versions import commit_version, current_version
from vlm_assets.words.layout import MANIFEST, STAGING, DataRoot
from vlm_assets.words.manifest import FileEntry, SliceManifest
from vlm_assets.words.moving import moved

_LOCK_WAIT_S: Final = 24 * 3600.0


def empty_slices(
    root: DataRoot, hashes: frozenset[str], ids: frozenset[str] = frozenset()
) -> list[tuple[str, str]]:
    """Empties covered rows in the current version of every slice; returns (source/slice, source) of those changed.

    Every column whose role is content becomes null; everything else stays, index and content hash included. A slice
    of schema 1 stays one.
    """
    changed = []
    for source in source_folders(root):
        for link in sorted(path for path in source.iterdir() if path.is_symlink()):
            lock = root.locks / f"slice.{source.name}.{link.name}"
            with hold_lock(lock, f"takedown in {source.name}/{link.name}", wait_s=_LOCK_WAIT_S):
                moved()
                version = current_version(link)
                if version is None:
                    continue
                rows = covered_rows(version / INDEX_FILE, ids, hashes)
                if not len(rows):
                    continue
                if _empty_slice(root, link, version, set(rows.tolist())):
                    changed.append((f"{source.name}/{link.name}", source.name))
                name_covered(root, source.name, link.name)  # of a takedown that another machine gave
    return changed


def slices_away(root: DataRoot, hashes: frozenset[str], ids: frozenset[str]) -> Iterator[tuple[str, str]]:
    """(source, slice) of those whose data is away, in whole or in part, and that have covered rows."""
    for source in source_folders(root):
        for link in sorted(path for path in source.iterdir() if path.is_symlink()):
            version = current_version(link)
            if (
                version is not None
                and away_in(version)
                and len(covered_rows(version / INDEX_FILE, ids, hashes))
            ):
                yield source.name, link.name


def _empty_slice(root: DataRoot, link: Path, version: Path, rows: set[int]) -> bool:
    """Commits the slice with these rows emptied; False where they are already. The caller holds the slice's lock."""
    manifest = read_slice_manifest(version)
    staging = link.parent / STAGING / f"{link.name}.takedown"
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(parents=True)
    try:
        files: dict[str, FileEntry] = dict(manifest.files)
        first = 0
        for name in data_file_names(manifest.files):
            entry, first = _empty_file(version / name, staging / name, rows, first)
            if entry is not None:
                files[name] = entry
        files |= _ledger_without_words(version, staging)
        if files == manifest.files:
            return False
        data_files = [
            staging / name if (staging / name).exists() else version / name
            for name in data_file_names(manifest.files)
        ]
        if isinstance(manifest, SliceManifest):  # schema 1 had none
            files[LAYOUT_FILE] = write_layout(staging / LAYOUT_FILE, layout_on_disk(data_files))
        for path in version.iterdir():
            if path.name != MANIFEST and path.suffix != ".tmp" and not (staging / path.name).exists():
                os.link(path, staging / path.name)
        came_back(staging / name for name in data_file_names(files))
        data_bytes = sum(files[name].size_bytes for name in data_file_names(files))
        new = manifest.model_copy(update={"files": files, "data_bytes": data_bytes})
        committed = commit_version(staging, link, new)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    _mark_run(committed)
    if isinstance(new, SliceManifest):  # summaries of older ones are written by `migrate`
        listing = read_listing(root, new.source)
        if listing is not None:
            note_slice(root, new, committed.name, listing)
    return True


def _ledger_without_words(version: Path, staging: Path) -> dict[str, FileEntry]:
    """The items ledger anew, where words stand in its identities; nothing where none do."""
    before = read_items_ledger(version)
    after = [replace(entry, identity=identity_without_words(entry.identity)) for entry in before]
    return {} if after == before else {ITEMS_FILE: write_items_ledger(staging / ITEMS_FILE, after)}


def _mark_run(version: Path) -> None:
    """The run that fetched the rows stays on record; only a note is added."""
    try:
        run = orjson.loads((version / RUN_FILE).read_bytes())
        run.setdefault("details", {})["emptied_by_takedown"] = True
        replace_file(version / RUN_FILE, orjson.dumps(run, option=orjson.OPT_INDENT_2))
    except (FileNotFoundError, orjson.JSONDecodeError):
        return


def _empty_file(source: Path, target: Path, rows: set[int], first: int) -> tuple[FileEntry | None, int]:
    """Writes a data file with rows emptied; (None, …) where none of it is. Returns the next file's first row too."""
    changes = False
    batches = stream_batches(source)
    begin = next(batches, None)
    if begin is None:
        return None, first
    with ArrowFile(target, begin.schema) as file:
        for batch in chain([begin], batches):
            gone = np.isin(np.arange(first, first + batch.num_rows), sorted(rows))
            first += batch.num_rows
            if gone.any() and _has_content(batch, gone):
                changes = True
                file.write(_emptied(batch, gone))
            else:
                file.write(batch)
        entry = file.finish()
    if changes:
        return entry, first
    target.unlink()
    return None, first


def _has_content(batch: pa.RecordBatch, gone: np.ndarray[Any, np.dtype[np.bool_]]) -> bool:
    return any(
        (column.is_valid().to_numpy(zero_copy_only=False) & gone).any()
        for column in (batch.column(name) for name in content_columns(batch.schema))
    )


def _emptied(batch: pa.RecordBatch, gone: np.ndarray[Any, np.dtype[np.bool_]]) -> pa.RecordBatch:
    # `take` copies what stays; `if_else` and masks would leave the bytes behind in the buffer of a null.
    places = pa.array(np.arange(batch.num_rows), mask=gone)
    content = content_columns(batch.schema)
    columns = [
        batch.column(name).take(places) if name in content else batch.column(name)
        for name in batch.schema.names
    ]
    return pa.RecordBatch.from_arrays(columns, schema=batch.schema)
