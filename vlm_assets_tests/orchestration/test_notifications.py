"""Who is told of what: the webhook on loopback, the topic at a local SNS."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import dagster as dg
import pytest
from aiohttp import web
from dagster._core.definitions.run_status_sensor_definition import build_run_status_sensor_context

from vlm_assets.installation.opening import Installation
from vlm_assets.operate.notify import Failure, notify, one_line
from vlm_assets.orchestration.names import CORPUS_KEY, NIGHTLY_TAG, listing_key
from vlm_assets.orchestration.night.sensor_failures import failure_of_run
from vlm_assets.settings import load_settings
from vlm_assets_tests.orchestration.kit import Line
from vlm_assets_tests.remote.s3 import S3Server
from vlm_assets_tests.servers import FaultServer, Reply
from vlm_assets_tests.workplace import STREET, fill, install

PATH = "/services/T0/B0/s3cr3tpath"
TOPIC = "arn:aws:sns:eu-central-1:123456789012:nobody"
FAILURE = Failure("slices", "small", "0123", "it broke", source="street", slices=("s0", "s1"))


class Hook(FaultServer):
    """A webhook that keeps what it is told."""

    def __init__(self, *replies: Reply) -> None:
        self.told: list[dict[str, Any]] = []
        super().__init__({PATH: list(replies) or [Reply(body=b"ok")]})

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        self.told.append(json.loads(await request.read()))
        return await super()._answer(request)


@pytest.fixture
def hook() -> Iterator[Hook]:
    with Hook() as server:
        yield server


@pytest.fixture(scope="module")
def aws() -> Iterator[S3Server]:
    with S3Server() as server:
        yield server


def city(base: Path, **settings: Any) -> Installation:
    for number in range(4):
        folder = fill(base / "in" / f"s{number}", 2, start=10 * number)
        if number in (1, 3):
            (folder / "bad.jpeg").write_bytes(b"rubbish")
    source = {**STREET, "path": base / "in", "reject_tolerance": 0}
    return install(base, source, corpus={"targets": {"4": 4}, "require_complete": False}, **settings)


def tell(line: Line, run_id: str) -> None:
    """Runs the sensor on a failed run, as the daemon does when it sees its failure."""
    instance = line.instance
    run = instance.get_run_by_id(run_id)
    assert run is not None
    [entry] = instance.all_logs(run_id, of_type=dg.DagsterEventType.RUN_FAILURE)
    assert entry.dagster_event is not None
    context = build_run_status_sensor_context("tell_failures", entry.dagster_event, instance, run)
    sensor = line.defs.get_repository_def().get_sensor_def("tell_failures")
    sensor(context.for_run_failure())


def test_a_run_with_failed_slices_is_one_message_with_all_of_them(tmp_path, instance, hook):
    settings = {"notify_webhook": hook.url(PATH), "ui_url": "https://dagster.example/"}
    line = Line(city(tmp_path, **settings), instance)
    line.list_sources("street")
    result = line.fetch("street", **{NIGHTLY_TAG: "2026-01-05"})
    tell(line, result.run_id)
    [told] = hook.told
    assert (told["event"], told["source"], told["slices"]) == ("slices", "street", ["s1", "s3"])
    assert told["run_url"] == f"https://dagster.example/runs/{result.run_id}"
    assert told["error"].startswith("2 of 4 slices of street failed")
    assert "\n" not in told["error"]
    assert told["text"].splitlines()[0] == "small: slices failed: street (2 slices)"
    assert {"slices: s1, s3", "night of 2026-01-05", f"run {result.run_id}"} <= set(told["text"].splitlines())


def test_a_run_that_starts_again_by_itself_is_not_told(tmp_path, instance, hook):
    line = Line(city(tmp_path, notify_webhook=hook.url(PATH)), instance)
    line.list_sources("street")
    result = line.fetch("street")
    instance.add_run_tags(result.run_id, {"dagster/will_retry": "true"})  # as run_retries does at once
    tell(line, result.run_id)
    assert hook.told == []


@pytest.mark.slow
def test_listings_and_audits_are_told_with_what_failed(tmp_path, instance):
    installation = city(tmp_path)
    gone = {**STREET, "name": "gone", "path": tmp_path / "nowhere"}
    line = Line(install(tmp_path, {**STREET, "path": tmp_path / "in"}, gone), instance)

    def told(result: dg.ExecuteInProcessResult) -> Failure:
        run = instance.get_run_by_id(result.run_id)
        assert run is not None
        return failure_of_run(instance, run, "small", installation.settings)

    failure = told(line.run(listing_key("street"), listing_key("gone")))
    assert (failure.event, failure.source) == ("listing", "gone")
    assert failure.error.startswith("1 of 2 listings failed. gone: ")
    line = Line(city(tmp_path), instance)
    line.fetch("street")
    corpus = line.defs.resolve_job_def("corpus_line")
    assert corpus.execute_in_process(instance=instance, partition_key="4").success
    shard = line.installation.root.corpus("small", "4") / "data-r.arrow"
    shard.chmod(0o644)
    shard.write_bytes(shard.read_bytes()[:-100])
    audit = line.defs.resolve_job_def("audit_corpus")
    failure = told(
        audit.execute_in_process(instance=instance, tags={"dagster/partition": "4"}, raise_on_error=False)
    )
    assert (failure.event, failure.target) == ("audit", "4")
    assert "shard_files" in failure.error


@pytest.mark.slow
def test_a_corpus_that_fails_is_told_with_its_target(tmp_path, instance):
    installation = install(tmp_path, {**STREET, "path": fill(tmp_path / "in", 2)})
    line = Line(installation, instance)
    result = line.run(dg.AssetKey("allocation"), CORPUS_KEY, partition_key="10")
    run = instance.get_run_by_id(result.run_id)
    assert run is not None
    failure = failure_of_run(instance, run, "small", installation.settings)
    assert (failure.event, failure.target) == ("corpus", "10")
    assert "not complete" in failure.error


@pytest.mark.parametrize(
    ("replies", "fault", "tries"),
    [
        pytest.param([Reply(500), Reply()], "", 2, id="again"),
        pytest.param([Reply(503)], "status 503", 2, id="down"),
        pytest.param([Reply(404)], "status 404", 1, id="gone"),
        pytest.param([Reply(302, headers={"Location": "http://127.0.0.1:1/"})], "status 302", 1, id="moved"),
        pytest.param([Reply(drop=True)], "RemoteDisconnected", 2, id="dropped"),
    ],
)
def test_a_webhook_that_fails_is_logged_without_its_address(replies, fault, tries, caplog):
    with Hook(*replies) as server:
        faults = notify(load_settings(None, notify_webhook=server.url(PATH)), FAILURE)
    assert faults == ([f"the webhook was not told: {fault}"] if fault else [])
    assert len(server.told) == tries
    assert "s3cr3tpath" not in caplog.text
    assert (fault in caplog.text) if fault else not caplog.text


def test_a_webhook_that_nobody_serves_stops_nothing():
    with Hook() as server:
        url = server.url(PATH)
    [fault] = notify(load_settings(None, notify_webhook=url), FAILURE)
    assert fault == "the webhook was not told: ConnectionRefusedError"


@pytest.mark.parametrize("fifo", [False, True], ids=["standard", "fifo"])
def test_a_topic_gets_subject_and_text(aws, monkeypatch, fifo):
    monkeypatch.setenv("AWS_ENDPOINT_URL", aws.endpoint)
    sns, sqs = boto3.client("sns"), boto3.client("sqs")
    name, attributes = ("told.fifo", {"FifoQueue": "true"}) if fifo else ("told", {})
    topic = sns.create_topic(Name=name, Attributes={"FifoTopic": "true"} if fifo else {})["TopicArn"]
    queue = sqs.create_queue(QueueName=name, Attributes=attributes)["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn)
    assert notify(load_settings(None, notify_sns_topic=topic), FAILURE) == []
    [message] = sqs.receive_message(QueueUrl=queue)["Messages"]
    body = json.loads(message["Body"])
    assert body["Message"] == FAILURE.text
    if not fifo:
        assert body["Subject"] == "small: slices failed: street (2 slices)"


def test_a_topic_that_is_not_there_is_a_fault_in_words(aws, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", aws.endpoint)
    [fault] = notify(load_settings(None, notify_sns_topic=TOPIC), FAILURE)
    assert fault == "the SNS topic was not told: NotFound"


def test_an_error_is_one_line_without_secrets():
    told = one_line("no answer from https://u:pw@host/x?sig=abc\n  token hf_abcdefghijk " + "x" * 400)
    assert "\n" not in told
    assert "pw@" not in told
    assert "hf_abc" not in told
    assert len(told) == 300


def test_many_slices_are_cut_in_the_text():
    text = Failure("slices", "c", "r", "e", slices=tuple(f"s{n}" for n in range(30))).text
    assert "s19 and 10 more" in text


@pytest.mark.parametrize(
    ("settings", "sensors"),
    [({}, 0), ({"notify_webhook": "https://hooks.example/x"}, 1), ({"notify_sns_topic": TOPIC}, 1)],
    ids=["nobody", "webhook", "topic"],
)
def test_the_sensor_is_there_where_somebody_is_to_be_told(tmp_path, instance, settings, sensors):
    line = Line(install(tmp_path, {**STREET, "path": tmp_path}, **settings), instance)
    found = [one for one in line.defs.get_repository_def().sensor_defs if one.name == "tell_failures"]
    assert len(found) == sensors
    assert all(one.default_status is dg.DefaultSensorStatus.RUNNING for one in found)
