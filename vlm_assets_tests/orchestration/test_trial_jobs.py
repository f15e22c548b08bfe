"""The jobs for a look tell their own runs, and leave data root and assets as they were: no event of any kind."""

from typing import Any

import dagster as dg
import pytest

from vlm_assets.orchestration.define import build_definitions
from vlm_assets.orchestration.names import CORPUS_KEY, dataset_key
from vlm_assets.orchestration.night import trial_jobs
from vlm_assets_tests.orchestration.kit import instance_in
from vlm_assets_tests.workplace import STREET, fill, install

SOURCE = {
    "name": "street",
    "slices": 1,
    "committed": 1,
    "items": 6,
    "rows": 4,
    "data_bytes": 9,
    "rejects": {"x": 2},
}
SAID = f"import json; print(json.dumps({{'sources': [{SOURCE}], 'targets': [{{'name': '5', 'rows': 4}}]}}))"


@pytest.fixture
def installation(tmp_path, monkeypatch):
    fill(tmp_path / "street" / "day", 6)
    installation = install(tmp_path, {**STREET, "path": tmp_path / "street"}, corpus={"targets": {"5": 5}})
    monkeypatch.setenv("VLM_CATALOG", str(installation.catalog_dir))
    monkeypatch.setenv("VLM_DATA_ROOT", str(installation.root.path))
    monkeypatch.setenv("VLM_TEST_MODE_ROWS", "4")
    return installation


def told(result: dg.ExecuteInProcessResult) -> dict[str, Any]:
    """Metadata of the one step's output, or of its failure."""
    for event in result.all_events:
        if event.is_successful_output:
            return {name: value.value for name, value in event.step_output_data.metadata.items()}
        if event.is_step_failure:
            failure = event.step_failure_data.user_failure_data
            assert failure is not None
            return {name: value.value for name, value in failure.metadata.items()}
    raise AssertionError("no step ended")


def events_of_assets(instance: dg.DagsterInstance) -> list[dg.AssetKey]:
    """Assets that any event is about."""
    every = [CORPUS_KEY, dataset_key("street")]
    return [
        key
        for key in every
        if instance.fetch_observations(key, limit=1).records
        or instance.fetch_materializations(key, limit=1).records
    ]


@pytest.mark.parametrize("name", ["dry_run", pytest.param("test_mode", marks=pytest.mark.slow)])
def test_a_trial_writes_on_no_asset(installation, tmp_path, made_home, name):
    before = sorted(installation.root.path.rglob("*.arrow"))
    job = build_definitions(installation).resolve_job_def(name)
    with instance_in(tmp_path / "home", made_home) as instance:
        result = job.execute_in_process(instance=instance)
        assert result.success
        assert events_of_assets(instance) == []
        assert instance.get_dynamic_partitions("street__slices") == []
    facts = told(result)
    [source] = [one.data for one in facts["sources"].records]
    if name == "dry_run":
        assert (source["rows"], source["requests"]) == ("6", "0")
        assert [one.data["node"] for one in facts["quotas"].records] == [
            "photos",
            "photos/street",
            "photos/street/street",
        ]
    else:
        assert (source["rows"], source["rejects"]) == ("4", "test_mode 2")
        assert facts["targets"][0]["rows"] == 4
        assert (tmp_path / "data-test" / ".vlm_test_root").exists()
    assert sorted(installation.root.path.rglob("*.arrow")) == before


@pytest.mark.parametrize("code", [0, 1])
def test_what_a_build_in_test_mode_says_stands_in_its_own_run(
    installation, tmp_path, made_home, monkeypatch, code
):
    monkeypatch.setattr(trial_jobs, "_COMMAND", ("-c", f"{SAID}; raise SystemExit({code})"))
    job = build_definitions(installation).resolve_job_def("test_mode")
    with instance_in(tmp_path / "home", made_home) as instance:
        result = job.execute_in_process(instance=instance, raise_on_error=False)
        assert result.success is (code == 0)
        assert events_of_assets(instance) == []
    facts = told(result)
    assert facts["sources"].records[0].data["rejects"] == "x 2"
    assert facts["targets"] == [{"name": "5", "rows": 4}]


def test_a_target_that_is_not_there_is_named(installation, tmp_path, made_home):
    job = build_definitions(installation).resolve_job_def("dry_run")
    with (
        instance_in(tmp_path / "home", made_home) as instance,
        pytest.raises(dg.Failure, match="no target '6'; there are: 5"),
    ):
        job.execute_in_process(
            instance=instance, run_config={"ops": {"show_plan": {"config": {"target": "6"}}}}
        )
