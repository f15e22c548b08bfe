"""Runs slices of one source one after the other, a failed one alone, and reports each as it ends.

Shared by the dataset assets and the job for scattered keys. How a slice is built lies in `ingest.slice`.
"""

import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import dagster as dg

from vlm_assets.catalog.spec import SourceSpec
from vlm_assets.installation.opening import Installation
from vlm_assets.locks import hold_lock
from vlm_assets.operate.logs import logging_where
from vlm_assets.orchestration.assets.metadata import rejected_metadata, slice_metadata, source_state
from vlm_assets.orchestration.assets.takedowns import finish_before
from vlm_assets.orchestration.assets.thumbnails import data_url, slice_thumbnails
from vlm_assets.orchestration.names import (
    FAILED,
    FAILED_SLICES,
    REJECTED,
    dataset_key,
    slice_tags,
)
from vlm_assets.orchestration.run.asked import FetchConfig
from vlm_assets.orchestration.run.budgets import meter_of
from vlm_assets.orchestration.run.kind_slots import hold_kind_slot, slots_of
from vlm_assets.orchestration.run.locked import locked_by
from vlm_assets.orchestration.run.locks import lock_wait_s
from vlm_assets.orchestration.run.progress import ProgressLines
from vlm_assets.orchestration.run.resources import ProgressSink
from vlm_assets.orchestration.run.threads import run_all
from vlm_assets.remote.line import NoRemote, line_remote
from vlm_assets.transfer.budget import BudgetSpentError, metered
from vlm_assets.words.counts import so_many
from vlm_assets.words.errors import StoreError, VlmAssetsError
from vlm_assets.words.layout import DataRoot

if TYPE_CHECKING:
    from vlm_assets.ingest.slice import SliceOutcome
    from vlm_assets.store.corpus_lock import Locked
    from vlm_assets.store.rejected_pictures import RejectedPicture
    from vlm_assets.words.manifest import Listing


@dataclass(frozen=True, slots=True)
class _Retired:
    """A partition whose slice is no longer listed: nothing to fetch, and no failure."""


def materialize_slices(
    context: dg.OpExecutionContext | dg.AssetExecutionContext,
    installation: Installation,
    progress: ProgressSink,
    spec: SourceSpec,
    keys: Sequence[str],
    config: FetchConfig,
) -> None:
    """Builds the slices and logs a materialization event for each that is committed, at once when it is.

    When the night's budget of the source is used up it stops there, and says so: that is no failure.

    Raises:
        dg.Failure: after the last slice, naming those that failed; the others stand.
    """
    from vlm_assets.store.last_failures import forget_failure, note_failure

    failures: dict[str, str] = {}
    asked = config.granted(context.run.tags)
    for number, (key, result, seen) in enumerate(_built(context, installation, progress, spec, keys, asked)):
        if isinstance(result, BudgetSpentError):
            context.log.info(
                "%s; %d of %d slices of this run stay due for the next night: %s and what follows it",
                result, len(keys) - number, len(keys), key,
            )  # fmt: skip
        elif isinstance(result, Exception):
            failures[key] = _told(result)
            note_failure(installation.root, spec.name, key, failures[key])
            # A trace tells something only where the error is not one of ours.
            trace = None if isinstance(result, VlmAssetsError) else result
            context.log.error("%s/%s failed: %s", spec.name, key, failures[key], exc_info=trace)
            context.log_event(failure_event(spec.name, key, failures[key], _rejected_now(seen)))
        else:
            forget_failure(installation.root, spec.name, key)
            rejected = _rejected(context.instance, installation.root, spec.name, key, result, seen)
            context.log_event(slice_event(spec.name, key, result, rejected))
    if failures:
        told = "\n".join(_placed(f"{spec.name}/{key}: ", message) for key, message in failures.items())
        raise dg.Failure(
            f"{_so_many_failed(len(failures), len(keys), spec.name)}.\n{told}",
            metadata={FAILED_SLICES: dg.MetadataValue.json(failures)},
            allow_retries=False,
        )


