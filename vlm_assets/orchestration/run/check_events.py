"""Results of checks told outside of the step that declares them."""

from typing import cast

import dagster as dg


def as_event(result: dg.AssetCheckResult, partition: str | None = None) -> dg.AssetCheckEvaluation:
    """A result as an event, for runs that do not make the check themselves."""
    return dg.AssetCheckEvaluation(
        asset_key=cast("dg.AssetKey", result.asset_key),
        check_name=cast("str", result.check_name),
        passed=result.passed,
        metadata=result.metadata,
        severity=result.severity,
        description=result.description,
        blocking=False,
        partition=partition,
    )
