"""Papers of corpora that show a row which is taken down: written anew where they can be, removed where not."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from vlm_assets.installation.opening import Installation
from vlm_assets.locks import hold_lock
from vlm_assets.operate.takedown.rows import versions_in
from vlm_assets.papers.write import papers_lock, write_papers
from vlm_assets.store.papers import PAPER_FILES, read_papers, remove_papers, shown_rows
from vlm_assets.store.schema_1 import is_version_1
from vlm_assets.store.versions import current_version
from vlm_assets.words.errors import StoreError
from vlm_assets.words.layout import DataRoot

logger = logging.getLogger("vlm_assets.takedown")

_LOCK_WAIT_S = 24 * 3600.0


@dataclass(frozen=True, slots=True)
class Covered:
    """What a takedown covers."""

    ids: frozenset[str]
    hashes: frozenset[str]
    urls: frozenset[str]


def clean_papers(installation: Installation, covered: Covered, progress: Callable[[str], None]) -> list[str]:
    """Cleans the papers of every version of every corpus on this disk; returns the versions whose papers changed.

    Papers show rows that were left out of a corpus too, so it is their own record that is asked, not the corpus.
    Those with pictures of rejects go in any case: a cut file of an image has another hash than the image.
    """
    changed = []
    for corpus in _corpora(installation.root):
        shown = {version: link.name for link in corpus.iterdir() if (version := _shown_by(link)) is not None}
        for version in versions_in(corpus):
            target = shown.get(version)
            if _clean(installation, corpus.name, version, target, covered, progress):
                changed.append(f"corpora/{corpus.name}/{version.name}")
    return changed


def _corpora(root: DataRoot) -> list[Path]:
    folder = root.path / "corpora"
    return sorted(path for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []


def _shown_by(link: Path) -> Path | None:
    """The version that a name shows; none of schema 1, whose papers nobody can write anew."""
    version = current_version(link) if link.is_symlink() else None
    return None if version is None or is_version_1(version) else version


def _clean(
    installation: Installation,
    corpus: str,
    version: Path,
    target: str | None,
    covered: Covered,
    progress: Callable[[str], None],
) -> bool:
    declared = installation.catalog.corpus
    lock = papers_lock(installation.root, corpus, target or version.name)
    with hold_lock(lock, "takedown in papers", wait_s=_LOCK_WAIT_S):
        if not _must_go(version, covered):
            return False
        if target is None or corpus != declared.name or target not in declared.targets:
            remove_papers(version)
            return True
    progress(f"writing the papers of {corpus}/{target} anew")
    try:
        write_papers(installation, target)
    except StoreError as error:
        logger.warning("papers of %s/%s cannot be written anew (%s): they are removed", corpus, target, error)
        with hold_lock(lock, "takedown in papers", wait_s=_LOCK_WAIT_S):
            remove_papers(version)
    return True


def _must_go(version: Path, covered: Covered) -> bool:
    """Whether papers there show a covered row or a picture of a reject, or nobody knows what they show."""
    try:
        papers = read_papers(version)
        if papers is None or papers.complete:
            shown = papers.shown if papers else ()
            return any(one.shows_reject for one in shown) or bool(
                shown_rows(version, covered.ids, covered.hashes, covered.urls)
            )
    except StoreError as error:
        logger.warning("%s; the papers go", error)
    return any((version / name).is_file() for name in PAPER_FILES)
