"""`vlm-assets lock`: writes down what corpora were made from; and whether what stands there still is so."""

from bisect import bisect_right
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from importlib.metadata import version as version_of
from itertools import accumulate
from pathlib import Path
from typing import Final

import pyarrow as pa
from pydantic import BaseModel

from vlm_assets.allocation.inputs import inputs_hash
from vlm_assets.allocation.step import complete_supply, tombstones_in_force
from vlm_assets.allocation.supply import SliceValues, SupplySlice
from vlm_assets.catalog.spec import SourceSpec
from vlm_assets.corpus.manifest import CorpusManifest
from vlm_assets.ingest.listing import config_fingerprint
from vlm_assets.ingest.locked import is_as_locked
from vlm_assets.ingest.summary import summarise_source
from vlm_assets.installation.opening import Installation
from vlm_assets.sources.registry import source_of
from vlm_assets.store.arrow_files import replace_file
from vlm_assets.store.corpus_lock import (
    LOCK_FILE,
    CorpusLock,
    LockedSlice,
    LockedSource,
    LockedTarget,
    LockItemsWriter,
    items_path,
    keep_lock,
    read_lock,
)
from vlm_assets.store.listings import read_listing
from vlm_assets.store.slices import INDEX_FILE, ItemEntry, file_hash, read_items_ledger, read_rejects
from vlm_assets.store.sound_files import IndexFile
from vlm_assets.store.taken_down import covered_rows
from vlm_assets.store.tombstones import StoredTombstones, read_tombstones
from vlm_assets.store.versions import current_version, read_manifest
from vlm_assets.words.counts import so_many
from vlm_assets.words.errors import StoreError
from vlm_assets.words.manifest import SCHEMA_VERSION, FileEntry, SliceManifest
from vlm_assets.words.tombstones import Tombstones

_DECIDING: Final = ("pillow", "pillow-heif", "pikepdf", "pypdfium2")

Progress = Callable[[str, int, int], None]
"""Is told what comes next, how much is over, how much there is."""


class LockReport(BaseModel):
    """What was locked, or how a lock differs from what is here: a line each."""

    path: str
    name: str
    targets: dict[str, str]
    """Root hash by target."""
    slices: int
    items_file: str
    items_bytes: int
    differences: list[str] = []

    @property
    def exit_code(self) -> int:
        """0: nothing differs."""
        return 1 if self.differences else 0


def lock_file_of(installation: Installation) -> Path:
    """Where the catalogue's lock lies."""
    return installation.catalog_dir / LOCK_FILE


def no_progress(name: str, done: int, total: int) -> None:
    """Tells nobody."""
    del name, done, total


def write_lock(
    installation: Installation, targets: Sequence[str] = (), progress: Progress = no_progress
) -> LockReport:
    """Writes `corpus.lock` and its items file beside the catalogue, and keeps both in the data root.

    `targets`: all that are sealed if none is named. Written over only where they differ. `progress` is told of each
    slice.

    Raises:
        StoreError: slices are not as they are listed, or corpora not as the catalogue and the slices say; names them.
    """
    lock_file = lock_file_of(installation)
    supply = complete_supply(installation).everything
    sealed, faults = _targets(installation, targets, supply)
    values = {(one.source, one.slice): {v.annotation: v.values_hash for v in one.values} for one in supply}
    sources: dict[str, LockedSource] = {}
    for spec in installation.catalog.fetched:
        if spec.enabled:
            sources[spec.name], more = _source(installation, spec, values)
            faults += more
    if faults:
        told = "\n  ".join(faults)
        raise StoreError(
            f"{LOCK_FILE} would not tell how to make this corpus again; run vlm-assets build:\n  {told}"
        )
    temporary = items_path(lock_file).with_suffix(".tmp")
    temporary.unlink(missing_ok=True)
    takedowns = read_tombstones(installation.root)
    entry = _write_items(installation, temporary, sources, takedowns, progress)
    temporary.replace(items_path(lock_file))
    lock = CorpusLock(
        corpus=installation.catalog.corpus.name, product=version_of("vlm-assets"), pyarrow=pa.__version__,
        packages=_packages(), rows_schema=SCHEMA_VERSION, sources=sources, targets=sealed, takedowns=takedowns.names,
        items_file=entry,
    )  # fmt: skip
    replace_file(lock_file, lock.to_bytes())
    keep_lock(installation.root, lock_file)
    return _report(lock_file, lock)


def _report(lock_file: Path, lock: CorpusLock) -> LockReport:
    return LockReport(
        path=str(lock_file), name=lock.version, slices=len(lock.slices),
        targets={name: one.root_hash for name, one in lock.targets.items()},
        items_file=str(items_path(lock_file)), items_bytes=lock.items_file.size_bytes,
    )  # fmt: skip


