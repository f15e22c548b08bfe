"""Records that came in with an image that was taken down before: on record when their slice is, however that ends.

Such a row is emptied by its bytes. Its words stand in the listing too, which knows no bytes; so its id goes on record
(`Tombstone.met`), and whoever finishes takedowns empties listings, here and on every machine. It goes on record only
once the slice is committed: a listing without the words would give the slice another digest. What is to go on record
waits in a note beside the takedowns, written before the commit.
"""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from itertools import accumulate
from pathlib import Path

import numpy as np
from blake3 import blake3
from pydantic import ValidationError

from vlm_assets.locks import hold_lock
from vlm_assets.store.arrow_files import replace_file, sync_directory
from vlm_assets.store.schema_1 import identity_without_words
from vlm_assets.store.slices import INDEX_FILE, read_items_ledger
from vlm_assets.store.taken_down import covered_rows, read_index
from vlm_assets.store.tombstones import StoredTombstones, Tombstone, read_tombstones, write_tombstone
from vlm_assets.store.versions import current_version
from vlm_assets.words.errors import LockHeldError
from vlm_assets.words.layout import DataRoot
from vlm_assets.words.manifest import VERSION_HASH_LENGTH, Manifest

_NAME = "met"


class MetNote(Manifest):
    """What goes on record once the slice shows this version."""

    source: str
    slice: str
    committed: str
    """The version's name."""
    met: dict[str, str]


def note_met(root: DataRoot, note: MetNote) -> None:
    """Leaves the note, durably. The caller holds the slice's lock, and commits that version next."""
    path = _path(root, note.source, note.slice)
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, note.to_bytes())


def settle_met(root: DataRoot, source: str, slice_key: str) -> None:
    """Puts on record what was noted of a slice, where that was committed. The caller holds the slice's lock."""
    path = _path(root, source, slice_key)
    try:
        note = MetNote.from_bytes(path.read_bytes())
    except (FileNotFoundError, ValidationError):  # none, or torn: then nothing was committed after it
        path.unlink(missing_ok=True)
        return
    current = current_version(root.slice(source, slice_key))
    if current is not None and current.name == note.committed:
        record_met(root, source, slice_key, note.met)
    path.unlink()
    sync_directory(path.parent)


def settle_all(root: DataRoot) -> None:
    """Settles what cut fetches noted; whoever is at work on a slice settles it himself."""
    for note in unsettled(root):
        with (
            suppress(LockHeldError),
            hold_lock(root.locks / f"slice.{note.source}.{note.slice}", "settling what a fetch met"),
        ):
            settle_met(root, note.source, note.slice)


def unsettled(root: DataRoot) -> Iterator[MetNote]:
    """Notes that wait."""
    for path in sorted((root.tombstones / _NAME).glob("*.json")):
        with suppress(FileNotFoundError, ValidationError):
            yield MetNote.from_bytes(path.read_bytes())


def name_covered(root: DataRoot, source: str, slice_key: str) -> bool:
    """Puts on record the rows of a committed slice that takedowns cover by image and none names; whether there were.

    For slices that another machine made, or that were here before the takedown came from there.

    Raises:
        StoreError: a takedown or the slice cannot be read.
    """
    version = current_version(root.slice(source, slice_key))
    hashes = read_tombstones(root).image_sha256
    return version is not None and record_met(root, source, slice_key, covered_records(version, hashes))


def covered_records(version: Path, hashes: frozenset[str]) -> dict[str, str]:
    """Ids of a slice's rows that have one of these images, with the identities of their items.

    Raises:
        StoreError: the slice cannot be read.
    """
    rows = covered_rows(version / INDEX_FILE, frozenset(), hashes) if hashes else np.array([], np.int64)
    if not len(rows):
        return {}
    ids = read_index(version / INDEX_FILE, ("id",)).column("id").take(rows).to_pylist()
    ledger = read_items_ledger(version)
    ends = np.array(list(accumulate(entry.rows for entry in ledger)), np.int64)
    places = np.searchsorted(ends, rows, side="right").tolist()
    return {
        one: identity_without_words(ledger[place].identity) for one, place in zip(ids, places, strict=True)
    }


def record_met(root: DataRoot, source: str, slice_key: str, met: Mapping[str, str]) -> bool:
    """Puts on record what no takedown names yet; whether there was any."""
    new = unnamed(read_tombstones(root), met)
    if new:
        write_tombstone(root, Tombstone(asked=f"met:{source}/{slice_key}", only_row=True, met=new))
    return bool(new)


def unnamed(takedowns: StoredTombstones, met: Mapping[str, str]) -> dict[str, str]:
    """Those that no takedown names, under the identity that their item has; sorted."""
    return {
        one: identity
        for one, identity in sorted(met.items())
        if one not in takedowns.ids and identity not in takedowns.met.get(one, ())
    }


def _path(root: DataRoot, source: str, slice_key: str) -> Path:
    name = blake3(f"{source}/{slice_key}".encode()).hexdigest()[:VERSION_HASH_LENGTH]
    return root.tombstones / _NAME / f"{name}.json"
