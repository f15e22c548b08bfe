"""Annotates what is due of some sources, slice by slice: a failed slice fails alone."""

import time
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from typing import Literal

from pydantic import BaseModel

from vlm_assets.annotate.slice import Annotating, annotation_lock
from vlm_assets.annotate.states import committed_slices, due_slices
from vlm_assets.annotate.under_way import drop
from vlm_assets.annotate.wanted import Wanted, usable_annotations
from vlm_assets.catalog.spec import SourceSpec
from vlm_assets.installation.opening import Installation
from vlm_assets.locks import hold_lock
from vlm_assets.words.errors import LockHeldError, VlmAssetsError
from vlm_assets.words.layout import ANNOTATING, DataRoot

Progress = Callable[[str, int, int], None]
"""Told the slice that is begun, how many are done, and how many there are."""


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
    work = []
    for spec in chosen:
        found = _due(installation, wanted, spec, force=force)
        work += [(spec.name, key, due) for key, due in found.items()]
        if names is None:
            _drop_left_behind(installation.root, spec.name, found)
    needed = {one.name: one for _, _, due in work for one in due}
    with Annotating(installation, list(needed.values()), workers=workers) as annotating:
        for number, (source, key, due) in enumerate(work):
            progress(f"{source}/{key}", number, len(work))
            try:
                result = annotating.slice(source, key, due, force=force, wait_s=wait_s)
            except VlmAssetsError as error:
                report.failed[f"{source}/{key}"] = str(error)
                continue
            done = result.done
            report.seen += result.seen
            if result.failed:
                report.failed[f"{source}/{key}"] = "; ".join(dict.fromkeys(result.failed.values()))
            report.slices += bool(done)
            report.files = dict(Counter(report.files) + Counter(done.keys()))
            broken = {name: sum(header.failed.values()) for name, header in done.items() if header.failed}
            report.broken = dict(Counter(report.broken) + Counter(broken))
    report.seconds = round(time.monotonic() - clock, 3)
    return report


def _due(
    installation: Installation, wanted: Sequence[Wanted], spec: SourceSpec, *, force: bool
) -> dict[str, list[Wanted]]:
    covering = [one for one in wanted if one.covers(spec)]
    if not covering:
        return {}
    if force:
        return dict.fromkeys(committed_slices(installation, spec.name), covering)
    return due_slices(installation, covering, spec.name, thorough=True)


def _drop_left_behind(root: DataRoot, source: str, due: Collection[str]) -> None:
    """Removes what killed processes kept of slices that need it no more: they had committed all."""
    folder = root.cache_of(source) / ANNOTATING
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if path.name not in due:
            with suppress(LockHeldError), hold_lock(annotation_lock(root, source, path.name), "tidying up"):
                drop(path)
