"""Croissant as MLCommons' own reader takes it: valid, and its records can be iterated."""

import warnings
from pathlib import Path
from typing import Any

import orjson
import pyarrow.parquet as pq
import pytest

from vlm_assets.exports.formats import Format
from vlm_assets.exports.run import export_corpus
from vlm_assets.words.schema import COLUMN_NAMES
from vlm_assets_tests.audit.breaking import TARGET, good_once

with warnings.catch_warnings():  # its own and its dependencies', at import
    warnings.simplefilter("ignore")
    import mlcroissant


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    return good_once(tmp_path_factory)


def opened(path: Path) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset = mlcroissant.Dataset(jsonld=path)
    assert dataset.metadata.issues.errors == set()
    lacks = [one.partition('"')[2].partition('"')[0] for one in dataset.metadata.issues.warnings]
    assert set(lacks) <= {
        "https://schema.org/datePublished",
        "https://schema.org/license",
    }  # for whoever publishes
    return dataset


def records(dataset: Any, name: str) -> list[dict[str, Any]]:
    with warnings.catch_warnings():  # it calls pandas in ways that go
        warnings.simplefilter("ignore")
        return list(dataset.records(name))


def test_the_corpuss_is_valid_and_its_records_come(good):
    path = good.root.corpus("good", TARGET).resolve() / "croissant.json"
    dataset = opened(path)
    content = orjson.loads(path.read_bytes())
    told = {one["@id"]: one["data"] for one in content["recordSet"]}
    assert list(told) == ["samples", "columns", "composition", "sources"]
    for name, lines in told.items():
        assert len(records(dataset, name)) == len(lines)
    assert sum(one["composition/present"] for one in records(dataset, "composition")) == 30
    assert [one["columns/name"] for one in records(dataset, "columns")] == list(COLUMN_NAMES)
    metadata = dataset.metadata
    assert str(metadata.ctx.conforms_to.value) == "http://mlcommons.org/croissant/1.1"
    assert metadata.data_collection_type == ["private datasets"]
    assert "https://spdx.org/licenses/CC0-1.0.html" in metadata.license
    assert {one["prov:label"] for one in content["prov:wasDerivedFrom"]} == {"scans", "street", "wild"}


def test_rows_come_from_an_export_in_parquet(good, tmp_path):
    export_corpus(good, TARGET, Format.PARQUET, tmp_path / "out")
    dataset = opened(tmp_path / "out" / "croissant.json")
    rows = records(dataset, "rows")
    table = pq.read_table(tmp_path / "out" / "data").to_pylist()
    assert [row["rows/id"].decode() for row in rows] == [one["id"] for one in table]
    assert [[image.size for image in row["rows/images"]] for row in rows] == [
        [(fact["width_px"], fact["height_px"]) for fact in one["image_facts"]] for one in table
    ]
    assert [
        [fact["rows/image_facts/sha256"].decode() for fact in row["rows/image_facts"]] for row in rows
    ] == [[fact["sha256"] for fact in one["image_facts"]] for one in table]
