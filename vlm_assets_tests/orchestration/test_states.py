"""What the UI shows of an asset is so: due and failed slices, stale corpora, failed listings, checks of a target."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecordStatus as Status

from vlm_assets.audit.findings import finding_names
from vlm_assets.orchestration.assets import due
from vlm_assets.orchestration.checks.audited import last_audit
from vlm_assets.orchestration.command.run_here import RunHere
from vlm_assets.orchestration.names import CORPUS_KEY, dataset_key, listing_key
from vlm_assets.orchestration.night.jobs import AUDIT_JOB, CORPUS_JOB
from vlm_assets.orchestration.run.pending import due_slices
from vlm_assets.orchestration.run.runs import RunWish
from vlm_assets_tests.orchestration.kit import Line, instance_in
from vlm_assets_tests.workplace import STREET, fill, install, picture

pytestmark = pytest.mark.filterwarnings("ignore::dagster.BetaWarning", "ignore::dagster.PreviewWarning")
TARGETS = {"3": 3, "5": 5}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("states")


@pytest.fixture(scope="module")
def line(folder: Path, made_home: Path) -> Iterator[Line]:
    """Two slices listed, fetched and built into the smaller target."""
    fill(folder / "street" / "day", 4)
    fill(folder / "street" / "night", 4, start=10)
    source = {**STREET, "path": folder / "street", "reject_tolerance": 0.05}
    installation = install(folder, source, corpus={"targets": TARGETS, "shortfall": "report"})
    with instance_in(folder / "home", made_home) as instance:
        line = Line(installation, instance)
        assert line.list_sources("street").success
        yield line


def last(line: Line, key: dg.AssetKey, name: str, partition: str | None = None) -> tuple[Status, str, Any]:
    """Status, sentence and severity of a check's newest evaluation."""
    history = line.instance.event_log_storage.get_asset_check_execution_history(
        dg.AssetCheckKey(key, name), limit=50
    )
    record = next(one for one in history if one.partition == partition)
    assert record.event is not None
    assert record.event.dagster_event is not None
    told = record.event.dagster_event.asset_check_evaluation_data
    return record.status, told.description or "", told.severity


def failed_observation(line: Line, key: dg.AssetKey) -> dict[str, Any]:
    [record] = line.instance.fetch_observations(key, limit=1).records
    assert record.asset_observation is not None
    return {name: value.value for name, value in record.asset_observation.metadata.items()}


def run(line: Line, job: str, **options: Any) -> dg.ExecuteInProcessResult:
    return line.defs.resolve_job_def(job).execute_in_process(
        instance=line.instance, raise_on_error=False, **options
    )


def evaluations(line: Line, result: dg.ExecuteInProcessResult) -> list[dg.AssetCheckEvaluation]:
    entries = line.instance.all_logs(result.run_id, of_type=dg.DagsterEventType.ASSET_CHECK_EVALUATION)
    return [one.dagster_event.asset_check_evaluation_data for one in entries if one.dagster_event is not None]


def test_states_follow_a_source_through_its_days(line: Line, folder: Path, monkeypatch: pytest.MonkeyPatch):
    street = dataset_key("street")
    status, told, severity = last(line, street, "due")
    assert (status, severity) == (Status.FAILED, dg.AssetCheckSeverity.WARN)
    assert told == "2 slices of street are due: day: new; night: new"

    assert line.fetch("street").success
    assert last(line, street, "due")[0] is Status.SUCCEEDED
    assert run(line, CORPUS_JOB, partition_key="3").success
    assert last(line, CORPUS_KEY, "due", "3")[0] is Status.SUCCEEDED

    (folder / "street" / "night" / "bad.jpeg").write_bytes(b"rubbish")
    assert line.list_sources("street").success
    assert last(line, street, "due")[1] == "1 slice of street is due: night: changed"
    status, told, severity = last(line, CORPUS_KEY, "due", "3")
    assert (status, severity) == (Status.FAILED, dg.AssetCheckSeverity.WARN)
    assert told.startswith("3 stands on stale data: 1 slice is due (street 1)")

    assert not line.fetch("street").success
    status, told, severity = last(line, street, "due")
    assert (status, severity) == (Status.FAILED, dg.AssetCheckSeverity.ERROR)
    assert told.startswith("1 slice of street is due, because it FAILED: night: ")
    assert "not_an_image 1" in told
    monkeypatch.setattr(due, "_KEYS_AT_ONCE", 1)  # asked about in several questions it is the same
    spec = line.installation.catalog.source("street")
    assert due.dataset_due(line.installation, line.instance, spec).description == told

    (folder / "street" / "night" / "bad.jpeg").write_bytes(picture(99))
    assert line.list_sources("street").success
    assert line.fetch("street").success
    assert last(line, street, "due")[0] is Status.SUCCEEDED
    assert "built from other inputs" in last(line, CORPUS_KEY, "due", "3")[1]
    assert run(line, CORPUS_JOB, partition_key="3").success
    assert last(line, CORPUS_KEY, "due", "3")[0] is Status.SUCCEEDED


