"""What lies under deploy/: linted by the tools that know the formats, rendered, rehearsed."""

import base64
import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from typer.main import get_command

from vlm_assets.cli import app
from vlm_assets.settings import Settings, load_settings
from vlm_assets_tests.deploy.scripts import script
from vlm_assets_tests.waiting import HANG_S

TOP = Path(__file__).resolve().parents[2]
DEPLOY = TOP / "deploy"
UNITS = sorted((DEPLOY / "systemd").glob("*.service"))
SCRIPTS = sorted([*DEPLOY.glob("*.sh"), *DEPLOY.glob("*/*.sh"), TOP / ".ci/run"])
APP = "/opt/vlm-assets"


def _tool(name: str, where_from: str = "") -> str:
    """Path of a program, the environment's own first; the test is skipped where there is none."""
    beside = Path(sys.executable).parent / name
    found = str(beside) if beside.exists() else shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed{where_from}")
    return found


def _run(
    *command: object, cwd: Path | None = None, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    words = [str(part) for part in command]
    return subprocess.run(words, capture_output=True, text=True, check=False, cwd=cwd, env=env)


@pytest.mark.parametrize("stack", ["aws/stack.yaml", "ecs/stack.yaml"])
def test_stacks_pass_cfn_lint(stack: str):
    result = _run(_tool("cfn-lint"), "--regions", "eu-central-1", "--", DEPLOY / stack)
    assert result.returncode == 0, result.stdout


def _render() -> str:
    encoded = script("deployment").user_data("vlm", "eu-central-1", "https://git.example/vlm.git", "v0.1.0")
    return base64.b64decode(encoded).decode()


def test_user_data_is_complete_and_small_enough_for_a_parameter():
    text = _render()
    assert not re.search(r"@[A-Z]+@", text)
    assert len(base64.b64encode(text.encode())) < 4096


def test_user_data_passes_cloud_inits_schema(tmp_path: Path):
    path = tmp_path / "user-data"
    path.write_text(_render(), "utf-8")
    tool = _tool("cloud-init", ": PyPI has neither it nor its schema; apt-get install cloud-init")
    result = _run(tool, "schema", "--config-file", path)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_scripts_pass_shellcheck(script: Path):
    result = _run(_tool("shellcheck"), "-x", "--shell=bash", script, cwd=TOP)
    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize("name", ["bootstrap.sh", "upgrade.sh"])
def test_every_timer_that_a_version_brings_is_enabled(name: str):
    lines = (DEPLOY / "aws" / name).read_text("utf-8").splitlines()
    enabling = [line for line in lines if "systemctl enable" in line and "echo" not in line]
    said = _run(
        "bash", "-c", "\n".join(['systemctl() { echo "$@"; }', f"APP={TOP}", *enabling]), cwd=TOP
    ).stdout
    timers = [path.name for path in (DEPLOY / "systemd").glob("*.timer")]
    assert [one for one in (*timers, "vlm-environment") if one not in said.split()] == []
    assert "enable --now vlm-logs.timer" in said


def test_the_container_file_passes_hadolint():
    result = _run(_tool("hadolint"), DEPLOY / "ecs/Dockerfile")
    assert result.returncode == 0, result.stdout


def test_what_the_container_file_copies_is_there():
    text = (DEPLOY / "ecs/Dockerfile").read_text("utf-8")
    copied = [name for line in re.findall(r"^COPY (.+) \S+$", text, re.MULTILINE) for name in line.split()]
    assert "vlm_assets" in copied
    assert [name for name in copied if not (TOP / name).exists()] == []


def test_units_pass_systemd_analyze(tmp_path: Path):
    for path in [*UNITS, *(DEPLOY / "systemd").glob("*.timer")]:
        text = path.read_text("utf-8").replace(f"{APP}/.venv/bin", str(Path(sys.executable).parent))
        (tmp_path / path.name).write_text(text.replace(APP, str(TOP)), "utf-8")
    result = _run(_tool("systemd-analyze"), "verify", "--man=no", *sorted(tmp_path.iterdir()))
    told = [line for line in result.stderr.splitlines() if "vlm-" in line]
    assert (result.returncode, told) == (0, [])


@pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.stem)
def test_units_are_hardened(unit: Path):
    text = unit.read_text("utf-8")
    for line in ("NoNewPrivileges=yes", "ProtectSystem=strict", "User=vlm", "CapabilityBoundingSet="):
        assert line in text
    if "Type=notify" in text:
        assert "WatchdogSec=" in text
        assert "Restart=always" in text


def test_the_webserver_listens_on_loopback_alone():
    text = (DEPLOY / "systemd/vlm-webserver.service").read_text("utf-8")
    assert "-h 127.0.0.1" in text
    assert "IPAddressDeny=any" in text


