"""From a row of a corpus back to where it came from. Reads only; looks at the disk, never at upstream."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, ValidationError

from vlm_assets.ingest.slice import read_run
from vlm_assets.installation.opening import Installation
from vlm_assets.operate.on_record import on_record
from vlm_assets.store.away import readable
from vlm_assets.store.listings import read_items, read_listing
from vlm_assets.store.renames import read_renames, under_new_names
from vlm_assets.store.slices import INDEX_FILE, data_file_names, read_items_ledger
from vlm_assets.store.tombstones import Tombstone, read_tombstones
from vlm_assets.store.versions import current_version
from vlm_assets.words.errors import StoreError
from vlm_assets.words.layout import MANIFEST, VERSIONS, DataRoot, key_hash
from vlm_assets.words.manifest import SliceManifest
from vlm_assets.words.nearest import did_you_mean, nearest
from vlm_assets.words.schema import COLUMN_NAMES

_HEX: Final = 64
_HEXADECIMAL: Final = re.compile("[0-9a-fA-F]+")
_COMPARED: Final = 20_000
"""Rows that are compared with an id that is not there; a second of work."""


class Fetch(BaseModel):
    """The run that fetched the row, as far as versions on disk tell."""

    run_id: str
    host: str
    started_at: str
    slice_version: str
    taken_over: bool
    """The version named is the earliest on disk with the row; its run took rows over from an earlier one still."""


class Presence(BaseModel):
    """Where the row stands in a corpus."""

    corpus: str
    target: str
    version: str
    file: str
    row: int


class RowLineage(BaseModel):
    """Everything known about one row, JSON-able. `row` holds its columns but the image; hashes in hex."""

    id: str
    row: dict[str, Any]
    source: str
    kind: str
    slice: str
    slice_version: str
    slice_row: int
    item: str
    """Key of the item at listing: a URL, a file, an archive, a document."""
    item_identity: str
    """What upstream told about its content then."""
    record: int
    """Number of the record in the item, rejected ones counted."""
    origin: str
    """URL, archive member, or `file.pdf#page=3`."""
    revision: str
    licence: str
    image_sha256: str | None
    """Of a single image; None where the record has several: see `row["image_facts"]`."""
    fetched_by: Fetch | None
    corpora: tuple[Presence, ...]
    tombstones: tuple[str, ...]
    """Takedowns that cover it."""


def show_row(installation: Installation, sample_id: str) -> list[RowLineage]:
    """The lineage of the row with this id, or of every row whose image has this sha256 (64 hex digits).

    Rows of slices that are in force, then of older versions where the row is in no current one; by an id from before
    a rename of its source too.

    Raises:
        StoreError: no such row; tells why where a reject or something left out has this key or name, else the
            source's slices where the id names a source.
    """
    root = installation.root
    by_hash = len(sample_id) == _HEX and "/" not in sample_id
    sample_id = sample_id.lower() if by_hash else sample_id
    now = [] if by_hash else sorted(under_new_names({sample_id}, read_renames(root)))
    for wanted in (*now, sample_id):
        if found := [_lineage(root, version, row) for version, row in _find(root, wanted, by_hash=by_hash)]:
            return found
    if not by_hash and (known := on_record(installation, sample_id)):
        raise StoreError("\n  ".join([f"no row {sample_id!r}, and on record is why:", *known]))
    raise StoreError(_not_found(root, sample_id))


def _find(root: DataRoot, wanted: str, *, by_hash: bool) -> Iterator[tuple[Path, int]]:
    """(version, row) of each match: in current versions; failing these, in the others."""
    column = "image_facts" if by_hash else "id"
    folder = root.path / "datasets"
    named = wanted.split("/", 1)[0]
    sources = (
        [p for p in sorted(folder.iterdir()) if p.is_dir() and (by_hash or p.name == named)]
        if folder.is_dir()
        else []
    )
    current = [
        version
        for source in sources
        for link in sorted(source.iterdir())
        if link.is_symlink() and (version := current_version(link))
    ]
    others = [
        version
        for source in sources
        for version in sorted(source.glob(f"{VERSIONS}/*"))
        if version not in current and (version / MANIFEST).is_file()
    ]
    for group in (current, others):
        hits = [
            (version, row) for version in group for row in _rows_where(version / INDEX_FILE, column, wanted)
        ]
        yield from hits
        if hits:
            return


def _rows_where(path: Path, column: str, wanted: str) -> list[int]:
    try:
        return _matching(_index(path).column(column), wanted)
    except (OSError, pa.ArrowInvalid, KeyError) as error:
        raise StoreError(f"{path}: {error}; run `vlm-assets verify`") from error


def _index(path: Path) -> pa.Table:
    with pa.memory_map(str(path)) as mapped:
        return pa.ipc.open_file(mapped).read_all()


def _matching(values: pa.ChunkedArray, wanted: str) -> list[int]:
    """Rows with this id, or, of `image_facts`, with an image of this sha256."""
    if not pa.types.is_list(values.type):
        return list(pc.indices_nonzero(pc.equal(values, wanted)).to_pylist())
    facts = values.combine_chunks()
    shown = pc.equal(facts.flatten().field("sha256"), wanted)
    return sorted(set(pc.list_parent_indices(facts).filter(shown).to_pylist()))


def _only_hash(values: dict[str, Any]) -> str | None:
    facts = values["image_facts"]
    return str(facts[0]["sha256"]) if len(facts) == 1 else None


def _not_found(root: DataRoot, sample_id: str) -> str:
    """What is not there, with what is: the nearest source, slice or row, or how many digits a hash has."""
    if "/" not in sample_id:
        digits = len(sample_id) if _HEXADECIMAL.fullmatch(sample_id) else 0
        told = f"; a sha256 has {_HEX} hex digits, this has {digits}" if digits not in (0, _HEX) else ""
        wanted = "give an id <source>/<slice>/<key>, or an image's sha256"
        return f"no row {sample_id!r} under {root.path}{told}; {wanted}"
    source, name, key = (*sample_id.split("/", 2), "")[:3]
    sources = sorted(p.name for p in (root.path / "datasets").glob("*") if p.is_dir())
    if source not in sources:
        return f"no row {sample_id!r}: no source {source!r}; {did_you_mean(source, sources)}"
    slices = sorted(p.name for p in root.source(source).iterdir() if p.is_symlink())
    if name not in slices:
        return f"no row {sample_id!r}: source {source} has no slice {name!r}; {did_you_mean(name, slices)}"
    near = _nearest_row(root.slice(source, name), key)
    told = f"did you mean {near}?" if near else "ids are <source>/<slice>/<key>"
    return f"no row {sample_id!r} in slice {source}/{name}; {told}"


def _nearest_row(link: Path, key: str) -> str | None:
    """Of the slice's first rows, the id whose key is most like this one."""
    version = current_version(link)
    if version is None:
        return None
    ids = _index(version / INDEX_FILE).column("id").slice(0, _COMPARED).to_pylist()
    by_key = {one.split("/", 2)[2]: one for one in ids}
    near = nearest(key, by_key)
    return by_key[near] if near else None


