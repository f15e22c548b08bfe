"""How long a run waits for a lock holder: queued runs wait and say for whom, runs of the CLI do not."""

import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

import dagster as dg

from vlm_assets.orchestration.names import LOCK_WAIT_TAG
from vlm_assets.store.locks import hold_lock
from vlm_assets.words.errors import LockHeldError

QUEUED_WAIT_S: Final = 7 * 86_400.0


def lock_wait_s(run: dg.DagsterRun) -> float:
    """Seconds that this run may wait for a lock: days when it was queued, what its tag says otherwise."""
    return float(run.tags.get(LOCK_WAIT_TAG, QUEUED_WAIT_S))


@contextmanager
def hold_or_wait(path: Path, purpose: str, *, wait_s: float, log: logging.Logger) -> Iterator[None]:
    """Holds the lock for the block; when it must wait, the log names the holder first.

    Raises:
        LockHeldError: still held after `wait_s`.
    """
    with ExitStack() as stack:
        try:
            stack.enter_context(hold_lock(path, purpose))
        except LockHeldError as held:
            if wait_s <= 0:
                raise
            log.info("Waiting: %s", held)
            stack.enter_context(hold_lock(path, purpose, wait_s=wait_s))
        yield
