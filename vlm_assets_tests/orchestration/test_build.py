import os
import re
import shutil
import signal
import threading
import time
from io import StringIO
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from vlm_assets.allocation.manifest import AllocationManifest
from vlm_assets.installation.opening import Installation
from vlm_assets.operate.status import read_status
from vlm_assets.orchestration.command.build import run_build
from vlm_assets.orchestration.names import dataset_key
from vlm_assets.sources.client_folder import ClientFolder
from vlm_assets.store.papers import papers_complete, remove_papers
from vlm_assets.store.versions import read_manifest
from vlm_assets.words.errors import ConfigError
from vlm_assets_tests.workplace import STREET, fill, install, picture


@pytest.fixture(autouse=True)
def no_home(monkeypatch):
    monkeypatch.setenv("DAGSTER_HOME", "")


def build(installation: Installation, **options: Any) -> tuple[int, str]:
    """Exit code and what was printed."""
    out = StringIO()
    wanted: dict[str, Any] = {"targets": [], "sources": [], **options}
    code = run_build(installation, console=Console(file=out, width=200), **wanted)
    return code, out.getvalue()


def city(base: Path, **keys: Any) -> Installation:
    for number in range(3):
        fill(base / "in" / f"s{number}", 4, start=10 * number)
    corpus = {"targets": {"5": 5, "10": 10}}
    return install(base, {**STREET, "path": base / "in", "reject_tolerance": 0.05, **keys}, corpus=corpus)


def test_the_whole_line_once_and_nothing_the_second_time(tmp_path):
    installation = city(tmp_path)
    code, told = build(installation)
    assert code == 0, told
    assert "DAGSTER_HOME is not set: using" in told
    assert "3 new" in told
    hashes = re.findall(r"[0-9a-f]{64}", told)
    assert len(hashes) == 2
    files = {p: p.stat().st_mtime_ns for p in installation.root.path.rglob("*.arrow")}
    code, again = build(installation)
    assert code == 0
    assert "Every slice is up to date" in again
    assert "5 is up to date" in again
    assert "Building" not in again
    assert re.findall(r"[0-9a-f]{64}", again) == hashes
    assert {p: p.stat().st_mtime_ns for p in installation.root.path.rglob("*.arrow")} == files
    shutil.rmtree(installation.root.path / ".dagster")
    some, none = (installation.root.corpus("small", target).resolve() for target in ("5", "10"))
    (some / "report.html").unlink()
    remove_papers(none)
    code, found = build(installation)
    assert code == 0, found
    assert "5 is up to date, but lacks papers" in found
    assert "10 is up to date, but has no papers" in found
    assert papers_complete(some)
    assert papers_complete(none)
    assert "knew nothing of what lies on disk: 3 partition keys" in found
    assert "5 is up to date, but was not audited since" in found
    with dg.DagsterInstance.from_config(str(installation.root.path / ".dagster")) as instance:
        instance.wipe_assets([dataset_key("street")])  # as a copy of before the first fetch has it
    code, once_more = build(installation)
    assert code == 0, once_more
    assert "knew only a part of what lies on disk: 0 partition keys and 3 materializations" in once_more
    assert re.findall(r"[0-9a-f]{64}", found) == hashes
    assert {p: p.stat().st_mtime_ns for p in installation.root.path.rglob("*.arrow")} == files


@pytest.mark.slow  # short: test_definitions has the assets, operate/test_benchmarks the steps
def test_benchmarks_are_fetched_along_and_kept_out(tmp_path):
    street = {**STREET, "path": fill(tmp_path / "in", 6)}
    (tmp_path / "asked").mkdir()
    pq.write_table(pa.table({"text": ["Kaç yıl?"]}), tmp_path / "asked" / "q.parquet")
    held = [
        {"name": "asked", "kind": "hf_disk", "path": tmp_path / "asked", "image_column": []},
        {"name": "exam", "kind": "client_folder", "path": fill(tmp_path / "exam", 2)},
    ]
    installation = install(tmp_path, street, corpus={"targets": {"4": 4}}, benchmarks=held)
    code, told = build(installation)
    assert code == 0, told
    assert "Listing asked, exam, street" in told
    plan = installation.root.allocation("small", "4")
    manifest = read_manifest(plan.resolve(), AllocationManifest)
    assert (manifest.granted_rows, manifest.excluded["decontaminate"]) == (4, 2)
    page = (installation.root.corpus("small", "4") / "report.html").read_text("utf-8")
    assert "<td>street</td><td>exam</td>" in page


