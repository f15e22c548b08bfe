"""`tell_failures`: one message for each run that has failed, to the places that the settings name.

A run that is started again by itself is no failure yet; one that a person cancelled is none. What is sent, and where
to, lies in `notify`.
"""

from collections.abc import Mapping
from typing import Any, Final

import dagster as dg

from vlm_assets.installation.opening import Installation
from vlm_assets.operate.notify import Failure, notify, one_line
from vlm_assets.orchestration.names import (
    BACKUP_KEY,
    CORPUS_KEY,
    DATASET,
    FAILED_LISTINGS,
    FAILED_SLICES,
    LISTING,
    NIGHTLY_TAG,
    PARTITION_TAG,
    SOURCE_TAG,
)
from vlm_assets.orchestration.night.jobs import BACKUP_JOB, LISTINGS_JOB
from vlm_assets.orchestration.run.runs import failures_told
from vlm_assets.settings import Settings

TELL_FAILURES: Final = "tell_failures"
_WILL_RETRY_TAG: Final = "dagster/will_retry"


def failure_sensors(installation: Installation) -> tuple[dg.SensorDefinition, ...]:
    """The sensor, on from the start; none where nobody is to be told."""
    settings = installation.settings
    if settings.notify_webhook is None and not settings.notify_sns_topic:
        return ()

    @dg.run_failure_sensor(
        name=TELL_FAILURES,
        minimum_interval_seconds=settings.sensor_interval_s,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Tells the webhook and the SNS topic of the settings about each failed run, once.",
    )
    def tell_failures(context: dg.RunFailureSensorContext) -> None:
        run = context.dagster_run
        if run.tags.get(_WILL_RETRY_TAG) == "true":
            context.log.info("run %s will be started again by itself: nobody is told yet", run.run_id)
            return
        failure = failure_of_run(context.instance, run, installation.catalog.corpus.name, settings)
        faults = notify(settings, failure)
        context.log.info("%s: %s", failure.subject, "; ".join(faults) or "told")

    return (tell_failures,)


def failure_of_run(
    instance: dg.DagsterInstance, run: dg.DagsterRun, corpus: str, settings: Settings
) -> Failure:
    """What a person outside of the UI needs to know of a failed run."""
    told = _told_by_steps(instance, run.run_id)
    slices, listings = told.get(FAILED_SLICES, {}), told.get(FAILED_LISTINGS, {})
    findings = _failed_findings(instance, run.run_id)
    error = f"findings: {', '.join(findings)}" if findings else failures_told(instance, run.run_id)
    return Failure(
        event="audit" if findings else _event(run),
        corpus=corpus,
        run_id=run.run_id,
        error=one_line(error or "the run has ended without saying why"),
        source=", ".join(listings) or _source(run),
        slices=tuple(slices),
        target=run.tags.get(PARTITION_TAG, "") if _event(run) in ("corpus", "audit") else "",
        night=run.tags.get(NIGHTLY_TAG, ""),
        run_url=f"{settings.ui_url}/runs/{run.run_id}" if settings.ui_url else "",
    )


def _areas(run: dg.DagsterRun) -> set[str]:
    return {key.path[0] for key in run.asset_selection or ()}


def _event(run: dg.DagsterRun) -> str:
    areas = _areas(run)
    if SOURCE_TAG in run.tags or areas == {DATASET}:
        return "slices"
    if run.job_name == LISTINGS_JOB or areas == {LISTING}:
        return "listing"
    if run.job_name == BACKUP_JOB or areas == {BACKUP_KEY.path[0]}:
        return "backup"
    return "corpus" if PARTITION_TAG in run.tags else "run"


def _source(run: dg.DagsterRun) -> str:
    named = {key.path[1] for key in run.asset_selection or () if key.path[0] == DATASET}
    return run.tags.get(SOURCE_TAG) or ", ".join(sorted(named))


def _told_by_steps(instance: dg.DagsterInstance, run_id: str) -> Mapping[str, Mapping[str, Any]]:
    """JSON metadata of the failed steps, by name."""
    told: dict[str, Mapping[str, Any]] = {}
    for entry in instance.all_logs(run_id, of_type=dg.DagsterEventType.STEP_FAILURE):
        event = entry.dagster_event
        given = event.step_failure_data.user_failure_data if event else None
        for name, value in (given.metadata if given else {}).items():
            if isinstance(value, dg.JsonMetadataValue) and isinstance(value.data, Mapping):
                told[name] = value.data
    return told


def _failed_findings(instance: dg.DagsterInstance, run_id: str) -> list[str]:
    """Findings of the audit that have failed in the run with severity error; what is due of a source is none."""
    failed = set()
    for entry in instance.all_logs(run_id, of_type=dg.DagsterEventType.ASSET_CHECK_EVALUATION):
        event = entry.dagster_event
        one = event.asset_check_evaluation_data if event else None
        if one is None or one.passed or one.severity is not dg.AssetCheckSeverity.ERROR:
            continue
        if one.asset_key == CORPUS_KEY:
            failed.add(one.check_name)
    return sorted(failed)
