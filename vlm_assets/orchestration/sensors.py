"""Sensors: what follows from a listing, and from changed inputs. Each decision stands in the tick in words.

`changed_slices` launches the slices that are due, once for each listing of a source: a slice that fails again waits
for the next listing or a person. `stale_corpus` launches the line of a target, once for each state of its inputs.
Neither reads data; what is due is decided in `pending`.
"""

import time
from collections import Counter
from typing import Final

import dagster as dg
import orjson

from vlm_assets.catalog.spec import SourceSpec
from vlm_assets.errors import AllocationError
from vlm_assets.installation import Installation
from vlm_assets.orchestration.jobs import (
    CORPUS_JOB,
    LISTINGS_JOB,
    SLICES_JOB,
    LineJobs,
    dataset_job,
    slices_config,
)
from vlm_assets.orchestration.metadata import source_state
from vlm_assets.orchestration.names import (
    ALLOCATION_KEY,
    CATALOG_TAG,
    CORPUS_KEY,
    DATASET,
    LISTING,
    RANGE_END_TAG,
    RANGE_START_TAG,
    SOURCE_TAG,
    listing_key,
    slices_partitions,
)
from vlm_assets.orchestration.pending import due_slices, target_states
from vlm_assets.orchestration.ranges import SliceRun, slice_runs
from vlm_assets.orchestration.service import faults_of
from vlm_assets.orchestration.targets import refreshed_targets

CHANGED_SLICES: Final = "changed_slices"
STALE_CORPUS: Final = "stale_corpus"
_UNFINISHED: Final = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]


def line_sensors(installation: Installation, jobs: LineJobs) -> tuple[dg.SensorDefinition, ...]:
    """Both sensors; on from the start where the nightly schedule is."""
    status = (
        dg.DefaultSensorStatus.RUNNING if installation.settings.nightly else dg.DefaultSensorStatus.STOPPED
    )
    return _changed_slices(installation, jobs, status), _stale_corpus(installation, jobs, status)


def _changed_slices(
    installation: Installation, jobs: LineJobs, status: dg.DefaultSensorStatus
) -> dg.SensorDefinition:
    @dg.sensor(
        name=CHANGED_SLICES,
        jobs=[*jobs.datasets, jobs.slices],
        minimum_interval_seconds=installation.settings.sensor_interval_s,
        default_status=status,
        description="After each listing: fetches slices that are new, changed, or have transient rejects due.",
    )
    def changed_slices(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        words = _fault_words(installation)
        seen: dict[str, int] = orjson.loads(context.cursor) if context.cursor else {}
        busy = _busy_sources(context.instance)
        requests: list[dg.RunRequest] = []
        latest = _latest_listings(context.instance, installation)
        for spec in installation.catalog.sources:
            told = _why_not(spec, latest.get(spec.name), seen.get(spec.name), busy)
            if told is None:
                found, told = _requests(context.instance, installation, spec, latest[spec.name])
                requests += found
                seen[spec.name] = latest[spec.name]
            if told:
                words.append(f"{spec.name}: {told}")
        return _result(
            context, requests, words or ["no new listing since the last look"], orjson.dumps(seen).decode()
        )

    return changed_slices


def _why_not(spec: SourceSpec, listed: int | None, seen: int | None, busy: set[str]) -> str | None:
    """Why nothing is decided for a source now, in words; "" where that goes without saying; None: go on."""
    if listed is None:
        return "" if not spec.active else "never listed"
    if listed == seen:
        return ""
    if not spec.active:
        return f"{source_state(spec)} in the catalogue"
    return "has unfinished runs; looked at again after them" if spec.name in busy else None


def _requests(
    instance: dg.DagsterInstance, installation: Installation, spec: SourceSpec, listed: int
) -> tuple[list[dg.RunRequest], str]:
    due = due_slices(installation, spec, now=time.time())
    if not due:
        return [], "listed, every slice is committed"
    order = instance.get_dynamic_partitions(slices_partitions(spec.name))
    runs = slice_runs(order, set(due), installation.settings.slices_per_run)
    tags = {SOURCE_TAG: spec.name, CATALOG_TAG: installation.catalog.hash[:12]}
    requests = [
        _request(spec.name, run, f"{spec.name}:{listed}:{number}", tags) for number, run in enumerate(runs)
    ]
    reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(Counter(due.values()).items()))
    return requests, f"{len(due)} slices due ({reasons}) in {len(runs)} runs"


