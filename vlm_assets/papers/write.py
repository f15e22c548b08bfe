"""Writes all papers of a target's current corpus: card, Croissant, summary, report."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import orjson

from vlm_assets.corpus.outcome import target_outcome
from vlm_assets.ingest.found import FoundSource
from vlm_assets.ingest.rights import source_terms
from vlm_assets.installation.opening import Installation
from vlm_assets.locks import hold_lock
from vlm_assets.papers.card import render_card
from vlm_assets.papers.contents import Contents, count_contents
from vlm_assets.papers.copies import copy_report
from vlm_assets.papers.croissant import croissant_of
from vlm_assets.papers.evidence import Evidence, sealed_evidence
from vlm_assets.papers.figures import Figures, corpus_figures
from vlm_assets.papers.lineage import TRACED, trace
from vlm_assets.papers.rejects import rows_of_rejects, shown_rejects
from vlm_assets.papers.report import Refused, Sheet, render_report
from vlm_assets.papers.shown import (
    A_GROUP,
    corpus_samples,
    excluded_samples,
    one_of_each,
    places_to_show,
    rows_shown,
)
from vlm_assets.papers.summary import summary_of
from vlm_assets.store.arrow_files import replace_file
from vlm_assets.store.corpus_lock import LOCK_FILE, read_lock
from vlm_assets.store.papers import (
    CARD_FILE,
    CROISSANT_FILE,
    REPORT_FILE,
    SUMMARY_FILE,
    Papers,
    read_papers,
    with_rows,
    write_papers_file,
)
from vlm_assets.store.tombstones import read_tombstones
from vlm_assets.words.counts import so_many
from vlm_assets.words.disk import named_disk_errors
from vlm_assets.words.errors import LockedError, StoreError
from vlm_assets.words.layout import DataRoot

_LOCK_WAIT_S: Final = 24 * 3600.0
_CROISSANT_SAMPLES: Final = 24
STEPS: Final = 3
"""So often progress is told of the papers of one corpus."""
Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Written:
    """Where the papers are, and what they say: JSON values."""

    folder: Path
    figures: Figures

    @property
    def card(self) -> Path:
        """The card."""
        return self.folder / CARD_FILE

    @property
    def report(self) -> Path:
        """The report."""
        return self.folder / REPORT_FILE


def papers_lock(root: DataRoot, corpus: str, target: str) -> Path:
    """The lock whoever writes or removes papers of this target holds."""
    return root.locks / f"papers.{corpus}.{target}"


def no_progress(step: str) -> None:
    """Tells nobody."""
    del step


@named_disk_errors
def write_papers(installation: Installation, target: str, progress: Progress = no_progress) -> Written:
    """Writes the papers into the current corpus of a target, each replacing an older one in one step.

    Rows that are taken down by now stand in none of them, be they in the corpus still.

    Raises:
        StoreError: no corpus; its plan, an index or a data file cannot be read.
    """
    name = installation.catalog.corpus.name
    with hold_lock(
        papers_lock(installation.root, name, target), f"papers of {name}/{target}", wait_s=_LOCK_WAIT_S
    ):
        return _write(installation, sealed_evidence(installation, target), progress)


def _write(installation: Installation, evidence: Evidence, progress: Progress) -> Written:
    takedowns = read_tombstones(installation.root)
    progress("counting")
    contents = count_contents(evidence.version, evidence.manifest, chosen=A_GROUP)
    progress("reading words and samples")
    samples = corpus_samples(evidence, places_to_show(contents), takedowns, contents.histograms["words"])
    excluded = excluded_samples(evidence, takedowns)
    rejects = shown_rejects(evidence, takedowns)
    progress("writing")
    figures = all_figures(installation, evidence, contents)
    some = one_of_each(samples, _CROISSANT_SAMPLES)
    summary = summary_of(installation, evidence, contents, figures)
    report = render_report(
        figures,
        evidence,
        [Sheet("/".join(group), _of(figures, *group), found) for group, found in samples.items()],
        [
            Sheet(reason, so_many(figures["excluded"].get(reason, 0), "row"), found)
            for reason, found in excluded.items()
        ],
        [Refused(reason, f"{figures['rejects'][reason]:,}", found) for reason, found in rejects.items()],
        trace(evidence, some[:TRACED]),
    )  # fmt: skip
    shown = [*rows_shown([*samples.values(), *excluded.values()]), *rows_of_rejects(rejects)]
    folder = evidence.version
    write_papers_file(folder, with_rows(_papers_before(folder), shown, complete=False))
    for file, content in (
        (CARD_FILE, render_card(figures, some).encode()),
        (CROISSANT_FILE, croissant_of(figures, summary, some)),
        (SUMMARY_FILE, orjson.dumps(summary, option=orjson.OPT_INDENT_2)),
        (REPORT_FILE, report.encode("utf-8", "replace")),
    ):
        replace_file(folder / file, content)
    write_papers_file(folder, with_rows(None, shown, complete=True))
    return Written(folder, figures)


def all_figures(installation: Installation, evidence: Evidence, contents: Contents) -> Figures:
    """`corpus_figures` with what the installation knows besides: terms, the catalogue's words, the lock.

    And `outcome`, which the passing of time changes: what came of the target, and slices that are due, by source.
    """
    figures = corpus_figures(evidence, contents)
    figures["outcome"] = _came_of(installation, evidence.manifest.target)
    figures["terms"] = [one.model_dump() for one in source_terms(installation)]
    figures["papers"] = installation.catalog.corpus.papers.model_dump(mode="json")
    figures["lock"] = _lock(installation, evidence)
    return figures


def _came_of(installation: Installation, target: str) -> dict[str, Any]:
    """What a build and `status` tell of the target, as of now; `due` is None where slices lie elsewhere."""
    here = installation.settings.manifests_from == "disk"
    fetched = [spec for spec in installation.catalog.fetched if spec.active]
    found = [FoundSource.of(installation.root, spec) for spec in fetched]
    return {
        **target_outcome(installation, target).model_dump(
            mode="json", include={"told", "up_to_date", "labels"}
        ),
        "due": {one.spec.name: due for one in found if (due := len(one.due()))} if here else None,
    }


def _lock(installation: Installation, evidence: Evidence) -> dict[str, str]:
    """What `corpus.lock` beside the catalogue says of this corpus."""
    path = installation.catalog_dir / LOCK_FILE
    if not path.is_file():
        return {"lock": "none beside the catalogue; vlm-assets lock writes it"}
    try:
        lock = read_lock(path)
    except (LockedError, StoreError) as error:
        return {"lock": f"cannot be read: {error}"}
    locked = lock.targets.get(evidence.manifest.target)
    if locked is None:
        return {"lock": f"{lock.version}; this target is not in it"}
    same = locked.root_hash == evidence.manifest.root_hash
    return {"lock": f"{lock.version}; {'the same root hash' if same else f'root hash {locked.root_hash}'}"}


def _papers_before(folder: Path) -> Papers | None:
    try:
        return read_papers(folder)
    except StoreError:
        return None  # replaced in a moment, and with it every paper that it spoke of


def _of(figures: Figures, category: str, subcategory: str) -> str:
    for one in figures["composition"]:
        if (one["category"], one["subcategory"]) == (category, subcategory):
            return so_many(one["present"], "row")
    return ""


def copy_page(installation: Installation, target: str, out: Path) -> Path:
    """Copies the report of a target to a file, or into a folder under its own name; returns where it is.

    The copy is remembered: a takedown that covers what it shows writes it anew.

    Raises:
        StoreError: there is no such folder, or it cannot be written.
    """
    name = installation.catalog.corpus.name
    with hold_lock(
        papers_lock(installation.root, name, target), f"copy of {name}/{target}", wait_s=_LOCK_WAIT_S
    ):
        version = sealed_evidence(installation, target).version
        return copy_report(installation.root, version, name, target, out)
