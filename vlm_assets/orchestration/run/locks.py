"""How long a run waits for whoever holds what it needs: as long as it takes, and `locks` says for whom."""

from typing import Final

import dagster as dg

from vlm_assets.orchestration.names import LOCK_WAIT_TAG

WAIT_S: Final = 7 * 86_400.0


def lock_wait_s(run: dg.DagsterRun) -> float:
    """Seconds that this run may wait for a lock: days, or what its tag says."""
    return float(run.tags.get(LOCK_WAIT_TAG, WAIT_S))
