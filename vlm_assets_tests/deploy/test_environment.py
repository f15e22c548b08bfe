"""Settings and secrets: from Parameter Store into files that systemd and a shell read alike."""

import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto import mock_aws

from vlm_assets_tests.deploy.scripts import DEPLOY, script
from vlm_assets_tests.remote.s3 import CREDENTIALS

environment = script("environment")
HARD = {
    "blanks": "Data Team, Room 4 <data@example.org>",
    "quotes": """it's "quoted" \\ once""",
    "shell": "$HOME `id` ${x} #not; a & comment",
    "edges": "  both sides  ",
    "percent": "100 %h",
    "letters": "Çağrı Öz",
}


@pytest.fixture(scope="module")
def store() -> Iterator[Any]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in CREDENTIALS.items():
            patch.setenv(name, value)
        with mock_aws():
            yield boto3.client("ssm")


@pytest.fixture
def ssm(store: Any) -> Any:
    """A store with two parameters of a stack."""
    pages = store.get_paginator("describe_parameters").paginate()
    for name in [one["Name"] for page in pages for one in page["Parameters"]]:
        store.delete_parameter(Name=name)
    _put(store, "env/VLM_REMOTE", "s3://some-bucket/vlm")
    _put(store, "volumes/DATA_VOLUME", "vol-0a")
    return store


def _put(client: Any, name: str, value: str, kind: str = "String") -> None:
    client.put_parameter(Name=f"/vlm-assets/vlm/{name}", Value=value, Type=kind, Overwrite=True)


def _by_a_shell(path: Path, name: str) -> str:
    command = f"set -a; source {shlex.quote(str(path))}; printenv {name}"
    ran = subprocess.run(["bash", "-uc", command], capture_output=True, text=True, check=True)
    return ran.stdout.removesuffix("\n")


def _by_systemd(line: str) -> str:
    """As systemd.exec(5) has it for double quotes: a backslash escapes these four alone."""
    value = line.split("=", 1)[1]
    assert value[0] == value[-1] == '"'
    out, signs = "", iter(value[1:-1])
    for sign in signs:
        if sign == "\\":
            escaped = next(signs)
            out += escaped if escaped in '"\\`$' else f"\\{escaped}"
        else:
            assert sign != '"'
            out += sign
    return out


@pytest.mark.parametrize("value", HARD.values(), ids=HARD)
def test_a_value_is_the_same_in_the_services_and_in_a_shell(tmp_path: Path, ssm: Any, value: str):
    _put(ssm, "env/VLM_CONTACT", value)
    environment.write(tmp_path, ssm, "vlm", "eu-central-1")
    assert _by_a_shell(tmp_path / "vlm.env", "VLM_CONTACT") == value
    lines = (tmp_path / "vlm.env").read_text("utf-8").splitlines()
    [line] = [one for one in lines if one.startswith("VLM_CONTACT=")]
    assert _by_systemd(line) == value


def test_secrets_are_decrypted_into_a_file_that_its_owner_reads(tmp_path: Path, ssm: Any):
    _put(ssm, "env/HF_TOKEN", "hf_made_up", "SecureString")
    environment.write(tmp_path, ssm, "vlm", "eu-central-1")
    assert _by_a_shell(tmp_path / "vlm.env", "HF_TOKEN") == "hf_made_up"
    assert (tmp_path / "vlm.env").stat().st_mode & 0o777 == 0o600
    assert _by_a_shell(tmp_path / "volumes.env", "DATA_VOLUME") == "vol-0a"


def test_many_settings_and_one_that_replaces_a_fixed_one(tmp_path: Path, ssm: Any):
    for number in range(25):  # Parameter Store gives ten a page
        _put(ssm, f"env/VLM_X{number}", str(number))
    _put(ssm, "env/VLM_CATALOG", "/data/other")
    environment.write(tmp_path, ssm, "vlm", "eu-central-1")
    lines = (tmp_path / "vlm.env").read_text("utf-8").splitlines()
    assert len({line.split("=")[0] for line in lines}) == len(lines) == 25 + 1 + len(environment.FIXED) + 2
    assert 'VLM_CATALOG="/data/other"' in lines
    assert 'VLM_STACK="vlm"' in lines


@pytest.mark.parametrize(
    ("stack", "name", "value", "told"),
    [
        ("vlm", "env/HF_TOKEN", "two\nlines", "HF_TOKEN: its value has a line break"),
        ("vlm", "env/hf-token", "x", "hf-token: names are capitals"),
        ("other", "env/HF_TOKEN", "x", "no parameters under /vlm-assets/other/env/"),
    ],
    ids=["line-break", "name", "no-stack"],
)
def test_what_no_environment_can_hold_is_told_and_the_last_file_stays(
    tmp_path: Path, ssm: Any, stack: str, name: str, value: str, told: str
):
    environment.write(tmp_path, ssm, "vlm", "eu-central-1")
    before = (tmp_path / "vlm.env").read_bytes()
    _put(ssm, name, value)
    with pytest.raises(environment.EnvironmentFaultError, match=told):
        environment.write(tmp_path, ssm, stack, "eu-central-1")
    assert (tmp_path / "vlm.env").read_bytes() == before


def test_the_command_has_the_settings_of_the_services(tmp_path: Path):
    command = tmp_path / "opt/vlm-assets/.venv/bin/vlm-assets"
    command.parent.mkdir(parents=True)
    command.write_text('#!/bin/sh\nprintf "%s|%s|%s" "$1" "$VLM_CONTACT" "$VLM_UI_URL"\n')
    command.chmod(0o755)
    for folder, text in (
        ("etc", 'VLM_CONTACT="by hand"\nVLM_UI_URL="http://x"\n'),
        ("run", 'VLM_CONTACT="A $B"\n'),
    ):
        (tmp_path / folder / "vlm-assets").mkdir(parents=True)
        (tmp_path / folder / "vlm-assets/vlm.env").write_text(text.replace("$", "\\$"))
    ran = subprocess.run(
        [DEPLOY / "aws/as-service.sh", "check"],
        env={"ROOT_PREFIX": str(tmp_path), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert ran.stdout == "check|A $B|http://x"
