"""Old runs go when nothing hangs on them; old downloads go when nobody works on them."""

import json
import os
import time
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from typer.testing import CliRunner

from vlm_assets.cli import app
from vlm_assets.locks import hold_lock
from vlm_assets.operate.cache_retention import prune_cache
from vlm_assets.orchestration.names import CORPUS_KEY, NIGHTLY_TAG, dataset_key, listing_key
from vlm_assets.orchestration.run.retention import prune_runs, superseded_runs
from vlm_assets_tests.orchestration.kit import Line, instance_in
from vlm_assets_tests.workplace import STREET, fill, install, picture

DAY_S = 86_400.0


def city(base: Path, **settings: Any) -> Any:
    for number in range(3):
        fill(base / "in" / f"s{number}", 2, start=10 * number)
    held = {**STREET, "name": "held", "path": base / "in", "hold": True}
    source = {**STREET, "path": base / "in", "reject_tolerance": 0}
    return install(base, source, held, corpus={"targets": {"4": 4}, "require_complete": False}, **settings)


def run_ids(instance: dg.DagsterInstance) -> set[str]:
    return {run.run_id for run in instance.get_runs()}


@pytest.mark.slow
def test_a_run_goes_when_all_that_it_made_was_made_again(tmp_path, instance):
    line = Line(city(tmp_path), instance)
    later = time.time() + 91 * DAY_S
    old_listing = line.run(listing_key("street"), listing_key("held")).run_id
    (tmp_path / "in" / "s1" / "bad.jpeg").write_bytes(b"rubbish")
    line.list_sources("street")
    failed = line.fetch("street").run_id
    assert set(superseded_runs(instance, before=later)) == {old_listing}
    (tmp_path / "in" / "s1" / "bad.jpeg").write_bytes(picture(77))
    new_listing = line.list_sources("street").run_id
    mended = line.fetch("street", ["s1"]).run_id
    corpus = (
        line.defs.resolve_job_def("corpus_line")
        .execute_in_process(instance=instance, partition_key="4")
        .run_id
    )
    # The failed run made s0 and s2, which nobody has made again.
    assert failed not in set(superseded_runs(instance, before=later))
    whole = line.fetch("street").run_id
    before = {key: line.events(dataset_key("street"), key)[0] for key in line.slices("street")}
    removed = prune_runs(instance, days=90, now=later)
    assert set(removed) >= {old_listing, failed, mended}
    assert run_ids(instance) == {new_listing, whole, corpus}
    assert {key: line.events(dataset_key("street"), key)[0] for key in line.slices("street")} == before
    assert line.materialized("street") == dict.fromkeys(before, 1)
    assert line.events(CORPUS_KEY, "4")
    assert line.events(listing_key("street"))
    files = [path.name for path in (tmp_path / "home").rglob("*") if path.is_file()]
    assert not [name for name in files if name.split(".")[0] in removed]
    assert [name for name in files if name.split(".")[0] == whole]
    assert prune_runs(instance, days=90, now=later) == []
    _audited_anew(line, corpus, later)


def _audited_anew(line: Line, corpus: str, later: float) -> None:
    """A run of checks stands in for the corpus line's results, not for its materialization."""
    audit = line.defs.resolve_job_def("audit_corpus")
    assert audit.execute_in_process(instance=line.instance, tags={"dagster/partition": "4"}).success
    assert corpus not in set(superseded_runs(line.instance, before=later))


def test_young_unfinished_and_unlimited_runs_stay(tmp_path, instance):
    line = Line(city(tmp_path), instance)
    for _ in range(2):
        line.list_sources("street")
    unfinished = instance.create_run_for_job(line.defs.resolve_job_def("listings"))
    before = run_ids(instance)
    assert prune_runs(instance, days=90) == []
    assert prune_runs(instance, days=0, now=time.time() + 1000 * DAY_S) == []
    assert run_ids(instance) == before
    assert len(prune_runs(instance, days=1, now=time.time() + 2 * DAY_S, most=1)) == 1
    assert unfinished.run_id in run_ids(instance)


