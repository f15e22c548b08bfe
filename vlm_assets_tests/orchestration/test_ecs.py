"""Runs and steps as ECS tasks: how large they are, and which settings choose them."""

from types import SimpleNamespace
from typing import Any, cast

import dagster as dg
import pytest
from dagster._check import CheckError
from dagster._core.definitions.job_base import InMemoryJob
from dagster._core.run_coordinator.base import SubmitRunContext
from dagster_aws.ecs import EcsRunLauncher
from dagster_aws.ecs.container_context import EcsContainerContext
from dagster_aws.ecs.executor import EcsStepHandler

from vlm_assets.orchestration.define import build_definitions
from vlm_assets.orchestration.names import CORPUS_KEY, dataset_key, listing_key
from vlm_assets.orchestration.run import ecs
from vlm_assets.orchestration.run.coordinator import LineRunCoordinator
from vlm_assets.orchestration.run.executor import TaskExecutor, line_executor
from vlm_assets.orchestration.run.resources import line_resources
from vlm_assets.sources.registry import kinds
from vlm_assets.words.errors import ConfigError
from vlm_assets_tests.workplace import STREET, install

ECS: dict[str, Any] = {"step_executor": "ecs", "step_storage": "s3://b/steps", "remote": "s3://b/vlm"}
FARGATE = {
    256: range(512, 2_049, 512), 512: range(1_024, 4_097, 1_024), 1_024: range(2_048, 8_193, 1_024),
    2_048: range(4_096, 16_385, 1_024), 4_096: range(8_192, 30_721, 1_024),
    8_192: range(16_384, 61_441, 4_096), 16_384: range(32_768, 122_881, 8_192),
}  # fmt: skip
"""Memory in MiB by CPU units: Amazon ECS developer guide, "Task CPU and memory"."""


@pytest.fixture
def sources(tmp_path):
    pages = {**STREET, "name": "pages", "kind": "pdf_folder", "path": tmp_path / "pages"}
    return install(tmp_path, {**STREET, "path": tmp_path / "street"}, pages)


SLICES = ecs.TaskSize(2_048, 8_192, 100)
PAGES = ecs.TaskSize(4_096, 16_384, 100)


@pytest.mark.parametrize(
    "size",
    [ecs.WATCH, ecs.LISTING, ecs.TARGET, ecs.BACKUP, *(ecs.slices_size([kind]) for kind in kinds())],
    ids=str,
)
def test_sizes_are_among_those_that_fargate_has(size: ecs.TaskSize):
    assert size.memory_mib in FARGATE[size.cpu]
    assert 21 <= size.disk_gib <= 200


@pytest.mark.parametrize(
    ("wanted", "fits"),
    [
        ((2_048, 9_000), (2_048, 9_216)),
        ((2_048, 17_000), (4_096, 17_408)),
        ((4_096, 2_048), (4_096, 8_192)),
        ((8_192, 30_720), (8_192, 32_768)),
    ],
    ids=["rounded_up", "more_memory_needs_more_cpu", "cpu_needs_memory", "steps_of_4_gib"],
)
def test_a_task_is_the_smallest_that_fargate_has(wanted: tuple[int, int], fits: tuple[int, int]):
    assert ecs.TaskSize.fitting(*wanted, 21)[:2] == fits


def test_a_task_larger_than_any_is_an_error():
    with pytest.raises(ValueError, match="no Fargate task"):
        ecs.TaskSize.fitting(2_048, 200_000, 21)


def test_every_op_of_an_asset_says_how_large_its_task_is(sources):
    definitions = build_definitions(sources)
    repository = definitions.get_repository_def()
    jobs = (definitions.resolve_implicit_global_asset_job_def(), repository.get_job("slices"))
    untold = [
        node.name
        for job in jobs
        for node in job.all_node_defs
        if isinstance(node, dg.OpDefinition) and not ecs.LISTING.tags.keys() <= node.tags.keys()
    ]
    assert untold == []
    told = {
        key: repository.assets_defs_by_key[dataset_key(key)].op.tags["ecs/cpu"] for key in ("street", "pages")
    }
    assert told == {"street": "2048", "pages": "4096"}


