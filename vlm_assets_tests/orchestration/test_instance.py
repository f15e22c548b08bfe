"""The instance as dagster.yaml makes it: pools, queue, launcher, code location, cancelling."""

import os
import subprocess
import sys
import threading
import time

import dagster as dg
import pytest
from dagster._core.events import EngineEventData
from dagster._core.launcher.base import WorkerStatus

from vlm_assets.installation.opening import open_installation
from vlm_assets.orchestration.command.run_queued import RunQueued
from vlm_assets.orchestration.names import CATALOG_KEY, PARSES, dataset_key, source_pool
from vlm_assets.orchestration.night.ranges import slice_runs
from vlm_assets.orchestration.run.catalog_state import catalog_result
from vlm_assets.orchestration.run.launcher import WatchedRunLauncher
from vlm_assets.orchestration.run.runs import RunWish
from vlm_assets.orchestration.run.service import SNAPSHOT_VARIABLE, Served, open_service
from vlm_assets.orchestration.run.threads import run_all
from vlm_assets.words.errors import ConfigError
from vlm_assets_tests.orchestration.kit import Line
from vlm_assets_tests.waiting import HANG_S
from vlm_assets_tests.workplace import STREET, fill, install


def test_a_pool_has_its_slot_before_the_first_run_of_it_is_queued(tmp_path, instance):
    fill(tmp_path / "in", 1)
    line = Line(install(tmp_path, {**STREET, "path": tmp_path / "in"}), instance)
    instance.add_dynamic_partitions("street__slices", ["root"])
    assert not instance.event_log_storage.get_pool_limits()
    said: list[str] = []
    wish = RunWish("street", assets=(dataset_key("street"),), partition="root")
    run_id = RunQueued(instance, line.defs, said.append).submit(wish)
    assert {one.name: one.limit for one in instance.event_log_storage.get_pool_limits()} == {
        source_pool("street"): 1
    }
    run = instance.get_run_by_id(run_id)
    assert run is not None
    assert run.status is dg.DagsterRunStatus.QUEUED
    assert run.remote_job_origin is not None
    assert run.remote_job_origin.location_name == "vlm_assets"


def test_a_limit_set_by_hand_stays(tmp_path, instance):
    instance.event_log_storage.set_concurrency_slots(source_pool("street"), 3)
    fill(tmp_path / "in", 1)
    Line(install(tmp_path, {**STREET, "path": tmp_path / "in"}), instance).list_sources("street")
    limits = {one.name: one.limit for one in instance.event_log_storage.get_pool_limits()}
    assert limits[source_pool("street")] == 3


@pytest.mark.parametrize(
    ("cores", "told", "runs"), [(2, "", 2), (1, "", 2), (64, "", 16), (2, "5", 5), (2, "0", 2)]
)
def test_the_run_limit_follows_cores_and_setting(instance, monkeypatch, cores, told, runs):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(cores)))
    monkeypatch.setenv("VLM_MAX_CONCURRENT_RUNS", told)
    config = instance.get_concurrency_config()
    assert config.run_queue_config.max_concurrent_runs == runs
    assert config.pool_config.default_pool_limit == 1


def started_run(instance: dg.DagsterInstance, pid: int) -> dg.DagsterRun:
    run = instance.create_run_for_job(dg.JobDefinition(name="job", graph_def=dg.GraphDefinition("job")))
    instance.report_engine_event(
        f"Started process for run (pid: {pid}).",
        run,
        EngineEventData({"pid": dg.MetadataValue.text(str(pid))}),
    )
    return run


def test_the_launcher_knows_living_ended_and_other_processes(instance):
    launcher = instance.run_launcher
    assert isinstance(launcher, WatchedRunLauncher)
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        alive = started_run(instance, child.pid)
        assert launcher.check_run_worker_health(alive).status is WorkerStatus.RUNNING
        child.kill()
        child.wait()
        assert launcher.check_run_worker_health(alive).status is WorkerStatus.FAILED
    unknown = instance.create_run_for_job(dg.JobDefinition(name="job", graph_def=dg.GraphDefinition("job")))
    assert launcher.check_run_worker_health(unknown).status is WorkerStatus.UNKNOWN


def test_a_reused_process_id_is_not_the_run(instance, monkeypatch):
    run = started_run(instance, os.getpid())
    monkeypatch.setattr("psutil.Process.create_time", lambda _self: time.time() + 100)
    assert instance.run_launcher.check_run_worker_health(run).status is WorkerStatus.FAILED


