"""`due_annotations`: after slices were fetched, has annotated what is not fresh; once for each state of the disk.

What a filter reads must be there before its corpus is planned: until then the corpus waits as for a missing slice.
"""

from hashlib import sha256
from typing import Final

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

from vlm_assets.catalog.spec import Catalog, SourceSpec
from vlm_assets.installation.opening import Installation
from vlm_assets.orchestration.assets.annotation import annotations_of
from vlm_assets.orchestration.names import (
    CATALOG_TAG,
    RANGE_END_TAG,
    RANGE_START_TAG,
    SOURCE_TAG,
    annotation_key,
    slices_partitions,
)
from vlm_assets.orchestration.night.sensor_facts import fault_words, result, sensor_status, unfinished
from vlm_assets.orchestration.run.pending import annotation_ranges, annotations_state
from vlm_assets.words.counts import so_many
from vlm_assets.words.errors import VlmAssetsError

DUE_ANNOTATIONS: Final = "due_annotations"


def annotation_job_name(source: str) -> str:
    """Name of the job over the annotations of a source."""
    return f"annotations_of__{source}"


def annotated_sources(catalog: Catalog) -> list[SourceSpec]:
    """Sources that an annotation covers."""
    return [spec for spec in catalog.sources if annotations_of(spec, catalog.corpus.annotations)]


def annotation_jobs(catalog: Catalog) -> list[UnresolvedAssetJobDefinition]:
    """One job for each source that is annotated."""
    return [
        dg.define_asset_job(
            annotation_job_name(spec.name),
            dg.AssetSelection.assets(
                *(
                    annotation_key(one.name, spec.name)
                    for one in annotations_of(spec, catalog.corpus.annotations)
                )
            ),
            description=f"A range of slices of {spec.name}, annotated.",
        )
        for spec in annotated_sources(catalog)
    ]


def annotation_sensors(
    installation: Installation, jobs: list[UnresolvedAssetJobDefinition]
) -> list[dg.SensorDefinition]:
    """The sensor, where there is anything to annotate."""
    if not jobs:
        return []

    @dg.sensor(
        name=DUE_ANNOTATIONS,
        jobs=jobs,
        minimum_interval_seconds=installation.settings.sensor_interval_s,
        default_status=sensor_status(installation.settings),
        description="When nothing is being fetched: annotates slices whose values are not fresh.",
    )
    def due_annotations(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        words = fault_words(installation)
        busy = unfinished(context.instance)
        if busy:
            return result(
                context,
                [],
                [*words, f"waiting for {so_many(busy, 'unfinished run')} of the line"],
                context.cursor,
            )
        try:
            state = annotations_state(installation)
            if state == context.cursor:
                return result(
                    context, [], [*words, "nothing was fetched or changed since the last look"], state
                )
            found = [
                (spec, *_requests(context.instance, installation, spec, state))
                for spec in annotated_sources(installation.catalog)
            ]
        except VlmAssetsError as error:
            return result(context, [], [*words, str(error)], context.cursor)
        requests = [request for _, some, _ in found for request in some]
        words += [f"{spec.name}: {told}" for spec, _, told in found]
        return result(context, requests, words, state)

    return [due_annotations]


def _requests(
    instance: dg.DagsterInstance, installation: Installation, spec: SourceSpec, state: str
) -> tuple[list[dg.RunRequest], str]:
    order = instance.get_dynamic_partitions(slices_partitions(spec.name))
    ranges, due = annotation_ranges(installation, spec, order)
    tags = {SOURCE_TAG: spec.name, CATALOG_TAG: installation.catalog.hash[:12]}
    requests = [
        dg.RunRequest(
            f"{spec.name}:{sha256(f'{state}{first}{last}'.encode()).hexdigest()[:16]}",
            job_name=annotation_job_name(spec.name),
            tags={**tags, RANGE_START_TAG: first, RANGE_END_TAG: last},
        )
        for first, last in ranges
    ]
    return (
        requests,
        f"{so_many(due, 'slice')} to annotate in {so_many(len(ranges), 'run')}"
        if due
        else "every annotation is fresh",
    )