def _targets(
    installation: Installation, names: Sequence[str], supply: Sequence[SupplySlice]
) -> tuple[dict[str, LockedTarget], list[str]]:
    """The sealed corpora, and in words which of them were made from something else than what is there."""
    corpus, base = installation.catalog.corpus, installation.catalog_dir
    takedowns = tombstones_in_force(installation.root)
    found: dict[str, LockedTarget] = {}
    faults: list[str] = []
    for name in names or corpus.targets:
        manifest = sealed_corpus(installation, name)
        if manifest is None:
            faults += [f"target {name}: not built"] if names else []
            continue
        if manifest.inputs_hash != inputs_hash(installation.catalog, name, supply, takedowns, base_dir=base):
            faults.append(
                f"target {name}: built from other slices, takedowns or another catalogue than there are now"
            )
        found[name] = LockedTarget(
            rows=manifest.rows, inputs_hash=manifest.inputs_hash, root_hash=manifest.root_hash,
            rows_hash=manifest.rows_hash,
        )  # fmt: skip
    return found, faults if found or faults else ["no target is built"]


def sealed_corpus(installation: Installation, target: str) -> CorpusManifest | None:
    """Manifest of a target's corpus; None where it is not built."""
    version = current_version(installation.root.corpus(installation.catalog.corpus.name, target))
    return None if version is None else read_manifest(version, CorpusManifest)


def _source(
    installation: Installation, spec: SourceSpec, values: Mapping[tuple[str, str], dict[str, str]]
) -> tuple[LockedSource, list[str]]:
    """A source as it is listed and committed, and in words where these differ.

    Raises:
        StoreError: it was never listed.
    """
    listing = read_listing(installation.root, spec.name)
    if listing is None:
        raise StoreError(f"source {spec.name}: never listed; a lock needs its revision. Run vlm-assets build")
    committed = summarise_source(installation.root, spec.name).slices
    faults: list[str] = []
    slices: dict[str, LockedSlice] = {}
    for key, listed in listing.slices.items():
        one = committed.get(key)
        if one is None or one.listing_fingerprint != listed.fingerprint:
            faults.append(
                f"{spec.name}/{key}: {'never committed' if one is None else 'listed anew, not fetched since'}"
            )
            continue
        slices[key] = LockedSlice(
            fingerprint=listed.fingerprint, content_hash=one.content_hash, items=one.items, container=one.container,
            items_per_slice=one.items_per_slice, renderer=one.renderer,
            values=values.get((spec.name, key), {}),
        )  # fmt: skip
    return _locked_source(installation, spec, listing.revision, listing.buckets, slices), faults


def _locked_source(
    installation: Installation,
    spec: SourceSpec,
    revision: str,
    buckets: Mapping[str, int],
    slices: dict[str, LockedSlice],
) -> LockedSource:
    version = source_of(spec.kind).version
    return LockedSource(
        kind=spec.kind, kind_version=version, revision=revision, buckets=dict(buckets), slices=slices,
        config_fingerprint=config_fingerprint(installation, spec, version),
    )  # fmt: skip


def _write_items(
    installation: Installation,
    path: Path,
    sources: Mapping[str, LockedSource],
    takedowns: StoredTombstones,
    progress: Progress,
) -> FileEntry:
    every = [
        (name, key, locked)
        for name, source in sorted(sources.items())
        for key, locked in sorted(source.slices.items())
    ]
    with LockItemsWriter(path) as writer:
        for number, (name, key, locked) in enumerate(every):
            progress(f"{name}/{key}", number, len(every))
            version = current_version(installation.root.slice(name, key))
            if not locked.items:
                continue
            if version is None or read_manifest(version, SliceManifest).content_hash != locked.content_hash:
                raise StoreError(
                    f"{name}/{key}: changed while it was locked; run it again when no build runs"
                )
            index = IndexFile(version / INDEX_FILE).read_all()
            ledger = read_items_ledger(version)
            down = _taken_down(version, index, ledger, takedowns)
            writer.add(name, key, ledger, read_rejects(version), index, down)
    if writer.entry is None:
        raise StoreError(f"{path}: not finished")
    return writer.entry


def _taken_down(
    version: Path, index: pa.Table, ledger: Sequence[ItemEntry], takedowns: StoredTombstones
) -> dict[str, list[int]]:
    """Record numbers of rows that a takedown covers, by item."""
    if not takedowns.names:
        return {}
    covered = covered_rows(version / INDEX_FILE, takedowns.ids, takedowns.image_sha256)
    records = index.column("record").take(covered).to_pylist()
    starts = list(accumulate((entry.rows for entry in ledger), initial=0))
    found: dict[str, list[int]] = {}
    for row, record in zip(covered.tolist(), records, strict=True):
        found.setdefault(ledger[bisect_right(starts, row) - 1].key, []).append(record)
    return found


