"""Webserver, daemon and code server as they run for users: backfill, repair, queue, crash."""

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from io import StringIO
from pathlib import Path
from typing import Any

import dagster as dg
import psutil
import pytest
from rich.console import Console

from vlm_assets.installation.opening import Installation
from vlm_assets.orchestration.command.build import run_build
from vlm_assets.orchestration.names import dataset_key
from vlm_assets_tests.orchestration.kit import TOP, Line
from vlm_assets_tests.orchestration.services import wait_for
from vlm_assets_tests.waiting import HANG_S, LONG_HANG_S
from vlm_assets_tests.workplace import STREET, fill, install, picture

pytestmark = [pytest.mark.slow, pytest.mark.timeout(LONG_HANG_S)]

SLICES, BROKEN = 40, (7, 8, 31)
LAUNCH = """mutation($p: LaunchBackfillParams!) { launchPartitionBackfill(backfillParams: $p) {
    __typename ... on LaunchBackfillSuccess { backfillId } ... on PythonError { message } } }"""
AGAIN = """mutation($p: ReexecutionParams!) { reexecutePartitionBackfill(reexecutionParams: $p) {
    __typename ... on LaunchBackfillSuccess { backfillId } ... on PythonError { message } } }"""
STATUS = """query($id: String!) { partitionBackfillOrError(backfillId: $id) {
    ... on PartitionBackfill { status runs(limit: 100) { runId status } } } }"""
RELOAD = "mutation { reloadWorkspace { __typename } }"


def city(base: Path) -> Installation:
    for number in range(SLICES):
        folder = fill(base / "in" / f"s{number:02d}", 3, start=10 * number)
        if number in BROKEN:
            (folder / "extra.jpeg").write_bytes(b"rubbish")
    source = {**STREET, "path": base / "in", "reject_tolerance": 0.05}
    return install(base, source, corpus={"targets": {"50": 50}}, slices_per_run=16)


def mend(base: Path) -> None:
    for number in BROKEN:
        (base / "in" / f"s{number:02d}" / "extra.jpeg").write_bytes(picture(9000 + number))


