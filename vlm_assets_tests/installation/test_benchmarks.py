"""Benchmarks of a catalogue: sources of another use, in files of their own."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from vlm_assets.installation.load import catalog_problems, load_catalog
from vlm_assets.installation.opening import Installation
from vlm_assets.installation.removed import removed_sources
from vlm_assets.installation.snapshot import read_snapshot, write_snapshot
from vlm_assets_tests.workplace import STREET, fill, ingest, install, write_catalog

EXAM = {"name": "exam", "kind": "client_folder"}


def installed(base: Path, **keys: Any) -> Installation:
    held = [{**EXAM, "path": fill(base / "exam", 2), **keys}]
    return install(base, {**STREET, "path": fill(base / "street", 3)}, benchmarks=held)


def test_a_benchmark_is_a_source_in_no_supply(tmp_path):
    catalog = installed(tmp_path).catalog
    assert [spec.name for spec in catalog.sources] == ["street"]
    assert [spec.name for spec in catalog.benchmarks] == ["exam"]
    assert [spec.name for spec in catalog.fetched] == ["exam", "street"]
    assert catalog.source("exam").licence == "unknown"
    assert [catalog.is_benchmark(name) for name in ("exam", "street", "none")] == [True, False, False]


def test_a_snapshot_keeps_it(tmp_path):
    installation = installed(tmp_path)
    write_snapshot(installation.root, installation.catalog)
    assert read_snapshot(installation.root, installation.catalog.hash) == installation.catalog


def test_the_hash_is_that_of_before_without_benchmarks(tmp_path):
    installation = installed(tmp_path)
    without = install(tmp_path, {**STREET, "path": tmp_path / "street"})
    assert without.catalog.hash != installation.catalog.hash
    again = installed(tmp_path, licence="unknown", category="benchmark", subcategory="exam")
    assert again.catalog.hash == installation.catalog.hash


def test_what_is_fetched_of_it_is_of_a_source_that_there_is(tmp_path):
    installation = installed(tmp_path)
    ingest(installation, "exam")
    assert removed_sources(installation) == {}
    assert removed_sources(install(tmp_path, {**STREET, "path": tmp_path / "street"})) == {"exam": 1}


@pytest.mark.parametrize(
    ("head", "keys", "told"),
    [
        ("benchmarks", {"weight": 2}, "benchmarks[0] (exam).weight: a benchmark is in no corpus"),
        ("benchmarks", {"max_samples": 5}, "benchmarks[0] (exam).max_samples: a benchmark is in no corpus"),
        (
            "benchmarks",
            {"name": "street"},
            "benchmarks[0] (street).name: 'street' is taken by sources/all.yaml",
        ),
        ("benchmarks", {"kind": "folder"}, "benchmarks[0] (exam).kind: no kind 'folder'"),
        ("benchmarks", {"path": "gone"}, "benchmarks[0] (exam).path: "),
        ("benchmarks", {"wieght": 2}, "benchmarks[0] (exam).wieght: unknown key"),
        ("tests", {}, ": expected one key `benchmarks` with a list of benchmarks"),
        ("sources", {}, ""),
        ("benchmarks", {"category": "photos", "subcategory": "street"}, ""),
        ("benchmarks", {"subcategory_from": {"folder": 1}}, ""),
    ],
    ids=["weight", "max_samples", "taken", "kind", "path", "unknown", "head", "moved", "category", "labels"],
)
def test_what_is_wrong_is_told_with_its_place(tmp_path, head, keys, told):
    folder = write_catalog(tmp_path / "catalog", {**STREET, "path": str(fill(tmp_path / "street", 1))})
    (folder / "benchmarks").mkdir()
    entry = {**EXAM, "path": str(fill(tmp_path / "exam", 1)), **keys}
    (folder / "benchmarks" / "exams.yaml").write_text(yaml.safe_dump({head: [entry]}))
    problems = [f"{one.file}: {one.key}: {one.message}" for one in catalog_problems(folder)]
    assert len(problems) == bool(told), problems
    assert all(one.startswith("benchmarks/exams.yaml: ") and told in one for one in problems)
    if not told:
        assert [spec.name for spec in load_catalog(folder).benchmarks] == ["exam"]