def _lineage(root: DataRoot, version: Path, row: int) -> RowLineage:
    try:
        manifest = SliceManifest.from_bytes((version / MANIFEST).read_bytes())
    except (OSError, ValidationError) as error:
        raise StoreError(f"{version / MANIFEST}: {error}; run `vlm-assets verify`") from error
    values = _values(version, manifest, row)
    with pa.memory_map(str(version / INDEX_FILE)) as mapped:
        own = (
            pa.ipc.open_file(mapped)
            .read_all()
            .select(["item_hash", "record", "digest"])
            .slice(row, 1)
            .to_pylist()[0]
        )
    item, identity = _item(root, manifest, version, own["item_hash"])
    return RowLineage(
        id=values["id"],
        row=values,
        source=manifest.source,
        kind=manifest.kind,
        slice=manifest.slice,
        slice_version=version.name,
        slice_row=row,
        item=item,
        item_identity=identity,
        record=own["record"],
        origin=values["origin"],
        revision=manifest.revision,
        licence=values["licence"],
        image_sha256=_only_hash(values),
        fetched_by=_fetch(version, manifest, own["digest"]),
        corpora=tuple(_presences(root, values["id"])),
        tombstones=tuple(_tombstones(root, values)),
    )


def _values(version: Path, manifest: SliceManifest, row: int) -> dict[str, Any]:
    """Columns of a row but the images."""
    columns = [name for name in COLUMN_NAMES if name != "images"]
    first = 0
    for name in data_file_names(manifest.files):
        with (
            readable(version / name) as here,
            pa.memory_map(str(here)) as mapped,
            pa.ipc.open_stream(mapped) as reader,
        ):
            for batch in reader:
                if first <= row < first + batch.num_rows:
                    found: dict[str, Any] = batch.select(columns).slice(row - first, 1).to_pylist()[0]
                    return found
                first += batch.num_rows
    raise StoreError(f"{version}: row {row} of the index is not in the data files; run `vlm-assets verify`")


