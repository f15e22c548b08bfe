"""Sensors: what follows from a listing, and from changed inputs. Each decision stands in the tick in words.

`changed_slices` launches the slices that are due, once for each listing of a source: a slice that fails again, or
that the night's budget had no room for, waits for the next listing or a person. `stale_corpus` launches the line of a
target, once for each state of its inputs and each night. Neither reads data; what is due is decided in `pending`.
"""

import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import dagster as dg
import orjson

from vlm_assets.catalog.spec import SourceSpec
from vlm_assets.installation.opening import Installation
from vlm_assets.orchestration.assets.metadata import source_state
from vlm_assets.orchestration.assets.targets import refreshed_targets
from vlm_assets.orchestration.names import (
    CATALOG_TAG,
    NIGHTLY_TAG,
    RANGE_END_TAG,
    RANGE_START_TAG,
    SOURCE_TAG,
    slices_partitions,
)
from vlm_assets.orchestration.night.jobs import (
    CORPUS_JOB,
    SLICES_JOB,
    LineJobs,
    dataset_job,
    slices_config,
)
from vlm_assets.orchestration.night.ranges import SliceRun, slice_runs
from vlm_assets.orchestration.night.sensor_facts import (
    LastListing,
    busy_sources,
    fault_words,
    latest_listings,
    newest_listing,
    nights_of,
    result,
    run_key_of_line,
    sensor_status,
    unfinished,
)
from vlm_assets.orchestration.run.budgets import budget_of, spent_words
from vlm_assets.orchestration.run.pending import due_slices, target_states
from vlm_assets.words.counts import so_many
from vlm_assets.words.errors import AllocationError, VlmAssetsError

if TYPE_CHECKING:  # loads pyarrow, which the code location does without
    from vlm_assets.corpus.states import TargetState

CHANGED_SLICES: Final = "changed_slices"
STALE_CORPUS: Final = "stale_corpus"


def line_sensors(installation: Installation, jobs: LineJobs) -> tuple[dg.SensorDefinition, ...]:
    """Both sensors."""
    status = sensor_status(installation.settings)
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
        words = fault_words(installation)
        seen: dict[str, int] = orjson.loads(context.cursor) if context.cursor else {}
        requests: list[dg.RunRequest] = []
        look = _Look.now(context.instance, installation, seen)
        for spec in installation.catalog.fetched:
            told = look.why_not(spec)
            if told is None:
                try:
                    found, told = look.requests(spec)
                except VlmAssetsError as error:  # one source's fault stops no other
                    found, told = [], str(error)
                requests += found
                seen[spec.name] = look.latest[spec.name].number
            if told:
                words.append(f"{spec.name}: {told}")
        return result(
            context, requests, words or ["no new listing since the last look"], orjson.dumps(seen).decode()
        )

    return changed_slices


@dataclass(frozen=True, slots=True)
class _Look:
    """What one tick of `changed_slices` sees."""

    instance: dg.DagsterInstance
    installation: Installation
    latest: Mapping[str, LastListing]
    seen: Mapping[str, int]
    busy: set[str]
    nights: Mapping[str, str | None]

    @classmethod
    def now(
        cls, instance: dg.DagsterInstance, installation: Installation, seen: Mapping[str, int]
    ) -> "_Look":
        """Asks the instance once for all sources."""
        latest = latest_listings(instance, installation)
        # An old listing's night is of interest only where a budget may have been used up in it.
        asked = [
            latest[spec.name]
            for spec in installation.catalog.fetched
            if spec.name in latest
            and (latest[spec.name].number != seen.get(spec.name) or budget_of(spec, "any") is not None)
        ]
        nights = nights_of(instance, asked)
        return cls(instance, installation, latest, dict(seen), busy_sources(instance), nights)

    def why_not(self, spec: SourceSpec) -> str | None:
        """Why nothing is decided for a source now, in words; "" where that goes without saying; None: go on."""
        listed = self.latest.get(spec.name)
        if listed is None:
            return "" if not spec.active else "never listed"
        if listed.number == self.seen.get(spec.name):
            return self._left_over(spec)
        if not spec.active:
            return f"{source_state(spec)} in the catalogue"
        return "has unfinished runs; looked at again after them" if spec.name in self.busy else None

    def _night(self, spec: SourceSpec) -> str | None:
        return self.nights.get(self.latest[spec.name].run_id)

    def _left_over(self, spec: SourceSpec) -> str:
        """Of a listing that was seen to before: that its night's budget had no room for everything."""
        spent = spent_words(self.installation, spec, self._night(spec))
        due = due_slices(self.installation, spec, now=time.time()) if spent else {}
        return f"{spent}; {_stay_due(due)} for the next night" if due else ""

    def requests(self, spec: SourceSpec) -> tuple[list[dg.RunRequest], str]:
        """Runs over the due slices, and the decision in words."""
        due = due_slices(self.installation, spec, now=time.time())
        if not due:
            return [], "listed, every slice is committed"
        night = self._night(spec)
        if spent := spent_words(self.installation, spec, night):
            return [], f"{spent}; {_stay_due(due)} for the next night"
        order = self.instance.get_dynamic_partitions(slices_partitions(spec.name))
        runs = slice_runs(order, set(due), self.installation.settings.slices_per_run)
        tags = {SOURCE_TAG: spec.name, CATALOG_TAG: self.installation.catalog.hash[:12]}
        tags |= {NIGHTLY_TAG: night} if night else {}
        listed = self.latest[spec.name].number
        requests = [
            _request(spec.name, run, f"{spec.name}:{listed}:{number}", tags)
            for number, run in enumerate(runs)
        ]
        reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(Counter(due.values()).items()))
        return requests, f"{so_many(len(due), 'slice')} due ({reasons}) in {so_many(len(runs), 'run')}"


def _stay_due(due: Mapping[str, object]) -> str:
    return f"{so_many(len(due), 'slice')} {'stays' if len(due) == 1 else 'stay'} due"


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
        words = fault_words(installation)
        busy = unfinished(context.instance)
        if busy:
            return result(context, [], [*words, f"waiting for {so_many(busy, 'unfinished run')} of the line"])
        try:
            states = target_states(installation, refreshed_targets(installation.catalog))
        except AllocationError as error:
            return result(context, [], [*words, str(error)])
        requests = []
        listed = newest_listing(context.instance, installation)
        for state in states:
            if state.up_to_date:
                words.append(f"{state.target}: inputs unchanged since it was sealed")
            else:
                why = "inputs changed" if state.sealed else "never built"
                words.append(f"{state.target}: {why} ({state.wanted[:12]})")
                requests.append(_line_request(state, listed, installation))
        return result(context, requests, words)

    return stale_corpus


def _line_request(state: "TargetState", listed: int, installation: Installation) -> dg.RunRequest:
    tags = {CATALOG_TAG: installation.catalog.hash[:12]}
    key = run_key_of_line(state.target, state.wanted, listed)
    return dg.RunRequest(key, job_name=CORPUS_JOB, partition_key=state.target, tags=tags)
