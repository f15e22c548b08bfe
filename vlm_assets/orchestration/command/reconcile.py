"""Gives a new or lost DAGSTER_HOME its history back: partition keys and materializations, from what lies on disk.

Reads the data root, writes events; touches no data. Run again, it adds only what is missing or has changed.
"""

from collections.abc import Callable, Iterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

import dagster as dg
from rich.console import Console

from vlm_assets.allocation.manifest import AllocationManifest
from vlm_assets.allocation.step import AllocationOutcome
from vlm_assets.annotate.files import read_header
from vlm_assets.catalog.spec import SourceSpec
from vlm_assets.corpus.manifest import CorpusManifest
from vlm_assets.corpus.outcome import target_outcome
from vlm_assets.ingest.summary import summarise_source
from vlm_assets.installation.opening import Installation
from vlm_assets.installation.removed import slice_names
from vlm_assets.operate.bars import shown_steps
from vlm_assets.operate.first_ledger import caption_facts_of, readable_examples
from vlm_assets.orchestration.assets.annotation import annotation_event, annotations_of
from vlm_assets.orchestration.assets.listing import register_slices
from vlm_assets.orchestration.assets.metadata import listed_ledger, manifest_metadata
from vlm_assets.orchestration.assets.metadata_line import allocation_metadata, corpus_metadata
from vlm_assets.orchestration.names import (
    ALLOCATION_KEY,
    CORPUS_KEY,
    DATA_VERSION_TAG,
    LISTING_VERSION,
    dataset_key,
    listing_key,
    slice_tags,
    slices_partitions,
)
from vlm_assets.orchestration.run.half_made import complete_event_log
from vlm_assets.orchestration.run.home import dagster_home
from vlm_assets.store.left_out import listed_examples
from vlm_assets.store.listings import read_listing
from vlm_assets.store.versions import current_version, read_manifest
from vlm_assets.words.errors import AnnotationError
from vlm_assets.words.manifest import Listing, SliceManifest


@dataclass(frozen=True, slots=True)
class Reconciled:
    """What was missing in the instance and is there now."""

    partitions: int
    materializations: int


def reconcile(
    installation: Installation,
    instance: dg.DagsterInstance,
    progress: Callable[[str, int, int], None] = lambda name, done, total: None,  # noqa: ARG005 - does nothing
) -> Reconciled:
    """Registers the partition keys of all listings, and reports what is committed where the instance differs.

    The newest materialization of each partition then has the data version of what lies on disk. `progress` is told
    of each that is looked at.
    """
    partitions = events = 0
    for source in (spec.name for spec in installation.catalog.fetched):
        partitions += _register(installation, instance, source)
    total = sum(len(slice_names(installation, spec.name)) for spec in installation.catalog.sources)
    for number, event in enumerate(_on_disk(installation)):
        name = "/".join((*event.asset_key.path, *([event.partition] if event.partition else [])))
        progress(name, number, max(total, number + 1))
        if _version_known(instance, event) != _version_of(event):
            instance.report_runless_asset_event(event)
            events += 1
    return Reconciled(partitions, events)


def history_lost(installation: Installation, instance: dg.DagsterInstance) -> str:
    """How much of what lies on disk the instance knows: "nothing" of a source, "only a part", or "" where all.

    It is new, was restored from an older copy, or lost its events. Annotations are not looked at: each is a file.
    """
    lost = ""
    for spec in installation.catalog.fetched:
        listing = read_listing(installation.root, spec.name)
        known = set(instance.get_dynamic_partitions(slices_partitions(spec.name)))
        if listing is not None and listing.slices and not known:
            return "nothing"
        if not lost and not _is_known(installation, instance, spec.name, listing, known):
            lost = "only a part"
    targets = installation.catalog.corpus.targets
    events = (
        event for one in targets for event in (*_allocation(installation, one), *_corpus(installation, one))
    )
    differs = any(_version_known(instance, event) != _version_of(event) for event in events)
    return lost or ("only a part" if differs else "")


def _is_known(
    installation: Installation,
    instance: dg.DagsterInstance,
    source: str,
    listing: Listing | None,
    known: AbstractSet[str],
) -> bool:
    """Whether listing, keys and committed slices of a source are all in the instance, as they are on disk."""
    slices = summarise_source(installation.root, source).slices
    keys = {*(listing.slices if listing else ()), *slices}
    if not keys <= known:
        return False
    if any(_version_known(instance, event) is None for event in _listing(installation, source)):
        return False
    versions = instance.event_log_storage.get_latest_tags_by_partition(
        dataset_key(source), dg.DagsterEventType.ASSET_MATERIALIZATION, [DATA_VERSION_TAG]
    )
    return all(versions.get(key, {}).get(DATA_VERSION_TAG) == one.content_hash for key, one in slices.items())


