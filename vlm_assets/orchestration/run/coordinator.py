"""The run queue: pools are registered before a run that uses them is queued, and cores set the run limit.

Named in `dagster.yaml`, so it is loaded by every process that opens the instance: nothing heavy here.
"""

import os
from typing import Final

import dagster as dg
from dagster._core.run_coordinator.base import SubmitRunContext
from dagster._core.run_coordinator.queued_run_coordinator import RunQueueConfig

from vlm_assets.orchestration.run.ecs import run_size
from vlm_assets.orchestration.run.pools import register_pools

_MOST_RUNS: Final = 16


def default_max_runs() -> int:
    """`VLM_MAX_CONCURRENT_RUNS`, or one run a core, at least 2 and at most 16."""
    told = os.environ.get("VLM_MAX_CONCURRENT_RUNS", "")
    cores = len(os.sched_getaffinity(0))
    return int(told) if told.isdigit() and int(told) else max(2, min(cores, _MOST_RUNS))


class LineRunCoordinator(dg.QueuedRunCoordinator):
    """`QueuedRunCoordinator` whose limit follows the machine and whose pools are known before their first run."""

    def get_run_queue_config(self) -> RunQueueConfig:
        """The configured queue, with the run limit of this machine where none is configured."""
        config = super().get_run_queue_config()
        configured = self.inst_data is not None and "max_concurrent_runs" in self.inst_data.config_dict
        return config if configured else config._replace(max_concurrent_runs=default_max_runs())

    def submit_run(self, context: SubmitRunContext) -> dg.DagsterRun:
        """Registers the run's pools, then queues it."""
        concurrency = context.dagster_run.run_op_concurrency
        if concurrency is not None:
            register_pools(self._instance, concurrency.all_pools or concurrency.root_key_counts)
        if type(self._instance.run_launcher).__name__ == "EcsRunLauncher":
            context = context._replace(dagster_run=self._sized(context))
        return super().submit_run(context)

    def _sized(self, context: SubmitRunContext) -> dg.DagsterRun:
        """The run with tags that say how large its task is; those that it has already win."""
        run = context.dagster_run
        graph = context.workspace.asset_graph
        keys = run.asset_selection or graph.asset_keys_for_job(run.job_name)
        assets = {tuple(key.path): graph.get(key).tags if graph.has(key) else () for key in keys}
        steps_are_tasks = os.environ.get("VLM_STEP_EXECUTOR") == "ecs"
        size = run_size(run.job_name, assets, steps_are_tasks=steps_are_tasks)
        new = {name: value for name, value in size.tags.items() if name not in run.tags}
        self._instance.add_run_tags(run.run_id, new)
        return run.with_tags({**run.tags, **new})
