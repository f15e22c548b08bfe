"""Papers of corpora that show a row which is taken down: written anew where they can be, removed where not."""

import logging
from collections.abc import Callable
from pathlib import Path

from vlm_assets.installation.opening import Installation
from vlm_assets.locks import hold_lock
from vlm_assets.operate.takedown.rows import versions_in
from vlm_assets.papers.write import papers_lock, write_papers
from vlm_assets.store.papers import PAPER_FILES, read_papers, remove_papers, shown_rows
from vlm_assets.store.versions import current_version
from vlm_assets.words.errors import StoreError
from vlm_assets.words.layout import DataRoot

logger = logging.getLogger("vlm_assets.takedown")

_LOCK_WAIT_S = 24 * 3600.0


def clean_papers(
    installation: Installation, ids: frozenset[str], hashes: frozenset[str], progress: Callable[[str], None]
) -> list[str]:
    """Cleans the papers of every version of every corpus on this disk; returns the versions whose papers changed.

    Papers show rows that were left out of a corpus too, so it is their own record that is asked, not the corpus.
    """
    changed = []
    for corpus in _corpora(installation.root):
        shown = {version: link.name for link in corpus.iterdir() if (version := _shown_by(link)) is not None}
        for version in versions_in(corpus):
            target = shown.get(version)
            if _clean(installation, corpus.name, version, target, ids, hashes, progress):
                changed.append(f"corpora/{corpus.name}/{version.name}")
    return changed


def _corpora(root: DataRoot) -> list[Path]:
    folder = root.path / "corpora"
    return sorted(path for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []


def _shown_by(link: Path) -> Path | None:
    return current_version(link) if link.is_symlink() else None


def _clean(
    installation: Installation,
    corpus: str,
    version: Path,
    target: str | None,
    ids: frozenset[str],
    hashes: frozenset[str],
    progress: Callable[[str], None],
) -> bool:
    declared = installation.catalog.corpus
    lock = papers_lock(installation.root, corpus, target or version.name)
    with hold_lock(lock, "takedown in papers", wait_s=_LOCK_WAIT_S):
        if not _must_go(version, ids, hashes):
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


def _must_go(version: Path, ids: frozenset[str], hashes: frozenset[str]) -> bool:
    """Whether papers there show a covered row, or nobody knows what they show."""
    try:
        papers = read_papers(version)
        if papers is None or papers.complete:
            return bool(papers and shown_rows(version, ids, hashes))
    except StoreError as error:
        logger.warning("%s; the papers go", error)
    return any((version / name).is_file() for name in PAPER_FILES)
