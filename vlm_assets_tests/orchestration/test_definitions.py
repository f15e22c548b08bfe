import subprocess
import sys
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa
import pytest
from syrupy.assertion import SnapshotAssertion

from vlm_assets.installation.opening import Installation
from vlm_assets.orchestration.assets.metadata import column_schema
from vlm_assets.orchestration.define import build_definitions
from vlm_assets.words.schema import SAMPLE_SCHEMA
from vlm_assets_tests.workplace import STREET, install

HEAVY = {"pyarrow", "pandas", "numpy", "PIL", "datasets", "aiohttp", "scrapy", "boto3", "pikepdf"}


def two_sources(base: Path, **settings: Any) -> Installation:
    nature = {**STREET, "name": "nature", "path": base / "nature", "hold": True}
    return install(base, {**STREET, "path": base / "street"}, nature, **settings)


@pytest.fixture
def repository(tmp_path):
    return build_definitions(two_sources(tmp_path)).get_repository_def()


def names(things: Iterable[Any]) -> list[str]:
    return sorted(thing.name for thing in things)


def test_every_asset_job_schedule_sensor_and_check(
    repository: dg.RepositoryDefinition, snapshot: SnapshotAssertion
):
    graph = repository.asset_graph
    assert {
        "assets": {
            node.key.to_user_string(): {
                "group": node.group_name,
                "kinds": sorted(node.kinds or ()),
                "partitions": type(node.partitions_def).__name__ if node.partitions_def else None,
                "pools": sorted(node.pools or ()),
                "deps": sorted(key.to_user_string() for key in node.parent_keys),
            }
            for node in sorted(graph.asset_nodes, key=lambda node: node.key)
        },
        "checks": sorted(key.name for key in graph.asset_check_keys),
        "jobs": names(repository.get_all_jobs()),
        "schedules": names(repository.schedule_defs),
        "sensors": names(repository.sensor_defs),
    } == snapshot


def test_a_benchmark_is_an_asset_of_a_group_of_its_own(tmp_path):
    held = [{"name": "exam", "kind": "client_folder", "path": tmp_path / "exam"}]
    installation = install(tmp_path, {**STREET, "path": tmp_path / "street"}, benchmarks=held)
    graph = build_definitions(installation).get_repository_def().asset_graph
    exam = graph.get(dg.AssetKey(["dataset", "exam"]))
    assert (exam.group_name, exam.tags.get("use")) == ("benchmarks", "benchmark")
    assert exam.parent_keys == {dg.AssetKey(["listing", "exam"])}
    assert "in no corpus" in (exam.description or "")
    assert exam.key in graph.get(dg.AssetKey("allocation")).parent_keys


def test_definitions_are_valid(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        dg.Definitions.validate_loadable(build_definitions(two_sources(tmp_path)))


def test_the_column_schema_is_the_sample_schema():
    assert [column.name for column in column_schema().columns] == SAMPLE_SCHEMA.names
    told = {column.name: column.type for column in column_schema().columns}
    assert list(told) == SAMPLE_SCHEMA.names
    for field in SAMPLE_SCHEMA:
        nested = pa.types.is_nested(field.type)
        assert told[field.name].startswith("list<struct") if nested else told[field.name] == str(field.type)


@pytest.mark.parametrize(("nightly", "status"), [(True, "RUNNING"), (False, "STOPPED")])
def test_the_nightly_runs_where_the_settings_say_so(tmp_path, nightly, status):
    repository = build_definitions(two_sources(tmp_path, nightly=nightly)).get_repository_def()
    found = [one.default_status.value for one in repository.schedule_defs]
    found += [one.default_status.value for one in repository.sensor_defs]
    assert found == [status] * 4


def test_the_code_location_loads_no_heavy_library(tmp_path):
    sources = [{**STREET, "name": f"s{number}", "path": tmp_path} for number in range(100)]
    installation = install(tmp_path, *sources)
    program = f"""
import sys
import vlm_assets.definitions
print(len(vlm_assets.definitions.defs.assets), *sorted(set(sys.modules) & {HEAVY}))
"""
    environment = {
        "VLM_CATALOG": str(installation.catalog_dir),
        "VLM_DATA_ROOT": str(installation.root.path),
        "PATH": "",
    }
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assets, *heavy = done.stdout.split()
    assert heavy == []
    assert (
        int(assets) == 106
    )  # the catalogue, one multi-asset of listings, a dataset a source, allocation to backup
