"""Annotators in this process: for tests of what is done with their values. Real processes stand in `test_pool`."""

from typing import Any

import pytest

from vlm_assets.annotate import pool
from vlm_assets.annotators.work import annotating
from vlm_assets.workers.program import Program


class InProcess:
    """In the place of a pool of workers."""

    def __init__(self, program: Program, most: int) -> None:
        self.most = most
        self._handle = annotating(*program.arguments)

    def ask(self, request: Any) -> Any:
        return self._handle(request, print)

    def close(self) -> None:
        """There is nothing."""


def annotate_in_process(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(pool, "WorkerPool", InProcess)
