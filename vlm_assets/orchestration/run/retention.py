"""Removes old runs from the instance. A run's materializations go with it, so only runs that nothing hangs on go.

A run stays while it made the newest materialization of any partition, or the newest result of a check; while a
partition that it failed to make was not made since (the UI's "failed partitions" come from there); and while its
backfill runs.
"""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import dagster as dg
from dagster._core.execution.backfill import BULK_ACTION_TERMINAL_STATUSES, BulkActionStatus
from dagster._core.storage.dagster_run import FINISHED_STATUSES
from dagster._core.storage.event_log.sqlite.sqlite_event_log import SqliteEventLogStorage
from rich.console import Console

from vlm_assets.audit.findings import finding_names
from vlm_assets.installation.opening import Installation
from vlm_assets.orchestration.names import CORPUS_KEY
from vlm_assets.orchestration.run.home import dagster_home

_BACKFILL_TAG: Final = "dagster/backfill"
_CHUNK: Final = 1_000
_HISTORY: Final = 1_000
_DAY_S: Final = 86_400.0

_Partition = tuple[dg.AssetKey, str | None]


@dataclass(frozen=True, slots=True)
class _Newest:
    """Newest materialization of a partition."""

    run_id: str
    timestamp: float


def prune_runs(
    instance: dg.DagsterInstance,
    *,
    days: int,
    now: float | None = None,
    most: int = 1_000,
    dry_run: bool = False,
) -> list[str]:
    """Removes superseded runs that ended more than `days` ago (0: none), the oldest first; returns their ids.

    `dry_run` removes none.
    """
    if days == 0:
        return []
    removed: list[str] = []
    for run_id in superseded_runs(instance, before=(now or time.time()) - days * _DAY_S):
        if len(removed) == most:
            break
        if not dry_run:
            _delete(instance, run_id)
        removed.append(run_id)
    return removed


def prune_runs_here(installation: Installation, console: Console, *, dry_run: bool = False) -> list[str]:
    """`prune_runs` on the instance of this DAGSTER_HOME, by the settings."""
    dagster_home(installation, console)
    with dg.DagsterInstance.get() as instance:
        return prune_runs(instance, days=installation.settings.keep_runs_days, dry_run=dry_run)


def superseded_runs(instance: dg.DagsterInstance, *, before: float) -> Iterator[str]:
    """Runs that ended before then (Unix seconds) and that nothing hangs on, the oldest first."""
    wanted = dg.RunsFilter(
        statuses=list(FINISHED_STATUSES), created_before=datetime.fromtimestamp(before, UTC)
    )
    old = [
        record.dagster_run
        for record in instance.get_run_records(wanted, ascending=True)
        if (record.end_time or record.update_timestamp.timestamp()) < before
    ]
    if not old:
        return
    newest = dict(_newest(instance))
    needed = {one.run_id for one in newest.values()} | _checking_runs(instance)
    backfills = _unfinished_backfills(instance)
    for run in old:
        if run.run_id in needed or run.tags.get(_BACKFILL_TAG) in backfills:
            continue
        succeeded = run.status is dg.DagsterRunStatus.SUCCESS
        if succeeded or all(_made_since(newest, *one) for one in _planned_partitions(instance, run.run_id)):
            yield run.run_id


def _newest(instance: dg.DagsterInstance) -> Iterator[tuple[_Partition, _Newest]]:
    """Newest materialization of everything that was ever materialized."""
    storage = instance.event_log_storage
    for record in instance.get_asset_records():
        key, last = record.asset_entry.asset_key, record.asset_entry.last_materialization_record
        if last is None:
            continue
        yield (key, None), _Newest(last.run_id, last.timestamp)
        by_partition = storage.get_latest_storage_id_by_partition(
            key, dg.DagsterEventType.ASSET_MATERIALIZATION
        )
        ids = sorted(by_partition.values())
        for start in range(0, len(ids), _CHUNK):
            part = ids[start : start + _CHUNK]
            found = instance.fetch_materializations(
                dg.AssetRecordsFilter(asset_key=key, storage_ids=part), limit=len(part)
            )
            for one in found.records:
                yield (key, one.partition_key), _Newest(one.run_id, one.timestamp)


def _planned_partitions(instance: dg.DagsterInstance, run_id: str) -> Iterator[tuple[_Partition, float]]:
    """Partitions that a run was to materialize, and when that was planned."""
    kind = dg.DagsterEventType.ASSET_MATERIALIZATION_PLANNED
    for entry in instance.all_logs(run_id, of_type=kind):
        event = entry.dagster_event
        if event is None:
            continue
        data = event.asset_materialization_planned_data
        subset = data.partitions_subset
        for partition in subset.get_partition_keys() if subset else (data.partition,):
            if partition is not None:
                yield (data.asset_key, partition), entry.timestamp


def _made_since(newest: Mapping[_Partition, _Newest], partition: _Partition, planned_at: float) -> bool:
    made = newest.get(partition)
    return made is not None and made.timestamp > planned_at


def _checking_runs(instance: dg.DagsterInstance) -> set[str]:
    """Runs with the newest result of a check on a target."""
    runs: dict[tuple[str, str | None], str] = {}
    for name in map(str, finding_names()):
        history = instance.event_log_storage.get_asset_check_execution_history(
            dg.AssetCheckKey(CORPUS_KEY, name), limit=_HISTORY
        )
        for one in history:  # newest first
            runs.setdefault((name, one.partition), one.run_id)
    return set(runs.values())


def _unfinished_backfills(instance: dg.DagsterInstance) -> set[str]:
    unfinished = [one for one in BulkActionStatus if one not in BULK_ACTION_TERMINAL_STATUSES]
    return {one.backfill_id for status in unfinished for one in instance.get_backfills(status=status)}


def _delete(instance: dg.DagsterInstance, run_id: str) -> None:
    instance.delete_run(run_id)
    instance.compute_log_manager.delete_logs(prefix=[run_id])
    storage = instance.event_log_storage
    if isinstance(storage, SqliteEventLogStorage):  # leaves the run's own file, emptied
        shard = Path(storage.path_for_shard(run_id))
        for suffix in ("", "-wal", "-shm"):
            shard.with_name(shard.name + suffix).unlink(missing_ok=True)
