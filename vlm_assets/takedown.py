"""Takes samples down: on record first, then out of corpora, slices, old versions and caches.

Every step finds what is left to do by looking at the disk, so a takedown that was cut short is finished by giving
the same order again. Nothing here decides what later builds leave out: they read the takedowns on record.
"""

import logging
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from vlm_assets.errors import StoreError
from vlm_assets.ingest.summary import note_slice
from vlm_assets.installation import Installation
from vlm_assets.layout import MANIFEST, STAGING, VERSIONS, DataRoot, nfc
from vlm_assets.manifest import FileEntry, SliceManifest
from vlm_assets.schema import SAMPLE_SCHEMA
from vlm_assets.store.arrow_files import ArrowFile, replace_file
from vlm_assets.store.listings import read_listing
from vlm_assets.store.locks import hold_lock
from vlm_assets.store.slices import INDEX_FILE, RUN_FILE, data_file_names
from vlm_assets.store.tombstones import Tombstone, read_tombstones, write_tombstone
from vlm_assets.store.versions import commit_version, current_version, read_manifest
from vlm_assets.tombstones import Tombstones

logger = logging.getLogger("vlm_assets.takedown")

LIKE_BITS: Final = 4
_FLAT: Final = (5, 59)
_KEPT_IN_CACHE: Final = ("sha256.db", "sha256.db-wal", "sha256.db-shm")
_LOCK_WAIT_S: Final = 24 * 3600.0
_COLUMNS: Final = ("id", "origin", "image_sha256", "dhash")

Progress = Callable[[str], None]


