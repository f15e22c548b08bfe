"""Moves a source's slices and listing to the name that the catalogue gives it now. Fetches nothing.

An id begins with its source's name, so rows get new ids and digests, and are written anew; images, words, ledgers
and fingerprints stay, so nothing is due by it. Each slice is committed under the new name before the old one goes:
a cut run loses nothing, and the next goes on. Plans draw from old versions until the next build; then prune has them.
"""

import logging
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import orjson
from pydantic import BaseModel

from vlm_assets.annotate.renamed import move_values
from vlm_assets.ingest.summary import refresh_summary
from vlm_assets.installation.opening import Installation
from vlm_assets.installation.removed import removed_sources, slice_names
from vlm_assets.locks import hold_lock
from vlm_assets.operate.takedown.renamed import record_under_new_names
from vlm_assets.store.arrow_files import replace_file
from vlm_assets.store.away import is_note
from vlm_assets.store.listings import read_listing, write_listing
from vlm_assets.store.renames import note_rename
from vlm_assets.store.slices import RUN_FILE, SliceWriter, data_file_names, read_rows
from vlm_assets.store.versions import commit_version, current_version, read_manifest
from vlm_assets.words.counts import so_many
from vlm_assets.words.disk import named_disk_errors
from vlm_assets.words.errors import StoreError
from vlm_assets.words.layout import MANIFEST, STAGING, DataRoot
from vlm_assets.words.manifest import Listing, SliceManifest
from vlm_assets.words.nearest import did_you_mean
from vlm_assets.words.schema import Row, row_digest

logger = logging.getLogger("vlm_assets.rename")

_LOCK_WAIT_S: Final = 24 * 3600.0
Progress = Callable[[str, int, int], None]
"""Is told what comes next, how much is over, how much there is."""


class RenameReport(BaseModel):
    """What was moved: slices by key; `kept`: those that the new name had already."""

    old: str
    new: str
    moved: list[str] = []
    kept: list[str] = []
    takedowns: list[str] = []
    """Takedowns by id that are on record under the new name too."""


@named_disk_errors
def rename_source(
    installation: Installation,
    old: str,
    new: str,
    progress: Progress = lambda name, done, total: None,  # noqa: ARG005 - does nothing
) -> RenameReport:
    """Moves everything of `old`, which the catalogue has no more, to `new`, which it has.

    Raises:
        StoreError: there is nothing to move, or it cannot belong to the new source; says which and what to do.
        LockHeldError: one of them is at work for longer than a day.
    """
    root = installation.root
    report = RenameReport(old=old, new=new)
    _listing_to_move(installation, old, new)  # before locks are waited for
    with ExitStack() as stack:
        both = sorted((old, new))
        # In the order in which runs and takedowns take them.
        for name in (*(f"fetch.{one}" for one in both), "takedown", *(f"listing.{one}" for one in both)):
            stack.enter_context(hold_lock(root.locks / name, f"renaming {old} to {new}", wait_s=_LOCK_WAIT_S))
        listing = _listing_to_move(installation, old, new)
        note_rename(root, old, new)
        report.takedowns = record_under_new_names(root, [(old, new)])
        listing = _move_listing(root, listing, old, new)
        keys = slice_names(installation, old)
        for number, key in enumerate(keys):
            progress(f"{old}/{key}", number, len(keys))
            (report.moved if _move_slice(root, key, old, new) else report.kept).append(key)
        if listing is not None:
            refresh_summary(root, new, listing)
        _remove_old(root, old, new)
    logger.info("%s is %s now: %d slices moved, %d were there", old, new, len(report.moved), len(report.kept))
    return report


def _listing_to_move(installation: Installation, old: str, new: str) -> Listing | None:
    """The old listing; None where the old source has none.

    Raises:
        StoreError: the two cannot be one source.
    """
    spec, removed = installation.catalog.source(new), removed_sources(installation)
    if any(one.name == old for one in installation.catalog.fetched):
        raise StoreError(
            f"{old} is in the catalogue: give it its new name in its YAML file first, then run this"
        )
    if old not in removed:
        raise StoreError(f"nothing of a source {old!r} lies here; {did_you_mean(old, removed)}")
    listing, there = read_listing(installation.root, old), read_listing(installation.root, new)
    if listing is not None and listing.kind != spec.kind:
        raise StoreError(f"{old} is a {listing.kind}, {new} a {spec.kind}: a rename keeps the kind")
    fetched = slice_names(installation, new)
    if listing is not None and there is not None and fetched and there.buckets != listing.buckets:
        raise StoreError(
            f"{new} was fetched by itself already, {so_many(len(fetched), 'slice')} in other buckets than those "
            f"of {old}: they "
            f"stand for the same items. vlm-assets prune --removed deletes {old}"
        )
    return listing


