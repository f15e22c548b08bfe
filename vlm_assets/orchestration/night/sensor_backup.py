"""`backup_due`: pushes to the remote what was committed since the last backup, once the line is at rest.

Decides by the hash that the last successful backup left in its materialization, seen unchanged by two ticks.
"""

from typing import Final

import dagster as dg

from vlm_assets.installation.opening import Installation
from vlm_assets.orchestration.assets.backup import STATE
from vlm_assets.orchestration.names import BACKUP_KEY, CATALOG_TAG
from vlm_assets.orchestration.night.jobs import BACKUP_JOB, LineJobs
from vlm_assets.orchestration.night.sensor_facts import (
    UNFINISHED,
    fault_words,
    newest_listing,
    result,
    sensor_status,
    unfinished,
)
from vlm_assets.words.counts import so_many

BACKUP_DUE: Final = "backup_due"


def backup_sensor(installation: Installation, jobs: LineJobs) -> dg.SensorDefinition:
    """The sensor; without a remote it launches nothing and says so."""

    @dg.sensor(
        name=BACKUP_DUE,
        job=jobs.backup,
        minimum_interval_seconds=installation.settings.sensor_interval_s,
        default_status=sensor_status(installation.settings),
        description="When the line is at rest: pushes what was committed since the last backup.",
    )
    def backup_due(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        words = fault_words(installation)
        if not installation.settings.remote:
            return result(context, [], [*words, "no remote is set (VLM_REMOTE): there is nothing to push to"])
        told = _why_later(context.instance)
        if told:
            return result(context, [], [*words, told])
        from vlm_assets.remote.state import backup_state

        state = backup_state(installation.root)
        last = _last_state(context.instance)
        if state == last:
            return result(context, [], [*words, "nothing was committed since the last backup"])
        words.append("something was committed since the last backup" if last else "never backed up from here")
        if state != context.cursor:
            # The other sensors look in between: what follows from a listing or a slice comes first.
            return result(context, [], [*words, "waiting for one more look without a change"], state)
        # A backup that failed is tried again after the next listing.
        key = f"backup:{state}:{newest_listing(context.instance, installation)}"
        tags = {CATALOG_TAG: installation.catalog.hash[:12]}
        return result(context, [dg.RunRequest(key, job_name=BACKUP_JOB, tags=tags)], words, state)

    return backup_due


def _why_later(instance: dg.DagsterInstance) -> str:
    """Why a backup now would come too early, in words; "" where it would not."""
    if busy := unfinished(instance):
        return f"waiting for {so_many(busy, 'unfinished run')} of the line"
    return "a backup is under way" if _backing_up(instance) else ""


def _backing_up(instance: dg.DagsterInstance) -> bool:
    return any(
        run.job_name == BACKUP_JOB or BACKUP_KEY in (run.asset_selection or ())
        for run in instance.get_runs(dg.RunsFilter(statuses=UNFINISHED))
    )


def _last_state(instance: dg.DagsterInstance) -> str | None:
    event = instance.get_latest_materialization_event(BACKUP_KEY)
    done = event.asset_materialization if event else None
    value = done.metadata.get(STATE) if done else None
    return None if value is None else str(value.value)