def _so_many_failed(failed: int, tried: int, source: str) -> str:
    if failed == tried:
        return f"{so_many(failed, 'slice')} of {source} failed"
    return f"{failed:,} of {so_many(tried, 'slice')} of {source} failed; the others are committed"


def _placed(place: str, message: str) -> str:
    """The message behind its place, which stands there once."""
    return place + message.removeprefix(place)


def _told(error: Exception) -> str:
    return str(error) if isinstance(error, VlmAssetsError) else f"{type(error).__name__}: {error}"


def failure_event(
    source: str, key: str, message: str, rejected: Mapping[str, Any] | None = None
) -> dg.AssetObservation:
    """Why a slice failed, on its own page: the run's failure there names neither slice nor reason."""
    return dg.AssetObservation(
        dataset_key(source), partition=key, metadata={FAILED: message, **(rejected or {})}
    )


def _rejected_now(seen: "Sequence[RejectedPicture]") -> dict[str, Any]:
    return rejected_metadata([(str(one.reason), data_url(one.jpeg)) for one in seen])


def _rejected(
    instance: dg.DagsterInstance,
    root: DataRoot,
    source: str,
    key: str,
    result: "SliceOutcome | _Retired",
    seen: "Sequence[RejectedPicture]",
) -> dict[str, Any]:
    """The sheet of rejects of a slice: also those of items that stand as they were, which nobody fetched now."""
    from vlm_assets.store.rejected_pictures import kept_rejected

    if isinstance(result, _Retired) or not result.manifest.rejects:
        return {}
    return _rejected_now(kept_rejected(root, source, key) or seen) or _rejected_before(
        instance, source, key, result
    )


def _rejected_before(
    instance: dg.DagsterInstance, source: str, key: str, result: "SliceOutcome"
) -> dict[str, Any]:
    """The sheet of rejects that the last event of a slice has, where nothing of it was fetched since."""
    if result.due != "committed":
        return {}
    wanted = dg.AssetRecordsFilter(asset_key=dataset_key(source), asset_partitions=[key])
    for record in instance.fetch_materializations(wanted, limit=1).records:
        shown = record.asset_materialization.metadata if record.asset_materialization else {}
        return {REJECTED: shown[REJECTED]} if REJECTED in shown else {}
    return {}


def slice_event(
    source: str, key: str, result: "SliceOutcome | _Retired", rejected: Mapping[str, Any] | None = None
) -> dg.AssetMaterialization:
    """The event of one finished slice; the same for one that was committed before, with its sheet of rejects."""
    if isinstance(result, _Retired):
        told = "no longer listed, never fetched; the partition is kept"
        return dg.AssetMaterialization(
            dataset_key(source), partition=key, metadata={"retired": told, "rows": 0}
        )
    from vlm_assets.store.away import away
    from vlm_assets.store.slices import data_file_names

    names = data_file_names(result.manifest.files)
    shown = names and away(result.path / names[0]) is None  # a file is not fetched for its pictures
    pictures = slice_thumbnails(result.path, names[0]) if shown else ()
    return dg.AssetMaterialization(
        dataset_key(source),
        partition=key,
        metadata=slice_metadata(result, pictures, rejected),
        tags=slice_tags(source, result.manifest.content_hash),
    )