def _item(root: DataRoot, manifest: SliceManifest, version: Path, item_hash: int) -> tuple[str, str]:
    """(key, identity) of the item, from the ledger; where that is gone, from the listing."""
    try:
        entries = [(entry.key, entry.identity) for entry in read_items_ledger(version)]
    except (OSError, pa.ArrowInvalid):
        listing = read_listing(root, manifest.source)
        listed = (
            read_items(root, listing, manifest.slice) if listing and manifest.slice in listing.slices else []
        )
        entries = [(item.key, item.identity) for item in listed]
    return next(((key, identity) for key, identity in entries if key_hash(key) == item_hash), ("", ""))


def _fetch(version: Path, manifest: SliceManifest, digest: bytes) -> Fetch | None:
    """The earliest version on disk of this slice that has the row: its run fetched it, or took it over."""
    holders = []
    for other in sorted(version.parent.iterdir()):
        run = read_run(other)
        if run is None:
            continue
        try:
            one = SliceManifest.from_bytes((other / MANIFEST).read_bytes())
        except (OSError, ValidationError):
            continue
        if one.slice == manifest.slice and (other == version or _has_digest(other / INDEX_FILE, digest)):
            holders.append((run.started_at, other.name, run))
    if not holders:
        return None
    started, name, run = min(holders, key=lambda one: (one[0], one[1]))
    return Fetch(
        run_id=run.run_id,
        host=run.host,
        started_at=started.isoformat(timespec="seconds"),
        slice_version=name,
        taken_over=run.taken_over > 0,
    )


def _has_digest(path: Path, digest: bytes) -> bool:
    try:
        with pa.memory_map(str(path)) as mapped:
            column = pa.ipc.open_file(mapped).read_all().column("digest")
            return bool(pc.any(pc.equal(column, pa.scalar(digest, pa.binary(32)))).as_py())
    except (OSError, pa.ArrowInvalid):
        return False


def _presences(root: DataRoot, sample_id: str) -> Iterator[Presence]:
    """Every current corpus with the row."""
    folder = root.path / "corpora"
    for corpus in sorted(p for p in folder.iterdir() if p.is_dir()) if folder.is_dir() else []:
        for link in sorted(p for p in corpus.iterdir() if p.is_symlink()):
            version = current_version(link)
            if version is None:
                continue
            for path in sorted(version.glob("index-r*.arrow")):
                for row in _rows_where(path, "id", sample_id):
                    yield Presence(
                        corpus=corpus.name,
                        target=link.name,
                        version=version.name,
                        file=path.name.replace("index-", "data-", 1),
                        row=row,
                    )


def _tombstones(root: DataRoot, values: dict[str, Any]) -> list[str]:
    found = []
    for name in read_tombstones(root).names:
        one = Tombstone.from_bytes((root.tombstones / f"{name}.json").read_bytes())
        shown = {fact["sha256"] for fact in values["image_facts"]}
        if values["id"] in one.ids or (not one.only_row and shown & set(one.image_sha256)):
            found.append(name)
    return found
