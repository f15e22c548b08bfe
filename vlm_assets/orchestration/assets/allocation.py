"""`allocation`: quotas to integer grants to explicit rows; a partition is a target.

How rows are granted lies in `allocation`. A plan whose inputs have not changed is kept.
"""

import dagster as dg

from vlm_assets.catalog.spec import Catalog
from vlm_assets.installation.opening import Installation
from vlm_assets.operate.logs import logging_where
from vlm_assets.orchestration.assets.annotation import annotations_of
from vlm_assets.orchestration.assets.groups import LINE_GROUP, catalog_references, owners_of
from vlm_assets.orchestration.assets.metadata_line import allocation_metadata
from vlm_assets.orchestration.assets.takedowns import finish_before
from vlm_assets.orchestration.assets.targets import target_partitions
from vlm_assets.orchestration.names import ALLOCATION_KEY, CORPUS_POOL, annotation_key, dataset_key
from vlm_assets.orchestration.run.ecs import TARGET
from vlm_assets.orchestration.run.locked import locked_by
from vlm_assets.orchestration.run.locks import lock_wait_s
from vlm_assets.remote.line import line_remote
from vlm_assets.words.errors import IncompleteError


def allocation_asset(installed: Installation) -> dg.AssetsDefinition:
    """The allocation asset over all enabled sources and benchmarks."""
    catalog = installed.catalog

    @dg.asset(
        key=ALLOCATION_KEY,
        deps=[
            # A target draws from every slice; the slices' partitions say nothing about targets.
            dg.AssetDep(dataset_key(spec.name), partition_mapping=dg.AllPartitionMapping())
            for spec in catalog.fetched
            if spec.enabled
        ]
        + [dg.AssetDep(key, partition_mapping=dg.AllPartitionMapping()) for key in _values_read(catalog)],
        partitions_def=target_partitions(catalog),
        backfill_policy=dg.BackfillPolicy.multi_run(1),
        pool=CORPUS_POOL,
        group_name=LINE_GROUP,
        op_tags=TARGET.tags,
        kinds={"arrow"},
        owners=owners_of(installed.settings),
        metadata={
            **catalog_references(installed.catalog_dir),
            "dagster/uri": str(installed.root.path / "allocations"),
        },
        description=(
            "Decides which rows of which slices enter the corpus: exact quotas, integer grants, dedup before quotas, "
            "lowest ranks first. `grants.json` says for every node what it asked for, got, and why less."
        ),
    )
    def allocation(
        context: dg.AssetExecutionContext, installation: dg.ResourceParam[Installation]
    ) -> dg.MaterializeResult[None]:
        from vlm_assets.allocation.step import allocate

        remote = line_remote(installation)
        remote.before_allocation()
        finish_before(installation, context.log.warning)
        locked = locked_by(installation, context.run.tags)
        with logging_where(context.run.run_id, f"{catalog.corpus.name}/{context.partition_key}"):
            try:
                outcome = allocate(
                    installation, context.partition_key, locked=locked, lock_wait_s=lock_wait_s(context.run)
                )
            except IncompleteError as error:
                raise IncompleteError.of(
                    error.incomplete, "Materialize or backfill what is missing"
                ) from None
        remote.after_allocation(context.partition_key)
        return dg.MaterializeResult(
            metadata=allocation_metadata(outcome),
            data_version=dg.DataVersion(outcome.manifest.version),
        )

    return allocation


def _values_read(catalog: Catalog) -> list[dg.AssetKey]:
    """The annotations whose values filters read."""
    return [
        annotation_key(one.name, spec.name)
        for spec in catalog.sources
        for one in annotations_of(spec, catalog.corpus.annotations)
        if any(
            one.name in each.annotations and each.only.covers(spec.name, spec.category)
            for each in catalog.corpus.filters.values()
        )
    ]