def _move_listing(root: DataRoot, listing: Listing | None, old: str, new: str) -> Listing | None:
    """Puts the listing in force under the new name, where none of its buckets is: its buckets are kept.

    One that the new name has already learns which slices there were.
    """
    there = read_listing(root, new)
    if listing is None:
        return there
    if there is not None and there.buckets == listing.buckets:
        known = {*there.retired, *listing.slices, *listing.retired} - there.slices.keys()
        there = there.model_copy(update={"retired": tuple(sorted(known))})
        write_listing(root, there)
        return there
    names = {name: new + name.removeprefix(old) for name in listing.tables}
    for name, renamed in names.items():
        shutil.copyfile(root.listings / name, root.listings / renamed)
    moved = listing.model_copy(
        update={
            "source": new,
            "items_file": names[listing.items_file],
            "left_out_file": names.get(listing.left_out_file, ""),
        }
    )
    write_listing(root, moved)
    return moved


def _move_slice(root: DataRoot, key: str, old: str, new: str) -> bool:
    """Commits the slice under the new name and takes the old one away; False where the new one has it."""
    before, link = root.slice(old, key), root.slice(new, key)
    with (
        hold_lock(root.locks / f"slice.{old}.{key}", f"renaming {old}/{key}", wait_s=_LOCK_WAIT_S),
        hold_lock(root.locks / f"slice.{new}.{key}", f"renaming {old}/{key}", wait_s=_LOCK_WAIT_S),
    ):
        version = current_version(before)
        moves = version is not None and current_version(link) is None
        if version is not None and moves:
            _commit_renamed(version, link, old, new)
        move_values(root, key, old, new)
        before.unlink()
    return moves


def _commit_renamed(version: Path, link: Path, old: str, new: str) -> None:
    manifest = read_manifest(version, SliceManifest)
    staging = link.parent / STAGING / f"{link.name}.rename"
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(parents=True)
    try:
        with SliceWriter(staging) as writer:
            for row in _renamed_rows(version, manifest, old, new):
                writer.add(row)
            written = writer.finish()
        anew = {MANIFEST, RUN_FILE, *data_file_names(manifest.files), *written.files}
        for path in version.iterdir():
            if path.name not in anew and not is_note(path.name):
                os.link(path, staging / path.name)
        others = {name: entry for name, entry in manifest.files.items() if name not in anew}
        _copy_run(version, staging, old)
        moved = manifest.model_copy(
            update={
                "source": new,
                "content_hash": written.content_hash,
                "data_bytes": written.data_bytes,
                "files": {**others, **written.files},
            }
        )
        commit_version(staging, link, moved)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _renamed_rows(version: Path, manifest: SliceManifest, old: str, new: str) -> Iterator[Row]:
    """Rows as a fetch under the new name gives them; one that was taken down keeps its digest.

    `row_bytes` counts the name twice: in the id, and as the source.
    """
    longer = 2 * (len(new) - len(old))
    for row in read_rows(version, data_file_names(manifest.files)):
        row["id"] = new + row["id"].removeprefix(old)
        row["source"] = new
        row["row_bytes"] += longer
        if row["images"] is not None:
            row["digest"] = row_digest(row)
        yield row


def _copy_run(version: Path, staging: Path, old: str) -> None:
    """The run that fetched the rows stays on record; only a note is added."""
    try:
        run = orjson.loads((version / RUN_FILE).read_bytes())
    except (FileNotFoundError, orjson.JSONDecodeError):
        return
    run.setdefault("details", {})["renamed_from"] = old
    replace_file(staging / RUN_FILE, orjson.dumps(run, option=orjson.OPT_INDENT_2))


def _remove_old(root: DataRoot, old: str, new: str) -> None:
    """What the old name showed; versions stay for plans. The cache has hashes of files: it goes along."""
    for path in (
        *root.listings.glob(f"{old}.*"),
        root.source(old) / MANIFEST,
        root.source(old) / "dataset_dict.json",
    ):
        path.unlink(missing_ok=True)
    if root.cache_of(old).is_dir() and not root.cache_of(new).exists():
        root.cache_of(old).rename(root.cache_of(new))