def test_a_fetch_looks_at_no_other_source(tmp_path: Path, made_home: Path, monkeypatch: pytest.MonkeyPatch):
    """What the others lack is in the corpus's check all the same, as their own checks said."""
    names = ("one", "other", "third")
    for number, name in enumerate(names):
        fill(tmp_path / name, 2, start=10 * number)
    sources = [{**STREET, "name": name, "path": tmp_path / name} for name in names]
    installation = install(tmp_path, *sources, corpus={"targets": TARGETS, "require_complete": False})
    with instance_in(tmp_path / "home", made_home) as instance:
        line = Line(installation, instance)
        assert line.list_sources(*names).success
        assert line.fetch("one").success
        assert run(line, CORPUS_JOB, partition_key="3").success
        looked_at: list[str] = []

        def look(installation: Any, spec: Any, **options: Any) -> Any:
            looked_at.append(spec.name)
            return due_slices(installation, spec, **options)

        monkeypatch.setattr(due, "due_slices", look)
        assert line.fetch("other").success
        assert looked_at == ["other"]
        assert "1 slice is due (third 1)" in last(line, CORPUS_KEY, "due", "3")[1]
        assert line.fetch("third").success
        assert looked_at == ["other", "third"]
        assert "built from other inputs" in last(line, CORPUS_KEY, "due", "3")[1]


def test_checks_that_are_executed_without_a_target_judge_every_sealed_one(line: Line):
    assert run(line, CORPUS_JOB, partition_key="5").success
    before = {target: last_audit(line.instance, target) for target in TARGETS}
    assert run(line, AUDIT_JOB).success
    for target in TARGETS:
        assert last_audit(line.instance, target) == before[target]
        status, told, _ = last(line, CORPUS_KEY, "counts", target)
        assert (status, told[:6]) == (Status.SUCCEEDED, "Holds:")
    status, told, _ = last(line, CORPUS_KEY, "counts")
    assert status is Status.SUCCEEDED
    assert [line_[:9] for line_ in told.splitlines()] == ["3: Holds:", "5: Holds:"]


def test_a_single_check_works_for_one_target(line: Line):
    config = {"ops": {"audit": {"config": {"target": "5", "checks": ["quotas"]}}}}
    result = run(line, AUDIT_JOB, run_config=config)
    assert result.success
    made = {(one.check_name, one.partition) for one in evaluations(line, result)}
    assert made == {("quotas", "5"), ("quotas", None)}


def test_numbers_of_a_check_can_be_plotted(line: Line):
    result = run(line, AUDIT_JOB, tags={"dagster/partition": "5"})
    by_name = {one.check_name: one for one in evaluations(line, result)}
    assert set(by_name) == {*map(str, finding_names()), "due"}
    assert by_name["counts"].metadata["rows"] == dg.MetadataValue.int(5)
    assert "figures" not in by_name["counts"].metadata
    texts = [
        str(v.value)
        for one in by_name.values()
        for v in one.metadata.values()
        if isinstance(v, dg.TextMetadataValue)
    ]
    assert max(len(word) for text in texts for word in text.split()) <= 40


def test_a_shrunk_listing_says_why_and_is_accepted_in_the_launchpad(line: Line, folder: Path):
    gone = [*(folder / "street" / "day").glob("000[0-2].jpeg")]
    kept = {path: path.read_bytes() for path in gone}
    for path in gone:
        path.unlink()
    try:
        assert not line.list_sources("street").success
        told = failed_observation(line, listing_key("street"))
        assert "items" in told["failed"]
        assert told["to accept it"].endswith("accept_shrink: true")
        config = {"ops": {"listing": {"config": {"accept_shrink": True}}}}
        assert line.run(listing_key("street"), run_config=config).success
    finally:
        for path, data in kept.items():
            path.write_bytes(data)


def test_runs_of_commands_are_in_the_timeline(line: Line):
    wish = RunWish("listing", assets=(listing_key("street"),))
    [outcome] = RunHere(line.instance, line.defs).run([wish])
    found = line.instance.get_run_by_id(outcome.run_id)
    assert found is not None
    assert found.tags[".dagster/repository"] == "__repository__@vlm_assets"
