"""Where everything stands, from manifests and summaries alone: what `vlm-assets status` shows."""

import shutil
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

from pydantic import BaseModel

from vlm_assets.allocation.manifest import read_plan_head
from vlm_assets.annotate.states import AnnotationStatus, annotation_statuses
from vlm_assets.catalog.spec import ALL_ROWS, SourceSpec
from vlm_assets.corpus.manifest import CorpusManifest
from vlm_assets.corpus.outcome import TargetOutcome, target_outcome
from vlm_assets.corpus.states import PresentInputs
from vlm_assets.ingest.found import FoundSource
from vlm_assets.ingest.rights import Rights, read_rights
from vlm_assets.ingest.summary import SourceSummary, summarise_source
from vlm_assets.installation.opening import Installation
from vlm_assets.installation.removed import removed_sources
from vlm_assets.operate.first_ledger import FirstLedger, first_ledger
from vlm_assets.store.away import away_in
from vlm_assets.store.last_failures import last_failures
from vlm_assets.store.versions import current_version, read_manifest
from vlm_assets.words.collector import collector_paused
from vlm_assets.words.layout import VERSIONS
from vlm_assets.words.manifest import Listing


class SourceStatus(FirstLedger):
    """One source. `due`: slices new, changed, or never committed."""

    kind: str
    state: Literal["active", "held", "disabled", "never listed"]
    revision: str
    slices: int
    committed: int
    due: int
    failed: dict[str, str]
    """Of these slices the ones whose last try failed, with why, as far as it is known here."""
    retired: int
    rows: int
    rejects: dict[str, int]
    transient_rejects: int
    data_bytes: int
    cache_bytes: int


class RemovedSource(BaseModel):
    """A source that lies here and that the catalogue has no more; no plan draws from it anew."""

    name: str
    slices: int
    rows: int
    data_bytes: int


class TargetStatus(BaseModel):
    """One target: what was planned and what is sealed."""

    name: str
    target_rows: int | None
    """None: all there are."""
    granted: int | None = None
    rows: int | None = None
    holes: int | None = None
    shards: int | None = None
    data_bytes: int | None = None
    root_hash: str | None = None
    excluded: dict[str, int] = {}
    """By the plan in force: rows by reason, filters as `filter:<name>`."""
    path: str | None = None
    outcome: TargetOutcome
    """What it asked for and got."""


class Status(BaseModel):
    """Everything `status --json` prints."""

    data_root: str
    catalog_hash: str
    free_bytes: int
    away_bytes: int | None
    """Data of slices and shards in force that lies at the remote alone; None where `rows_from` is the disk."""
    sources: list[SourceStatus]
    benchmarks: list[SourceStatus]
    """Listed and fetched as sources are, and in no corpus."""
    annotations: list[AnnotationStatus]
    removed: list[RemovedSource]
    targets: list[TargetStatus]
    rights: Rights
    seconds: float


def read_status(installation: Installation) -> Status:
    """The state on disk. Opens no data file; 2,000 slices of a source are one summary."""
    with collector_paused():
        return _read_status(installation)


def _read_status(installation: Installation) -> Status:
    clock = time.monotonic()
    catalog = installation.catalog
    root = installation.root
    found = [FoundSource.of(root, spec) for spec in catalog.sources]
    held = [FoundSource.of(root, spec) for spec in catalog.benchmarks]
    present = PresentInputs(installation, found={one.spec.name: one for one in (*found, *held)})
    return Status(
        data_root=str(root.path),
        catalog_hash=catalog.hash,
        free_bytes=shutil.disk_usage(root.path).free,
        away_bytes=None
        if installation.settings.rows_from == "disk"
        else sum(_bytes_away(folder) for folder in _versions_in_force(installation, found)),
        sources=[_source_status(installation, one) for one in found],
        benchmarks=[_source_status(installation, one) for one in held],
        annotations=annotation_statuses(installation),
        removed=[_removed(installation, name) for name in removed_sources(installation)],
        targets=[_target_status(installation, target, present) for target in catalog.corpus.targets],
        rights=read_rights(
            installation,
            [
                (one.spec, SourceSummary(source=one.spec.name, slices=one.in_force()))
                for one in found
                if one.spec.enabled
            ],
        ),
        seconds=round(time.monotonic() - clock, 3),
    )


