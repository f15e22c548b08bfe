"""`annotation/<name>/<source>`: what an annotator says of a source's slices; its partitions are the dataset's.

One subsettable multi-asset a source: what is asked for together looks at each image once. How a slice is annotated
lies in `annotate.slice`. Nothing here fetches.
"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

import dagster as dg

from vlm_assets.catalog.annotations import AnnotationSpec
from vlm_assets.catalog.spec import SourceSpec
from vlm_assets.installation.opening import Installation
from vlm_assets.operate.logs import logging_where
from vlm_assets.orchestration.assets.groups import catalog_references, owners_of, source_tags
from vlm_assets.orchestration.assets.takedowns import finish_before
from vlm_assets.orchestration.names import (
    DATA_VERSION_TAG,
    FAILED,
    FAILED_SLICES,
    annotation_key,
    dataset_key,
    slices_partitions,
    source_pool,
)
from vlm_assets.orchestration.run.ecs import slices_size
from vlm_assets.orchestration.run.locks import lock_wait_s
from vlm_assets.remote.line import line_remote
from vlm_assets.words.counts import so_many
from vlm_assets.words.errors import VlmAssetsError

if TYPE_CHECKING:  # loads pyarrow, which the code location does without
    from vlm_assets.annotate.files import Header

ANNOTATION_GROUP: Final = "annotation"


def annotations_of(spec: SourceSpec, annotations: Sequence[AnnotationSpec]) -> list[AnnotationSpec]:
    """Those that cover a source, disabled ones excepted."""
    return [one for one in annotations if spec.enabled and one.only.covers(spec.name, spec.category)]


def annotation_assets(installed: Installation) -> list[dg.AssetsDefinition]:
    """One multi-asset for each source that is annotated."""
    pairs = [
        (spec, annotations_of(spec, installed.catalog.corpus.annotations))
        for spec in installed.catalog.sources
    ]
    return [_annotation_asset(spec, found, installed) for spec, found in pairs if found]


def _annotation_asset(
    spec: SourceSpec, annotations: Sequence[AnnotationSpec], installed: Installation
) -> dg.AssetsDefinition:
    @dg.multi_asset(
        name=f"annotate__{spec.name}",
        specs=[
            dg.AssetSpec(
                annotation_key(one.name, spec.name),
                deps=[dataset_key(spec.name)],
                group_name=ANNOTATION_GROUP,
                description=_told(one, spec),
                kinds={"parquet", "imported" if one.imported else "computed"},
                tags=source_tags(spec, benchmark=False),
                owners=owners_of(installed.settings),
                metadata={
                    "dagster/uri": str(installed.root.annotations / one.name / spec.name),
                    **catalog_references(installed.catalog_dir),
                },
                skippable=True,
            )
            for one in annotations
        ],
        partitions_def=dg.DynamicPartitionsDefinition(name=slices_partitions(spec.name)),
        backfill_policy=dg.BackfillPolicy.multi_run(installed.settings.slices_per_run),
        pool=source_pool(spec.name),
        can_subset=True,
        op_tags=slices_size([spec.kind]).tags,
    )
    def annotation(
        context: dg.AssetExecutionContext, installation: dg.ResourceParam[Installation]
    ) -> Iterator[dg.MaterializeResult[None]]:
        names = {key.path[1] for key in context.selected_asset_keys}
        annotate_slices(context, installation, spec.name, sorted(names), context.partition_keys)
        yield from ()  # events are logged, one a slice

    return annotation


def _told(one: AnnotationSpec, spec: SourceSpec) -> str:
    if one.imported:
        return f"Imported from {one.path} by {one.key}, for the records of {spec.name}. Fetches nothing."
    return f"What the annotator {one.name} says of the records of {spec.name}. Fetches nothing."


def annotate_slices(
    context: dg.AssetExecutionContext,
    installation: Installation,
    source: str,
    names: Sequence[str],
    keys: Sequence[str],
) -> None:
    """Annotates the slices and logs a materialization event for each and each name, fresh ones included.

    Raises:
        dg.Failure: after the last slice, naming those that failed; the others stand.
    """
    from vlm_assets.annotate.slice import Annotating
    from vlm_assets.annotate.wanted import usable_annotations
    from vlm_assets.store.listings import read_listing

    remote = line_remote(installation)
    remote.before_slices()
    finish_before(installation, context.log.warning)
    listing = read_listing(installation.root, source)
    usable, lacking = usable_annotations(installation.catalog)
    wanted = [one for one in usable if one.name in names]
    failures: dict[str, str] = {}
    with Annotating(installation, wanted) as annotating:
        for key in keys:
            try:
                if listing is not None and key in listing.slices:
                    remote.before_slice(listing, key)
                remote.before_annotations(source, key, [one.name for one in wanted])
                with logging_where(context.run.run_id, f"{source}/{key}"):
                    result = annotating.slice(source, key, wait_s=lock_wait_s(context.run))
                if result.done:
                    remote.after_annotations(source, key)
                faults = {**lacking, **result.failed}
            except VlmAssetsError as error:
                faults = dict.fromkeys(names, str(error))
            for name in names:
                if name in faults:
                    context.log_event(_failure(name, source, key, faults[name]))
                else:
                    header = result.headers.get(name)
                    context.log_event(annotation_event(installation, name, source, key, header))
            if told := "; ".join(dict.fromkeys(faults[name] for name in names if name in faults)):
                failures[key] = told
                context.log.error("%s/%s failed: %s", source, key, told)
    if failures:
        told = "\n".join(f"{key}: {message}" for key, message in failures.items())
        raise dg.Failure(
            f"{len(failures)} of {so_many(len(keys), 'slice')} of {source} were not annotated; the others "
            f"are.\n{told}",
            metadata={FAILED_SLICES: dg.MetadataValue.json(failures)},
            allow_retries=False,
        )


def _failure(name: str, source: str, key: str, message: str) -> dg.AssetObservation:
    return dg.AssetObservation(annotation_key(name, source), partition=key, metadata={FAILED: message})


def annotation_event(
    installation: Installation, name: str, source: str, key: str, header: "Header | None"
) -> dg.AssetMaterialization:
    """The event of one annotated slice; without a header, of a slice that was never fetched."""
    asset = annotation_key(name, source)
    if header is None:
        told = "the slice was never fetched: there is nothing to annotate"
        return dg.AssetMaterialization(asset, partition=key, metadata={"nothing done": told, "rows": 0})
    broken: dict[str, Any] = {"without values": header.failed} if header.failed else {}
    dataset = dataset_key(source).to_user_string()
    return dg.AssetMaterialization(
        asset,
        partition=key,
        metadata={
            "rows": header.rows,
            "version": header.version,
            "dagster/uri": str(installation.root.annotation(name, source, key)),
            **broken,
        },
        tags={
            DATA_VERSION_TAG: header.values_hash,
            # Without provenance the UI goes by time, and shows every slice as stale after each look at its dataset.
            "dagster/code_version": "none",
            f"dagster/input_data_version/{dataset}": header.content_hash,
            f"dagster/input_event_pointer/{dataset}": "NULL",
        },
    )
