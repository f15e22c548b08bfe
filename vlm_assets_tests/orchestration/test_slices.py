import gc
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from dagster._core.definitions.data_version import CachingStaleStatusResolver, StaleStatus
from dagster._core.loader import LoadingContextForTest

from vlm_assets.installation.opening import Installation
from vlm_assets.locks import hold_lock
from vlm_assets.orchestration.names import dataset_key, listing_key, source_pool
from vlm_assets.words.errors import DiskFullError
from vlm_assets_tests.orchestration.kit import Line, failure_of, rows_of
from vlm_assets_tests.workplace import STREET, fill, install, picture


def city(base: Path, *, broken: Sequence[int] = (), slices: int = 4, **keys: Any) -> Installation:
    """A source with a folder a slice, three pictures each; the broken ones hold rubbish."""
    for number in range(slices):
        folder = fill(base / "in" / f"s{number}", 3, start=10 * number)
        if number in broken:
            (folder / "bad.jpg").write_bytes(b"rubbish")
    return install(base, {**STREET, "path": base / "in", "reject_tolerance": 0.05, **keys})


def mend(base: Path) -> None:
    for number, path in enumerate((base / "in").rglob("bad.jpg")):
        path.write_bytes(picture(900 + number))


def test_a_listing_registers_sorted_partitions_and_the_pool(tmp_path, instance):
    line = Line(city(tmp_path), instance)
    assert line.list_sources("street").success
    assert line.slices("street") == ["s0", "s1", "s2", "s3"]
    assert {limit.name for limit in instance.event_log_storage.get_pool_limits()} >= {source_pool("street")}
    told = line.facts(listing_key("street"))
    assert (told["slices"], told["items"]) == (4, 12)


def test_partitions_are_added_and_never_deleted(tmp_path, instance):
    line = Line(city(tmp_path, shrink_tolerance=1), instance)
    line.list_sources("street")
    for path in (tmp_path / "in" / "s1").iterdir():
        path.unlink()
    fill(tmp_path / "in" / "a0", 1, start=90)
    assert line.list_sources("street").success
    assert line.slices("street") == ["s0", "s1", "s2", "s3", "a0"]
    assert line.facts(listing_key("street"))["retired"] == "s1"
    assert line.fetch("street").success
    assert "no longer listed" in line.facts(dataset_key("street"), "s1")["retired"]


def test_a_source_that_cannot_be_listed_does_not_stop_the_others(tmp_path, instance):
    fill(tmp_path / "in", 2)
    other = {**STREET, "name": "gone", "path": tmp_path / "nowhere"}
    held = {**STREET, "name": "held", "path": tmp_path / "nowhere", "hold": True}
    line = Line(install(tmp_path, {**STREET, "path": tmp_path / "in"}, other, held), instance)
    result = line.list_sources("gone", "held", "street")
    assert not result.success
    assert line.slices("street") == ["root"]
    assert line.events(listing_key("street"))
    assert not line.events(listing_key("held"))
    [record] = instance.fetch_observations(listing_key("gone"), limit=2).records
    assert "nothing: it was never listed" in str(record.asset_observation)
    assert "1 of 3 listings failed.\ngone: source gone: " in failure_of(result, "listing")


def test_every_finished_slice_has_its_event_with_what_a_person_asks(tmp_path, instance):
    line = Line(city(tmp_path, broken=[2], reject_tolerance=0.5), instance)
    line.list_sources("street")
    assert line.fetch("street").success
    assert line.materialized("street") == {"s0": 1, "s1": 1, "s2": 1, "s3": 1}
    told = line.facts(dataset_key("street"), "s2")
    assert (told["dagster/partition_row_count"], told["items"], told["rejects"]) == (3, 4, 1)
    assert rows_of(told["rejects by reason"]) == [["not_an_image", "count 1; part 100.0 %"]]
    assert list(told)[:2] == ["what came out", "first images"]
    assert told["what came out"] == (
        "**3 rows** of 4 items. **1 did not come out**: 1 not_an_image. It was fetched for the first time."
    )
    assert told["first images"].count("data:image/jpeg;base64,") == 3
    [event] = line.events(dataset_key("street"), "s2")
    assert event.tags is not None
    assert event.tags["dagster/data_version"][:24] + "…" == told["content hash"]
    assert max(len(str(told[name])) for name in ("content hash", "version", "revision")) <= 50
    assert line.fetch("street").success
    again = line.facts(dataset_key("street"), "s2")
    assert again["first images"] == told["first images"], "the contact sheet stays when nothing was new"
    assert again["what came out"].endswith("Nothing was new: it stands as it was committed before.")


