"""The checks `due`: on a dataset, slices that wait to be fetched or could not be; on a corpus, what it lacks.

Dagster's own freshness looks at an asset as a whole, not at its partitions. What is due is decided in `pending`, by
evidence on disk, as for the sensors. A listing, a fetch and an audit each say anew what is so.
"""

import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

import dagster as dg

from vlm_assets.catalog.spec import SourceSpec
from vlm_assets.installation.opening import Installation
from vlm_assets.orchestration.assets.metadata import source_state, table
from vlm_assets.orchestration.names import CORPUS_KEY, DUE, FAILED, dataset_key
from vlm_assets.orchestration.run.check_events import as_event
from vlm_assets.orchestration.run.pending import TargetState, due_slices, target_states
from vlm_assets.words.errors import AllocationError, VlmAssetsError

Context = dg.OpExecutionContext | dg.AssetExecutionContext

_NAMED: Final = 3
_SHOWN: Final = 50
_LONGEST: Final = 300
_EVENTS: Final = 1_000


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
        told = f"{len(due):,} slices of {spec.name} are due"
        told += (
            f", {len(failed):,} of them because they FAILED: {_named(failed)}"
            if failed
            else f": {_named(due)}"
        )
    rows = [
        {"slice": key, "why": why, "failed": failed.get(key, "")[:_LONGEST]}
        for key, why in sorted(due.items(), key=lambda pair: (pair[0] not in failed, pair[0]))
    ]
    facts = {"due": len(due), "failed": len(failed), **({"slices": table(rows[:_SHOWN])} if rows else {})}
    return _result(dataset_key(spec.name), passed=not due, severe=bool(failed), told=told, facts=facts)


def corpus_due(installation: Installation, target: str) -> dg.AssetCheckResult:
    """Whether a sealed corpus has what its sources list now: nothing due, and built from what is committed."""
    return corpora_due(installation, (target,))[target]


def corpora_due(installation: Installation, targets: Sequence[str]) -> dict[str, dg.AssetCheckResult]:
    """`corpus_due` of several targets, with one look at the sources."""
    waiting: dict[str, int] = {}
    try:
        for spec in installation.catalog.sources:
            if due := due_slices(installation, spec, now=time.time()):
                waiting[spec.name] = len(due)
        states = target_states(installation, tuple(targets))
    except AllocationError as error:
        told = f"Cannot be built again now: {error}"
        return {target: _corpus(passed=False, told=told, waiting=waiting) for target in targets}
    except VlmAssetsError as error:
        told = f"Cannot be told: {error}"
        return {target: _corpus(passed=False, told=told, waiting=waiting) for target in targets}
    return {state.target: _stands(state, waiting) for state in states}


def _stands(state: TargetState, waiting: Mapping[str, int]) -> dg.AssetCheckResult:
    target = state.target
    if waiting:
        number = sum(waiting.values())
        named = ", ".join(f"{name} {count:,}" for name, count in sorted(waiting.items()))
        told = f"{target} stands on stale data: {number:,} slices are due ({named}); what they bring is not in it."
    elif not state.up_to_date:
        told = f"{target} was built from other inputs than there are now: the next refresh builds it again."
    else:
        told = f"{target} has what its sources list: no slice is due, its inputs are those of now."
    return _corpus(passed=state.up_to_date and not waiting, told=told, waiting=waiting)


def tell_due(context: Context, installation: Installation, spec: SourceSpec) -> None:
    """Logs what is due of a source as an event of this run."""
    tell(context, as_event(dataset_due(installation, context.instance, spec)))


def tell_corpora_due(context: Context, installation: Installation) -> None:
    """Logs for every sealed corpus whether it has what its sources list now."""
    targets = sealed_targets(installation)
    for target, result in corpora_due(installation, targets).items() if targets else ():
        tell(context, as_event(result, target))


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
    if not due:
        return {}
    wanted = dg.AssetRecordsFilter(asset_key=dataset_key(source), asset_partitions=sorted(due))
    found: dict[str, str] = {}
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
