"""Puts the definitions together for one installation. Adds nothing of its own."""

import dagster as dg

from vlm_assets.installation.opening import Installation
from vlm_assets.orchestration.assets.allocation import allocation_asset
from vlm_assets.orchestration.assets.annotation import annotation_assets
from vlm_assets.orchestration.assets.backup import backup_asset
from vlm_assets.orchestration.assets.catalog import catalog_asset
from vlm_assets.orchestration.assets.corpus import corpus_asset
from vlm_assets.orchestration.assets.dataset import dataset_asset
from vlm_assets.orchestration.assets.listing import listing_asset
from vlm_assets.orchestration.assets.report import report_asset
from vlm_assets.orchestration.checks.audit import corpus_checks
from vlm_assets.orchestration.checks.catalog import parses
from vlm_assets.orchestration.night.jobs import line_jobs
from vlm_assets.orchestration.night.schedules import nightly_schedule
from vlm_assets.orchestration.night.sensor_annotations import annotation_jobs, annotation_sensors
from vlm_assets.orchestration.night.sensor_backup import backup_sensor
from vlm_assets.orchestration.night.sensor_failures import failure_sensors
from vlm_assets.orchestration.night.sensors import line_sensors
from vlm_assets.orchestration.night.trial_jobs import TRIAL_JOBS
from vlm_assets.orchestration.preview import ignore_preview_notices
from vlm_assets.orchestration.run.executor import line_executor
from vlm_assets.orchestration.run.resources import SILENT, ProgressSink, line_resources
from vlm_assets.orchestration.run.storage_faults import name_storage_faults


def build_definitions(installation: Installation, progress: ProgressSink = SILENT) -> dg.Definitions:
    """All assets, checks, jobs, schedules and sensors of a catalogue."""
    ignore_preview_notices()
    name_storage_faults()
    catalog, settings = installation.catalog, installation.settings
    jobs, annotating = line_jobs(catalog), annotation_jobs(catalog)
    return dg.Definitions(
        assets=[
            catalog_asset(installation),
            listing_asset(installation),
            *(dataset_asset(spec, installation) for spec in catalog.fetched),
            *annotation_assets(installation),
            allocation_asset(installation),
            corpus_asset(installation),
            report_asset(installation),
            backup_asset(catalog),
        ],
        asset_checks=[parses, corpus_checks(catalog)],
        jobs=[*jobs.flat, *annotating, *TRIAL_JOBS],
        schedules=[nightly_schedule(installation)],
        sensors=[
            *line_sensors(installation, jobs),
            *annotation_sensors(installation, annotating),
            backup_sensor(installation, jobs),
            *failure_sensors(installation),
        ],
        resources=line_resources(installation, progress),
        executor=line_executor(settings),
    )
