"""One takedown from record to receipt."""

import logging
import shutil
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import orjson

from vlm_assets.corpus.build import build_corpus
from vlm_assets.corpus.card import write_card
from vlm_assets.corpus.manifest import CorpusManifest
from vlm_assets.installation.opening import Installation
from vlm_assets.locks import hold_lock
from vlm_assets.operate.takedown.order import TakedownOrder, tombstone_of
from vlm_assets.operate.takedown.receipt import CorpusRewrite, PinnedVersion, Receipt
from vlm_assets.operate.takedown.rows import covered_rows, source_folders, versions_in
from vlm_assets.operate.takedown.slices import empty_slices
from vlm_assets.remote.names import Name
from vlm_assets.remote.purge import purge_remote, push_record
from vlm_assets.store.arrow_files import replace_file
from vlm_assets.store.slices import INDEX_FILE
from vlm_assets.store.tombstones import Tombstone, read_tombstones, write_tombstone
from vlm_assets.store.versions import current_version, read_manifest
from vlm_assets.words.errors import StoreError
from vlm_assets.words.layout import MANIFEST, STAGING, VERSIONS, DataRoot
from vlm_assets.words.manifest import SliceManifest
from vlm_assets.words.tombstones import Tombstones

logger = logging.getLogger("vlm_assets.takedown")

_KEPT_IN_CACHE: Final = ("sha256.db", "sha256.db-wal", "sha256.db-shm")
_LOCK_WAIT_S: Final = 24 * 3600.0

Progress = Callable[[str], None]
Previews = Callable[[Collection[tuple[str, str]]], Sequence[str]]
"""Forgets what a UI keeps of these (source, slice); returns what it cleaned, in words."""


def take_down(
    installation: Installation,
    order: TakedownOrder,
    *,
    workers: int = 1,
    progress: Progress = lambda step: None,  # noqa: ARG005 - does nothing
    forget_previews: Previews = lambda slices: (),  # noqa: ARG005 - does nothing
) -> Receipt:
    """Puts the takedown on record, removes the rows everywhere on this machine, and tells what is left.

    The record comes first: from then on no fetch, plan or seal takes the rows in, whatever happens to the rest.

    Raises:
        StoreError: the order names no row there is (by id), or not exactly one thing; the image given cannot be read.
        CorpusError, LockHeldError: a corpus cannot be rewritten now; the order can be given again.
    """
    root = installation.root
    progress("looking for the rows")
    tombstone = tombstone_of(root, order)
    name = write_tombstone(root, tombstone)
    if installation.settings.remote:
        push_record(installation)
    work = _Takedown(installation, tombstone, workers, progress)
    work.run()
    work.forget_previews(forget_previews)
    receipt = work.receipt(name)
    folder = root.tombstones / "receipts"
    folder.mkdir(exist_ok=True)
    replace_file(folder / f"{name}.json", orjson.dumps(receipt.model_dump(), option=orjson.OPT_INDENT_2))
    logger.info(
        "takedown %s: %d rows, %s", name, len(tombstone.ids), "; ".join(receipt.outstanding) or "complete"
    )
    return receipt


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
    previews: list[str] = field(default_factory=list)
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
        for name, source in empty_slices(self.root, self.hashes, self.ids):
            self.emptied.append(name)
            self._clean_cache(source)
        self._delete_old_slices()
        self._delete_old_corpora()
        if self.installation.settings.remote:
            self._purge_remote()
        self.remarks.append(
            "Exports made earlier (`vlm-assets export`) and originals in folders of clients are outside this data "
            "root: remove the rows there too."
        )

    def forget_previews(self, forget: Previews) -> None:
        """Has the UI forget the slices in which any version had one of the rows."""
        self.progress("removing previews")
        slices = {(source, key) for source, key, _ in (one.split("/", 2) for one in self.ids)}
        try:
            self.previews += forget(slices)
        except Exception as error:  # a boundary: whatever the UI's storage raises must not lose the receipt
            logger.exception("previews of %d slices stay in the UI", len(slices))
            self.outstanding.append(
                f"previews in the UI's event log: {type(error).__name__}: {error}. Give this takedown again"
            )

    def _purge_remote(self) -> None:
        """The same at the remote: what the disk says is the evidence, so a takedown given again finishes it."""
        self.progress("purging the remote")
        slices = [
            Name("datasets", source.name, link.name)
            for source in source_folders(self.root)
            for link in sorted(path for path in source.iterdir() if path.is_symlink())
            if (version := current_version(link)) is not None
            and len(covered_rows(version / INDEX_FILE, self.ids, self.hashes))
        ]
        corpora = [Name("corpora", link.parent.name, link.name) for link in self._corpus_links()]

        def holds(name: Name, version: str) -> bool:
            path = name.versions(self.root) / version
            return self._holds(path) if (path / MANIFEST).is_file() else True

        asked, value = self.tombstone.asked.split(":", 1)
        again = f"vlm-assets takedown --{asked} {'IMAGE' if asked == 'like' else value}"
        purged = purge_remote(self.installation, slices, corpora, holds, again=again)
        self.deleted += [f"remote {one}" for one in purged.deleted]
        self.outstanding += purged.outstanding

    def _rewrite_corpora(self) -> None:
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
            for version in versions_in(corpus):
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
        for source in source_folders(self.root):
            current = {v for link in source.iterdir() if link.is_symlink() and (v := current_version(link))}
            for version in versions_in(source):
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
            previews_cleaned=tuple(self.previews),
            pinned=tuple(self.pinned),
            outstanding=tuple(self.outstanding),
            remarks=tuple(self.remarks),
        )


def remove_version(path: Path) -> None:
    """Deletes a version; its manifest goes first, so that what is left of a cut deletion was never committed."""
    (path / MANIFEST).unlink()
    shutil.rmtree(path)
