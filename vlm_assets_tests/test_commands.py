"""The commands as scripts use them: exit codes, and JSON whose keys stay."""

import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson
import pytest
from typer.main import get_command
from typer.testing import CliRunner, Result

from vlm_assets.cli import app
from vlm_assets.words.errors import VlmAssetsError
from vlm_assets_tests.audit.breaking import TARGET, Broken, copy_of, good_once
from vlm_assets_tests.workplace import fill

PAGE = (Path(__file__).parent.parent / "vlm_assets/docs/commands.md").read_text("utf-8")

KEYS: dict[str, set[str]] = {
    "check": {"hints", "problems", "renderers"},
    "plan": {
        "target", "target_rows", "exact", "sources", "nodes", "fetch_bytes", "corpus_bytes", "disk_needed_bytes",
        "disk_free_bytes", "range_requests", "range_bytes", "hours", "annotations", "unannotated", "benchmarks",
        "problems", "hints",
    },
    "status": {
        "data_root", "catalog_hash", "free_bytes", "away_bytes", "sources", "benchmarks", "annotations", "removed",
        "targets",
        "rights", "seconds",
    },
    "build": {"exit_code", "interrupted", "failures", "sources", "benchmarks", "targets"},
    "audit": {
        "name", "passed", "judged", "severity", "expected", "observed", "examples", "figures", "seconds",
    },
    "verify": {
        "files", "size_bytes", "resumed_files", "away_files", "away_bytes", "seconds", "problems", "leftovers",
        "unfinished",
        "exit_code",
    },
    "show": {
        "id", "row", "source", "kind", "slice", "slice_version", "slice_row", "item", "item_identity", "record",
        "origin", "revision", "licence", "image_sha256", "fetched_by", "corpora", "tombstones",
    },
    "diff": {"a", "b", "totals", "rows"},
    "migrate": {"schema_version", "applied", "found"},
    "takedown": {
        "tombstone", "asked", "only_row", "urls", "image_sha256", "ids", "found", "corpora", "slices_emptied",
        "annotations_emptied",
        "listings_emptied", "versions_deleted", "caches_cleaned", "papers_cleaned", "previews_cleaned", "pinned",
        "outstanding", "remarks",
    },
}  # fmt: skip
"""Public: a key that goes is a break for someone's script. New ones may come, here and on the page."""
ARRAYS = {"audit", "show"}
"""These print an array, and the keys are of each object in it."""


@pytest.fixture
def broken(tmp_path, tmp_path_factory, monkeypatch) -> Broken:
    broken = copy_of(good_once(tmp_path_factory), tmp_path)
    monkeypatch.setenv("VLM_CATALOG", str(tmp_path / "catalog"))
    monkeypatch.setenv("VLM_DATA_ROOT", str(tmp_path / "data"))
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "home"))
    return broken


def call(*words: str) -> Result:
    return CliRunner().invoke(app, list(words))


def arguments(broken: Broken, command: str) -> Sequence[str]:
    row = broken.rows(broken.bits[0])[1][0]["id"]
    return {
        "audit": ["--target", TARGET],
        "plan": ["--target", TARGET],
        "build": ["--source", "murky"],
        "show": [row],
        "diff": ["t12", TARGET],
        "takedown": ["--id", row],
    }.get(command, [])


@pytest.mark.parametrize("command", KEYS)
def test_json_has_its_keys_and_the_page_names_them(broken, command):
    if command == "build":
        spoil_a_source(broken)
    result = call(command, *arguments(broken, command), "--json")
    assert result.exit_code == (command == "build"), result.output
    told: Any = orjson.loads(result.stdout)
    if command == "build":
        assert (told["exit_code"], [one["label"] for one in told["failures"]]) == (
            1,
            ["murky, slice root"],
        )
    for one in told if command in ARRAYS else [told]:
        assert KEYS[command] <= one.keys()
        assert one.keys() <= KEYS[command], "a new key: name it here and on the page"
    line = next(line for line in exit_codes().splitlines() if line.startswith(f"| `{command}` |"))
    assert set(re.findall(r"`(\w+)`", line.split("|")[-2])) == KEYS[command]
    assert line.count("array of") == (command in ARRAYS)


def damage(broken: Broken) -> None:
    path = broken.corpus / f"data-r{broken.bits[0]}.arrow"
    path.write_bytes(path.read_bytes()[:-2_000])


def spoil_a_source(broken: Broken) -> None:
    folder = fill(broken.base / "moved", 2)
    for name in ("spoilt.jpg", "torn.jpg"):
        (folder / name).write_bytes(b"no image")
    catalog = broken.base / "catalog" / "sources" / "all.yaml"
    text = catalog.read_text("utf-8")
    catalog.write_text(re.sub(r"path: .*/murky", f"path: {folder}", text), "utf-8")


def misspell(broken: Broken) -> None:
    (broken.base / "catalog" / "corpus.yaml").write_text("name: [", "utf-8")


@pytest.mark.parametrize(
    ("break_it", "words", "code"),
    [
        (damage, ["audit", "--target", TARGET], 1),
        (damage, ["verify"], 1),
        (misspell, ["check"], 2),
        (misspell, ["check", "--json"], 2),
        (None, ["audit", "--target", "nowhere"], 2),
        (None, ["build", "--source", "nowhere"], 2),
        (None, ["takedown"], 2),
        (None, ["takedown", "--finish", "--id", "a/b/c"], 2),
        (None, ["takedown", "--url", "https://example.org/none.jpg", "--dry-run"], 0),
        (None, ["takedown", "--sha256", "xyz"], 2),
        (None, ["takedown", "--sha256", "AB" * 32, "--dry-run"], 0),
        (None, ["takedown", "--sha256", "ab" * 32, "--yes"], 1),
        (None, ["takedown", "--finish"], 0),
        (None, ["nonsense"], 2),
        (None, ["--version"], 0),
    ],
    ids=lambda one: " ".join(one) if isinstance(one, list) else None,
)
def test_exit_codes(broken, break_it, words, code):
    if break_it is not None:
        break_it(broken)
    result = call(*words)
    assert result.exit_code == code, result.output


@pytest.mark.parametrize(
    "words", [["show", "street/root/nothing"], ["diff", "t12", "t13"], ["takedown", "--id", "x"]]
)
@pytest.mark.usefixtures("broken")
def test_what_is_not_there_is_an_error_of_ours(words):
    result = call(*words)
    assert isinstance(result.exception, VlmAssetsError), "`main` makes exit code 1 of it"


def test_the_table_of_exit_codes_names_commands_only():
    lines = [line.split("|")[1] for line in exit_codes().splitlines() if line.startswith("| `")]
    commands = set(get_command(app).commands)  # type: ignore[attr-defined]  # a click group
    assert set(re.findall(r"`([a-z]+)`", "".join(lines))) <= commands


def exit_codes() -> str:
    """The page's section."""
    return PAGE.split("## Exit codes and JSON")[1].split("\n## ")[0]


@pytest.mark.usefixtures("broken")
def test_a_slice_that_is_none_is_an_error_with_the_nearest():
    result = call("build", "--source", "murky", "--slice", "rot")
    assert result.exit_code == 2
    assert "murky has no slice 'rot'; did you mean root?" in " ".join(result.output.replace("│", " ").split())


def test_the_module_runs_as_the_command_does():
    done = subprocess.run(
        [sys.executable, "-m", "vlm_assets.cli", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("vlm-assets ")