def check_lock(installation: Installation, progress: Progress = no_progress) -> LockReport:
    """How the catalogue's lock differs from the catalogue, from this program, and from what is built here.

    Needs no data: a target's inputs are hashed from the catalogue and the locked slices alone. What the data root
    does not have is not compared.

    Raises:
        StoreError: there is no lock, or it cannot be read.
    """
    lock_file = lock_file_of(installation)
    lock = read_lock(lock_file)
    report = _report(lock_file, lock)
    report.differences = [
        *program_differences(lock),
        *catalog_differences(installation, lock),
        *_built_differences(installation, lock, progress),
        *_items_differences(lock_file, lock),
    ]
    return report


def program_differences(lock: CorpusLock) -> Iterator[str]:
    """What decides bytes and is another version here."""
    here = {
        "vlm-assets": version_of("vlm-assets"),
        "pyarrow": pa.__version__,
        "schema of rows": str(SCHEMA_VERSION),
        **_packages(),
    }
    locked = {
        "vlm-assets": lock.product,
        "pyarrow": lock.pyarrow,
        "schema of rows": str(lock.rows_schema),
        **lock.packages,
    }
    for name, found in here.items():
        if found != locked.get(name, found):
            yield f"{name}: locked with {locked[name]}, here is {found}"


def _packages() -> dict[str, str]:
    """Packages whose versions decide hashes, facts and pages, beside pyarrow."""
    return {name: version_of(name) for name in _DECIDING}


def catalog_differences(installation: Installation, lock: CorpusLock) -> Iterator[str]:
    """Sources, keys that change bytes, and all that a target's inputs hash is over."""
    enabled = {spec.name: spec for spec in installation.catalog.fetched if spec.enabled}
    for name in sorted(enabled.keys() ^ lock.sources.keys()):
        yield unmatched_source(installation, name, locked=name in lock.sources)
    for name in sorted(enabled.keys() & lock.sources.keys()):
        locked = lock.sources[name]
        now = _locked_source(installation, enabled[name], locked.revision, locked.buckets, locked.slices)
        if now != locked:
            yield f"source {name}: its kind, or keys and limits that change bytes, are others than when it was locked"
    if enabled.keys() != lock.sources.keys():
        return
    supply, takedowns = _supply(lock), Tombstones(hashes=lock.takedowns)
    for name, target in lock.targets.items():
        if name not in installation.catalog.corpus.targets:
            yield f"target {name}: locked, not in the catalogue"
        elif target.inputs_hash != inputs_hash(
            installation.catalog, name, supply, takedowns, base_dir=installation.catalog_dir
        ):
            yield (
                f"target {name}: rows, quotas, policies, lists or labels are others than when it was locked, or the "
                "lock's slices are"
            )


def unmatched_source(installation: Installation, name: str, *, locked: bool) -> str:
    """What to say of a source that is in the lock alone, or in what the catalogue enables."""
    if not locked:
        return f"source {name}: in the catalogue, not locked"
    known = any(spec.name == name for spec in installation.catalog.fetched)
    return f"source {name}: locked, {'not enabled' if known else 'not in the catalogue'}"


def _supply(lock: CorpusLock) -> list[SupplySlice]:
    """The locked slices as an inputs hash takes them."""
    return [
        SupplySlice(
            source=source, slice=key, version="", content_hash=one.content_hash, rows=0, container=one.container,
            items_per_slice=one.items_per_slice, path=Path(),
            values=tuple(SliceValues(name, told, Path()) for name, told in sorted(one.values.items())),
        )
        for source, key in lock.slices
        for one in (lock.sources[source].slices[key],)
    ]  # fmt: skip


def _built_differences(installation: Installation, lock: CorpusLock, progress: Progress) -> Iterator[str]:
    """What is committed or sealed in the data root and is not as locked."""
    for number, (name, source) in enumerate(lock.sources.items()):
        progress(name, number, len(lock.sources))
        committed = summarise_source(installation.root, name).slices
        for key, locked in source.slices.items():
            if key in committed and not is_as_locked(committed[key], locked):
                yield f"{name}/{key}: the slice here has other rows"
    for name, target in lock.targets.items():
        manifest = sealed_corpus(installation, name)
        if manifest is not None and manifest.root_hash != target.root_hash:
            yield f"target {name}: root hash {manifest.root_hash} here, locked is {target.root_hash}"


def _items_differences(lock_file: Path, lock: CorpusLock) -> Iterator[str]:
    path = items_path(lock_file)
    if path.is_file() and file_hash(path) != lock.items_file.blake3:
        yield f"{path.name}: not the items file of this lock"


def unlocked_slices(installation: Installation, lock: CorpusLock, sources: Collection[str]) -> list[str]:
    """Slices of these sources that are not committed as the lock says, in words."""
    faults: list[str] = []
    for name, source in ((one, lock.sources[one]) for one in lock.sources if one in sources):
        committed = summarise_source(installation.root, name).slices
        listing = read_listing(installation.root, name)
        for key, locked in source.slices.items():
            if listing is None or key not in listing.slices:
                faults.append(f"{name}/{key}: not listed any more, with its {so_many(locked.items, 'item')}")
            elif key not in committed or not is_as_locked(committed[key], locked):
                faults.append(f"{name}/{key}: not committed as locked")
    return faults
