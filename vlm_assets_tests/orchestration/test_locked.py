"""`lock` and `build --locked` through the whole line, as commands."""

import json
import re
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from vlm_assets.allocation.step import allocate
from vlm_assets.cli import app
from vlm_assets.corpus.build import build_corpus
from vlm_assets_tests.workplace import STREET, fill, ingest, install, picture


@pytest.fixture(autouse=True)
def no_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAGSTER_HOME", "")


def run(monkeypatch: pytest.MonkeyPatch, base: Path, *words: str) -> Result:
    monkeypatch.setenv("VLM_CATALOG", str(base / "catalog"))
    monkeypatch.setenv("VLM_DATA_ROOT", str(base / "data"))
    return CliRunner().invoke(app, list(words))


def test_a_locked_build_gives_the_locked_corpora_or_names_what_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    owner, reader = tmp_path / "owner", tmp_path / "reader"
    for number in range(2):
        fill(tmp_path / "in" / f"s{number}", 4, start=10 * number)
    source = {**STREET, "path": tmp_path / "in"}
    installation = install(owner, source, corpus={"targets": {"5": 5}})
    assert "street: never listed" in str(run(monkeypatch, owner, "lock").exception)
    ingest(installation)
    built = build_corpus(allocate(installation, "5").path, installation.root)
    locked = run(monkeypatch, owner, "lock")
    assert locked.exit_code == 0, locked.output
    assert re.findall(r"[0-9a-f]{64}", locked.stdout) == [built.root_hash]
    assert run(monkeypatch, owner, "lock", "--check").exit_code == 0
    same = run(monkeypatch, owner, "diff", "--lock")
    assert (same.exit_code, " ".join(same.stdout.split())[:31]) == (0, "upstream has nothing else than ")

    shutil.copytree(owner / "catalog", reader / "catalog")
    install(reader, source, corpus={"targets": {"5": 5}})
    fill(tmp_path / "in" / "later", 1, start=50)
    again = run(monkeypatch, reader, "build", "--locked", "--json")
    assert again.exit_code == 0, again.output
    assert json.loads(again.stdout)["targets"][0]["root_hash"] == built.root_hash
    assert f"5: the corpus of the lock, root hash {built.root_hash}" in again.stderr

    (tmp_path / "in" / "s1" / "0012.jpeg").write_bytes(picture(77))
    (reader / "data" / "datasets" / "street" / "s1").unlink()
    changed = run(monkeypatch, reader, "build", "--locked", "--source", "street")
    assert changed.exit_code == 1
    told = " ".join(changed.output.split())
    assert "street/s1: is not as locked, nothing was committed: s1/0012.jpeg: another image" in told
    assert "NOT AS LOCKED street/s1: not committed as locked" in told
    assert "Building" not in told

    diff = json.loads(run(monkeypatch, reader, "diff", "--lock", "--json").stdout)
    assert diff["totals"] == {"added": 1, "gone": 0, "changed": 1}

    install(reader, {**source, "hold": True}, corpus={"targets": {"5": 5}})
    held = run(monkeypatch, reader, "build", "--locked")
    assert "street.hold: a held source is not fetched" in str(held.exception)

    install(reader, {**source, "weight": 2}, corpus={"targets": {"5": 5}, "seed": 4})
    other = run(monkeypatch, reader, "build", "--locked")
    assert other.exit_code != 0
    assert "target 5: rows, quotas, policies" in str(other.exception)


@pytest.mark.parametrize("words", ["--failed", "--force-redownload", "--test-mode", "--dry-run"])
def test_nothing_that_fetches_otherwise_goes_with_a_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: str
):
    install(tmp_path, {**STREET, "path": tmp_path / "in"})
    assert run(monkeypatch, tmp_path, "build", "--locked", words).exit_code == 2
