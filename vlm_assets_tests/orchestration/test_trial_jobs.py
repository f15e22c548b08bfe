"""The jobs for a look log observations, and leave data root and materializations as they were."""

import dagster as dg
import pytest

from vlm_assets.orchestration.define import build_definitions
from vlm_assets.orchestration.names import CORPUS_KEY, dataset_key
from vlm_assets_tests.orchestration.kit import instance_in
from vlm_assets_tests.workplace import STREET, fill, install


@pytest.fixture
def installation(tmp_path, monkeypatch):
    fill(tmp_path / "street" / "day", 6)
    installation = install(tmp_path, {**STREET, "path": tmp_path / "street"}, corpus={"targets": {"5": 5}})
    monkeypatch.setenv("VLM_CATALOG", str(installation.catalog_dir))
    monkeypatch.setenv("VLM_DATA_ROOT", str(installation.root.path))
    monkeypatch.setenv("VLM_TEST_MODE_ROWS", "4")
    return installation


@pytest.mark.parametrize("name", ["dry_run", pytest.param("test_mode", marks=pytest.mark.slow)])
def test_observations_and_no_materialization(installation, tmp_path, name):
    before = sorted(installation.root.path.rglob("*.arrow"))
    job = build_definitions(installation).resolve_job_def(name)
    with instance_in(tmp_path / "home") as instance:
        result = job.execute_in_process(instance=instance)
        assert result.success
        seen = {
            key.to_user_string(): instance.fetch_observations(key, limit=10).records
            for key in (dataset_key("street"), CORPUS_KEY)
        }
        for key in (dataset_key("street"), CORPUS_KEY):
            assert instance.fetch_materializations(key, limit=1).records == []
        assert instance.get_dynamic_partitions("street__slices") == []
    events = [one.asset_observation for records in seen.values() for one in records]
    facts = [{name: value.value for name, value in one.metadata.items()} for one in events if one is not None]
    assert len(facts) == 2
    if name == "dry_run":
        assert (facts[0]["rows"], facts[0]["requests"]) == (6, 0)
        assert "photos/street" in str(facts[1]["quotas"])
    else:
        assert (facts[0]["rows"], facts[0]["rejects"]) == (4, {"test_mode": 2})
        assert facts[1]["rows"] == 4
        assert (tmp_path / "data-test" / ".vlm_test_root").exists()
    assert sorted(installation.root.path.rglob("*.arrow")) == before


def test_a_target_that_is_not_there_is_named(installation, tmp_path):
    job = build_definitions(installation).resolve_job_def("dry_run")
    with (
        instance_in(tmp_path / "home") as instance,
        pytest.raises(dg.Failure, match="no target '6'; there are: 5"),
    ):
        job.execute_in_process(
            instance=instance, run_config={"ops": {"show_plan": {"config": {"target": "6"}}}}
        )