def test_a_listing_anew_does_not_show_every_slice_as_stale(tmp_path, instance):
    line = Line(city(tmp_path), instance)
    line.list_sources("street")
    line.fetch("street")
    line.list_sources("street")
    statuses = CachingStaleStatusResolver(
        instance, line.defs.get_repository_def().asset_graph, LoadingContextForTest(instance)
    )
    assert statuses.get_status(dataset_key("street"), "s0") is StaleStatus.FRESH


def test_a_committed_slice_logs_an_event_again_with_the_same_data_version(tmp_path, instance):
    line = Line(city(tmp_path), instance)
    line.list_sources("street")
    line.fetch("street")
    assert line.fetch("street").success
    assert line.materialized("street") == {"s0": 2, "s1": 2, "s2": 2, "s3": 2}
    new, old = line.events(dataset_key("street"), "s0")
    assert line.facts(dataset_key("street"), "s0")["why"] == "committed"
    assert new.tags == old.tags


def test_a_failed_slice_fails_alone_and_a_second_try_fetches_it_alone(tmp_path, instance):
    line = Line(city(tmp_path, broken=[1, 3]), instance)
    line.list_sources("street")
    result = line.fetch("street")
    assert not result.success
    assert line.materialized("street") == {"s0": 1, "s2": 1}
    assert "2 of 4 slices of street failed" in failure_of(result)
    records = instance.fetch_observations(dataset_key("street"), limit=10).records
    told = {one.partition_key: str(one.asset_observation) for one in records}
    assert [key for key in sorted(told) if "1 of 4 records are rejects" in told[key]] == ["s1", "s3"]
    mend(tmp_path)
    line.list_sources("street")
    assert line.fetch("street").success
    why = Counter(line.facts(dataset_key("street"), f"s{n}")["why"] for n in range(4))
    assert why == {"new": 2, "committed": 2}


def test_the_first_error_of_the_disk_is_the_one_that_is_told(
    tmp_path: Path, instance: Any, monkeypatch: pytest.MonkeyPatch
):
    line = Line(city(tmp_path), instance)
    line.list_sources("street")

    def full(*asked: Any) -> None:
        raise DiskFullError(f"{asked[1]} is full")

    monkeypatch.setattr("vlm_assets.orchestration.assets.slices.slice_event", lambda *_: full(0, "the log"))
    monkeypatch.setattr("vlm_assets.ingest.summary.refresh_summary", full)
    assert "the log is full" in failure_of(line.fetch("street"))
    gc.collect()  # what a generator raises when it goes is a warning, and so an error of this test
    monkeypatch.undo()
    assert line.fetch("street").success


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"hold": True}, "street is held in the catalogue"),
        ({"enabled": False}, "street is disabled in the catalogue"),
    ],
)
def test_a_held_source_is_not_fetched(tmp_path, instance, change, told):
    line = Line(city(tmp_path), instance)
    line.list_sources("street")
    line = Line(install(tmp_path, {**STREET, "path": tmp_path / "in", **change}), instance)
    result = line.fetch("street")
    assert not result.success
    assert told in failure_of(result)


def test_a_run_that_may_not_wait_names_the_holder(tmp_path, instance):
    installation = city(tmp_path)
    line = Line(installation, instance)
    line.list_sources("street")
    with hold_lock(installation.root.locks / "fetch.street", "slices of street"):
        result = line.fetch("street", **{"vlm/lock_wait_s": "0"})  # any other waits for days
    assert not result.success
    assert "held by pid" in failure_of(result)


def test_force_fetches_what_is_committed(tmp_path, instance):
    line = Line(city(tmp_path), instance)
    line.list_sources("street")
    line.fetch("street")
    assert line.fetch("street", **{"vlm/force_redownload": "true"}).success
    assert line.facts(dataset_key("street"), "s0")["why"] == "forced"
