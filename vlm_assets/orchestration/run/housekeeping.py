"""What a night cleans up beside its work: old downloads and old runs, as the settings say.

Done by the run of the nightly listings before it lists: a run of its own every night would be growth by itself.
"""

import logging
import time

import dagster as dg

from vlm_assets.installation.opening import Installation
from vlm_assets.orchestration.run.retention import prune_runs


def keep_house(installation: Installation, instance: dg.DagsterInstance, log: logging.Logger) -> None:
    """Removes what is older than the settings keep, and says so; what goes wrong is said too, and stops nothing."""
    from vlm_assets.operate.cache_retention import prune_cache

    try:
        cache = prune_cache(installation, now=time.time())
        runs = prune_runs(instance, days=installation.settings.keep_runs_days)
    except Exception as error:  # noqa: BLE001 - the boundary: recorded, and the listings go on
        log.warning("housekeeping failed: %s: %s", type(error).__name__, error)
        return
    if cache.removed or runs:
        log.info(
            "housekeeping: %d old downloads (%.1f MB) and %d superseded runs removed",
            len(cache.removed), cache.freed_bytes / 1e6, len(runs),
        )  # fmt: skip