def reconcile_here(installation: Installation, console: Console) -> Reconciled:
    """`reconcile` on the instance of this DAGSTER_HOME, which is made where it is missing."""
    dagster_home(installation, console)
    with dg.DagsterInstance.get() as instance, shown_steps("reconcile") as progress:
        complete_event_log(instance)
        return reconcile(installation, instance, progress)


def _register(installation: Installation, instance: dg.DagsterInstance, source: str) -> int:
    """Partition keys added: of listed, retired and committed slices."""
    listing = read_listing(installation.root, source)
    listed = (*listing.slices, *listing.retired) if listing else ()
    return register_slices(instance, source, {*listed, *summarise_source(installation.root, source).slices})


def _on_disk(installation: Installation) -> Iterator[dg.AssetMaterialization]:
    for spec in installation.catalog.fetched:
        yield from _listing(installation, spec.name)
        yield from _slices(installation, spec.name)
        yield from _annotations(installation, spec)
    for target in installation.catalog.corpus.targets:
        yield from _allocation(installation, target)
        yield from _corpus(installation, target)


def _listing(installation: Installation, source: str) -> Iterator[dg.AssetMaterialization]:
    listing = read_listing(installation.root, source)
    if listing is not None:
        examples = readable_examples(lambda: listed_examples(installation.root, listing))
        yield dg.AssetMaterialization(
            listing_key(source),
            metadata={
                "slices": len(listing.slices),
                "items": listing.items,
                **listed_ledger(listing, examples),
                "revision": listing.revision,
                "dagster/uri": str(installation.root.listing(source)),
            },
            tags={DATA_VERSION_TAG: LISTING_VERSION},
        )


def _slices(installation: Installation, source: str) -> Iterator[dg.AssetMaterialization]:
    for key in summarise_source(installation.root, source).slices:
        version = current_version(installation.root.slice(source, key))
        if version is not None:
            manifest = read_manifest(version, SliceManifest)
            yield dg.AssetMaterialization(
                dataset_key(source),
                partition=key,
                metadata=manifest_metadata(manifest, str(version)),
                tags=slice_tags(source, manifest.content_hash),
            )


def _annotations(installation: Installation, spec: SourceSpec) -> Iterator[dg.AssetMaterialization]:
    for one in annotations_of(spec, installation.catalog.corpus.annotations):
        for key in summarise_source(installation.root, spec.name).slices:
            path = installation.root.annotation(one.name, spec.name, key)
            try:
                header = read_header(path)
            except AnnotationError:  # `status` tells, and `annotate` computes it anew
                continue
            if header is not None:
                yield annotation_event(installation, one.name, spec.name, key, header)


def _allocation(installation: Installation, target: str) -> Iterator[dg.AssetMaterialization]:
    version = current_version(installation.root.allocation(installation.catalog.corpus.name, target))
    if version is not None:
        manifest = read_manifest(version, AllocationManifest)
        yield dg.AssetMaterialization(
            ALLOCATION_KEY,
            partition=target,
            metadata=allocation_metadata(AllocationOutcome(manifest, version, reused=True)),
            tags={DATA_VERSION_TAG: manifest.version},
        )


def _corpus(installation: Installation, target: str) -> Iterator[dg.AssetMaterialization]:
    link = installation.root.corpus(installation.catalog.corpus.name, target)
    version = current_version(link)
    if version is not None:
        manifest = read_manifest(version, CorpusManifest)
        yield dg.AssetMaterialization(
            CORPUS_KEY,
            partition=target,
            metadata=corpus_metadata(
                manifest,
                target_outcome(installation, target),
                link,
                shards_written=0,
                captions=caption_facts_of(installation, manifest.sources),
            ),
            tags={DATA_VERSION_TAG: manifest.root_hash},
        )


def _version_known(instance: dg.DagsterInstance, event: dg.AssetMaterialization) -> str | None:
    """Data version of the newest materialization that the instance has for the event's asset and partition."""
    wanted = dg.AssetRecordsFilter(
        asset_key=event.asset_key, asset_partitions=[event.partition] if event.partition else None
    )
    for record in instance.fetch_materializations(wanted, limit=1).records:
        known = record.asset_materialization
        return _version_of(known) if known else None
    return None


def _version_of(event: dg.AssetMaterialization) -> str | None:
    return (event.tags or {}).get(DATA_VERSION_TAG)
