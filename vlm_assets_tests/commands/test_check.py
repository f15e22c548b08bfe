"""`check`: what the settings name and this user cannot use, and a remote that does not answer."""

import errno
import socket
from pathlib import Path

import pytest
from typer.testing import CliRunner

from vlm_assets.commands import command_line
from vlm_assets_tests.workplace import STREET, fill, install


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    installation = install(tmp_path, {**STREET, "path": fill(tmp_path / "in", 1)})
    monkeypatch.setenv("VLM_CATALOG", str(installation.catalog_dir))
    monkeypatch.setenv("VLM_DATA_ROOT", str(installation.root.path))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "nobody")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "nothing")
    return Path(tmp_path)


def checked() -> str:
    result = CliRunner().invoke(command_line.app, ["check"])
    assert result.exit_code == 2, result.output
    return result.output


@pytest.mark.usefixtures("here")
def test_a_remote_that_is_none_or_does_not_answer(monkeypatch):
    monkeypatch.setenv("VLM_REMOTE", "ftp://bucket/prefix")
    assert "VLM_REMOTE: 'ftp://bucket/prefix' is not of the form s3://bucket/prefix" in checked()
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    monkeypatch.setenv("VLM_REMOTE", "s3://bucket/prefix")
    monkeypatch.setenv("VLM_REMOTE_ENDPOINT", f"http://127.0.0.1:{port}")
    assert "VLM_REMOTE: s3://bucket/prefix does not answer as it should" in checked()


def test_paths_that_cannot_be_used(here, monkeypatch):
    monkeypatch.setenv("VLM_CA_BUNDLE", str(here / "no.pem"))
    assert "VLM_CA_BUNDLE" in checked()
    monkeypatch.setattr("os.access", lambda path, mode: False)  # noqa: ARG005  # root may do everything
    told = checked()
    assert f"VLM_DATA_ROOT: {here / 'data'} may not be written by this user" in told
    assert f"sources[0] (street).path: {here / 'in'} may not be read by this user" in told


def test_a_permission_that_lacks_is_a_sentence(monkeypatch, capsys):
    def refused() -> None:
        raise PermissionError(errno.EACCES, "Permission denied", "/data/vlm/x")

    monkeypatch.setattr(command_line, "app", refused)
    with pytest.raises(SystemExit) as ended:
        command_line.run()
    assert ended.value.code == 1
    assert capsys.readouterr().err.startswith("/data/vlm/x: the user ")