def test_the_nightly_listings_clean_up_and_those_of_a_person_do_not(tmp_path, instance):
    line = Line(city(tmp_path, cache_days=1), instance)
    cached = line.installation.root.cache_of("street") / "old.bin"
    cached.parent.mkdir(parents=True)
    cached.write_bytes(b"x" * 2_000_000)
    os.utime(cached, (1e9, 1e9))
    line.list_sources("street")
    assert cached.exists()
    result = line.list_sources("street", tags={NIGHTLY_TAG: "2026-01-05"})
    assert not cached.exists()
    words = [entry.user_message for entry in instance.all_logs(result.run_id)]
    assert "housekeeping: 1 old downloads (2.0 MB) and 0 superseded runs removed" in words


@pytest.mark.parametrize(
    ("settings", "left"),
    [
        pytest.param({"cache_days": 0}, "abcs", id="no-limit"),
        pytest.param({"cache_days": 10}, "cs", id="old-ones"),
        pytest.param({"cache_days": 0, "cache_max_gb": 0.0025}, "bcs", id="too-many"),
        pytest.param({"cache_days": 30, "cache_max_gb": 1e-9}, "s", id="nearly-nothing"),
    ],
)
def test_the_oldest_downloads_go_first(tmp_path, settings, left):
    installation = install(tmp_path, {**STREET, "path": tmp_path}, **settings)
    cache, now = installation.root.cache_of("street"), time.time()
    (cache / "spool" / "s0").mkdir(parents=True)
    for name, days in {"a": 40, "b": 20, "c": 5, "hashes.sqlite": 900, "spool/s0/s": 1}.items():
        (cache / name).write_bytes(b"x" * 1_000_000 if name in "abc" else b"x")
        os.utime(cache / name, (now - days * DAY_S, now - days * DAY_S))
    report = prune_cache(installation, now=now)
    left_now = "".join(
        sorted(path.name for path in cache.rglob("*") if path.is_file() and len(path.name) == 1)
    )
    assert left_now == left
    assert (cache / "hashes.sqlite").exists()
    assert report.freed_bytes == sum(1_000_000 if one in "abc" else 1 for one in set("abcs") - set(left))


def test_the_command_removes_superseded_runs(tmp_path, monkeypatch):
    installation = install(tmp_path, {**STREET, "path": fill(tmp_path / "in", 2)}, keep_runs_days=1)
    settings = {
        "catalog": installation.catalog_dir,
        "data_root": installation.root.path,
        "keep_runs_days": "1",
    }
    for name, value in settings.items():
        monkeypatch.setenv(f"VLM_{name.upper()}", str(value))
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "home"))
    with instance_in(tmp_path / "home") as instance:
        line = Line(installation, instance)
        old, new = (line.list_sources("street").run_id for _ in range(2))
        monkeypatch.setattr(time, "time", lambda real=time.time: real() + 2 * DAY_S)
        told = CliRunner().invoke(app, ["prune", "--runs", "--json"])
        assert told.exit_code == 0, told.output
        assert json.loads(told.stdout)["runs"] == [old]
        assert run_ids(instance) == {new}


def test_what_somebody_works_on_stays(tmp_path):
    installation = install(tmp_path, {**STREET, "path": tmp_path}, cache_days=1)
    cache = installation.root.cache_of("street")
    for name in ("spool/s0/body", "spool/s1/body", "annotate/s0/said", "annotate/s1/said", "archive.zip"):
        (cache / name).parent.mkdir(parents=True, exist_ok=True)
        (cache / name).write_bytes(b"x")
        os.utime(cache / name, (1e9, 1e9))
    locks = installation.root.locks
    with (
        hold_lock(locks / "slice.street.s0", "slice street/s0"),
        hold_lock(locks / "annotate.street.s1", "annotations of street/s1"),
        hold_lock(locks / "fetch.street", "slices of street"),
    ):
        report = prune_cache(installation, now=time.time())
    assert report.removed == ["cache/street/annotate/s0", "cache/street/spool/s1"]
    held = ["annotate.street.s1", "fetch.street", "slice.street.s0"]
    assert sorted(told.split(":")[0] for told in report.kept) == held