@pytest.mark.parametrize(
    ("job", "keys", "tasks", "size"),
    [
        ("listings", [listing_key("street"), listing_key("pages")], True, ecs.LISTING),
        ("__ASSET_JOB", [dataset_key("street")], True, SLICES),
        ("__ASSET_JOB", [dataset_key("street"), dataset_key("pages")], False, PAGES),
        ("slices", [], True, PAGES),
        ("corpus_line", [], False, ecs.TARGET),
        ("corpus_line", [], True, ecs.WATCH),
        ("__ASSET_JOB", [CORPUS_KEY], True, ecs.WATCH),
        ("audit_corpus", [], True, ecs.TARGET),
        ("backup_all", [], True, ecs.BACKUP),
    ],
)
def test_a_queued_run_is_given_the_size_of_its_work(
    sources,
    monkeypatch: pytest.MonkeyPatch,
    job: str,
    keys: list[dg.AssetKey],
    *,
    tasks: bool,
    size: ecs.TaskSize,
):
    graph = build_definitions(sources).get_repository_def().asset_graph
    if tasks:
        monkeypatch.setenv("VLM_STEP_EXECUTOR", "ecs")
    with dg.DagsterInstance.ephemeral() as instance:
        coordinator = LineRunCoordinator()
        coordinator.register_instance(instance)
        run = instance.add_run(
            dg.DagsterRun(job, asset_selection=frozenset(keys) or None, tags={"ecs/cpu": "1024"})
        )
        context = SubmitRunContext(run, cast("Any", SimpleNamespace(asset_graph=graph)))
        sized = coordinator._sized(context)
        stored = instance.get_run_by_id(run.run_id)
    assert stored is not None
    for tags in (sized.tags, stored.tags):
        assert tags == {**size.tags, "ecs/cpu": "1024"}  # what the run says itself wins


def test_steps_as_tasks_need_s3_for_values_and_data(tmp_path):
    installation = install(tmp_path, {**STREET, "path": tmp_path}, step_executor="ecs")
    with pytest.raises(ConfigError) as told:
        line_resources(installation)
    assert {problem.key for problem in told.value.problems} == {"VLM_STEP_STORAGE", "VLM_REMOTE"}


def test_steps_as_tasks_go_through_the_ecs_executor(tmp_path):
    installation = install(tmp_path, {**STREET, "path": tmp_path}, **ECS)
    assert isinstance(line_resources(installation)["io_manager"], dg.IOManagerDefinition)
    definition = line_executor(installation.settings)
    create = definition.executor_creation_fn
    assert create is not None
    with dg.DagsterInstance.ephemeral() as instance:
        build_definitions(installation).resolve_job_def("corpus_line")
        job = InMemoryJob(dg.JobDefinition(graph_def=dg.GraphDefinition("empty")))
        executor = create(dg.InitExecutorContext(job, definition, {"retries": {"enabled": {}}}, instance))
        assert isinstance(executor, TaskExecutor)
        with pytest.raises(CheckError, match="EcsRunLauncher"):
            executor._several()


def test_locally_nothing_of_it_is_loaded(sources):
    assert "io_manager" not in line_resources(sources)
    local, tasks = (
        line_executor(sources.settings.model_copy(update={"step_executor": one})) for one in ("local", "ecs")
    )
    assert [len(one.get_requirements({})) for one in (local, tasks)] == [0, 3]


def test_launcher_and_executor_of_dagster_aws_read_these_tags():
    """By their own functions that turn tags into the overrides of `run_task`."""
    wanted = {"cpu": "4096", "memory": "16384", "ephemeralStorage": {"sizeInGiB": 100}}
    context = EcsContainerContext(run_resources={"cpu": "256", "memory": "512"})
    run, launcher = dg.DagsterRun("slices", tags=PAGES.tags), cast("EcsRunLauncher", None)
    told = {
        **EcsRunLauncher.get_cpu_and_memory_overrides(launcher, context, run),
        **EcsRunLauncher._get_task_overrides(launcher, context, run),
    }
    assert told == wanted
    handler = SimpleNamespace(_task_overrides={}, _cpu="256", _memory="512", _ephemeral_storage=None)
    assert EcsStepHandler._get_task_overrides(cast("EcsStepHandler", handler), PAGES.tags) == wanted
