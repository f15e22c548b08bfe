"""Annotations in the UI: an asset each, of the source's partitions, annotated by hand, by night, and by `build`."""

from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.definitions.data_version import CachingStaleStatusResolver, StaleStatus
from dagster._core.loader import LoadingContextForTest

from vlm_assets.annotators import aspect
from vlm_assets.installation.opening import Installation
from vlm_assets.orchestration.assets.listing import register_slices
from vlm_assets.orchestration.command.reconcile import reconcile
from vlm_assets.orchestration.define import build_definitions
from vlm_assets.orchestration.names import (
    ALLOCATION_KEY,
    RANGE_END_TAG,
    RANGE_START_TAG,
    annotation_key,
    dataset_key,
    slices_partitions,
    source_pool,
)
from vlm_assets.orchestration.night.sensor_annotations import DUE_ANNOTATIONS
from vlm_assets_tests.annotate.in_process import annotate_in_process
from vlm_assets_tests.orchestration.kit import Line, Ticks, failure_of, instance_in
from vlm_assets_tests.workplace import STREET, fill, ingest, install

WANTED: list[dict[str, Any]] = [{"name": "aspect"}, {"name": "jpeg", "only": {"source": ["nature"]}}]
ASPECT = annotation_key("aspect", "street")


def city(base: Path, annotations: list[dict[str, Any]], **corpus: Any) -> Installation:
    for number in range(3):
        fill(base / "in" / f"s{number}", 2, start=10 * number)
    nature = {**STREET, "name": "nature", "path": base / "in", "enabled": False}
    street = {**STREET, "path": base / "in"}
    return install(base, street, nature, corpus={"annotations": annotations, **corpus}, workers=1)


@pytest.fixture
def line(tmp_path: Path, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch) -> Line:
    annotate_in_process(monkeypatch)
    made = Line(city(tmp_path, WANTED), instance)
    reported(made, *ingest(made.installation))
    return made


def reported(line: Line, *keys: str) -> None:
    """Has the instance know of slices that were fetched without it."""
    register_slices(line.instance, "street", keys)
    reconcile(line.installation, line.instance)


def annotate(line: Line, *keys: dg.AssetKey) -> dg.ExecuteInProcessResult:
    ends = {RANGE_START_TAG: "s0", RANGE_END_TAG: "s2"}
    return line.run(*(keys or (ASPECT,)), tags=ends)


def test_an_asset_for_each_annotation_that_covers_a_source(tmp_path: Path):
    graph = build_definitions(city(tmp_path, WANTED)).get_repository_def().asset_graph
    keys = [key for key in graph.get_all_asset_keys() if key.path[0] == "annotation"]
    assert keys == [ASPECT], "a disabled source has none, and jpeg is for that one"
    node = graph.get(ASPECT)
    assert node.parent_keys == {dataset_key("street")}
    assert isinstance(node.partitions_def, dg.DynamicPartitionsDefinition)
    assert node.partitions_def.name == slices_partitions("street")
    assert node.pools == {source_pool("street")}


def test_an_allocation_follows_those_that_filters_read(tmp_path: Path):
    def upstream(**filters: Any) -> set[dg.AssetKey]:
        installation = city(tmp_path, [{"name": "aspect"}, {"name": "blur"}], filters=filters)
        graph = build_definitions(installation).get_repository_def().asset_graph
        return set(graph.get(ALLOCATION_KEY).parent_keys)

    street = {dataset_key("street")}
    wide = {"keep": "min(aspect.ratio) > 1"}
    assert upstream() == upstream(large={"keep": "image_count > 1"}) == street
    assert upstream(wide=wide) == {*street, ASPECT}
    assert upstream(wide={**wide, "only": {"source": ["nature"]}}) == street


def test_without_annotations_nothing_of_them_is_there(tmp_path: Path):
    repository = build_definitions(city(tmp_path, [])).get_repository_def()
    assert DUE_ANNOTATIONS not in {one.name for one in repository.sensor_defs}
    assert not [key for key in repository.asset_graph.get_all_asset_keys() if key.path[0] == "annotation"]


def test_by_hand_once_and_again_for_another_version(line: Line, monkeypatch: pytest.MonkeyPatch):
    assert annotate(line).success
    facts = line.facts(ASPECT, "s1")
    assert (facts["rows"], facts["version"]) == (2, "1")
    paths = sorted(line.installation.root.annotations.rglob("*.parquet"))
    before = [path.stat().st_ino for path in paths]
    assert annotate(line).success
    new, old = line.events(ASPECT, "s1")
    assert (new.tags, [path.stat().st_ino for path in paths]) == (old.tags, before)
    graph = line.defs.get_repository_def().asset_graph
    statuses = CachingStaleStatusResolver(line.instance, graph, LoadingContextForTest(line.instance))
    assert statuses.get_status(ASPECT, "s1") is StaleStatus.FRESH
    monkeypatch.setattr(aspect.Aspect, "version", 2)
    assert annotate(line).success
    assert line.facts(ASPECT, "s1")["version"] == "2"
    assert line.materialized("street") == {"s0": 1, "s1": 1, "s2": 1}, "nothing was fetched"


def test_a_slice_that_fails_fails_alone(line: Line):
    index = line.installation.root.slice("street", "s1") / "index.arrow"
    index.chmod(0o644)
    index.write_bytes(b"torn")
    result = annotate(line)
    assert not result.success
    assert "1 of 3 slices of street were not annotated" in failure_of(result, "annotate__street")
    assert {event.partition for event in line.events(ASPECT)} == {"s0", "s2"}
    [record] = line.instance.fetch_observations(ASPECT, limit=10).records
    assert record.partition_key == "s1"


def test_the_night_annotates_what_was_fetched_once(line: Line, tmp_path: Path):
    ticks = Ticks(line, DUE_ANNOTATIONS)
    [request], _ = ticks.tick()
    assert (request.tags[RANGE_START_TAG], request.tags[RANGE_END_TAG]) == ("s0", "s2")
    assert ticks.tick() == ([], "nothing was fetched or changed since the last look")
    assert request.job_name is not None
    job = line.defs.resolve_job_def(request.job_name)
    assert job.execute_in_process(instance=line.instance, tags=request.tags).success
    fill(tmp_path / "in" / "s1", 3, start=500)
    reported(line, *ingest(line.installation))
    [request], _ = ticks.tick()
    assert (request.tags[RANGE_START_TAG], request.tags[RANGE_END_TAG]) == ("s1", "s1")


def test_a_new_instance_learns_of_them(line: Line, tmp_path: Path, made_home: Path):
    annotate(line)
    with instance_in(tmp_path / "other", made_home) as instance:
        reconcile(line.installation, instance)
        again = Line(line.installation, instance)
        assert {event.partition for event in again.events(ASPECT)} == {"s0", "s1", "s2"}
        assert again.events(ASPECT, "s1")[0].tags == line.events(ASPECT, "s1")[0].tags
