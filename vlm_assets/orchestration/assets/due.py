"""The checks `due`: on a dataset, slices that wait to be fetched or could not be; on a corpus, what it lacks.

Dagster's own freshness looks at an asset as a whole, not at its partitions. What is due is decided in `pending`, by
evidence on disk, as for the sensors. A listing, a fetch and an audit each say anew what is so: an audit looks at all
sources, the others at those that they touched. Of the rest they take what the source's own check said last, for a
backfill of 100,000 slices is thousands of runs.
"""

import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

import dagster as dg

from vlm_assets.catalog.spec import SourceSpec
from vlm_assets.installation.opening import Installation
from vlm_assets.orchestration.assets.metadata import source_state
from vlm_assets.orchestration.assets.tables import table
from vlm_assets.orchestration.names import CORPUS_KEY, DUE, FAILED, dataset_key
from vlm_assets.orchestration.run.check_events import as_event
from vlm_assets.orchestration.run.pending import due_slices, target_states
from vlm_assets.words.counts import so_many
from vlm_assets.words.errors import AllocationError, VlmAssetsError

Context = dg.OpExecutionContext | dg.AssetExecutionContext

_NAMED: Final = 3
_SHOWN: Final = 50
_LONGEST: Final = 300
_EVENTS: Final = 1_000
_KEYS_AT_ONCE: Final = 1_000
"""Partition keys in one question: SQLite takes 32,766 values, and a source may have 100,000 slices due."""
_DUE: Final = "due"
"""Name of the figure in a dataset's check."""


def dataset_due_spec(source: str) -> dg.AssetCheckSpec:
    """The check on a dataset; the op that fetches makes it."""
    return dg.AssetCheckSpec(
        DUE,
        asset=dataset_key(source),
        description="Every slice is committed as it is listed: none waits to be fetched, none failed.",
    )


def dataset_due(
    installation: Installation, instance: dg.DagsterInstance, spec: SourceSpec
) -> dg.AssetCheckResult:
    """What of a source is due now. An error where the last try of a slice failed, a warning where one only waits."""
    try:
        due = {key: str(why) for key, why in due_slices(installation, spec, now=time.time()).items()}
    except VlmAssetsError as error:
        return _result(dataset_key(spec.name), passed=False, severe=True, told=f"Cannot be told: {error}")
    failed = _last_failures(instance, spec.name, due)
    told = f"Every slice of {spec.name} is committed as it is listed."
    if not spec.active:
        told = f"{spec.name} is {source_state(spec)} in the catalogue: neither listed nor fetched."
    elif due:
        told = _sentence(spec.name, due, failed)
    rows = [
        {"slice": key, "why": why, "failed": failed.get(key, "")[:_LONGEST]}
        for key, why in sorted(due.items(), key=lambda pair: (pair[0] not in failed, pair[0]))
    ]
    facts = {_DUE: len(due), "failed": len(failed), **({"slices": table(rows[:_SHOWN])} if rows else {})}
    return _result(dataset_key(spec.name), passed=not due, severe=bool(failed), told=told, facts=facts)


def _sentence(source: str, due: Mapping[str, str], failed: Mapping[str, str]) -> str:
    if not failed:
        return f"{so_many(len(due), 'slice')} of {source} {_are(len(due))} due: {_named(due)}"
    named = _named({key: why.removeprefix(f"{source}/{key}: ") for key, why in failed.items()})
    if len(due) == 1:
        return f"1 slice of {source} is due, because it FAILED: {named}"
    slices = so_many(len(due), "slice")
    return f"{slices} of {source} are due, {len(failed):,} of them because they FAILED: {named}"


def _are(count: int) -> str:
    return "is" if count == 1 else "are"


def corpus_due(installation: Installation, target: str) -> dg.AssetCheckResult:
    """Whether a sealed corpus has what its sources list now: nothing due, and built from what is committed."""
    return corpora_due(installation, (target,))[target]


def corpora_due(
    installation: Installation, targets: Sequence[str], told: Mapping[str, int] | None = None
) -> dict[str, dg.AssetCheckResult]:
    """`corpus_due` of several targets, with one look at the sources. `told`: slices due of those not to look at."""
    waiting: dict[str, int] = {}
    try:
        for spec in installation.catalog.fetched:
            if due := _due_of(installation, spec, told or {}):
                waiting[spec.name] = due
        if waiting:  # whatever they bring, it is not in there: their supply need not be hashed
            return {target: _stands(target, up_to_date=False, waiting=waiting) for target in targets}
        states = target_states(installation, tuple(targets))
    except AllocationError as error:
        said = f"Cannot be built again now: {error}"
        return {target: _corpus(passed=False, told=said, waiting=waiting) for target in targets}
    except VlmAssetsError as error:
        said = f"Cannot be told: {error}"
        return {target: _corpus(passed=False, told=said, waiting=waiting) for target in targets}
    return {state.target: _stands(state.target, up_to_date=state.up_to_date, waiting={}) for state in states}


def _due_of(installation: Installation, spec: SourceSpec, told: Mapping[str, int]) -> int:
    return told[spec.name] if spec.name in told else len(due_slices(installation, spec, now=time.time()))


