"""Jobs: what the schedule, the sensors and the build command launch by name. Assets and checks live elsewhere."""

from collections.abc import Sequence
from typing import Final, NamedTuple

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

from vlm_assets.catalog.spec import Catalog
from vlm_assets.installation.opening import Installation
from vlm_assets.orchestration.assets.due import tell_corpora_due, tell_due
from vlm_assets.orchestration.assets.slices import materialize_slices
from vlm_assets.orchestration.names import (
    ALLOCATION_KEY,
    BACKUP_KEY,
    CORPUS_KEY,
    REPORT_KEY,
    dataset_key,
    listing_key,
)
from vlm_assets.orchestration.run.asked import FetchConfig
from vlm_assets.orchestration.run.ecs import slices_size
from vlm_assets.orchestration.run.resources import ProgressSink
from vlm_assets.sources.registry import kinds

LISTINGS_JOB: Final = "listings"
SLICES_JOB: Final = "slices"
CORPUS_JOB: Final = "corpus_line"
AUDIT_JOB: Final = "audit_corpus"
BACKUP_JOB: Final = "backup_all"
_FETCH_OP: Final = "fetch_slices"


class SlicesConfig(FetchConfig):
    """Which slices of which source."""

    source: str
    keys: list[str]


def _slices_job(catalog: Catalog) -> dg.JobDefinition:
    """The job for scattered keys. It has no source pool: the source's OS lock is taken inside."""

    @dg.op(name=_FETCH_OP, tags=slices_size({spec.kind for spec in catalog.fetched} or kinds()).tags)
    def fetch_slices(
        context: dg.OpExecutionContext,
        config: SlicesConfig,
        installation: dg.ResourceParam[Installation],
        progress: dg.ResourceParam[ProgressSink],
    ) -> None:
        """Builds scattered slices and logs each one's materialization; a range would mark those between as failed."""
        source = installation.catalog.source(config.source)
        try:
            materialize_slices(context, installation, progress, source, config.keys, config)
        finally:
            tell_corpora_due(context, installation, [tell_due(context, installation, source)])

    @dg.job(
        name=SLICES_JOB,
        description="Fetches the slices named in its config. For scattered partitions; ranges are runs of the asset.",
    )
    def slices_job() -> None:
        fetch_slices()

    return slices_job


def dataset_job(source: str) -> str:
    """Name of the job over ranges of a source's slices: a job has one set of partitions, and no name of an op."""
    return f"slices_of__{source}"


class LineJobs(NamedTuple):
    """All jobs."""

    listings: UnresolvedAssetJobDefinition
    datasets: tuple[UnresolvedAssetJobDefinition, ...]
    slices: dg.JobDefinition
    corpus: UnresolvedAssetJobDefinition
    backup: UnresolvedAssetJobDefinition
    audit: UnresolvedAssetJobDefinition

    @property
    def flat(self) -> list[UnresolvedAssetJobDefinition | dg.JobDefinition]:
        """One after the other."""
        return [self.listings, *self.datasets, self.slices, self.corpus, self.backup, self.audit]


def line_jobs(catalog: Catalog) -> LineJobs:
    """The jobs of a catalogue."""
    names = [spec.name for spec in catalog.fetched]
    return LineJobs(
        listings=dg.define_asset_job(
            LISTINGS_JOB,
            dg.AssetSelection.assets(*map(listing_key, names)),
            description="Lists every source that is neither disabled nor held.",
        ),
        datasets=tuple(
            dg.define_asset_job(
                dataset_job(name),
                dg.AssetSelection.assets(dataset_key(name)),
                description=f"A range of slices of {name}.",
            )
            for name in names
        ),
        slices=_slices_job(catalog),
        corpus=dg.define_asset_job(
            CORPUS_JOB,
            dg.AssetSelection.assets(ALLOCATION_KEY, CORPUS_KEY, REPORT_KEY),
            description="Allocation, corpus, its checks and its report, for one target.",
            # From failure, shards whose steps had not begun would be left to the sealing step, one after the other.
            tags={"dagster/retry_strategy": "ALL_STEPS"},
        ),
        backup=dg.define_asset_job(
            BACKUP_JOB,
            dg.AssetSelection.assets(BACKUP_KEY),
            description="Pushes to the remote what it lacks.",
        ),
        audit=dg.define_asset_job(
            AUDIT_JOB,
            dg.AssetSelection.checks_for_assets(CORPUS_KEY),
            description="The checks alone, on the corpus as it lies there.",
        ),
    )


def slices_config(source: str, keys: Sequence[str]) -> dict[str, object]:
    """Run config of the job for scattered keys."""
    return {"ops": {_FETCH_OP: {"config": {"source": source, "keys": list(keys)}}}}
