"""A disk that fails under Dagster's own databases: a sentence that names the place, exit 1."""

import sqlite3
import sys

import pytest
from sqlalchemy.exc import OperationalError

from vlm_assets import cli
from vlm_assets.commands import command_line


@pytest.mark.parametrize(
    ("said", "told"),
    [("database or disk is full", "DiskFullError"), ("disk I/O error", "StoreError")],
)
def test_what_sqlite_says_names_the_storage(
    tmp_path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], said: str, told: str
):
    def fails() -> None:
        raise OperationalError("INSERT", {}, sqlite3.OperationalError(said))

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(command_line, "app", fails)
    monkeypatch.setattr(sys, "argv", ["vlm-assets", "build"])
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 1
    assert f"{told}: {tmp_path}/*.db: {said}" in capsys.readouterr().err.replace("\n", "")


def test_a_server_that_is_gone_is_no_traceback(
    tmp_path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    def fails() -> None:
        raise OperationalError("INSERT", {}, ConnectionError("no server"))

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(command_line, "app", fails)
    monkeypatch.setattr(sys, "argv", ["vlm-assets", "build"])
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 1
    told = capsys.readouterr().err.replace("\n", "")
    assert f"StoreError: {tmp_path}: Dagster's storage says: no server; is its server up?" in told