class Services:
    """`dagster dev` on a folder of its own."""

    def __init__(self, installation: Installation, home: Path) -> None:
        self.installation = installation
        home.mkdir(exist_ok=True)
        if not (home / "dagster.yaml").exists():
            (home / "dagster.yaml").symlink_to(TOP / "dagster.yaml")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port = probe.getsockname()[1]
        self._log = (home.parent / "services.log").open("ab")
        program = str(Path(sys.executable).with_name("dagster"))
        command = [program, "dev", "-w", "workspace.yaml", "-h", "127.0.0.1", "-p", str(self._port)]
        self._process = subprocess.Popen(
            command, cwd=TOP, env={**os.environ, "DAGSTER_HOME": str(home)},
            stdout=self._log, stderr=self._log, start_new_session=True,
        )  # fmt: skip
        wait_for(self._up, "the webserver")

    def _up(self) -> bool:
        try:
            return bool(self.ask("{ version }"))
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            return False

    def ask(self, query: str, **variables: Any) -> Any:
        body = json.dumps({"query": query, "variables": variables}).encode()
        request = urllib.request.Request(
            f"http://127.0.0.1:{self._port}/graphql", body, {"content-type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=HANG_S) as answer:
            return json.load(answer)["data"]

    def backfill(self, backfill_id: str) -> str:
        """Waits for the end of a backfill."""

        def ended() -> str | None:
            status = str(self.ask(STATUS, id=backfill_id)["partitionBackfillOrError"]["status"])
            return status if status.startswith(("COMPLETED", "FAILED", "CANCELED")) else None

        return wait_for(ended, "the backfill")

    def kill(self) -> None:
        """Everything at once, as a crash of the machine does."""
        parent = psutil.Process(self._process.pid)
        for process in [*parent.children(recursive=True), parent]:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self._process.wait()
        self._log.close()


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(TOP)
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def services(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Services]:
    installation = city(tmp_path / "one")
    monkeypatch.setenv("VLM_CATALOG", str(installation.catalog_dir))
    monkeypatch.setenv("VLM_DATA_ROOT", str(installation.root.path))
    monkeypatch.setenv("VLM_SLICES_PER_RUN", "16")
    running = Services(installation, home)
    yield running
    running.kill()


def build(installation: Installation, **options: Any) -> tuple[int, str]:
    out = StringIO()
    wanted: dict[str, Any] = {"targets": [], "sources": [], **options}
    return run_build(installation, console=Console(file=out, width=200), **wanted), out.getvalue()


def test_a_backfill_with_failures_is_repaired_and_the_corpus_is_that_of_an_undisturbed_build(
    services, home, tmp_path, monkeypatch
):
    code, told = build(
        services.installation, sources=["street"], failed_only=True
    )  # nothing listed, nothing due
    assert (code, "the runs are queued" in told) == (0, True)
    with dg.DagsterInstance.from_config(str(home)) as instance:
        line = Line(services.installation, instance)
        line.list_sources("street")
        started = services.ask(
            LAUNCH,
            p={"assetSelection": [{"path": ["dataset", "street"]}], "partitionNames": line.slices("street")},
        )["launchPartitionBackfill"]
        assert services.backfill(started["backfillId"]) == "COMPLETED_FAILED"
        assert len(line.materialized("street")) == SLICES - len(BROKEN)

        mend(tmp_path / "one")
        line.list_sources("street")
        again = services.ask(AGAIN, p={"parentRunId": started["backfillId"], "strategy": "FROM_FAILURE"})
        assert services.backfill(again["reexecutePartitionBackfill"]["backfillId"]) == "COMPLETED_SUCCESS"
        counts = line.materialized("street")
        assert counts == dict.fromkeys(line.slices("street"), 1)

    code, told = build(services.installation)
    assert code == 0, told
    assert "the runs are queued" in told
    assert "Every slice is up to date" in told
    undisturbed = city(tmp_path / "two")
    mend(tmp_path / "two")
    monkeypatch.setenv("DAGSTER_HOME", "")
    code, alone = build(undisturbed)
    assert code == 0, alone
    assert root_hash(undisturbed) == root_hash(services.installation)


def root_hash(installation: Installation) -> str:
    manifest = installation.root.corpus("small", "50") / "metadata.json"
    return str(json.loads(manifest.read_bytes())["root_hash"])


def test_a_catalogue_that_the_service_does_not_serve_is_refused_by_name(services, tmp_path):
    other = {**STREET, "path": tmp_path / "one" / "in", "reject_tolerance": 0.5}
    changed = install(tmp_path / "one", other, corpus={"targets": {"50": 50}})
    with pytest.raises(Exception, match="its daemon is alive, but process") as raised:
        build(changed)
    assert services.installation.catalog.hash[:12] in str(raised.value)
    assert changed.catalog.hash[:12] in str(raised.value)


def test_a_run_whose_worker_is_killed_is_started_again_and_ends_well(services, home):
    with dg.DagsterInstance.from_config(str(home)) as instance:
        line = Line(services.installation, instance)
        line.list_sources("street")
        mend(services.installation.root.path.parent)
        line.list_sources("street")
        started = services.ask(
            LAUNCH,
            p={"assetSelection": [{"path": ["dataset", "street"]}], "partitionNames": line.slices("street")},
        )["launchPartitionBackfill"]
        wait_for(lambda: len(line.materialized("street")) > 3, "the first slices")
        [run, *_] = instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED]))
        events = instance.all_logs(run.run_id, of_type=dg.DagsterEventType.ENGINE_EVENT)
        pids = [e.dagster_event.engine_event_data.metadata.get("pid") for e in events if e.dagster_event]
        os.kill(next(int(str(pid.value)) for pid in pids if pid is not None), signal.SIGKILL)
        assert services.backfill(started["backfillId"]) == "COMPLETED_SUCCESS"
        assert set(line.materialized("street")) == set(line.slices("street"))
        assert line.facts(dataset_key("street"), "s00")["why"] in ("new", "committed")
