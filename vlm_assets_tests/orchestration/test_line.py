from collections.abc import Iterator
from pathlib import Path
from shutil import copytree

import dagster as dg
import pytest

from vlm_assets.audit.findings import finding_names
from vlm_assets.installation.opening import Installation
from vlm_assets.orchestration.names import ALLOCATION_KEY, CORPUS_KEY
from vlm_assets_tests.orchestration.kit import Line, failure_of, instance_in, rows_of
from vlm_assets_tests.workplace import STREET, fill, install


def street(base: Path, pictures: Path) -> Installation:
    return install(base, {**STREET, "path": pictures / "in"})


@pytest.fixture(scope="module")
def built(
    tmp_path_factory: pytest.TempPathFactory, made_home: Path
) -> Iterator[tuple[Path, Line, dg.ExecuteInProcessResult]]:
    """A line, where it lies, and the run that built its target `10`. Not to be changed."""
    base = tmp_path_factory.mktemp("line")
    fill(base / "in", 12)
    with instance_in(base / "home", made_home) as instance:
        line = Line(street(base, base), instance)
        line.list_sources("street")
        line.fetch("street")
        yield base, line, run_target(line, "10")


@pytest.fixture
def line(built: tuple[Path, Line, object], tmp_path: Path) -> Iterator[Line]:
    """That line once more."""
    base = built[0]
    for name in ("data", "home"):
        copytree(base / name, tmp_path / name, symlinks=True)
    with instance_in(tmp_path / "home") as instance:
        yield Line(street(tmp_path, base), instance)


def run_target(line: Line, target: str) -> dg.ExecuteInProcessResult:
    return line.run(ALLOCATION_KEY, CORPUS_KEY, partition_key=target)


def test_a_target_is_allocated_written_sealed_and_checked_in_one_run(built):
    _, line, result = built
    assert result.success
    told = line.facts(CORPUS_KEY, "10")
    assert (told["dagster/row_count"], told["shards"], told["shards written"]) == (10, 1, 1)
    assert told["what came out"] == "**10 rows** of 10 asked for, from 1 source.\n\nEvery quota is met."
    assert told["first images"].count("data:image/jpeg;base64,") == 8
    assert rows_of(told["rows by subcategory"]) == [["photos/street", "10", "100.0 %"]]
    assert rows_of(told["captions"]) == [["street: of 12 rows with text 0, with messages 0, with neither 12"]]
    plan = line.facts(ALLOCATION_KEY, "10")
    assert rows_of(plan["grants"])[-1] == ["photos/street/street", "granted 10; asked 10; supply 12; share 1"]
    assert plan["what came out"] == "**10 of 10 rows** are granted. Every quota is met."
    checks = {one.check_name: one.passed for one in result.get_asset_check_evaluations()}
    assert checks == dict.fromkeys([*map(str, finding_names()), "due"], True)


def test_a_second_run_keeps_plan_and_shards_and_seals_the_same_corpus(line):
    before = line.facts(CORPUS_KEY, "10")
    assert run_target(line, "10").success
    after = line.facts(CORPUS_KEY, "10")
    assert (after["shards written"], after["root hash"]) == (0, before["root hash"])
    assert "kept" in line.facts(ALLOCATION_KEY, "10")["kept"]
    new, old = line.events(CORPUS_KEY, "10")
    assert new.tags is not None
    assert old.tags is not None
    assert new.tags["dagster/data_version"] == old.tags["dagster/data_version"]


def test_a_broken_corpus_fails_its_check_and_says_what_was_expected(line):
    root = line.installation.root.corpus("small", "10")
    shard = root / "data-r.arrow"
    shard.chmod(0o644)
    shard.write_bytes(shard.read_bytes()[:-1000])
    job = line.defs.resolve_job_def("audit_corpus")
    result = job.execute_in_process(
        instance=line.instance, tags={"dagster/partition": "10"}, raise_on_error=False
    )
    failed = {one.check_name: one for one in result.get_asset_check_evaluations() if not one.passed}
    assert "shard_files" in failed
    assert "Expected: " in (failed["shard_files"].description or "")


def test_incomplete_sources_stop_the_allocation_in_words(tmp_path, instance):
    fill(tmp_path / "in", 12)
    line = Line(install(tmp_path, {**STREET, "path": tmp_path / "in"}), instance)
    line.list_sources("street")
    result = run_target(line, "10")
    assert not result.success
    assert "1 of 1 slice never committed" in failure_of(result, "allocation")
    assert not line.events(CORPUS_KEY)