def _built(
    context: dg.OpExecutionContext | dg.AssetExecutionContext,
    installation: Installation,
    progress: ProgressSink,
    spec: SourceSpec,
    keys: Sequence[str],
    asked: FetchConfig,
) -> Iterator[tuple[str, "SliceOutcome | _Retired | Exception", "list[RejectedPicture]"]]:
    """What came of each slice, with pictures of its rejects; ends where the night's budget is used up.

    Words of what came in though it was taken down are out of listing, caches and remote after the last.
    """
    from vlm_assets.ingest.summary import refresh_summary
    from vlm_assets.ingest.taken_caches import clear_after_fetch
    from vlm_assets.store.listings import read_listing

    listing = read_listing(installation.root, spec.name)
    if listing is None or not spec.active:
        state = (
            f"{source_state(spec)} in the catalogue"
            if listing
            else "not listed yet: materialize its listing first"
        )
        raise dg.Failure(f"{spec.name} is {state}", allow_retries=False)
    wait_s = lock_wait_s(context.run)
    lock = installation.root.locks / f"fetch.{spec.name}"
    with hold_lock(lock, f"slices of {spec.name}", wait_s=wait_s):
        remote = line_remote(installation)
        remote.before_slices()
        finish_before(installation, context.log.warning)
        locked = locked_by(installation, context.run.tags)
        slots = slots_of(spec.kind, installation.settings)
        try:
            for key in keys:
                seen: list[RejectedPicture] = []
                with hold_kind_slot(
                    installation.root.locks, spec.kind, slots, f"{spec.name}/{key}", wait_s=wait_s
                ):
                    built = _build_one(
                        context, installation, progress, spec, listing, key, remote, locked, asked, seen
                    )
                yield (
                    key,
                    built,
                    seen,
                )  # whoever is handed it looks at its data, and is done when this goes on
                if not isinstance(built, Exception):
                    remote.slice_told(spec.name, key)
                if isinstance(built, BudgetSpentError):
                    break
        finally:
            # An error that is on its way already is the one that counts: the next fetch writes the summary anew.
            with suppress(StoreError) if sys.exception() else nullcontext():
                refresh_summary(installation.root, spec.name, listing)
        finish_before(installation, context.log.warning)
        clear_after_fetch(installation.root, listing)


def _build_one(
    context: dg.OpExecutionContext | dg.AssetExecutionContext,
    installation: Installation,
    progress: ProgressSink,
    spec: SourceSpec,
    listing: "Listing",
    key: str,
    remote: NoRemote,
    locked: "Locked | None",
    asked: FetchConfig,
    seen: "list[RejectedPicture]",
) -> "SliceOutcome | _Retired | Exception":
    from vlm_assets.ingest.slice import SliceOptions, build_slice

    if key not in listing.slices:
        return _retired(installation, spec, key)
    name = f"{spec.name}/{key}"
    lines = ProgressLines(name, listing.slices[key].items, context.log.info)

    def advance(items: int, size_bytes: int) -> None:
        lines.advance(items, size_bytes)
        progress.advance(name, items, size_bytes)

    settings = installation.settings
    options = SliceOptions(
        force=asked.force_redownload,
        accept_drift=asked.accept_drift,
        accept_renderer=asked.accept_renderer,
        locked=locked,
        lock_wait_s=lock_wait_s(context.run),
        run_id=context.run.run_id,
        max_records=settings.test_mode_rows if settings.test_mode else None,
        cancelled=threading.Event(),
        progress=advance,
        on_rejected=seen.append,
    )

    def build() -> "SliceOutcome":
        if not options.force:
            remote.before_slice(listing, key)
        outcome = build_slice(installation, spec, listing, key, options)
        remote.after_slice(spec.name, key)
        return outcome

    progress.start(name, listing.slices[key].items)
    try:
        with logging_where(options.run_id, name), metered(meter_of(installation.root, spec, context.run)):
            [(_, result)] = run_all({key: build}, workers=1, cancelled=options.cancelled, idle=lines.tell)
    finally:
        progress.finish(name)
    return result


def _retired(installation: Installation, spec: SourceSpec, key: str) -> "SliceOutcome | _Retired":
    from vlm_assets.ingest.due import Due
    from vlm_assets.ingest.slice import SliceOutcome
    from vlm_assets.store.versions import current_version, read_manifest
    from vlm_assets.words.manifest import RunRecord, SliceManifest

    version = current_version(installation.root.slice(spec.name, key))
    if version is None:
        return _Retired()
    return SliceOutcome(Due.COMMITTED, read_manifest(version, SliceManifest), RunRecord(), version)
