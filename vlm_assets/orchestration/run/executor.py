"""One executor for all jobs: the steps of a run in its process, one after the other; or each as an ECS task.

Steps follow one another, and each uses all cores by itself. A process each would cost some 0.8 s of start and hand
over (1.5 GB of corpus: 5.6 s instead of 2.6). The code location can name only one executor for runs that start from
the asset graph.
"""

from collections.abc import Callable, Iterator

import dagster as dg
from dagster._core.execution.context.system import PlanOrchestrationContext
from dagster._core.execution.plan.plan import ExecutionPlan
from dagster._core.execution.retries import RetryMode
from dagster._core.executor.in_process import InProcessExecutor

from vlm_assets.settings import Settings


class TaskExecutor(dg.Executor):
    """Chooses between the in-process executor and the one for `several` steps by the number of steps."""

    def __init__(self, several: Callable[[], dg.Executor]) -> None:
        self._single = _in_process()
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


def _in_process() -> InProcessExecutor:
    return InProcessExecutor(retries=RetryMode.ENABLED)


def line_executor(settings: Settings) -> dg.ExecutorDefinition:
    """The executor that the settings ask for."""
    return _tasks(settings) if settings.step_executor == "ecs" else _process()


def _process() -> dg.ExecutorDefinition:
    @dg.executor(name="line", requirements=[])
    def line(_context: dg.InitExecutorContext) -> dg.Executor:
        return _in_process()

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
        return TaskExecutor(
            lambda: create(context._replace(executor_config={**limit, **context.executor_config}))
        )

    return line
