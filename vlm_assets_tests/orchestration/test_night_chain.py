"""What a night does after its listings: budgets, the backup, and nothing at all where nothing has changed."""

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.definitions.job_base import InMemoryJob
from dagster._core.execution.api import execute_run

from vlm_assets.installation.opening import Installation
from vlm_assets.orchestration.names import (
    BACKUP_KEY,
    NIGHTLY_TAG,
    RANGE_END_TAG,
    RANGE_START_TAG,
    listing_key,
)
from vlm_assets.remote.state import backup_state
from vlm_assets.transfer.budget import Budget, read_usage
from vlm_assets_tests.orchestration.kit import Line, Ticks
from vlm_assets_tests.remote.s3 import REMOTE, S3Server
from vlm_assets_tests.servers import FaultServer, Reply
from vlm_assets_tests.waiting import HANG_S
from vlm_assets_tests.workplace import STREET, fill, install, picture

NIGHTS = ("2026-01-05", "2026-01-06", "2026-01-07")
URLS = 12


@pytest.fixture(scope="module")
def s3() -> Iterator[S3Server]:
    with S3Server() as server:
        server.new_bucket()
        yield server


@pytest.fixture
def web() -> Iterator[FaultServer]:
    replies = {f"/{number:02d}.jpg": Reply(body=picture(number)) for number in range(URLS)}
    with FaultServer(replies) as server:
        yield server


def city(base: Path, slices: int = 3, **settings: Any) -> Installation:
    for number in range(slices):
        fill(base / "in" / f"s{number}", 4, start=10 * number)
    corpus = {"targets": {"5": 5}}
    return install(base, {**STREET, "path": base / "in"}, corpus=corpus, **settings)


def list_for(line: Line, night: str | None, source: str = "street") -> None:
    line.list_sources(source, tags={NIGHTLY_TAG: night} if night else {})


def run_requests(line: Line, requests: list[dg.RunRequest]) -> list[dg.ExecuteInProcessResult]:
    """Runs what a sensor asked for, as the daemon would."""
    done = []
    for one in requests:
        assert one.job_name is not None
        job = line.defs.resolve_job_def(one.job_name)
        done.append(
            job.execute_in_process(
                instance=line.instance, run_config=one.run_config, tags=one.tags, partition_key=one.partition_key,
                raise_on_error=False,
            )
        )  # fmt: skip
    return done


def web_line(base: Path, web: FaultServer, instance: dg.DagsterInstance, **keys: Any) -> Line:
    (base / "urls.txt").write_text("".join(f"{web.url(f'/{number:02d}.jpg')}\n" for number in range(URLS)))
    source = {
        **STREET,
        "kind": "image_urls",
        "urls": base / "urls.txt",
        "buckets": 4,
        "max_concurrency": 1,
        **keys,
    }
    installation = install(
        base,
        source,
        allow_private_hosts=("127.0.0.1",),
        http_timeout_s=HANG_S,
        obey_robots=False,
        slices_per_run=2,
    )
    return Line(installation, instance)


def night_of_fetching(line: Line, ticks: Ticks, night: str | None) -> tuple[list[bool], str, str]:
    """Successes of the runs that followed a listing, the words at the launch, and those of the tick after."""
    list_for(line, night)
    requests, told = ticks.tick()
    results = run_requests(line, requests)
    return [one.success for one in results], told, ticks.tick()[1]


def test_a_budget_spreads_a_source_over_nights_and_loses_nothing(tmp_path, instance, web):
    line, asked = web_line(tmp_path, web, instance, nightly_requests=5), []
    ticks = Ticks(line, "changed_slices")
    for night in NIGHTS:
        successes, _, after = night_of_fetching(line, ticks, night)
        assert all(successes)
        used = read_usage(line.installation.root.budgets, Budget("street", night))
        asked.append(used.requests)
        if night != NIGHTS[-1]:
            assert f"the budget of street for the night of {night} is used up (5 of 5 requests)" in after
            assert re.search(r"\d slices? stays? due for the next night", after)
    assert asked == [5, 5, 2]
    assert web.counts == {f"/{number:02d}.jpg": 1 for number in range(URLS)}
    made = line.materialized("street")
    assert made == dict.fromkeys(line.slices("street"), 1)
    facts = [line.facts(dg.AssetKey(["dataset", "street"]), key) for key in made]
    assert [sum(one[name] for one in facts) for name in ("items", "rejects")] == [URLS, 0]


