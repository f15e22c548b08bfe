"""The nightly schedule: it runs the listings. What follows from them is decided by the sensors."""

import dagster as dg

from vlm_assets.installation.opening import Installation
from vlm_assets.orchestration.names import CATALOG_TAG, NIGHTLY_TAG
from vlm_assets.orchestration.night.jobs import LISTINGS_JOB

NIGHTLY = "nightly"


def nightly_schedule(installation: Installation) -> dg.ScheduleDefinition:
    """Lists all sources at the time and in the zone of the settings. A missed night is caught up once.

    `max_catchup_runs: 1` in dagster.yaml keeps a service that was down for a week from listing seven times.
    """
    settings = installation.settings

    @dg.schedule(
        name=NIGHTLY,
        job_name=LISTINGS_JOB,
        cron_schedule=settings.nightly_cron,
        execution_timezone=settings.nightly_timezone,
        default_status=_status(on=settings.nightly),
        description="Lists every source; the sensors then fetch what changed and rebuild what depends on it.",
    )
    def nightly(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
        night = context.scheduled_execution_time.date().isoformat()
        context.log.info("listing all sources for the night of %s", night)
        tags = {NIGHTLY_TAG: night, CATALOG_TAG: installation.catalog.hash[:12]}
        return dg.RunRequest(run_key=night, tags=tags)

    return nightly


def _status(*, on: bool) -> dg.DefaultScheduleStatus:
    return dg.DefaultScheduleStatus.RUNNING if on else dg.DefaultScheduleStatus.STOPPED
