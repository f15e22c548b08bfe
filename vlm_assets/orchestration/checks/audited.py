"""What the last audit of a sealed corpus said, from the event log. Audits nothing."""

from dataclasses import dataclass

import dagster as dg
from dagster._core.event_api import PartitionKeyFilter
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecordStatus

from vlm_assets.audit.findings import Severity, finding_names, severity_of
from vlm_assets.orchestration.names import CORPUS_KEY


@dataclass(frozen=True, slots=True)
class LastAudit:
    """`complete`: every check ran after the corpus was sealed. `failed`: those of severity error among them."""

    complete: bool
    failed: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def last_audit(instance: dg.DagsterInstance, target: str) -> LastAudit:
    """The newest result of every check on a target's corpus."""
    wanted = dg.AssetRecordsFilter(asset_key=CORPUS_KEY, asset_partitions=[target])
    sealed = instance.fetch_materializations(wanted, limit=1).records
    if not sealed:
        return LastAudit(complete=False)
    failed: list[str] = []
    warnings: list[str] = []
    keys = {name: dg.AssetCheckKey(CORPUS_KEY, str(name)) for name in finding_names()}
    results = instance.event_log_storage.get_latest_asset_check_execution_by_key(
        list(keys.values()), PartitionKeyFilter(key=target)
    )
    for name, key in keys.items():
        last = results.get(key)
        if (
            last is None
            or last.status is AssetCheckExecutionRecordStatus.PLANNED
            or last.event is None
            or last.event.timestamp < sealed[0].timestamp
        ):
            return LastAudit(complete=False)
        if last.status is AssetCheckExecutionRecordStatus.FAILED:
            (failed if _blocks(last.event, severity_of(name)) else warnings).append(str(name))
    return LastAudit(complete=True, failed=tuple(failed), warnings=tuple(warnings))


def _blocks(event: dg.EventLogEntry, usual: Severity) -> bool:
    """Whether a failed check is of severity error, as it said itself: it may be milder than usual."""
    told = event.dagster_event.asset_check_evaluation_data if event.dagster_event else None
    return usual is Severity.ERROR if told is None else told.severity is dg.AssetCheckSeverity.ERROR