@pytest.mark.parametrize(
    ("due", "expected"),
    [
        ("", []),
        ("a", [("a", True)]),
        ("abc", [("ab", True), ("c", True)]),
        ("acf", [("a", True), ("c", True), ("f", True)]),
        ("acegi", [("ac", False), ("eg", False), ("i", False)]),
        ("abcdefghi", [("ab", True), ("cd", True), ("ef", True), ("gh", True), ("i", True)]),
    ],
)
def test_due_slices_become_ranges_or_named_keys(due, expected):
    runs = slice_runs("abcdefghi", set(due), 2)
    assert [("".join(run.keys), run.contiguous) for run in runs] == expected


def test_an_interrupted_caller_stops_the_calls():
    cancelled = threading.Event()
    stopped = threading.Event()

    def call() -> None:
        if cancelled.wait(HANG_S):
            stopped.set()

    def interrupt() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(run_all({"one": call}, workers=1, cancelled=cancelled, idle=interrupt))
    assert stopped.is_set()


@pytest.fixture
def service(tmp_path, monkeypatch):
    installation = install(tmp_path, {**STREET, "path": tmp_path})
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VLM_CATALOG", str(installation.catalog_dir))
    monkeypatch.setenv("VLM_DATA_ROOT", str(installation.root.path))
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "home"))
    monkeypatch.setenv(SNAPSHOT_VARIABLE, "")
    return installation


def served():
    """What the service's catalogue says; how it came to say it makes two equal models differ for pydantic."""
    return open_service().catalog.model_dump()


def break_catalog(installation):
    (installation.catalog_dir / "corpus.yaml").write_text("name: [")


def test_a_first_start_with_faults_tells_all_of_them(service):
    (service.catalog_dir / "corpus.yaml").write_text("name: Capital\n")
    with pytest.raises(ConfigError) as raised:
        open_service()
    assert {problem.key for problem in raised.value.problems} >= {"name", "seed", "targets", "quotas"}


def test_a_run_works_on_the_snapshot_of_its_service(service):
    assert served() == service.catalog.model_dump()
    assert os.environ[SNAPSHOT_VARIABLE] == service.catalog.hash
    break_catalog(service)
    assert served() == service.catalog.model_dump()


def parses() -> tuple[bool, str]:
    """What the check on the catalogue says now."""
    with dg.DagsterInstance.get() as instance:
        [last] = instance.event_log_storage.get_asset_check_execution_history(
            dg.AssetCheckKey(CATALOG_KEY, PARSES), limit=1
        )
    assert last.event is not None
    assert last.event.dagster_event is not None
    told = last.event.dagster_event.asset_check_evaluation_data
    return told.passed, told.description or ""


def test_mended_files_pass_and_others_are_to_be_loaded(service, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["dagster", "api", "grpc"])
    before = open_service()
    assert parses() == (True, f"The catalogue is served as its files say ({before.catalog.hash[:12]}).")
    good = (service.catalog_dir / "corpus.yaml").read_text()
    break_catalog(service)
    monkeypatch.setenv(SNAPSHOT_VARIABLE, "")
    open_service()
    assert not parses()[0]
    (service.catalog_dir / "corpus.yaml").write_text(good.replace("seed: ", "seed: 1"))
    found = open_installation(before.settings).catalog.hash
    stale = catalog_result((), before.catalog.hash, found=found)
    assert (stale.passed, stale.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert "reload the code location" in (stale.description or "")
    monkeypatch.setenv(SNAPSHOT_VARIABLE, "")
    assert open_service().catalog.hash == found
    assert parses()[0]


def test_a_running_service_goes_on_with_the_last_good_catalogue(service, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["dagster", "api", "grpc"])
    open_service()
    break_catalog(service)
    monkeypatch.setenv(SNAPSHOT_VARIABLE, "")
    assert served() == service.catalog.model_dump()
    passed, told = parses()
    assert not passed
    assert told.startswith(
        f"The catalogue has 1 fault; the last good one ({service.catalog.hash[:12]}) is served"
    )
    assert "corpus.yaml" in told
    monkeypatch.setattr(Served, "alive", False)
    monkeypatch.setenv(SNAPSHOT_VARIABLE, "")
    with pytest.raises(ConfigError):
        open_service()
