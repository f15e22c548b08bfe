"""Code server, daemon and webserver as a machine runs them: three services, each of which can be killed alone."""

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final, Self, TypeVar

import dagster as dg
import psutil
import yaml

from vlm_assets.installation.opening import Installation
from vlm_assets.orchestration.names import dataset_key
from vlm_assets_tests.orchestration.kit import TOP
from vlm_assets_tests.waiting import HANG_S, LONG_HANG_S, until

T = TypeVar("T")
SERVICES: Final = ("code-server", "daemon", "webserver")
REPOSITORY: Final = {"repositoryLocationName": "vlm_assets", "repositoryName": "__repository__"}

_BACKFILL = """mutation($p: LaunchBackfillParams!) { launchPartitionBackfill(backfillParams: $p) {
    __typename ... on LaunchBackfillSuccess { backfillId } ... on PythonError { message } } }"""
_STATUS = """query($id: String!) { partitionBackfillOrError(backfillId: $id) {
    ... on PartitionBackfill { status } } }"""
_RUN = "query($id: ID!) { runOrError(runId: $id) { ... on Run { status } } }"
_LAUNCH = """mutation($p: ExecutionParams!) { launchRun(executionParams: $p) {
    __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } } }"""
_AGAIN = """mutation($p: ReexecutionParams!) { launchRunReexecution(reexecutionParams: $p) {
    __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } } }"""
_TERMINATE = """mutation($ids: [String!]!) { terminateRuns(runIds: $ids, terminatePolicy: SAFE_TERMINATE) {
    __typename ... on TerminateRunsResult { terminateRunResults { __typename } } } }"""
_TICKS = """query($s: SensorSelector!) { sensorOrError(sensorSelector: $s) { ... on Sensor { sensorState {
    ticks(limit: 100) { timestamp endTimestamp status skipReason runIds logEvents { events { message } }
    error { message } } } } } }"""
_DRY_RUN = """mutation($s: ScheduleSelector!, $at: Float!) { scheduleDryRun(selectorData: $s, timestamp: $at) {
    __typename ... on DryRunInstigationTick { evaluationResult { runRequests {
    runKey jobName tags { key value } } skipReason error { message } } } ... on PythonError { message } } }"""


def wait_for(question: Callable[[], T | None], what: str, *, every_s: float = 0.5) -> T:
    """The first answer that is true, of a platform at work."""
    found = until(question, what, within_s=LONG_HANG_S, every_s=every_s)
    assert found is not None
    return found


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


