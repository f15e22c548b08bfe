"""The commands as a user runs them: the demo end to end, again, and on from there."""

import json
import os
import socket
import subprocess
import sys
from contextlib import ExitStack, chdir, redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from unittest.mock import patch
from urllib.parse import urlsplit

import datasets
import jsonschema  # type: ignore[import-untyped]  # ships no types
import pytest
import yaml
from rich.console import Console

from vlm_assets.cli import main
from vlm_assets.demo.run import DRAWN_BY, ROOT_HASHES, compare_root_hashes, run_demo
from vlm_assets.pdf.identity import renderer_identity
from vlm_assets.sources.registry import kinds
from vlm_assets.words.errors import ConfigError


def clean_environment() -> dict[str, str]:
    """None of the caller's settings."""
    own = ("VLM_", "DAGSTER_", "HF_", "KAGGLE_")
    return {name: value for name, value in os.environ.items() if not name.startswith(own)}


def command(folder: Path, *arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    """A command run in a folder, as a process of its own."""
    return subprocess.run(
        [sys.executable, "-c", "from vlm_assets.cli import main; main()", *arguments],
        cwd=folder,
        env={**clean_environment(), "COLUMNS": "200", **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def run(folder: Path, *arguments: str, **environment: str) -> str:
    """Standard output of a command that does well."""
    done = command(folder, *arguments, **environment)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def here(code: int, folder: Path, *arguments: str, **environment: str) -> tuple[str, str]:
    """Standard output and error of a command run in this process, which must end with this code."""
    out, error, ended = StringIO(), StringIO(), 0
    with (
        patch.dict(os.environ, {**clean_environment(), **environment}, clear=True),
        patch.object(sys, "argv", ["vlm-assets", *arguments]),
        chdir(folder), redirect_stdout(out), redirect_stderr(error),
    ):  # fmt: skip
        try:
            main()
        except SystemExit as exit_:
            ended = int(exit_.code or 0)
    assert ended == code, out.getvalue() + error.getvalue()
    return out.getvalue(), error.getvalue()


def told(folder: Path, *arguments: str) -> Any:
    """What a command says as JSON."""
    return json.loads(here(0, folder, *arguments, "--json")[0])


def refused(folder: Path, *arguments: str, **environment: str) -> str:
    """Standard error of a command that is refused."""
    return here(2, folder, *arguments, **environment)[1]


def free_ports(count: int) -> int:
    """First of so many ports in a row that nobody listens on."""
    for first in range(18700, 30000, count):
        with ExitStack() as held:
            try:
                for port in range(first, first + count):
                    held.enter_context(socket.socket()).bind(("127.0.0.1", port))
            except OSError:
                continue
            return first
    raise AssertionError("no free ports")


PORT = free_ports(8)


@pytest.fixture(scope="module")
def demo(tmp_path_factory) -> Path:
    """A folder in which the demo has run."""
    folder: Path = tmp_path_factory.mktemp("demo")
    run(folder, "demo", "--port", str(PORT))
    return folder


def status(folder: Path) -> dict[str, Any]:
    return dict(told(folder, "status"))


def test_every_kind_lands_and_every_target_is_met(demo):
    found = status(demo)
    assert {source["kind"] for source in found["sources"]} == set(kinds())
    assert all(source["due"] == 0 and source["rows"] > 0 for source in found["sources"])
    assert [(t["name"], t["rows"]) for t in found["targets"]] == [("50", 50), ("150", 150), ("300", 300)]


def test_the_root_hashes_are_those_that_are_stated(demo):
    """Where they are not, and that is meant, `ROOT_HASHES` is stated anew, in the commit that changed the bytes."""
    found = {target["name"]: target["root_hash"] for target in status(demo)["targets"]}
    assert found == dict(ROOT_HASHES) or renderer_identity("poppler").name != DRAWN_BY


@pytest.mark.parametrize(
    ("sealed", "identity", "code", "said"),
    [
        ("a", DRAWN_BY, 0, "those that every machine gets"),
        ("b", DRAWN_BY, 1, "5: a stated, b here"),
        (None, DRAWN_BY, 1, "5: a stated, nothing here"),
        ("b", "poppler-other", 0, "another Poppler"),
    ],
    ids=["same", "others", "not built", "another renderer"],
)
def test_other_root_hashes_are_a_failure_unless_pages_are_drawn_otherwise(
    monkeypatch, sealed: str | None, identity: str, code: int, said: str
):
    corpus = SimpleNamespace(root_hash=sealed) if sealed else None
    drawn = SimpleNamespace(name=identity)
    monkeypatch.setattr("vlm_assets.demo.run.ROOT_HASHES", {"5": "a"})
    monkeypatch.setattr("vlm_assets.demo.run.sealed_corpus", lambda *_: corpus)
    monkeypatch.setattr("vlm_assets.demo.run.renderer_identity", lambda _: drawn)
    out = StringIO()
    assert compare_root_hashes(cast("Any", None), Console(file=out, width=200)) == code
    assert said in out.getvalue()


def test_the_corpora_open_decode_and_nest(demo):
    ids = []
    for target in status(demo)["targets"]:
        corpus = datasets.load_from_disk(target["path"])
        for row in corpus:
            sides = [(fact["width_px"], fact["height_px"]) for fact in row["image_facts"]]
            assert [image.size for image in row["images"]] == sides
        ids.append(set(corpus["id"]))
    assert ids[0] < ids[1] < ids[2]


def endpoints(folder: Path) -> dict[str, str]:
    """What `.env` says, line by line."""
    lines = (folder / ".env").read_text("utf-8").splitlines()
    return dict(line.split("=", 1) for line in lines if not line.startswith("#"))


def test_what_the_ui_needs_is_written_before_the_demo_serves(tmp_path, monkeypatch):
    monkeypatch.setattr("vlm_assets.demo.run.compare_root_hashes", lambda *_: 0)
    served: list[dict[str, str]] = []

    def wait() -> None:
        served.append(endpoints(tmp_path))
        for name in ("HF_ENDPOINT", "GITHUB_API_URL", "VLM_PROXY"):
            place = urlsplit(served[0][name])
            socket.create_connection((str(place.hostname), place.port or 0), timeout=30).close()

    with patch.dict(os.environ, clean_environment(), clear=True), chdir(tmp_path):
        code = run_demo(
            tmp_path / "demo", lambda _: 0, Console(file=StringIO()), port=free_ports(8), wait=wait
        )
    assert code == 0
    assert served[0]["KAGGLE_API_ENVIRONMENT"] == "LOCALHOST"
    assert served[0]["VLM_CATALOG"] == str(tmp_path / "demo/catalog")
    files = sorted((tmp_path / "demo/catalog").rglob("*.yaml"))
    assert len(files) == 5
    for file in files:  # each names the schema of what may stand in it
        schema = file.read_text("utf-8").splitlines()[0].partition("$schema=")[2]
        content = yaml.safe_load(file.read_text("utf-8"))
        jsonschema.validate(content, json.loads((file.parent / schema).read_text("utf-8")))


@pytest.mark.slow  # the short form is above
def test_every_source_is_listed_while_the_demo_serves(demo):
    arguments = [sys.executable, "-c", "from vlm_assets.cli import main; main()", "demo", "--serve"]
    with subprocess.Popen(
        [*arguments, "--port", str(PORT)],
        cwd=demo,
        env=clean_environment(),
        stdout=subprocess.PIPE,
        text=True,
    ) as serving:
        assert serving.stdout is not None
        assert any("services are up" in line for line in serving.stdout)
        names = {source["name"] for source in told(demo, "status")["sources"]}
        for name in names:
            (demo / f".vlm_demo/data/listings/{name}.json").unlink()
        plan = json.loads(run(demo, "plan", "--target", "50", "--json"))
        serving.terminate()
        serving.stdout.read()
    assert serving.returncode == 0
    assert plan["problems"] == []
    assert {source["name"] for source in plan["sources"] if source["items"]} == names


def test_again_with_other_workers_nothing_is_fetched_or_built(demo):
    before = status(demo)
    out = run(demo, "demo", "--port", str(PORT), VLM_WORKERS="5")
    assert "Every slice is up to date" in out
    assert "Root hashes: " in out
    assert all(f"{target} is up to date" in out for target in (50, 150, 300))
    assert [t["root_hash"] for t in status(demo)["targets"]] == [t["root_hash"] for t in before["targets"]]


@pytest.mark.slow
def test_one_slice_is_fetched_again_by_force(demo):
    out = run(demo, "build", "--source", "street", "--slice", "gece", "--force-redownload")
    assert "Fetching street: 1 forced" in out
    assert "--slice needs exactly one --source" in refused(demo, "build", "--slice", "gece")


def test_the_audit_passes_and_speaks_json(demo):
    findings = told(demo, "audit", "--target", "300", "--full")
    assert len(findings) > 20
    assert [f["name"] for f in findings if not f["passed"]] == []


def test_a_row_is_shown_back_to_its_page(demo):
    corpus = datasets.load_from_disk(str(demo / ".vlm_demo/data/corpora/demo/300"))
    wanted = next(i for i in corpus["id"] if i.startswith("gazete/"))
    row = told(demo, "show", wanted)[0]
    assert row["origin"].startswith("http://127.0.0.3/ekos/GAZETE/")  # wherever the demo listens
    assert "#page=" in row["origin"]
    assert row["fetched_by"]["run_id"]


def test_plan_tells_the_exact_grants_and_writes_nothing(demo):
    data = demo / ".vlm_demo" / "data"
    before = {p: p.stat().st_mtime_ns for p in data.rglob("*") if p.is_file() and "logs" not in p.parts}
    plan = told(demo, "plan", "--target", "300")
    assert plan["exact"]
    assert sum(n["granted"] for n in plan["nodes"] if "/" not in n["path"]) == 300
    assert {
        p: p.stat().st_mtime_ns for p in data.rglob("*") if p.is_file() and "logs" not in p.parts
    } == before


def test_a_folder_that_holds_something_else_is_left_alone(tmp_path):
    (tmp_path / "holiday.jpg").write_bytes(b"x")
    with pytest.raises(ConfigError, match=r"holds something else \(holiday\.jpg\)"):
        run_demo(tmp_path, lambda installation: 0, Console())  # noqa: ARG005 - never called
    assert [path.name for path in tmp_path.iterdir()] == ["holiday.jpg"]


def test_bad_settings_and_unknown_names_exit_2(demo, tmp_path):
    assert "VLM_DATA_ROOT" in refused(tmp_path, "status")
    assert "no target" in refused(demo, "audit", "--target", "9m")
    assert "no source" in refused(demo, "build", "--source", "nobody")
    assert "VLM_WORKRES: no such setting; did you mean VLM_WORKERS?" in refused(
        demo, "check", VLM_WORKRES="1"
    )
