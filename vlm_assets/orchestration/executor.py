"""One executor for all jobs: a run of a single step stays in its process, a run of several gets one each.

A child process costs about 2.5 s of imports, which a run over slices (one step) need not pay; shards of a corpus are
worth it. The code location can name only one executor for runs that start from the asset graph.
"""

from collections.abc import Iterator
from typing import Final

import dagster as dg
from dagster._core.execution.context.system import PlanOrchestrationContext
from dagster._core.execution.plan.plan import ExecutionPlan
from dagster._core.execution.retries import RetryMode
from dagster._core.executor.in_process import InProcessExecutor
from dagster._core.executor.multiprocess import MultiprocessExecutor

from vlm_assets.settings import Settings

_PRELOADED: Final = ("vlm_assets.orchestration.define", "pyarrow", "numpy")


class LineExecutor(dg.Executor):
    """Chooses between the in-process and the multiprocess executor by the number of steps."""

    def __init__(self, workers: int) -> None:
        self._single = InProcessExecutor(retries=RetryMode.ENABLED)
        self._several = MultiprocessExecutor(
            retries=RetryMode.ENABLED,
            max_concurrent=workers,
            start_method="forkserver",
            explicit_forkserver_preload=_PRELOADED,
        )

    @property
    def retries(self) -> RetryMode:
        """A step may ask for a retry."""
        return RetryMode.ENABLED

    def execute(
        self, plan_context: PlanOrchestrationContext, execution_plan: ExecutionPlan
    ) -> Iterator[dg.DagsterEvent]:
        """Runs the plan."""
        alone = len(execution_plan.step_handles_to_execute) == 1
        yield from (self._single if alone else self._several).execute(plan_context, execution_plan)


def line_executor(settings: Settings) -> dg.ExecutorDefinition:
    """The executor with as many step processes at a time as the settings have workers."""

    @dg.executor(name="line", requirements=[])
    def line(_context: dg.InitExecutorContext) -> dg.Executor:
        return LineExecutor(settings.worker_count)

    return line
