"""`listing/<source>`: one subsettable multi-asset over all sources, threaded in one process.

What a listing is lies in `ingest.listing`. Partition keys are registered here and nowhere else but in `reconcile`;
they are never deleted.
"""

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import dagster as dg
from pydantic import Field

from vlm_assets.catalog.spec import SourceSpec
from vlm_assets.installation.opening import Installation
from vlm_assets.operate.logs import logging_where
from vlm_assets.orchestration.assets.due import tell_corpora_due, tell_due
from vlm_assets.orchestration.assets.groups import (
    LISTING_GROUP,
    owners_of,
    source_kinds,
    source_metadata,
    source_tags,
)
from vlm_assets.orchestration.assets.metadata import listing_metadata, source_description, source_state
from vlm_assets.orchestration.names import (
    ACCEPT_SHRINK_TAG,
    CORPUS_POOL,
    FAILED,
    FAILED_LISTINGS,
    FORCE_TAG,
    LISTING_VERSION,
    NIGHTLY_TAG,
    listing_key,
    slices_partitions,
    source_pool,
)
from vlm_assets.orchestration.run import ecs
from vlm_assets.orchestration.run.housekeeping import keep_house
from vlm_assets.orchestration.run.locked import locked_by
from vlm_assets.orchestration.run.pools import register_pools
from vlm_assets.orchestration.run.threads import run_all
from vlm_assets.remote.line import NoRemote, line_remote
from vlm_assets.sources.protocol import Requests
from vlm_assets.sources.registry import traits_of
from vlm_assets.words.errors import ListingShrunkError

if TYPE_CHECKING:
    from vlm_assets.ingest.listing import ListingChange

_THREADS: Final = 16
_KEYS_AT_ONCE: Final = 1_000
_TOLD: Final = (
    "Resolves the upstream revision and writes the listing: every slice with a fingerprint. New slices become "
    "partitions of the dataset; slices that are gone are retired, their partitions stay."
)


class ListingConfig(dg.Config):
    """What a person grants a listing; the launchpad of *Materialize* shows it."""

    accept_shrink: bool = Field(
        default=False, description="Take a listing that lost more than the source's `shrink_tolerance`."
    )
    force: bool = Field(
        default=False, description="Look at everything again, though upstream says it is unchanged."
    )


def listing_asset(installed: Installation) -> dg.AssetsDefinition:
    """The multi-asset with one output a source."""
    catalog = installed.catalog

    @dg.multi_asset(
        name="listing",
        specs=[
            dg.AssetSpec(
                listing_key(spec.name),
                group_name=LISTING_GROUP,
                description=source_description(spec, _TOLD, benchmark=catalog.is_benchmark(spec.name)),
                kinds=source_kinds(spec),
                tags=source_tags(spec, benchmark=catalog.is_benchmark(spec.name)),
                owners=owners_of(installed.settings),
                metadata={
                    **source_metadata(spec, installed),
                    "dagster/uri": str(installed.root.listing(spec.name)),
                },
                skippable=True,
            )
            for spec in catalog.fetched
        ],
        can_subset=True,
        op_tags=ecs.LISTING.tags,
    )
    def listing(
        context: dg.AssetExecutionContext,
        config: ListingConfig,
        installation: dg.ResourceParam[Installation],
    ) -> Iterator[dg.MaterializeResult[None]]:
        if NIGHTLY_TAG in context.run.tags:
            keep_house(installation, context.instance, context.log)
        names = sorted(key.path[-1] for key in context.selected_asset_keys)
        wanted = [installation.catalog.source(name) for name in names]
        remote = line_remote(installation)
        remote.before_listing([spec.name for spec in wanted if spec.active])
        failures: dict[str, str] = {}
        due: list[dg.AssetCheckResult] = []
        for name, result in _list_all(context, config, installation, wanted, remote):
            if isinstance(result, Exception):
                failures[name] = str(result)
                context.log.error("%s: %s", name, result)
                context.log_event(
                    dg.AssetObservation(
                        listing_key(name),
                        metadata=failed_listing(result, stands=installation.root.listing(name).exists()),
                    )
                )
                continue
            register_slices(context.instance, name, result.listing.slices)
            due.append(tell_due(context, installation, installation.catalog.source(name)))
            path = str(installation.root.listing(name))
            yield dg.MaterializeResult(
                asset_key=listing_key(name),
                metadata=listing_metadata(result, path),
                data_version=dg.DataVersion(LISTING_VERSION),
            )
        tell_corpora_due(context, installation, due)
        if failures:
            told = "\n".join(f"{name}: {message}" for name, message in failures.items())
            raise dg.Failure(
                f"{len(failures)} of {len(wanted)} listings failed.\n{told}",
                metadata={FAILED_LISTINGS: dg.MetadataValue.json(failures)},
            )

    return listing


def register_slices(instance: dg.DagsterInstance, source: str, keys: Iterable[str]) -> int:
    """Adds the partition keys that are new, sorted, and gives the pools their slots; returns how many were new."""
    name = slices_partitions(source)
    known = set(instance.get_dynamic_partitions(name))
    new = sorted(set(keys) - known)
    for start in range(0, len(new), _KEYS_AT_ONCE):
        instance.add_dynamic_partitions(name, new[start : start + _KEYS_AT_ONCE])
    register_pools(instance, (source_pool(source), CORPUS_POOL))
    return len(new)


def failed_listing(error: Exception, *, stands: bool) -> dict[str, Any]:
    """Why a listing failed, for the page of its own asset: the run's failure names all that failed."""
    told = "the listing before" if stands else "nothing: it was never listed"
    facts: dict[str, Any] = {FAILED: str(error), "what stands": told}
    if isinstance(error, ListingShrunkError):
        facts["to accept it"] = "Materialize → Open launchpad, and there: accept_shrink: true"
    return facts


def load_before_threads(kinds: Iterable[str]) -> None:
    """Imports the packages that listings of these kinds enter from different ends.

    One thread in `aiohttp`, another in `aiohttp.abc`: each waits for the other's module, and Python gives one of them
    up with an error.
    """
    every = [traits_of(kind) for kind in kinds]
    if any(traits.requests is not Requests.NONE for traits in every):
        import aiohttp  # noqa: F401 - loaded, not used
        import requests  # noqa: F401
    if any("huggingface" in traits.badges for traits in every):
        import datasets  # noqa: F401
        import huggingface_hub  # noqa: F401


def _list_all(
    context: dg.AssetExecutionContext,
    config: ListingConfig,
    installation: Installation,
    wanted: Sequence[SourceSpec],
    remote: NoRemote,
) -> Iterator[tuple[str, "ListingChange | Exception"]]:
    from vlm_assets.ingest.listing import refresh_listing

    tags, run_id = context.run.tags, context.run.run_id
    locked = locked_by(installation, tags)

    def list_one(spec: SourceSpec) -> "ListingChange":
        with logging_where(run_id, spec.name):
            change = refresh_listing(
                installation, spec,
                accept_shrink=config.accept_shrink or ACCEPT_SHRINK_TAG in tags,
                force=config.force or FORCE_TAG in tags,
                locked=locked,
            )  # fmt: skip
            remote.after_listing(spec.name)
        return change

    calls: dict[str, Callable[[], ListingChange]] = {}
    for spec in wanted:
        if not spec.active:
            context.log.info("%s is %s in the catalogue: not listed", spec.name, source_state(spec))
            continue
        calls[spec.name] = partial(list_one, spec)
    load_before_threads(spec.kind for spec in wanted if spec.active)
    return run_all(calls, workers=_THREADS, cancelled=threading.Event())
