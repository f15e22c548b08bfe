"""What the sensors look at: runs under way, newest listings, faults of the catalogue; and how a tick tells.

Decides nothing.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import dagster as dg

from vlm_assets.installation.opening import Installation
from vlm_assets.orchestration.names import (
    ALLOCATION_KEY,
    CORPUS_KEY,
    DATASET,
    LISTING,
    SOURCE_TAG,
    listing_key,
)
from vlm_assets.orchestration.night.jobs import CORPUS_JOB, LISTINGS_JOB
from vlm_assets.orchestration.run.budgets import night_of
from vlm_assets.orchestration.run.service import faults_of
from vlm_assets.settings import Settings
from vlm_assets.words.counts import so_many

UNFINISHED: Final = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]


def sensor_status(settings: Settings) -> dg.DefaultSensorStatus:
    """On from the start where the nightly schedule is."""
    return dg.DefaultSensorStatus.RUNNING if settings.nightly else dg.DefaultSensorStatus.STOPPED


def fault_words(installation: Installation) -> list[str]:
    """What is wrong with the catalogue's files, while a service works on an older snapshot."""
    faults = faults_of(installation)
    return (
        [
            f"the catalogue has {so_many(len(faults), 'fault')}, working with the last good one; first: {faults[0]}"
        ]
        if faults
        else []
    )


@dataclass(frozen=True, slots=True)
class LastListing:
    """A source's newest listing event: its place in the event log, and the run that made it."""

    number: int
    run_id: str


def latest_listings(instance: dg.DagsterInstance, installation: Installation) -> dict[str, LastListing]:
    """The newest listing of each source that has one."""
    keys = [listing_key(spec.name) for spec in installation.catalog.fetched]
    found = {
        record.asset_entry.asset_key.path[-1]: record.asset_entry.last_materialization_record
        for record in instance.get_asset_records(keys)
    }
    return {name: LastListing(one.storage_id, one.run_id) for name, one in found.items() if one is not None}


def nights_of(instance: dg.DagsterInstance, listings: Iterable[LastListing]) -> dict[str, str | None]:
    """The night of each run that made one of these listings; None for runs that a person has started."""
    wanted = sorted({one.run_id for one in listings if one.run_id})
    runs = instance.get_runs(dg.RunsFilter(run_ids=wanted)) if wanted else ()
    return {run.run_id: night_of(run) for run in runs}


def newest_listing(instance: dg.DagsterInstance, installation: Installation) -> int:
    """Place in the event log of the newest listing of any source; 0 where there is none."""
    return max((one.number for one in latest_listings(instance, installation).values()), default=0)


def run_key_of_line(target: str, inputs: str, listed: int) -> str:
    """What the daemon launches once: a line that failed is tried again after the next listing."""
    return f"{target}:{inputs}:{listed}"


def busy_sources(instance: dg.DagsterInstance) -> set[str]:
    """Sources that an unfinished run lists or fetches."""
    busy: set[str] = set()
    for run in instance.get_runs(dg.RunsFilter(statuses=UNFINISHED)):
        if SOURCE_TAG in run.tags:
            busy.add(run.tags[SOURCE_TAG])
        busy |= {key.path[1] for key in run.asset_selection or () if key.path[0] == DATASET}
    return busy


def unfinished(instance: dg.DagsterInstance) -> int:
    """Unfinished runs that list, fetch, allocate or write: all but checks and jobs of others."""
    line = {LISTING, DATASET, ALLOCATION_KEY.path[0], CORPUS_KEY.path[0]}
    runs = instance.get_runs(dg.RunsFilter(statuses=UNFINISHED))
    return sum(
        SOURCE_TAG in run.tags
        or run.job_name in (LISTINGS_JOB, CORPUS_JOB)
        or any(key.path[0] in line for key in run.asset_selection or ())
        for run in runs
    )


def result(
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
