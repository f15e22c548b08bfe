"""Croissant as MLCommons' own reader takes it: valid, and its records can be iterated."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import orjson
import pyarrow.parquet as pq
import pytest

from vlm_assets.exports.formats import Format
from vlm_assets.exports.run import export_corpus
from vlm_assets.words.schema import COLUMN_NAMES
from vlm_assets_tests.audit.breaking import TARGET, good_once


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    return good_once(tmp_path_factory)


def read_by_the_library(path: Path) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "vlm_assets_tests.papers.croissant_reader", str(path)],
        capture_output=True,
        check=True,
    )
    told: dict[str, Any] = orjson.loads(done.stdout)
    assert told["errors"] == []
    lacks = [one.partition('"')[2].partition('"')[0] for one in told["warnings"]]
    # For whoever publishes to say.
    assert set(lacks) <= {"https://schema.org/datePublished", "https://schema.org/license"}
    return told


def test_the_corpuss_is_valid_and_its_records_come(good):
    path = good.root.corpus("good", TARGET).resolve() / "croissant.json"
    told = read_by_the_library(path)
    content = orjson.loads(path.read_bytes())
    lines = {one["@id"]: one["data"] for one in content["recordSet"]}
    assert list(lines) == ["samples", "columns", "composition", "sources"]
    found = told["records"]
    assert {name: len(some) for name, some in found.items()} == {
        name: len(some) for name, some in lines.items()
    }
    assert sum(one["composition/present"] for one in found["composition"]) == 30
    assert [one["columns/name"] for one in found["columns"]] == list(COLUMN_NAMES)
    assert told["conforms_to"] == "http://mlcommons.org/croissant/1.1"
    assert told["collection"] == ["private datasets"]
    assert "https://spdx.org/licenses/CC0-1.0.html" in told["license"]
    assert {one["prov:label"] for one in content["prov:wasDerivedFrom"]} == {"scans", "street", "wild"}


def test_rows_come_from_an_export_in_parquet(good, tmp_path):
    export_corpus(good, TARGET, Format.PARQUET, tmp_path / "out")
    rows = read_by_the_library(tmp_path / "out" / "croissant.json")["records"]["rows"]
    table = pq.read_table(tmp_path / "out" / "data").to_pylist()
    assert [row["rows/id"] for row in rows] == [one["id"] for one in table]
    assert [row["rows/images"] for row in rows] == [
        [[fact["width_px"], fact["height_px"]] for fact in one["image_facts"]] for one in table
    ]
    assert [[fact["rows/image_facts/sha256"] for fact in row["rows/image_facts"]] for row in rows] == [
        [fact["sha256"] for fact in one["image_facts"]] for one in table
    ]
