"""`dataset/<source>`: one partitioned asset a source; a partition is a slice.

One materialization event a finished slice, also for one that was committed before: a backfill counts a silent
partition as failed. `output_required=False` because the events are logged, not yielded.
"""

from collections.abc import Iterator
from typing import Final

import dagster as dg

from vlm_assets.catalog.spec import SourceSpec
from vlm_assets.installation.opening import Installation
from vlm_assets.orchestration.assets.due import dataset_due, dataset_due_spec, tell_corpora_due
from vlm_assets.orchestration.assets.groups import (
    dataset_group,
    owners_of,
    source_kinds,
    source_metadata,
    source_tags,
)
from vlm_assets.orchestration.assets.metadata import column_schema, source_description
from vlm_assets.orchestration.assets.slices import materialize_slices
from vlm_assets.orchestration.names import dataset_key, listing_key, slices_partitions, source_pool
from vlm_assets.orchestration.run.asked import FetchConfig
from vlm_assets.orchestration.run.ecs import slices_size
from vlm_assets.orchestration.run.resources import ProgressSink

_TOLD: Final = (
    "Fetches the slices and commits them as Hugging Face Arrow folders. A partition is a slice; a slice that is "
    "committed at its listing's fingerprint is not fetched again."
)


def dataset_asset(spec: SourceSpec, installation: Installation) -> dg.AssetsDefinition:
    """The dataset asset of one source or benchmark."""
    benchmark = installation.catalog.is_benchmark(spec.name)

    @dg.asset(
        key=dataset_key(spec.name),
        deps=[listing_key(spec.name)],
        partitions_def=dg.DynamicPartitionsDefinition(name=slices_partitions(spec.name)),
        backfill_policy=dg.BackfillPolicy.multi_run(installation.settings.slices_per_run),
        pool=source_pool(spec.name),
        output_required=False,
        check_specs=[dataset_due_spec(spec.name)],
        group_name=dataset_group(spec, benchmark=benchmark),
        description=source_description(spec, _TOLD, benchmark=benchmark),
        kinds={*source_kinds(spec), "arrow"},
        tags=source_tags(spec, benchmark=benchmark),
        op_tags=slices_size([spec.kind]).tags,
        owners=owners_of(installation.settings),
        metadata={
            **source_metadata(spec, installation),
            "dagster/uri": str(installation.root.source(spec.name)),
            "dagster/column_schema": column_schema(),
        },
    )
    def dataset(
        context: dg.AssetExecutionContext,
        config: FetchConfig,
        installation: dg.ResourceParam[Installation],
        progress: dg.ResourceParam[ProgressSink],
    ) -> Iterator[dg.AssetCheckResult]:
        source = installation.catalog.source(spec.name)
        try:
            try:
                materialize_slices(context, installation, progress, source, context.partition_keys, config)
            finally:
                due = _told_due(context, installation, source)
        except dg.Failure:
            yield due
            raise
        yield due

    return dataset


def _told_due(
    context: dg.AssetExecutionContext, installation: Installation, spec: SourceSpec
) -> dg.AssetCheckResult:
    """What is due of the source, after the corpora have been told."""
    result = dataset_due(installation, context.instance, spec)
    tell_corpora_due(context, installation, [result])
    return result
