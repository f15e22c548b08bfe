"""Corpora without the rows that are taken down, and no old version with them but pinned ones."""

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from vlm_assets.corpus.build import build_corpus
from vlm_assets.corpus.manifest import CorpusManifest
from vlm_assets.installation.opening import Installation
from vlm_assets.operate.takedown.receipt import CorpusRewrite, PinnedVersion
from vlm_assets.operate.takedown.rows import versions_in
from vlm_assets.papers.write import write_papers
from vlm_assets.remote.ranges import remote_objects
from vlm_assets.store.arrow_files import sync_directory
from vlm_assets.store.papers import SHOWN_FILE
from vlm_assets.store.schema_1 import is_version_1
from vlm_assets.store.taken_down import covered_rows
from vlm_assets.store.tombstones import read_tombstones
from vlm_assets.store.versions import current_version, read_manifest, remove_version
from vlm_assets.words.errors import StoreError
from vlm_assets.words.layout import MANIFEST, VERSIONS, DataRoot
from vlm_assets.words.tombstones import Tombstones

logger = logging.getLogger("vlm_assets.takedown")

_LOCK_WAIT_S: Final = 24 * 3600.0


@dataclass(slots=True)
class Corpora:
    """The corpora of a data root during one takedown, and what became of them."""

    installation: Installation
    ids: frozenset[str]
    hashes: frozenset[str]
    workers: int
    progress: Callable[[str], None]
    rewritten: list[CorpusRewrite] = field(default_factory=list)
    deleted: list[str] = field(default_factory=list)
    pinned: list[PinnedVersion] = field(default_factory=list)
    outstanding: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)

    @property
    def root(self) -> DataRoot:
        """Where they lie."""
        return self.installation.root

    def rewrite(self) -> None:
        """Rewrites those in force that have the rows, from the slice versions that their plans name.

        One that had papers has them again; so it gets them now if a run which rewrote it was cut before them.
        """
        for link in corpus_links(self.root):
            version = current_version(link)
            if version is None:
                continue
            if self.holds(version):
                if is_version_1(version):
                    self._take_out(link)
                else:
                    self._rewrite(link, version)
            elif self._lacks_its_papers(version):
                self._write_papers(link.parent.name, link.name)

    def _take_out(self, link: Path) -> None:
        """Takes one of schema 1 out of force, as a migration does: it follows from slices, and none can write it."""
        link.unlink()
        sync_directory(link.parent)
        self.remarks.append(
            f"corpus {link.parent.name}/{link.name} was of schema version 1 and held the rows: it is no more; build "
            "the target again (after vlm-assets migrate --apply)"
        )

    def _lacks_its_papers(self, version: Path) -> bool:
        """Whether a takedown has written it, and not its papers, which the version before has or may have had."""
        if (version / SHOWN_FILE).is_file() or is_version_1(version):
            return False
        if not read_manifest(version, CorpusManifest).holes:
            return False
        others = [one for one in versions_in(version.parent.parent) if one != version]
        return not others or any((one / SHOWN_FILE).is_file() for one in others)

    def _rewrite(self, link: Path, version: Path) -> None:
        corpus, target = link.parent.name, link.name
        self.progress(f"rewriting corpus {corpus}/{target}")
        before, had_papers = read_manifest(version, CorpusManifest), (version / SHOWN_FILE).is_file()
        plan = self.root.allocation(corpus, target).parent / VERSIONS / before.allocation_version
        if not (plan / MANIFEST).is_file():
            self.outstanding.append(
                f"corpus {corpus}/{target}: its plan {before.allocation_version} is gone; build the target again"
            )
            return
        stored = read_tombstones(self.root)
        after = build_corpus(
            plan, self.root, Tombstones(stored.image_sha256, stored.ids, stored.names), workers=self.workers,
            keep_versions=self.installation.catalog.corpus.keep_versions, lock_wait_s=_LOCK_WAIT_S,
            objects=remote_objects(self.installation.settings),
        )  # fmt: skip
        kept = {bits for bits, shard in after.shards.items() if before.shards.get(bits) == shard}
        self.rewritten.append(
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
        if had_papers:
            self._write_papers(corpus, target)

    def _write_papers(self, corpus: str, target: str) -> None:
        declared = self.installation.catalog.corpus
        if corpus != declared.name or target not in declared.targets:
            self.remarks.append(f"corpus {corpus}/{target} is not in the catalogue: it has no papers now")
            return
        write_papers(self.installation, target)

    def holds(self, version: Path) -> bool:
        """Whether a corpus version has a covered row; what cannot be read is taken to have one."""
        try:
            return any(
                len(covered_rows(path, self.ids, self.hashes))
                for path in sorted(version.glob("index-r*.arrow"))
            )
        except StoreError as error:
            self.remarks.append(f"{error}; taken to hold the rows")
            return True

    def delete_old(self) -> None:
        """Deletes every version with the rows that no name shows and no pin holds."""
        for corpus in _folders(self.root):
            pins = corpus / ".pins"
            pinned = {path.name for path in pins.iterdir()} if pins.is_dir() else set()
            current = {v for link in corpus.iterdir() if link.is_symlink() and (v := current_version(link))}
            for version in versions_in(corpus):
                if self.holds(version):
                    self._delete(
                        corpus.name, version, pinned=version.name in pinned, shown=version in current
                    )

    def _delete(self, corpus: str, version: Path, *, pinned: bool, shown: bool) -> None:
        if pinned:
            self.pinned.append(PinnedVersion(corpus=corpus, version=version.name, path=str(version)))
            self.outstanding.append(
                f"pinned corpus version {version}: still holds the rows. Stop its readers, unpin it "
                "(vlm-assets unpin), and give this takedown again"
            )
        elif shown:
            self.outstanding.append(f"corpus version {version} is in force and still holds the rows")
        else:
            remove_version(version)
            self.deleted.append(f"corpora/{corpus}/{version.name}")


def _folders(root: DataRoot) -> list[Path]:
    folder = root.path / "corpora"
    return sorted(path for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []


def corpus_links(root: DataRoot) -> Iterator[Path]:
    """The names of all corpora, of the catalogue or not."""
    for corpus in _folders(root):
        yield from sorted(link for link in corpus.iterdir() if link.is_symlink())