def _request(source: str, run: SliceRun, run_key: str, tags: dict[str, str]) -> dg.RunRequest:
    if not run.contiguous:
        config = slices_config(source, run.keys)
        return dg.RunRequest(run_key, config, job_name=SLICES_JOB, tags=tags)
    ends = {RANGE_START_TAG: run.keys[0], RANGE_END_TAG: run.keys[-1]}
    return dg.RunRequest(run_key, job_name=dataset_job(source), tags={**tags, **ends})


def _stale_corpus(
    installation: Installation, jobs: LineJobs, status: dg.DefaultSensorStatus
) -> dg.SensorDefinition:
    @dg.sensor(
        name=STALE_CORPUS,
        job=jobs.corpus,
        minimum_interval_seconds=installation.settings.sensor_interval_s,
        default_status=status,
        description="When nothing is being fetched: rebuilds each refreshed target whose inputs have changed.",
    )
    def stale_corpus(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        words = _fault_words(installation)
        busy = _unfinished(context.instance)
        if busy:
            return _result(context, [], [*words, f"waiting for {busy} unfinished runs of the line"])
        try:
            states = target_states(installation, refreshed_targets(installation.catalog))
        except AllocationError as error:
            return _result(context, [], [*words, str(error)])
        requests = []
        for state in states:
            if state.up_to_date:
                words.append(f"{state.target}: inputs unchanged since it was sealed")
            else:
                why = "inputs changed" if state.sealed else "never built"
                words.append(f"{state.target}: {why} ({state.wanted[:12]})")
                requests.append(_line_request(state.target, state.wanted, installation))
        return _result(context, requests, words)

    return stale_corpus


def _line_request(target: str, inputs: str, installation: Installation) -> dg.RunRequest:
    """A run for a target; the key stands for its inputs, so a line that failed is not tried again with the same."""
    tags = {CATALOG_TAG: installation.catalog.hash[:12]}
    return dg.RunRequest(f"{target}:{inputs}", job_name=CORPUS_JOB, partition_key=target, tags=tags)


def _fault_words(installation: Installation) -> list[str]:
    faults = faults_of(installation)
    return (
        [f"the catalogue has {len(faults)} faults, working with the last good one; first: {faults[0]}"]
        if faults
        else []
    )


def _latest_listings(instance: dg.DagsterInstance, installation: Installation) -> dict[str, int]:
    """Storage id of each source's newest listing event."""
    keys = [listing_key(spec.name) for spec in installation.catalog.sources]
    return {
        record.asset_entry.asset_key.path[-1]: record.asset_entry.last_materialization_record.storage_id
        for record in instance.get_asset_records(keys)
        if record.asset_entry.last_materialization_record is not None
    }


def _busy_sources(instance: dg.DagsterInstance) -> set[str]:
    """Sources that an unfinished run lists or fetches."""
    busy: set[str] = set()
    for run in instance.get_runs(dg.RunsFilter(statuses=_UNFINISHED)):
        if SOURCE_TAG in run.tags:
            busy.add(run.tags[SOURCE_TAG])
        busy |= {key.path[1] for key in run.asset_selection or () if key.path[0] == DATASET}
    return busy


def _unfinished(instance: dg.DagsterInstance) -> int:
    """Unfinished runs that list, fetch, allocate or write: all but checks and jobs of others."""
    line = {LISTING, DATASET, ALLOCATION_KEY.path[0], CORPUS_KEY.path[0]}
    runs = instance.get_runs(dg.RunsFilter(statuses=_UNFINISHED))
    return sum(
        SOURCE_TAG in run.tags
        or run.job_name in (LISTINGS_JOB, CORPUS_JOB)
        or any(key.path[0] in line for key in run.asset_selection or ())
        for run in runs
    )


def _result(
    context: dg.SensorEvaluationContext,
    requests: list[dg.RunRequest],
    words: list[str],
    cursor: str | None = None,
) -> dg.SensorResult:
    """The tick's result: the words in its log, and as its reason where nothing is launched."""
    for one in words:
        context.log.info(one)
    if requests:
        return dg.SensorResult(run_requests=requests, cursor=cursor)
    return dg.SensorResult(skip_reason="; ".join(words), cursor=cursor)