def test_a_failed_slice_is_an_exit_code_and_failed_fetches_it_alone(tmp_path):
    bad = tmp_path / "in" / "s1" / "bad.jpg"
    fill(bad.parent, 1)
    bad.write_bytes(b"rubbish")
    installation = city(tmp_path)
    code, told = build(installation, sources=["street"])
    assert code == 1
    assert "1 of 3 slices of street failed; the others are committed." in told
    assert "street/s1: 1 of 6 records are rejects (not_an_image 1)" in told
    assert (told.count("s1: "), told.count("bad.jpg: not_an_image")) == (1, 1)
    assert read_status(installation).sources[0].failed.keys() == {"s1"}
    bad.write_bytes(picture(77))
    build(installation, sources=["street"])
    assert read_status(installation).sources[0].failed == {}
    days = 3 * 86_400
    os.utime(installation.root.listing("street"), (time.time() - days, time.time() - days))
    code, told = build(installation, sources=["street"], failed_only=True)
    assert (code, "Listing" in told) == (0, False)
    assert "--failed goes by the listings there are (the oldest: street, 3 days ago)" in told
    assert "build without --failed lists anew" in told
    build(installation, targets=["5"])
    bad.write_bytes(b"rubbish")
    code, told = build(installation, targets=["5"])
    assert (code, "5 has all that is committed; what failed is not in it" in told) == (1, True), told
    assert "street: 1 slice is due; what it brings is in no target" in told


def test_a_home_whose_dagster_yaml_is_no_yaml_is_named(tmp_path, monkeypatch):
    home = tmp_path / "home"
    home.mkdir()
    (home / "dagster.yaml").write_text("storage: [", "utf-8")
    monkeypatch.setenv("DAGSTER_HOME", str(home))
    installation = city(tmp_path)
    with pytest.raises(ConfigError, match=r"home/dagster\.yaml:1:11: Dagster cannot read it, it is not YAML"):
        build(installation)
    (home / "dagster.yaml").write_text("storage: " + "[" * 50_000, "utf-8")
    with pytest.raises(ConfigError, match=r"home/dagster\.yaml: .* not YAML: maximum recursion"):
        build(installation)


def test_a_home_that_there_cannot_be_is_named(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "file" / "home"))
    with pytest.raises(
        ConfigError, match=r"DAGSTER_HOME: .*/file/home is no folder and cannot be made one: Not a"
    ):
        build(city(tmp_path))


def test_a_source_alone_builds_no_corpus(tmp_path):
    code, told = build(city(tmp_path), sources=["street"])
    assert (code, "Building" in told, "What came out" in told) == (0, False, False)


def test_ctrl_c_ends_a_build_and_the_next_one_goes_on(tmp_path, monkeypatch):
    installation = city(tmp_path)
    main, fetch = threading.get_ident(), ClientFolder.fetch

    def interrupted(self: Any, *arguments: Any) -> Any:
        signal.pthread_kill(main, signal.SIGINT)
        return fetch(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(ClientFolder, "fetch", interrupted)
        code, told = build(installation)
    assert code == 130
    assert "Traceback" not in told  # what stays is told by `ended_by_ctrl_c`
    assert "Building" not in told
    code, told = build(installation, sources=["street"])
    assert code == 0, told


@pytest.mark.slow
def test_annotations_are_made_between_fetch_and_corpus(tmp_path):
    installation = city(tmp_path)
    base = installation.catalog_dir.parent
    wanted = {"targets": {"5": 5}, "annotations": [{"name": "jpeg"}]}
    installation = install(base, {**STREET, "path": base / "in"}, corpus=wanted)
    code, told = build(installation)
    assert code == 0, told
    assert (
        told.index("Fetching street") < told.index("Annotating street: 3 slices") < told.index("Building 5")
    )
    assert len(list(installation.root.annotations.rglob("*.parquet"))) == 3
    code, again = build(installation)
    assert (code, "Annotating" in again) == (0, False)
