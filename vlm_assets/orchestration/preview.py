"""Keeps Dagster's notices about beta and preview arguments out of logs and test results.

`backfill_policy` and partitioned checks give one for every asset, hundreds at each load. Nothing else is silenced.
"""

import warnings

import dagster as dg


def ignore_preview_notices() -> None:
    """Filters the notices from now on; call before definitions are built."""
    for category in (dg.BetaWarning, dg.PreviewWarning):
        warnings.filterwarnings("ignore", category=category)