def _notices(receiver: socket.socket) -> str:
    receiver.settimeout(HANG_S)
    got = b""
    while b"WATCHDOG=1" not in got:
        got += receiver.recv(4096) + b"\n"
    return got.decode()


def test_a_watched_service_is_ready_when_it_answers_and_gets_the_signal(tmp_path: Path):
    _tool("systemd-notify")
    flag, ended = tmp_path / "flag", tmp_path / "ended"
    service = f"trap 'touch {ended}; exit 0' TERM; sleep 1; touch {flag}; while :; do sleep 0.1; done"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(str(tmp_path / "notify"))
        process = subprocess.Popen(
            [DEPLOY / "systemd/vlm-watched.sh", f"test -e {flag}", "bash", "-c", service],
            env={**os.environ, "NOTIFY_SOCKET": str(tmp_path / "notify")},
        )
        told = _notices(receiver)
        assert told.index("READY=1") < told.index("WATCHDOG=1")
        process.terminate()
        process.wait(HANG_S)
    assert ended.exists()


def test_a_watched_service_ends_with_its_own_code():
    result = _run(DEPLOY / "systemd/vlm-watched.sh", "false", "bash", "-c", "sleep 0.3; exit 7")
    assert result.returncode == 7


def test_only_settings_differ_between_the_profiles():
    local, aws = (load_settings(None, profile=name) for name in ("local", "aws"))
    changed = {k for k, v in local.model_dump().items() if aws.model_dump()[k] != v}
    assert changed <= {"profile", "data_root", "nightly", "log_format"}


_SETTINGS = """#!/bin/sh
test "$VLM_STACK $AWS_DEFAULT_REGION" = "vlm eu-central-1" || exit 3
{
  echo 'VLM_DATA_ROOT="/data/vlm"'
  echo 'VLM_REMOTE="s3://some-bucket/vlm"'
  echo 'VLM_CONTACT="Data Team <data@example.org>"'
  echo 'DAGSTER_HOME="/var/lib/vlm-assets/dagster"'
} >"$2/vlm.env"
echo 'DATA_VOLUME="vol-1"' >"$2/volumes.env"
"""


def test_the_bootstrap_rehearsed_in_a_plain_tree(tmp_path: Path):
    """Everything but mounts and units, with stand-ins for the installer and the command."""
    app = tmp_path / "opt/vlm-assets"
    shutil.copytree(DEPLOY, app / "deploy")
    shutil.copy(TOP / "dagster.yaml", app)
    (app / "deploy/setup.sh").write_text(
        "install_system_packages() { :; }\ninstall_python_packages() { :; }\n"
    )
    command = app / ".venv/bin/vlm-assets"
    command.parent.mkdir(parents=True)
    command.write_text('#!/bin/sh\necho "$@ $VLM_REMOTE $VLM_CONTACT" >>"$VLM_DATA_ROOT/called"\n')
    command.chmod(0o755)
    # Stands for the interpreter, of which bootstrap.sh wants the settings alone.
    python = app / ".venv/bin/python"
    python.write_text(_SETTINGS)
    python.chmod(0o755)
    stack = tmp_path / "etc/vlm-assets/stack.env"
    stack.parent.mkdir(parents=True)
    stack.write_text(yaml.safe_load(_render())["write_files"][0]["content"])
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("VLM_", "DAGSTER"))}
    for _ in range(2):
        result = _run(app / "deploy/aws/bootstrap.sh", env={**environment, "ROOT_PREFIX": str(tmp_path)})
        assert result.returncode == 0, result.stderr
    root = tmp_path / "data/vlm"
    assert (root / ".vlm_root").is_file()
    assert (tmp_path / "var/lib/vlm-assets/dagster/dagster.yaml").is_file()
    called = (root / "called").read_text("utf-8")
    assert called == "restore s3://some-bucket/vlm Data Team <data@example.org>\n"  # once: the volume was new
    assert os.access(tmp_path / "usr/local/bin/vlm-assets", os.X_OK)


def test_commands_and_settings_of_the_operators_page_exist():
    text = (DEPLOY / "README.md").read_text("utf-8")
    commands = get_command(app).commands  # type: ignore[attr-defined]  # a click group
    for name, words in re.findall(r"vlm-assets ([a-z]+)((?: +-{2}[a-z-]+(?: [A-Z0-9a-z]+)?)*)", text):
        options = {option for one in commands[name].params for option in one.opts}
        assert set(re.findall(r"--[a-z-]+", words)) <= options, name
    settings = {f"VLM_{name.upper()}" for name in Settings.model_fields}
    assert set(re.findall(r"VLM_[A-Z_]+", text)) - settings == set()
    for path in re.findall(r"deploy/[a-z/._-]+\.(?:sh|yaml)", text):
        assert (TOP / path).is_file(), path