class TakedownOrder(BaseModel):
    """What an operator asks for: exactly one of `url`, `sha256`, `id`, `like`.

    `like` is an image file: the image itself and its near duplicates, within `like_bits` of its dhash. By url, id
    and likeness every equal image in every source is covered too, unless `only_row`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: str | None = None
    sha256: str | None = Field(None, pattern=r"^[0-9a-f]{64}$")
    id: str | None = None
    like: Path | None = None
    like_bits: int = Field(LIKE_BITS, ge=0, le=16)
    only_row: bool = False
    reason: str = ""


class PinnedVersion(BaseModel):
    """A corpus version that holds the row and must not be deleted: the operator has to deal with it."""

    corpus: str
    version: str
    path: str


class CorpusRewrite(BaseModel):
    """One corpus from which rows were taken."""

    corpus: str
    target: str
    before: str
    after: str
    rows_removed: int
    holes: int
    shards_rewritten: tuple[str, ...]
    shards_kept: int


class Receipt(BaseModel):
    """What a takedown did, and what it could not. JSON-able; kept under `tombstones/receipts/`.

    `complete` is False where something `outstanding` is left; the command exits 1 then.
    """

    tombstone: str
    asked: str
    only_row: bool
    urls: tuple[str, ...]
    image_sha256: tuple[str, ...]
    ids: tuple[str, ...]
    corpora: tuple[CorpusRewrite, ...] = ()
    slices_emptied: tuple[str, ...] = ()
    versions_deleted: tuple[str, ...] = ()
    caches_cleaned: tuple[str, ...] = ()
    pinned: tuple[PinnedVersion, ...] = ()
    outstanding: tuple[str, ...] = ()
    """In words, everything that still holds the rows or could not be reached, pinned versions included."""
    remarks: tuple[str, ...] = ()

    @property
    def complete(self) -> bool:
        """Nothing is left to do."""
        return not self.outstanding

    @property
    def exit_code(self) -> Literal[0, 1]:
        """0 done, 1 something is outstanding."""
        return 0 if self.complete else 1


def take_down(
    installation: Installation,
    order: TakedownOrder,
    *,
    workers: int = 1,
    progress: Progress = lambda step: None,  # noqa: ARG005
) -> Receipt:
    """Puts the takedown on record, removes the rows everywhere on this machine, and tells what is left.

    The record comes first: from then on no fetch, plan or seal takes the rows in, whatever happens to the rest.

    Raises:
        StoreError: the order names no row there is (by id), or not exactly one thing; the image given cannot be read.
        CorpusError, LockHeldError: a corpus cannot be rewritten now; the order can be given again.
    """
    root = installation.root
    progress("looking for the rows")
    tombstone = _tombstone_of(root, order)
    name = write_tombstone(root, tombstone)
    work = _Takedown(installation, tombstone, workers, progress)
    work.run()
    receipt = work.receipt(name)
    folder = root.tombstones / "receipts"
    folder.mkdir(exist_ok=True)
    replace_file(folder / f"{name}.json", orjson.dumps(receipt.model_dump(), option=orjson.OPT_INDENT_2))
    logger.info(
        "takedown %s: %d rows, %s", name, len(tombstone.ids), "; ".join(receipt.outstanding) or "complete"
    )
    return receipt


def _tombstone_of(root: DataRoot, order: TakedownOrder) -> Tombstone:
    """The takedown with everything on disk that it covers, and what an earlier one of the same order covered."""
    given = [
        (key, value) for key in ("url", "sha256", "id", "like") if (value := getattr(order, key)) is not None
    ]
    if len(given) != 1:
        raise StoreError("a takedown names exactly one of --url, --sha256, --id, --like")
    key, value = given[0]
    picture = _picture(value) if key == "like" else None
    asked = f"like:{picture.sha256}" if picture is not None else f"{key}:{value}"
    ids, hashes, urls = _direct_hits(root, order, picture)
    if key == "id" and not ids:
        raise StoreError(
            f"no row has the id {value!r}; ids look like <source>/<slice>/<key>. See `vlm-assets show`"
        )
    if order.sha256:
        hashes.add(order.sha256)
    if picture is not None:
        hashes.add(picture.sha256)
    if order.url:
        urls.add(order.url)
    if not order.only_row:
        more_ids, more_urls = _rows_with(root, hashes)
        ids |= more_ids
        urls |= more_urls
    for earlier in _recorded(root):
        if earlier.asked == asked and earlier.only_row == order.only_row:
            ids |= set(earlier.ids)
            hashes |= set(earlier.image_sha256)
            urls |= set(earlier.urls)
    return Tombstone(
        asked=asked,
        only_row=order.only_row,
        reason=order.reason,
        urls=tuple(sorted(urls)),
        image_sha256=tuple(sorted(hashes)),
        ids=tuple(sorted(ids)),
    )


def _recorded(root: DataRoot) -> Iterator[Tombstone]:
    for path in sorted(root.tombstones.glob("*.json")):
        yield Tombstone.from_bytes(path.read_bytes())


@dataclass(frozen=True, slots=True)
class _Picture:
    sha256: str
    dhash: int


def _picture(path: Path) -> _Picture:
    from PIL import Image, UnidentifiedImageError

    from vlm_assets.images.dhash import dhash

    try:
        data = path.read_bytes()
        with Image.open(path) as image:
            if image.format == "JPEG":
                image.draft(None, (image.width // 8, image.height // 8))  # as the probe hashes them
            return _Picture(sha256(data).hexdigest(), dhash(image))
    except (OSError, UnidentifiedImageError) as error:
        raise StoreError(f"{path}: cannot be read as an image: {error}") from error


def _direct_hits(
    root: DataRoot, order: TakedownOrder, picture: _Picture | None
) -> tuple[set[str], set[str], set[str]]:
    """(ids, image hashes, URLs) of the rows that the order itself names."""
    ids: set[str] = set()
    hashes: set[str] = set()
    urls: set[str] = set()
    for table in _slice_tables(root):
        if order.url is not None:
            mask = pc.is_in(table.column("origin"), value_set=pa.array([order.url, nfc(order.url)]))
        elif order.id is not None:
            mask = pc.equal(table.column("id"), order.id)
        elif order.sha256 is not None:
            mask = pc.equal(table.column("image_sha256"), order.sha256)
        elif picture is not None:
            mask = pa.array(_near(table, picture, order.like_bits))
        else:
            continue
        found = table.filter(mask)
        ids.update(found.column("id").to_pylist())
        hashes.update(found.column("image_sha256").to_pylist())
        urls.update(_web(found.column("origin").to_pylist()))
    return ids, hashes, urls


def _near(table: pa.Table, picture: _Picture, bits: int) -> np.ndarray[Any, np.dtype[np.bool_]]:
    column = table.column("dhash").combine_chunks()
    valid = column.is_valid().to_numpy(zero_copy_only=False)
    values = column.fill_null(0).to_numpy(zero_copy_only=False).astype(np.uint64)
    ones = np.bitwise_count(values)
    near = np.bitwise_count(values ^ np.uint64(picture.dhash)) <= bits
    telling = (
        valid & (ones >= _FLAT[0]) & (ones <= _FLAT[1]) & (_FLAT[0] <= picture.dhash.bit_count() <= _FLAT[1])
    )
    same = (
        pc.equal(table.column("image_sha256"), picture.sha256).combine_chunks().to_numpy(zero_copy_only=False)
    )
    return np.asarray((near & telling) | same.astype(bool))


def _rows_with(root: DataRoot, hashes: set[str]) -> tuple[set[str], set[str]]:
    """(ids, URLs) of all rows with one of these images."""
    ids: set[str] = set()
    urls: set[str] = set()
    wanted = pa.array(sorted(hashes), pa.string())
    for table in _slice_tables(root):
        found = table.filter(pc.is_in(table.column("image_sha256"), value_set=wanted))
        ids.update(found.column("id").to_pylist())
        urls.update(_web(found.column("origin").to_pylist()))
    return ids, urls


def _web(origins: list[str]) -> list[str]:
    return [origin for origin in origins if origin.startswith(("http://", "https://"))]


def _versions(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob(f"{VERSIONS}/*") if (path / MANIFEST).is_file())


def _sources(root: DataRoot) -> list[Path]:
    folder = root.path / "datasets"
    return sorted(path for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []


def _slice_tables(root: DataRoot) -> Iterator[pa.Table]:
    """Index columns of every version of every slice, of sources that the catalogue no longer has too."""
    for source in _sources(root):
        for version in _versions(source):
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


@dataclass(slots=True)
class _Takedown:
    """One takedown under way."""

    installation: Installation
    tombstone: Tombstone
    workers: int
    progress: Progress
    corpora: list[CorpusRewrite] = field(default_factory=list)
    emptied: list[str] = field(default_factory=list)
    deleted: list[str] = field(default_factory=list)
    caches: list[str] = field(default_factory=list)
    pinned: list[PinnedVersion] = field(default_factory=list)
    outstanding: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)

    @property
    def root(self) -> DataRoot:
        return self.installation.root

    @property
    def ids(self) -> frozenset[str]:
        return frozenset(self.tombstone.ids)

    @property
    def hashes(self) -> frozenset[str]:
        return frozenset() if self.tombstone.only_row else frozenset(self.tombstone.image_sha256)

    def run(self) -> None:
        """Corpora before slices: a corpus is rewritten from the slice versions that its plan names."""
        self._rewrite_corpora()
        self.progress("emptying slices")
        for name, source in empty_slices(self.installation, self.hashes, self.ids):
            self.emptied.append(name)
            self._clean_cache(source)
        self._delete_old_slices()
        self._delete_old_corpora()
        if self.installation.settings.remote:
            self.outstanding.append(
                f"remote {self.installation.settings.remote}: run `vlm-assets backup`, which pushes the takedown and "
                "removes old versions that hold the rows"
            )
        self.remarks.append(
            "Exports made earlier (`vlm-assets export`) and originals in folders of clients are outside this data "
            "root: remove the rows there too."
        )

    def _rewrite_corpora(self) -> None:
        from vlm_assets.corpus.build import build_corpus
        from vlm_assets.corpus.manifest import CorpusManifest

        stored = read_tombstones(self.root)
        tombstones = Tombstones(stored.image_sha256, stored.ids, stored.names)
        for link in self._corpus_links():
            version = current_version(link)
            if version is None or not self._holds(version):
                continue
            corpus, target = link.parent.name, link.name
            self.progress(f"rewriting corpus {corpus}/{target}")
            before = read_manifest(version, CorpusManifest)
            plan_dir = self.root.allocation(corpus, target).parent / VERSIONS / before.allocation_version
            if not (plan_dir / MANIFEST).is_file():
                self.outstanding.append(
                    f"corpus {corpus}/{target}: its plan {before.allocation_version} is gone; build the target again"
                )
                continue
            after = build_corpus(
                plan_dir, self.root, tombstones, workers=self.workers,
                keep_versions=self.installation.catalog.corpus.keep_versions, lock_wait_s=_LOCK_WAIT_S,
            )  # fmt: skip
            kept = {bits for bits, shard in after.shards.items() if before.shards.get(bits) == shard}
            self.corpora.append(
                CorpusRewrite(
                    corpus=corpus,
                    target=target,
                    before=version.name,
                    after=after.version,
                    rows_removed=before.rows - after.rows,
                    holes=after.holes,
                    shards_rewritten=tuple(f"r{bits}" for bits in sorted(set(after.shards) - kept)),
                    shards_kept=len(kept),
                )
            )
            self._write_card(corpus, target)

    def _write_card(self, corpus: str, target: str) -> None:
        declared = self.installation.catalog.corpus
        if corpus != declared.name or target not in declared.targets:
            self.remarks.append(f"corpus {corpus}/{target} is not in the catalogue: it has no card now")
            return
        from vlm_assets.corpus.card import write_card

        write_card(self.installation, target)

    def _corpus_links(self) -> list[Path]:
        folder = self.root.path / "corpora"
        if not folder.is_dir():
            return []
        return sorted(
            link
            for corpus in folder.iterdir()
            if corpus.is_dir()
            for link in corpus.iterdir()
            if link.is_symlink()
        )

    def _holds(self, version: Path) -> bool:
        """Whether a corpus version has a covered row; what cannot be read is taken to have one."""
        try:
            return any(
                len(covered_rows(path, self.ids, self.hashes))
                for path in sorted(version.glob("index-r*.arrow"))
            )
        except StoreError as error:
            self.remarks.append(f"{error}; taken to hold the rows")
            return True

    def _delete_old_corpora(self) -> None:
        self.progress("deleting old corpus versions")
        folder = self.root.path / "corpora"
        for corpus in sorted(path for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []:
            pins = corpus / ".pins"
            pinned = {path.name for path in pins.iterdir()} if pins.is_dir() else set()
            current = {v for link in corpus.iterdir() if link.is_symlink() and (v := current_version(link))}
            for version in _versions(corpus):
                if not self._holds(version):
                    continue
                if version.name in pinned:
                    self.pinned.append(
                        PinnedVersion(corpus=corpus.name, version=version.name, path=str(version))
                    )
                    self.outstanding.append(
                        f"pinned corpus version {version}: still holds the rows. Stop its readers, unpin it "
                        "(vlm-assets unpin), and give this takedown again"
                    )
                elif version in current:
                    self.outstanding.append(f"corpus version {version} is in force and still holds the rows")
                else:
                    remove_version(version)
                    self.deleted.append(f"corpora/{corpus.name}/{version.name}")
            self._clear_staging(corpus)

    def _clear_staging(self, corpus: Path) -> None:
        """A build that did not end may have written the rows; the next one plans anew without them."""
        for staging in sorted((corpus / STAGING).glob("*")):
            target = staging.name.rsplit("-", 2)[0]
            lock = self.root.locks / f"corpus__{corpus.name}__{target}"
            with hold_lock(lock, "clearing after a takedown", wait_s=_LOCK_WAIT_S):
                shutil.rmtree(staging, ignore_errors=True)

    def _delete_old_slices(self) -> None:
        self.progress("deleting old slice versions")
        for source in _sources(self.root):
            current = {v for link in source.iterdir() if link.is_symlink() and (v := current_version(link))}
            for version in _versions(source):
                if version in current or not len(covered_rows(version / INDEX_FILE, self.ids, self.hashes)):
                    continue
                manifest = read_manifest(version, SliceManifest)
                remove_version(version)
                self.deleted.append(f"datasets/{source.name}/{manifest.slice}/{version.name}")

    def _clean_cache(self, source: str) -> None:
        folder = self.root.cache_of(source)
        if source in self.caches or not folder.is_dir():
            return
        for path in folder.iterdir():
            if path.name in _KEPT_IN_CACHE:
                continue
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
        self.caches.append(source)

    def receipt(self, name: str) -> Receipt:
        """What was done."""
        return Receipt(
            tombstone=name,
            asked=self.tombstone.asked,
            only_row=self.tombstone.only_row,
            urls=self.tombstone.urls,
            image_sha256=self.tombstone.image_sha256,
            ids=self.tombstone.ids,
            corpora=tuple(self.corpora),
            slices_emptied=tuple(self.emptied),
            versions_deleted=tuple(self.deleted),
            caches_cleaned=tuple(self.caches),
            pinned=tuple(self.pinned),
            outstanding=tuple(self.outstanding),
            remarks=tuple(self.remarks),
        )


def remove_version(path: Path) -> None:
    """Deletes a version; its manifest goes first, so that what is left of a cut deletion was never committed."""
    (path / MANIFEST).unlink()
    shutil.rmtree(path)


def empty_slices(
    installation: Installation, hashes: frozenset[str], ids: frozenset[str] = frozenset()
) -> list[tuple[str, str]]:
    """Empties covered rows in the current version of every slice; returns (source/slice, source) of those changed.

    `image` becomes a null struct, `text` and `extra` null; everything else stays, index and content hash included.
    """
    changed = []
    root = installation.root
    for source in _sources(root):
        for link in sorted(path for path in source.iterdir() if path.is_symlink()):
            lock = root.locks / f"slice.{source.name}.{link.name}"
            with hold_lock(lock, f"takedown in {source.name}/{link.name}", wait_s=_LOCK_WAIT_S):
                version = current_version(link)
                if version is None:
                    continue
                rows = covered_rows(version / INDEX_FILE, ids, hashes)
                if len(rows) and _empty_slice(root, link, version, set(rows.tolist())):
                    changed.append((f"{source.name}/{link.name}", source.name))
    return changed


def _empty_slice(root: DataRoot, link: Path, version: Path, rows: set[int]) -> bool:
    """Commits the slice with these rows emptied; False where they are already. The caller holds the slice's lock."""
    manifest = read_manifest(version, SliceManifest)
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
        if files == manifest.files:
            return False
        for path in version.iterdir():
            if path.name != MANIFEST and path.suffix != ".tmp" and not (staging / path.name).exists():
                os.link(path, staging / path.name)
        data_bytes = sum(files[name].size_bytes for name in data_file_names(files))
        new = manifest.model_copy(update={"files": files, "data_bytes": data_bytes})
        committed = commit_version(staging, link, new)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    _mark_run(committed)
    listing = read_listing(root, manifest.source)
    if listing is not None:
        note_slice(root, new, committed.name, listing)
    return True


