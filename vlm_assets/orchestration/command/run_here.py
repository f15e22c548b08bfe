"""Runs in this process, one after the other: no queue, no pools; whoever holds what they need is waited for."""

import socket
from collections.abc import Sequence
from typing import Final

import dagster as dg

from vlm_assets.orchestration.names import HOST_TAG
from vlm_assets.orchestration.run.runs import (
    RunOutcome,
    RunWish,
    job_of,
    outcome_of,
    tags_of,
    was_interrupted,
)

_QUIET: Final = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
"""Dagster's own console lines; everything is in the event log, and failures are told by the caller."""


class RunHere:
    """A `Runner` on an instance and definitions."""

    def __init__(self, instance: dg.DagsterInstance, defs: dg.Definitions) -> None:
        self._instance = instance
        self._defs = defs

    def run(self, wishes: Sequence[RunWish]) -> list[RunOutcome]:
        """See `Runner`.

        Raises:
            KeyboardInterrupt: Ctrl-C came while a run was under way; the rest is not begun.
        """
        return [self._run(wish) for wish in wishes]

    def _run(self, wish: RunWish) -> RunOutcome:
        result = job_of(self._defs, wish).execute_in_process(
            instance=self._instance,
            asset_selection=list(wish.assets) or None,
            tags={**tags_of(wish), HOST_TAG: socket.gethostname()},
            run_config={**_QUIET, **wish.config},
            raise_on_error=False,
        )
        if not result.success and was_interrupted(self._instance, result.run_id):
            raise KeyboardInterrupt
        return outcome_of(self._instance, wish, result.run_id)