class Services:
    """The three services over one installation; `base` holds DAGSTER_HOME, workspace and the services' output."""

    def __init__(self, installation: Installation, base: Path, **environment: object) -> None:
        self.installation = installation
        self.home = base / "home"
        self._base = base
        self._grpc, self._web = free_port(), free_port()
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self.home.mkdir(parents=True, exist_ok=True)
        if not (self.home / "dagster.yaml").exists():
            (self.home / "dagster.yaml").symlink_to(TOP / "dagster.yaml")
        server = {"host": "127.0.0.1", "port": self._grpc, "location_name": "vlm_assets"}
        (base / "workspace.yaml").write_text(yaml.safe_dump({"load_from": [{"grpc_server": server}]}))
        clean = {
            name: value for name, value in os.environ.items() if not name.startswith(("VLM_", "DAGSTER_"))
        }
        self.environment = {
            **clean,
            "DAGSTER_HOME": str(self.home),
            "VLM_DATA_ROOT": str(installation.root.path),
            "VLM_CATALOG": str(installation.catalog_dir),
            **{name: str(value) for name, value in environment.items()},
        }

    def __enter__(self) -> Self:
        for name in SERVICES:
            self.start(name)
        return self

    def __exit__(self, *_: object) -> None:
        self.kill(*SERVICES)

    @staticmethod
    @contextmanager
    def home_of(home: Path) -> Iterator[None]:
        """DAGSTER_HOME for commands in this process."""
        before = os.environ.get("DAGSTER_HOME", "")
        os.environ["DAGSTER_HOME"] = str(home)
        try:
            yield
        finally:
            os.environ["DAGSTER_HOME"] = before

    @contextmanager
    def instance(self) -> Iterator[dg.DagsterInstance]:
        """The services' instance, as another process sees it."""
        with dg.DagsterInstance.from_config(str(self.home)) as instance:
            yield instance

    def start(self, *names: str) -> None:
        """Starts services and waits until each answers."""
        for name in names:
            with (self._base / f"{name}.log").open("ab") as log:
                self._running[name] = subprocess.Popen(
                    self._command(name), cwd=self._base, env=self.environment,
                    stdout=log, stderr=log, start_new_session=True,
                )  # fmt: skip
            wait_for(self._answers(name), f"the {name}")

    def kill(self, *names: str, alone: bool = False) -> None:
        """SIGKILL for services and all below them, as systemd ends a unit's group; `alone`: only the main process."""
        doomed: list[psutil.Process] = []
        mains = [self._running.pop(name) for name in names if name in self._running]
        for main in mains:
            with suppress(psutil.NoSuchProcess):
                parent = psutil.Process(main.pid)
                doomed += [parent] if alone else [parent, *parent.children(recursive=True)]
        for one in doomed:
            with suppress(psutil.NoSuchProcess):
                one.send_signal(signal.SIGKILL)
        for main in mains:
            main.wait(HANG_S)
        psutil.wait_procs(doomed, timeout=HANG_S)

    def cpu_s(self) -> float:
        """CPU-seconds of all services so far, with the runs that they have started and seen end."""
        total = 0.0
        for main in self._running.values():
            parent = psutil.Process(main.pid)
            for one in [parent, *parent.children(recursive=True)]:
                with suppress(psutil.NoSuchProcess):
                    used = one.cpu_times()
                    total += used.user + used.system + used.children_user + used.children_system
        return total

    def _command(self, name: str) -> list[str]:
        program = str(Path(sys.executable).parent / f"dagster{'' if name == 'code-server' else '-' + name}")
        loopback = ["-h", "127.0.0.1", "-p"]
        if name == "code-server":
            module = ["-m", "vlm_assets.definitions", "--location-name", "vlm_assets"]
            return [program, "code-server", "start", *loopback, str(self._grpc), *module]
        workspace = ["-w", str(self._base / "workspace.yaml")]
        return (
            [program, "run", *workspace]
            if name == "daemon"
            else [program, *loopback, str(self._web), *workspace]
        )

    def _answers(self, name: str) -> Callable[[], bool]:
        if name == "webserver":
            return self._web_answers
        if name == "daemon":
            return lambda: psutil.pid_exists(self._running["daemon"].pid)
        return self._grpc_answers

    def _web_answers(self) -> bool:
        try:
            return bool(self.ask("{ version }"))
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            return False

    def _grpc_answers(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self._grpc)) == 0

    @property
    def url(self) -> str:
        """Address of the UI."""
        return f"http://127.0.0.1:{self._web}"

    def ask(self, query: str, **variables: Any) -> Any:
        """One GraphQL request, as the UI sends it.

        Raises:
            AssertionError: GraphQL refuses it.
        """
        body = json.dumps({"query": query, "variables": variables}).encode()
        request = urllib.request.Request(f"{self.url}/graphql", body, {"content-type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=HANG_S) as answer:
                told = json.load(answer)
        except urllib.error.HTTPError as error:
            raise AssertionError(error.read().decode()) from error
        assert "errors" not in told, told["errors"]
        return told["data"]

    def backfill(self, source: str, keys: Sequence[str]) -> str:
        """Launches a backfill of slices; its id."""
        wanted = {"assetSelection": [{"path": list(dataset_key(source).path)}], "partitionNames": list(keys)}
        answer = self.ask(_BACKFILL, p=wanted)["launchPartitionBackfill"]
        assert "backfillId" in answer, answer
        return str(answer["backfillId"])

    def backfilled(self, backfill: str) -> str:
        """Waits for the end of a backfill; its status."""

        def ended() -> str | None:
            status = str(self.ask(_STATUS, id=backfill)["partitionBackfillOrError"]["status"])
            return status if status.startswith(("COMPLETED", "FAILED", "CANCELED")) else None

        return wait_for(ended, "the backfill")

    def launch(
        self, job: str, *, tags: dict[str, str] | None = None, assets: Sequence[dg.AssetKey] = ()
    ) -> str:
        """Launches a run; its id."""
        told = [{"key": key, "value": value} for key, value in (tags or {}).items()]
        selector: dict[str, Any] = {**REPOSITORY, "pipelineName": job}
        if assets:
            selector["assetSelection"] = [{"path": list(key.path)} for key in assets]
            selector["assetCheckSelection"] = []
        params = {
            "selector": selector,
            "mode": "default",
            "runConfigData": {},
            "executionMetadata": {"tags": told},
        }
        return self._run_id(self.ask(_LAUNCH, p=params)["launchRun"])

    def again(self, run_id: str) -> str:
        """Re-executes a run from failure; the new run's id."""
        params = {"parentRunId": run_id, "strategy": "FROM_FAILURE"}
        return self._run_id(self.ask(_AGAIN, p=params)["launchRunReexecution"])

    @staticmethod
    def records(instance: dg.DagsterInstance, backfill: str) -> Sequence[dg.RunRecord]:
        """Records of a backfill's runs."""
        return instance.get_run_records(dg.RunsFilter(tags={"dagster/backfill": backfill}))

    @staticmethod
    def _run_id(answer: dict[str, Any]) -> str:
        assert "run" in answer, answer
        return str(answer["run"]["runId"])

    def ended(self, run_id: str) -> str:
        """Waits for the end of a run; its status."""

        def status() -> str | None:
            told = str(self.ask(_RUN, id=run_id)["runOrError"]["status"])
            return told if told in {"SUCCESS", "FAILURE", "CANCELED"} else None

        return wait_for(status, f"run {run_id}", every_s=0.2)

    def terminate(self, run_id: str) -> None:
        """What the button *Terminate* does."""
        [answer] = self.ask(_TERMINATE, ids=[run_id])["terminateRuns"]["terminateRunResults"]
        assert answer["__typename"] == "TerminateRunSuccess", answer

    def ticks(self, sensor: str) -> list[dict[str, Any]]:
        """Ticks of a sensor, newest first, as its page shows them."""
        state = self.ask(_TICKS, s={**REPOSITORY, "sensorName": sensor})["sensorOrError"]["sensorState"]
        ticks: list[dict[str, Any]] = state["ticks"]
        return ticks

    def schedule_at(self, schedule: str, job: str, at: float) -> str:
        """What *Test schedule* and *Launch* do, for any time; `job` is the schedule's. The run's id."""
        told = self.ask(_DRY_RUN, s={**REPOSITORY, "scheduleName": schedule}, at=at)["scheduleDryRun"]
        [request] = told["evaluationResult"]["runRequests"]
        tags = {one["key"]: one["value"] for one in request["tags"]}
        return self.launch(request["jobName"] or job, tags=tags)


def worker_pid(instance: dg.DagsterInstance, run_id: str) -> int:
    """Process id of a run's worker, from its engine events."""
    for entry in instance.all_logs(run_id, of_type=dg.DagsterEventType.ENGINE_EVENT):
        event = entry.dagster_event
        told = event.engine_event_data.metadata.get("pid") if event else None
        if told is not None:
            return int(str(told.value))
    raise AssertionError(f"run {run_id} has told no process id")