def _mark_run(version: Path) -> None:
    """The run that fetched the rows stays on record; only a note is added."""
    try:
        run = orjson.loads((version / RUN_FILE).read_bytes())
        run.setdefault("details", {})["emptied_by_takedown"] = True
        replace_file(version / RUN_FILE, orjson.dumps(run, option=orjson.OPT_INDENT_2))
    except (FileNotFoundError, orjson.JSONDecodeError, ValidationError):
        return


def _empty_file(source: Path, target: Path, rows: set[int], first: int) -> tuple[FileEntry | None, int]:
    """Writes a data file with rows emptied; (None, …) where none of it is. Returns the next file's first row too."""
    changes = False
    with (
        pa.memory_map(str(source)) as mapped,
        pa.ipc.open_stream(mapped) as reader,
        ArrowFile(target, SAMPLE_SCHEMA) as file,
    ):
        for batch in reader:
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
        for column in (batch.column(name) for name in ("image", "text", "extra"))
    )


def _emptied(batch: pa.RecordBatch, gone: np.ndarray[Any, np.dtype[np.bool_]]) -> pa.RecordBatch:
    # `take` copies what stays; `if_else` and masks would leave the bytes behind in the buffer of a null.
    places = pa.array(np.arange(batch.num_rows), mask=gone)
    columns = []
    for name in batch.schema.names:
        column = batch.column(name)
        if name == "image":
            missing = pc.or_(pa.array(gone), column.is_null())
            column = pa.StructArray.from_arrays(
                [column.field(0).take(places), column.field(1)], fields=list(column.type), mask=missing
            )
        elif name in ("text", "extra"):
            column = column.take(places)
        columns.append(column)
    return pa.RecordBatch.from_arrays(columns, schema=SAMPLE_SCHEMA)
