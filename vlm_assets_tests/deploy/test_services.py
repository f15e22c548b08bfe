"""The instance file beyond one machine on a real Postgres, the three services for real."""

import os
import shlex
import shutil
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import boto3
import pytest
import yaml

from vlm_assets_tests.deploy.test_files import APP, DEPLOY, TOP
from vlm_assets_tests.remote.s3 import S3Server
from vlm_assets_tests.waiting import HANG_S, until
from vlm_assets_tests.workplace import STREET, fill, install


@pytest.fixture(scope="module")
def aws() -> Iterator[S3Server]:
    with S3Server() as server:
        yield server


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


@contextmanager
def postgres() -> Iterator[int]:
    """A Postgres server of Debian's packages on loopback; gives its port."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not found:
        pytest.skip("postgres is not installed")
    programs, port = found[-1].parent, _free_port()
    data = Path(subprocess.run(["mktemp", "-d"], capture_output=True, text=True, check=True).stdout.strip())
    # The server refuses to run as root; Debian's package brings the user.
    as_user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
    if as_user:
        shutil.chown(data, "postgres")

    def run(program: str, *arguments: object, check: bool = True) -> None:
        words = [*as_user, programs / program, "-D", data / "db", *arguments]
        subprocess.run([str(word) for word in words], check=check, capture_output=True, cwd="/")

    try:
        run("initdb", "-U", "vlm", "-A", "trust")
        options = f"-h 127.0.0.1 -p {port} -k {data} -c fsync=off"
        run("pg_ctl", "-w", "-l", data / "log", "-o", options, "start")
        yield port
    finally:
        run("pg_ctl", "-m", "immediate", "stop", check=False)
        shutil.rmtree(data, ignore_errors=True)


def test_the_instance_file_beyond_one_machine_loads(aws: S3Server, tmp_path: Path):
    """In a process of its own: it names the ECS launcher, S3 logs and Postgres, and takes a run."""
    ecs = boto3.client("ecs", endpoint_url=aws.endpoint)
    ecs.register_task_definition(
        family="vlm-run", containerDefinitions=[{"name": "vlm-assets", "image": "x", "memory": 1}]
    )
    home = tmp_path / "home"
    home.mkdir()
    with postgres() as port:
        text = (DEPLOY / "ecs/dagster.ecs.yaml").read_text("utf-8").replace("port: 5432", f"port: {port}")
        (home / "dagster.yaml").write_text(text, "utf-8")
        environment = {
            **os.environ, "DAGSTER_HOME": str(home), "AWS_ENDPOINT_URL": aws.endpoint, "VLM_RUN_TASK": "vlm-run",
            "VLM_LOGS_BUCKET": "logs", "VLM_PG_HOST": "127.0.0.1", "VLM_PG_USER": "vlm", "VLM_PG_PASSWORD": "x",
            "VLM_PG_DATABASE": "postgres",
        }  # fmt: skip
        result = subprocess.run(
            [sys.executable, "-c", _LOAD],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
    assert result.returncode == 0, result.stderr
    assert result.stdout.split() == ["EcsRunLauncher", "S3ComputeLogManager", "PostgresRunStorage", "1"]


_LOADED = "{repositoriesOrError{... on RepositoryConnection{nodes{name}}}}"

_LOAD = """
import dagster as dg
with dg.DagsterInstance.get() as instance:
    instance.add_dynamic_partitions("street__slices", ["a"])
    print(type(instance.run_launcher).__name__, type(instance.compute_log_manager).__name__)
    print(type(instance.run_storage).__name__, len(instance.get_dynamic_partitions("street__slices")))
"""


def _command(unit: str, ports: dict[str, str]) -> list[str]:
    """ExecStart of a unit with this checkout, this environment and other ports."""
    text = (DEPLOY / "systemd" / unit).read_text("utf-8")
    line = next(one for one in text.splitlines() if one.startswith("ExecStart="))
    words = shlex.split(line.removeprefix("ExecStart="))
    replaced = []
    for word in words:
        new = word.replace(f"{APP}/.venv/bin", str(Path(sys.executable).parent)).replace(APP, str(TOP))
        for old, port in ports.items():
            new = new.replace(old, port)
        replaced.append(new)
    return replaced


@pytest.mark.slow
def test_the_exec_start_lines_start_the_three_services(tmp_path: Path):
    fill(tmp_path / "pictures", 2)
    installation = install(tmp_path, {**STREET, "path": tmp_path / "pictures"})
    home = tmp_path / "home"
    home.mkdir()
    shutil.copy(TOP / "dagster.yaml", home)
    grpc, web = str(_free_port()), str(_free_port())
    workspace = tmp_path / "workspace.yaml"
    text = (DEPLOY / "workspace.yaml").read_text("utf-8").replace("4266", grpc)
    workspace.write_text(text, "utf-8")
    environment = {
        **os.environ, "DAGSTER_HOME": str(home), "VLM_DATA_ROOT": str(installation.root.path),
        "VLM_CATALOG": str(installation.settings.catalog), "VLM_PROFILE": "local",
        "NOTIFY_SOCKET": "",
    }  # fmt: skip
    ports = {"4266": grpc, "3000": web, str(DEPLOY / "workspace.yaml"): str(workspace)}
    started = []
    try:
        for unit in ("vlm-code-server", "vlm-daemon", "vlm-webserver"):
            command = _command(f"{unit}.service", ports)
            log = (tmp_path / f"{unit}.log").open("wb")
            started.append(subprocess.Popen(command, env=environment, cwd=TOP, stdout=log, stderr=log))
            log.close()
            _wait_until_it_answers(command[1], environment, started[-1])
        answer = _ask(f"http://127.0.0.1:{web}/graphql?query={quote(_LOADED)}")
        assert answer["data"]["repositoriesOrError"]["nodes"]
    finally:
        for process in reversed(started):
            process.terminate()
        for process in started:
            process.wait(HANG_S)


def _wait_until_it_answers(check: str, environment: dict[str, str], process: subprocess.Popen[bytes]) -> None:
    def answers() -> bool:
        assert process.poll() is None
        asked = subprocess.run(["bash", "-c", check], env=environment, capture_output=True, check=False)
        return asked.returncode == 0

    until(answers, check, every_s=1)


def _ask(url: str):
    with urllib.request.urlopen(url, timeout=HANG_S) as answer:
        return yaml.safe_load(answer.read())
