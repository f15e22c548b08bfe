from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from vlm_assets.installation.opening import Installation
from vlm_assets.orchestration.command.reconcile import history_lost, reconcile
from vlm_assets.orchestration.names import CORPUS_KEY, RANGE_END_TAG, RANGE_START_TAG, listing_key
from vlm_assets.orchestration.night.jobs import slices_config
from vlm_assets_tests.orchestration.kit import Line, Ticks, instance_in
from vlm_assets_tests.workplace import STREET, fill, install, picture


def city(base: Path, slices: int, **keys: Any) -> Installation:
    for number in range(slices):
        fill(base / "in" / f"s{number:02d}", 2, start=10 * number)
    return install(
        base, {**STREET, "path": base / "in", "reject_tolerance": 0, **keys}, corpus={"targets": {"4": 4}}
    )


@pytest.fixture
def line(tmp_path, instance):
    return Line(city(tmp_path, 4), instance)


def ends(request: dg.RunRequest) -> tuple[str, str]:
    return request.tags[RANGE_START_TAG], request.tags[RANGE_END_TAG]


def test_a_listing_leads_to_one_launch_of_what_is_due(line):
    ticks = Ticks(line, "changed_slices")
    assert ticks.tick() == ([], "street: never listed")
    line.list_sources("street")
    requests, _ = ticks.tick()
    assert [ends(one) for one in requests] == [("s00", "s03")]
    assert ticks.tick() == ([], "no new listing since the last look")
    line.fetch("street")
    line.list_sources("street")
    assert ticks.tick() == ([], "street: listed, every slice is committed")


def test_few_stretches_are_ranges_and_many_are_one_run_that_names_its_keys(instance, tmp_path):
    line = Line(city(tmp_path, 12), instance)
    ticks = Ticks(line, "changed_slices")
    line.list_sources("street")
    line.fetch("street")
    for number in (1, 2, 7):
        fill(tmp_path / "in" / f"s{number:02d}", 3, start=500 + number)
    line.list_sources("street")
    requests, _ = ticks.tick()
    assert [ends(one) for one in requests] == [("s01", "s02"), ("s07", "s07")]
    for number in (0, 4, 9, 11):
        fill(tmp_path / "in" / f"s{number:02d}", 3, start=600 + number)
    line.list_sources("street")
    [request], _ = ticks.tick()
    keys = ["s00", "s01", "s02", "s04", "s07", "s09", "s11"]
    assert request.run_config == slices_config("street", keys)
    job = line.defs.resolve_job_def("slices")
    before = line.materialized("street")
    assert job.execute_in_process(run_config=request.run_config, instance=line.instance).success
    after = line.materialized("street")
    assert {key for key in after if after[key] != before[key]} == set(keys)


def test_a_slice_that_fails_again_waits_for_the_next_listing(line, tmp_path):
    (tmp_path / "in" / "s03" / "bad.jpg").write_bytes(b"rubbish")
    ticks = Ticks(line, "changed_slices")
    line.list_sources("street")
    ticks.tick()
    line.fetch("street")
    assert ticks.tick()[0] == []
    line.list_sources("street")
    [request], _ = ticks.tick()
    assert ends(request) == ("s03", "s03")


def test_the_corpus_is_rebuilt_when_its_inputs_change_and_only_then(line, tmp_path):
    ticks = Ticks(line, "stale_corpus")
    line.list_sources("street")
    assert "4 of 4 slices never committed" in ticks.tick()[1]
    line.fetch("street")
    [request], _ = ticks.tick()
    assert (request.partition_key, request.job_name) == ("4", "corpus_line")
    [again], _ = ticks.tick()
    assert (
        again.run_key == request.run_key
    )  # the daemon launches a key once: a failed line is not tried for ever
    line.defs.resolve_job_def("corpus_line").execute_in_process(instance=line.instance, partition_key="4")
    assert ticks.tick() == ([], "4: inputs unchanged since it was sealed")
    (tmp_path / "in" / "s02" / "0020.jpeg").write_bytes(picture(999))
    line.list_sources("street")
    line.fetch("street", ["s02"])
    [request], _ = ticks.tick()
    assert request.run_key != again.run_key


def test_unfinished_runs_are_waited_for(line):
    line.list_sources("street")
    ticks, corpus = Ticks(line, "changed_slices"), Ticks(line, "stale_corpus")
    job = line.defs.resolve_implicit_global_asset_job_def()
    run = line.instance.create_run_for_job(
        job, asset_selection=frozenset({listing_key("street")}), tags={"vlm/source": "street"}
    )
    assert ticks.tick()[1] == "street: has unfinished runs; looked at again after them"
    assert corpus.tick()[1] == "waiting for 1 unfinished run of the line"
    line.instance.report_run_failed(run)
    assert len(ticks.tick()[0]) == 1


def test_a_lost_instance_gets_partitions_and_materializations_back(line, tmp_path, made_home):
    line.list_sources("street")
    line.fetch("street")
    line.defs.resolve_job_def("corpus_line").execute_in_process(instance=line.instance, partition_key="4")
    with instance_in(tmp_path / "new_home", made_home) as new:
        found = Line(line.installation, new)
        told: list[tuple[str, int, int]] = []
        first = reconcile(line.installation, new, lambda *one: told.append(one))
        assert told[0] == ("listing/street", 0, 4)
        assert told[-1] == ("corpus/4", 6, 7)
        assert (first.partitions, first.materializations) == (4, 7)
        assert found.slices("street") == line.slices("street")
        assert found.materialized("street") == dict.fromkeys(line.slices("street"), 1)
        assert found.facts(CORPUS_KEY, "4")["root hash"] == line.facts(CORPUS_KEY, "4")["root hash"]
        kept = ("upstream", "items", "companions", "left out", "captions")
        before = line.facts(listing_key("street"))
        assert {name: found.facts(listing_key("street"))[name] for name in kept} == {
            name: before[name] for name in kept
        }
        again = reconcile(line.installation, new)
        assert (again.partitions, again.materializations) == (0, 0)


def test_a_home_that_knows_less_than_the_disk_is_found_out(line, tmp_path, made_home):
    """Restored from an older copy, or with the keys and without the events."""

    def kept(name: str, template: Path) -> None:
        with instance_in(tmp_path / name, template):
            pass

    home = Path(line.instance.root_directory)
    kept("new", made_home)
    line.list_sources("street")
    kept("listed", home)
    line.fetch("street")
    kept("fetched", home)
    fill(tmp_path / "in" / "s02", 3, start=700)
    line.list_sources("street")
    line.fetch("street", ["s02"])
    kept("changed", home)
    fill(tmp_path / "in" / "s04", 2, start=800)
    line.list_sources("street")
    kept("grown", home)
    line.fetch("street", ["s04"])
    line.defs.resolve_job_def("corpus_line").execute_in_process(instance=line.instance, partition_key="4")
    assert history_lost(line.installation, line.instance) == ""
    found = {}
    for name in ("new", "listed", "fetched", "changed", "grown"):
        with dg.DagsterInstance.from_config(str(tmp_path / name)) as older:
            before = history_lost(line.installation, older)
            done = reconcile(line.installation, older)
            assert history_lost(line.installation, older) == "", name
            assert Line(line.installation, older).slices("street") == line.slices("street")
            found[name] = (before, done.partitions, done.materializations)
    assert found == {
        "new": ("nothing", 5, 8),
        "listed": ("only a part", 1, 7),
        "fetched": ("only a part", 1, 4),
        "changed": ("only a part", 1, 3),
        "grown": ("only a part", 0, 3),
    }
