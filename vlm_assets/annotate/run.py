"""Annotates what is due of some sources, slice by slice: a failed slice fails alone."""

import time
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Literal

from pydantic import BaseModel

from vlm_assets.annotate.slice import Annotating, annotation_lock
from vlm_assets.annotate.states import committed_slices, due_slices
from vlm_assets.annotate.under_way import drop
from vlm_assets.annotate.wanted import Wanted, usable_annotations
from vlm_assets.annotators.protocol import Reads
from vlm_assets.annotators.registry import annotator_of
from vlm_assets.catalog.spec import SourceSpec
from vlm_assets.ingest.summary import SliceSummary
from vlm_assets.installation.opening import Installation
from vlm_assets.locks import hold_lock
from vlm_assets.words.errors import LockHeldError, VlmAssetsError
from vlm_assets.words.layout import ANNOTATING, DataRoot

Progress = Callable[[str, int, int], None]
"""Told the slice under way, how many images and texts are over, and how many there are."""


@dataclass(frozen=True, slots=True)
class _Work:
    """A slice that is to be annotated."""

    source: str
    key: str
    due: list[Wanted]
    things: int
    """Images and texts of it, as far as it is not known what annotators say of them."""

    @property
    def name(self) -> str:
        """For people."""
        return f"{self.source}/{self.key}"


class AnnotateReport(BaseModel):
    """What was annotated. By annotation `files`: written; `broken`: images or words that it broke on."""

    slices: int = 0
    files: dict[str, int] = {}
    broken: dict[str, int] = {}
    seen: int = 0
    """Images and texts that were looked at: of records that are new, or not what they were."""
    failed: dict[str, str] = {}
    """Slices of which something failed, annotations that cannot be made here, and why."""
    seconds: float = 0.0

    @property
    def exit_code(self) -> Literal[0, 1]:
        """0 all is fresh, 1 a slice failed."""
        return 1 if self.failed else 0


def annotate(
    installation: Installation,
    *,
    sources: Collection[str] | None = None,
    names: Collection[str] | None = None,
    force: bool = False,
    workers: int = 0,
    wait_s: float = 0.0,
    progress: Progress = lambda name, done, total: None,  # noqa: ARG005 - does nothing
) -> AnnotateReport:
    """Brings annotations up to date, all or some; run again after any end, it goes on with what is not fresh.

    An annotation that cannot be made on this machine (a program, imported files that are not there) fails alone.
    """
    clock = time.monotonic()
    report = AnnotateReport()
    usable, lacking = usable_annotations(installation.catalog)
    wanted = [one for one in usable if names is None or one.name in names]
    report.failed = {
        f"annotation {name}": why for name, why in lacking.items() if names is None or name in names
    }
    chosen = [
        spec
        for spec in installation.catalog.sources
        if spec.enabled and (sources is None or spec.name in sources)
    ]
    work: list[_Work] = []
    for spec in chosen:
        found = _due(installation, wanted, spec, force=force)
        work += found
        if names is None:
            _drop_left_behind(installation.root, spec.name, {one.key for one in found})
    needed = {one.name: one for each in work for one in each.due}
    total, over = sum(each.things for each in work), 0
    with Annotating(installation, list(needed.values()), workers=workers) as annotating:
        for each in work:
            tell = partial(_tell, progress, each, over, total)
            tell(0)
            over += each.things
            try:
                result = annotating.slice(
                    each.source, each.key, each.due, force=force, wait_s=wait_s, tell=tell
                )
            except VlmAssetsError as error:
                report.failed[each.name] = str(error)
                continue
            done = result.done
            report.seen += result.seen
            if result.failed:
                report.failed[each.name] = "; ".join(dict.fromkeys(result.failed.values()))
            report.slices += bool(done)
            report.files = dict(Counter(report.files) + Counter(done.keys()))
            broken = {name: sum(header.failed.values()) for name, header in done.items() if header.failed}
            report.broken = dict(Counter(report.broken) + Counter(broken))
    report.seconds = round(time.monotonic() - clock, 3)
    return report


def _tell(progress: Progress, each: _Work, over: int, total: int, seen: int) -> None:
    progress(each.name, over + min(seen, each.things), total)


def _due(
    installation: Installation, wanted: Sequence[Wanted], spec: SourceSpec, *, force: bool
) -> list[_Work]:
    covering = [one for one in wanted if one.covers(spec)]
    if not covering:
        return []
    committed = committed_slices(installation, spec.name)
    due = (
        dict.fromkeys(committed, covering)
        if force
        else due_slices(installation, covering, spec.name, thorough=True)
    )
    return [_Work(spec.name, key, lacking, _things(committed[key], lacking)) for key, lacking in due.items()]


def _things(committed: SliceSummary, due: Sequence[Wanted]) -> int:
    """Images and texts of a slice that are looked at where it is annotated as a whole; 1 at least."""
    reads = {annotator_of(one.name).reads for one in due if not one.spec.imported}
    texts = min(committed.rows, committed.rows_with_text + committed.rows_with_messages)
    return max(1, committed.images * (Reads.IMAGES in reads) + texts * (Reads.TEXT in reads))


def _drop_left_behind(root: DataRoot, source: str, due: Collection[str]) -> None:
    """Removes what killed processes kept of slices that need it no more: they had committed all."""
    folder = root.cache_of(source) / ANNOTATING
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if path.name not in due:
            with suppress(LockHeldError), hold_lock(annotation_lock(root, source, path.name), "tidying up"):
                drop(path)
