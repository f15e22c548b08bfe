"""One executor for all jobs: a run of a single step stays in its process, a run of several gets one each.

A child process costs about 2.5 s of imports, which a run over slices (one step) need not pay; shards of a corpus are
worth it. The code location can name only one executor for runs that start from the asset graph.
"""

from collections.abc import Callable, Iterator
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
    """Chooses between the in-process executor and the one for `several` steps by the number of steps."""

    def __init__(self, several: Callable[[], dg.Executor]) -> None:
        self._single = InProcessExecutor(retries=RetryMode.ENABLED)
        self._several = several

    @property
    def retries(self) -> RetryMode:
        """A step may ask for a retry."""
        return RetryMode.ENABLED

    def execute(
        self, plan_context: PlanOrchestrationContext, execution_plan: ExecutionPlan
    ) -> Iterator[dg.DagsterEvent]:
        """Runs the plan."""
        alone = len(execution_plan.step_handles_to_execute) == 1
        yield from (self._single if alone else self._several()).execute(plan_context, execution_plan)


def line_executor(settings: Settings) -> dg.ExecutorDefinition:
    """Steps as processes, as many at a time as the settings have workers; or each as an ECS task."""
    return _tasks(settings) if settings.step_executor == "ecs" else _processes(settings)


def _processes(settings: Settings) -> dg.ExecutorDefinition:
    def several() -> dg.Executor:
        return MultiprocessExecutor(
            retries=RetryMode.ENABLED,
            max_concurrent=settings.worker_count,
            start_method="forkserver",
            explicit_forkserver_preload=_PRELOADED,
        )

    @dg.executor(name="line", requirements=[])
    def line(_context: dg.InitExecutorContext) -> dg.Executor:
        return LineExecutor(several)

    return line


def _tasks(settings: Settings) -> dg.ExecutorDefinition:
    """`ecs_executor` for runs of several steps: a run of one is a task already."""
    from dagster_aws.ecs import ecs_executor

    create = ecs_executor.executor_creation_fn
    if create is None:
        raise TypeError("ecs_executor of this dagster-aws makes no executor")

    @dg.executor(
        name="line", config_schema=ecs_executor.config_schema, requirements=ecs_executor.get_requirements({})
    )
    def line(context: dg.InitExecutorContext) -> dg.Executor:
        limit = {"max_concurrent": settings.step_tasks}
        return LineExecutor(
            lambda: create(context._replace(executor_config={**limit, **context.executor_config}))
        )

    return line
