"""How long a run waits for a lock holder: queued runs wait and say for whom, runs of the CLI do not."""

import logging
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Final

import dagster as dg

from vlm_assets.locks import hold_lock
from vlm_assets.orchestration.names import LOCK_WAIT_TAG

QUEUED_WAIT_S: Final = 7 * 86_400.0


def lock_wait_s(run: dg.DagsterRun) -> float:
    """Seconds that this run may wait for a lock: days when it was queued, what its tag says otherwise."""
    return float(run.tags.get(LOCK_WAIT_TAG, QUEUED_WAIT_S))


def hold_or_wait(
    path: Path, purpose: str, *, wait_s: float, log: logging.Logger
) -> AbstractContextManager[None]:
    """Holds the lock for the block; when it must wait, the log names the holder first.

    Raises:
        LockHeldError: still held after `wait_s`.
    """
    return hold_lock(path, purpose, wait_s=wait_s, told=lambda holder: log.info("Waiting: %s", holder))