def _stands(target: str, *, up_to_date: bool, waiting: Mapping[str, int]) -> dg.AssetCheckResult:
    if waiting:
        number = sum(waiting.values())
        named = ", ".join(f"{name} {count:,}" for name, count in sorted(waiting.items()))
        what = "it brings" if number == 1 else "they bring"
        due = f"{so_many(number, 'slice')} {_are(number)} due ({named})"
        told = f"{target} stands on stale data: {due}; what {what} is not in it."
    elif not up_to_date:
        told = f"{target} was built from other inputs than there are now: the next refresh builds it again."
    else:
        told = f"{target} has what its sources list: no slice is due, its inputs are those of now."
    return _corpus(passed=up_to_date and not waiting, told=told, waiting=waiting)


def tell_due(context: Context, installation: Installation, spec: SourceSpec) -> dg.AssetCheckResult:
    """Logs what is due of a source as an event of this run; gives it too."""
    result = dataset_due(installation, context.instance, spec)
    tell(context, as_event(result))
    return result


def tell_corpora_due(
    context: Context, installation: Installation, looked_at: Sequence[dg.AssetCheckResult]
) -> None:
    """Logs for every sealed corpus whether it has what its sources list now.

    `looked_at`: what was found of the sources that this run touched. No other source is looked at whose own check
    has said how many of its slices are due.
    """
    targets = sealed_targets(installation)
    if not targets:
        return
    sources = [spec.name for spec in installation.catalog.fetched]
    told = _told_last(context.instance, sources) | _counts(looked_at)
    for target, result in corpora_due(installation, targets, told).items():
        tell(context, as_event(result, target))


def _counts(results: Sequence[dg.AssetCheckResult]) -> dict[str, int]:
    """Slices due by source, of those of which it could be told."""
    found = {one.asset_key.path[-1]: one.metadata.get(_DUE) for one in results if one.asset_key is not None}
    return {name: value.value or 0 for name, value in found.items() if isinstance(value, dg.IntMetadataValue)}


def _told_last(instance: dg.DagsterInstance, sources: Sequence[str]) -> dict[str, int]:
    """Slices due by source as the source's own check said last; without those of which it never did."""
    names = {dg.AssetCheckKey(dataset_key(name), DUE): name for name in sources}
    found: dict[str, int] = {}
    for key, one in instance.event_log_storage.get_asset_check_summary_records(list(names)).items():
        last = one.last_completed_check_execution_record
        event = last.event.dagster_event if last and last.event else None
        told = event.asset_check_evaluation_data.metadata.get(_DUE) if event else None
        if isinstance(told, dg.IntMetadataValue):
            found[names[key]] = told.value or 0
    return found


def tell(context: Context, event: dg.AssetCheckEvaluation) -> None:
    """Logs a check's result as an event of this run."""
    context.log_event(event)  # type: ignore[arg-type]  # takes it, and does not say so (1.13)


def sealed_targets(installation: Installation) -> list[str]:
    """Targets that have a corpus, smallest first."""
    from vlm_assets.store.versions import current_version

    root, corpus = installation.root, installation.catalog.corpus
    return [
        target
        for target in sorted(corpus.targets, key=lambda name: (corpus.targets[name], name))
        if current_version(root.corpus(corpus.name, target)) is not None
    ]


def _last_failures(instance: dg.DagsterInstance, source: str, due: Mapping[str, str]) -> dict[str, str]:
    """Messages of those due slices whose last try failed; one that came out since is due no more."""
    key = dataset_key(source)
    if not due or not instance.fetch_observations(key, limit=1).records:
        return {}
    found: dict[str, str] = {}
    keys = sorted(due)
    for start in range(0, len(keys), _KEYS_AT_ONCE):
        wanted = dg.AssetRecordsFilter(asset_key=key, asset_partitions=keys[start : start + _KEYS_AT_ONCE])
        for record in instance.fetch_observations(wanted, limit=_EVENTS).records:
            event = record.asset_observation
            if event is not None and event.partition and FAILED in event.metadata:
                found.setdefault(event.partition, str(event.metadata[FAILED].value))
    return found


def _named(told: Mapping[str, str]) -> str:
    shown = "; ".join(f"{key}: {why[:_LONGEST]}" for key, why in sorted(told.items())[:_NAMED])
    return shown + (f"; and {len(told) - _NAMED:,} more" if len(told) > _NAMED else "")


def _result(
    key: dg.AssetKey, *, passed: bool, severe: bool, told: str, facts: Mapping[str, Any] | None = None
) -> dg.AssetCheckResult:
    severity = dg.AssetCheckSeverity.ERROR if severe else dg.AssetCheckSeverity.WARN
    return dg.AssetCheckResult(
        asset_key=key,
        check_name=DUE,
        passed=passed,
        severity=severity,
        description=told,
        metadata=dict(facts or {}),
    )


def _corpus(*, passed: bool, told: str, waiting: Mapping[str, int]) -> dg.AssetCheckResult:
    facts: dict[str, Any] = {"slices due": sum(waiting.values())}
    if waiting:
        facts["by source"] = table({"source": name, "due": count} for name, count in sorted(waiting.items()))
    return _result(CORPUS_KEY, passed=passed, severe=False, told=told, facts=facts)