def test_no_budget_holds_for_a_person(tmp_path, instance, web):
    line = web_line(tmp_path, web, instance, nightly_requests=1)
    ticks = Ticks(line, "changed_slices")
    successes, _, after = night_of_fetching(line, ticks, None)
    assert (successes, after) == ([True, True], "no new listing since the last look")
    assert len(web.log) == URLS


@pytest.mark.slow
def test_a_copy_of_a_nightly_run_made_by_hand_has_no_budget_and_one_after_a_crash_has(
    tmp_path, instance, web
):
    line = web_line(tmp_path, web, instance, nightly_requests=5)
    list_for(line, NIGHTS[0])
    keys = line.slices("street")
    tags = {NIGHTLY_TAG: NIGHTS[0], RANGE_START_TAG: keys[0], RANGE_END_TAG: keys[-1]}
    job = line.defs.resolve_job_def("slices_of__street")
    assert job.execute_in_process(instance=instance, tags=tags).success
    assert len(web.log) == 5
    [first] = instance.get_runs(dg.RunsFilter(job_name=job.name))
    lineage = {"dagster/parent_run_id": first.run_id, "dagster/root_run_id": first.run_id}
    copies = ({**tags, **lineage, "dagster/retry_number": "1"}, {**tags, **lineage})
    for copy, requests in zip(copies, (5, URLS), strict=True):
        run = instance.create_run_for_job(
            job, tags=copy, parent_run_id=first.run_id, root_run_id=first.run_id, asset_selection=None
        )
        execute_run(InMemoryJob(job), run, instance)
        assert len(web.log) == requests


@pytest.mark.slow
def test_a_budget_that_is_used_up_before_the_launch_launches_nothing(tmp_path, instance, web):
    line = web_line(tmp_path, web, instance, nightly_requests=5)
    ticks = Ticks(line, "changed_slices")
    night_of_fetching(line, ticks, NIGHTS[0])
    list_for(line, NIGHTS[0])
    requests, told = ticks.tick()
    assert requests == []
    assert "is used up" in told
    assert "stay due for the next night" in told


def test_a_source_that_cannot_be_looked_at_stops_no_other(tmp_path, instance):
    fill(tmp_path / "in" / "s0", 2)
    other = {**STREET, "name": "nature", "path": tmp_path / "in"}
    line = Line(install(tmp_path, {**STREET, "path": tmp_path / "in"}, other), instance)
    line.list_sources("street", "nature")
    line.installation.root.listing("nature").write_bytes(b"{")
    requests, _ = Ticks(line, "changed_slices").tick()
    assert [one.job_name for one in requests] == ["slices_of__street"]


def event_rows(instance: dg.DagsterInstance) -> int:
    """Everything in the event log."""
    return sum(len(instance.all_logs(run.run_id)) for run in instance.get_runs())


def spoil(path: Path) -> None:
    """Other bytes with the same size and times: only a reader notices."""
    stat = path.stat()
    path.chmod(0o644)
    path.write_bytes(b"x" * stat.st_size)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    path.chmod(stat.st_mode)