def uncommitted_slices(installation: Installation) -> int:
    """Slices new, changed or never committed, over sources and benchmarks that are fetched; reads summaries alone."""
    fetched = [spec for spec in installation.catalog.fetched if spec.active]
    return sum(len(FoundSource.of(installation.root, spec).due()) for spec in fetched)


def _source_status(installation: Installation, found: FoundSource) -> SourceStatus:
    spec, listing, committed = found.spec, found.listing, found.committed
    listed = listing.slices if listing else {}
    in_force, due = found.in_force(), found.due()
    rejects: Counter[str] = Counter()
    for one in in_force.values():
        if one.rejects:
            rejects.update(one.rejects)
    return SourceStatus(
        **dict(first_ledger(installation.root, found)),
        kind=spec.kind,
        state=_state(spec, listing),
        revision=listing.revision if listing else "",
        slices=len(listed),
        committed=sum(name in committed for name in listed),
        due=len(due),
        failed=last_failures(installation.root, spec.name, due),
        retired=len(listing.retired) if listing else 0,
        rows=sum(one.rows for one in in_force.values()),
        rejects=dict(rejects.most_common()),
        transient_rejects=sum(one.transient_rejects for one in in_force.values()),
        data_bytes=sum(one.data_bytes for one in in_force.values()),
        cache_bytes=_folder_bytes(installation.root.cache_of(spec.name)),
    )


def _versions_in_force(installation: Installation, found: Sequence[FoundSource]) -> Iterator[Path]:
    root, corpus = installation.root, installation.catalog.corpus
    for one in found:
        versions = root.source(one.spec.name) / VERSIONS
        yield from (versions / each.version for each in one.in_force().values())
    for target in corpus.targets:
        version = current_version(root.corpus(corpus.name, target))
        if version is not None:
            yield version


def _bytes_away(folder: Path) -> int:
    return sum(one.entry.size_bytes for one in away_in(folder).values())


def _removed(installation: Installation, name: str) -> RemovedSource:
    slices = summarise_source(installation.root, name).slices.values()
    return RemovedSource(
        name=name, slices=len(slices), rows=sum(one.rows for one in slices),
        data_bytes=sum(one.data_bytes for one in slices),
    )  # fmt: skip


def _state(
    spec: SourceSpec, listing: Listing | None
) -> Literal["active", "held", "disabled", "never listed"]:
    if not spec.enabled:
        return "disabled"
    if spec.hold:
        return "held"
    return "active" if listing else "never listed"


def _target_status(installation: Installation, target: str, present: PresentInputs) -> TargetStatus:
    corpus = installation.catalog.corpus
    size = corpus.targets[target]
    status = TargetStatus(
        name=target,
        target_rows=None if size == ALL_ROWS else size,
        outcome=target_outcome(installation, target, present),
    )
    planned = current_version(installation.root.allocation(corpus.name, target))
    if planned is not None:
        plan = read_plan_head(planned)
        status.granted = plan.granted_rows
        status.excluded = {reason: rows for reason, rows in plan.excluded.items() if rows}
    link = installation.root.corpus(corpus.name, target)
    sealed = current_version(link)
    if sealed is not None:
        manifest = read_manifest(sealed, CorpusManifest)
        status.rows, status.holes = manifest.rows, manifest.holes
        status.shards, status.data_bytes = len(manifest.shards), manifest.data_bytes
        status.root_hash, status.path = manifest.root_hash, str(link)
    return status


def _folder_bytes(folder: Path) -> int:
    return sum(p.stat(follow_symlinks=False).st_size for p in folder.rglob("*") if p.is_file())