def test_a_night_without_changes_runs_nothing_and_reads_no_data(tmp_path, instance, s3):
    line = Line(city(tmp_path, remote=REMOTE, remote_endpoint=s3.endpoint), instance)
    names = ("changed_slices", "stale_corpus", "backup_due", "backup_due")
    ticks = {name: Ticks(line, name) for name in names}
    list_for(line, NIGHTS[0])
    for name in names:
        requests, _ = ticks[name].tick()
        assert all(one.success for one in run_requests(line, requests))
    assert line.events(BACKUP_KEY)
    data = [
        path
        for area in ("datasets", "corpora")
        for path in (line.installation.root.path / area).rglob("*.arrow")
    ]
    assert len(data) >= 8
    for path in data:
        spoil(path)
    list_for(line, NIGHTS[1])
    before, runs = event_rows(instance), len(instance.get_runs())
    told = [ticks[name].tick() for name in names]
    assert told == [
        ([], "street: listed, every slice is committed"),
        ([], "5: inputs unchanged since it was sealed"),
        ([], "nothing was committed since the last backup"),
        ([], "nothing was committed since the last backup"),
    ]
    assert (event_rows(instance), len(instance.get_runs())) == (before, runs)


def test_a_backup_follows_what_was_committed_when_the_line_is_at_rest(tmp_path, instance, s3):
    line = Line(city(tmp_path, remote=REMOTE, remote_endpoint=s3.endpoint), instance)
    list_for(line, NIGHTS[0])
    ticks = Ticks(line, "backup_due")
    assert ticks.tick() == ([], "never backed up from here; waiting for one more look without a change")
    line.fetch("street")
    assert "one more look" in ticks.tick()[1]
    job = line.defs.resolve_implicit_global_asset_job_def()
    busy = instance.create_run_for_job(job, asset_selection=frozenset({listing_key("street")}))
    assert ticks.tick()[1] == "waiting for 1 unfinished run of the line"
    instance.report_run_failed(busy)
    [request], _ = ticks.tick()
    assert (
        ticks.tick()[0][0].run_key == request.run_key
    )  # the daemon launches a key once: no failure for ever
    under_way = instance.create_run_for_job(line.defs.resolve_job_def("backup_all"))
    assert ticks.tick()[1] == "a backup is under way"
    instance.report_run_failed(under_way)
    list_for(line, NIGHTS[1])
    [again], _ = ticks.tick()
    assert again.run_key != request.run_key  # but a new try after the next listing
    assert all(one.success for one in run_requests(line, [again]))
    assert ticks.tick() == ([], "nothing was committed since the last backup")
    fill(tmp_path / "in" / "s0", 1, start=7)
    list_for(line, NIGHTS[2])
    assert "something was committed since the last backup" in ticks.tick()[1]


def test_without_a_remote_nothing_is_launched_and_the_asset_says_so(tmp_path, instance):
    line = Line(city(tmp_path), instance)
    list_for(line, None)
    assert Ticks(line, "backup_due").tick() == (
        [],
        "no remote is set (VLM_REMOTE): there is nothing to push to",
    )
    result = line.run(BACKUP_KEY)
    assert result.success
    assert line.events(BACKUP_KEY) == []
    words = [entry.user_message for entry in instance.all_logs(result.run_id)]
    assert "Skipped: no remote is set (VLM_REMOTE). Nothing was pushed." in words


@pytest.mark.slow
def test_the_state_of_a_data_root_changes_with_what_a_backup_would_push(tmp_path, instance):
    line = Line(city(tmp_path), instance)
    root = line.installation.root
    states = [backup_state(root)]

    def changed() -> bool:
        states.append(backup_state(root))
        return states[-1] not in states[:-1]

    list_for(line, None)
    assert changed()
    line.fetch("street")
    assert changed()
    line.defs.resolve_job_def("corpus_line").execute_in_process(instance=instance, partition_key="5")
    assert changed()
    root.tombstones.mkdir()
    (root.tombstones / "0.json").touch()
    assert changed()
    (root.corpus("small", "5") / "README.md").write_text("anew")
    assert changed()
    list_for(line, None)
    line.fetch("street")
    shutil.rmtree(root.cache, ignore_errors=True)
    assert not changed()
