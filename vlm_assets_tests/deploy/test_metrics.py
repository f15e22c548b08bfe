"""The figures that the alarms listen to, and the lines that the log group gets."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import dagster as dg  # noqa: TID251 - one figure reads its storage
import pytest
from moto import mock_aws

from vlm_assets.installation.opening import Installation
from vlm_assets.orchestration.night.schedules import NIGHTLY
from vlm_assets.settings import load_settings
from vlm_assets.words.layout import DataRoot
from vlm_assets_tests.deploy.scripts import script
from vlm_assets_tests.remote.s3 import CREDENTIALS
from vlm_assets_tests.workplace import STREET, fill, ingest, install, relist

metrics, logs = script("publish_metrics"), script("ship_logs")


@pytest.fixture(scope="module")
def cloud() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in CREDENTIALS.items():
            patch.setenv(name, value)
        with mock_aws():
            yield


@pytest.mark.parametrize(
    ("slices", "corpora", "hours"),
    [([], [], 0.0), ([100], [], 1.0), ([100, 200], [300], 0.0), ([100, 400], [300, 500], 1.0)],
    ids=["nothing", "never-sealed", "fresh", "behind"],
)
def test_staleness_is_since_the_slice_that_a_corpus_lacks(
    tmp_path: Path, slices: list[int], corpora: list[int], hours: float
):
    root = DataRoot(tmp_path)
    for area, times in (("datasets", slices), ("corpora", corpora)):
        for number, at in enumerate(times):
            path = tmp_path / area / "x" / str(number) / "metadata.json"
            path.parent.mkdir(parents=True)
            path.touch()
            os.utime(path, (at, at))
    now = (max(slices) if corpora else min(slices, default=0)) + 3600
    assert metrics.stale_hours(root, now) == pytest.approx(hours)


def test_hours_since_the_last_night_count_from_the_start_where_none_ever_ran(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / ".vlm_root").touch()
    os.utime(tmp_path / ".vlm_root", (1_000, 1_000))
    settings = load_settings(None).model_copy(update={"data_root": tmp_path})
    with dg.DagsterInstance.ephemeral() as instance:
        monkeypatch.setattr(dg.DagsterInstance, "get", lambda: _Kept(instance))
        instance.create_run_for_job(_job(), tags={"other": "run"})
        assert metrics.hours_since_night(settings, 1_000 + 7_200) == pytest.approx(2)
        instance.create_run_for_job(_job(), tags={"dagster/schedule_name": NIGHTLY})
        began = instance.get_run_records()[0].create_timestamp.timestamp()
        assert metrics.hours_since_night(settings, began + 3 * 3600) == pytest.approx(3)


@dg.op
def nothing() -> None: ...


def _job() -> dg.JobDefinition:
    return dg.GraphDefinition(name="listings", node_defs=[nothing]).to_job()


class _Kept:
    """An instance that stays open after a `with`."""

    def __init__(self, instance: dg.DagsterInstance) -> None:
        self._instance = instance

    def __enter__(self) -> dg.DagsterInstance:
        return self._instance

    def __exit__(self, *_: object) -> None: ...


@pytest.fixture
def street(tmp_path: Path) -> Installation:
    fill(tmp_path / "street", 6)
    return install(tmp_path, {**STREET, "path": tmp_path / "street"})


def test_slices_are_due_until_they_are_committed_as_listed(
    street: Installation, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(metrics, "open_installation", lambda _: street)
    assert metrics.slices_due(street.settings) == 0  # nothing is known of it yet
    listed = len(relist(street).slices)
    assert metrics.slices_due(street.settings) == listed > 0
    ingest(street)
    assert metrics.slices_due(street.settings) == 0


def test_a_daemon_without_a_sign_of_life_is_dead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(metrics.sys, "executable", str(tmp_path / "python"))
    program = tmp_path / "dagster-daemon"
    for code, alive in ((1, False), (0, True)):
        program.write_text(f'#!/bin/sh\ntest "$1" = liveness-check && exit {code}\nexit 9\n')
        program.chmod(0o755)
        assert metrics.daemon_alive() is alive


@pytest.mark.usefixtures("cloud")
def test_a_figure_that_cannot_be_taken_costs_no_other():
    def broken() -> float:
        raise OSError("no such volume")

    found, faults = metrics.taken({"A": ("Percent", lambda: 12.5), "B": ("None", broken)})
    assert found == {"A": (12.5, "Percent"), "FiguresFailed": (1.0, "None")}
    assert faults == ["B: OSError: no such volume"]
    client = boto3.client("cloudwatch")
    metrics.send(client, "vlm", found)
    sent = client.list_metrics(Namespace="VlmAssets")["Metrics"]
    assert {one["MetricName"] for one in sent} == {"A", "FiguresFailed"}
    assert sent[0]["Dimensions"] == [{"Name": "Stack", "Value": "vlm"}]


def test_an_unmounted_volume_still_lets_the_daemon_be_told_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(metrics, "daemon_alive", lambda: True)
    settings = load_settings(None).model_copy(update={"data_root": tmp_path / "gone", "nightly": True})
    found, faults = metrics.taken(metrics.takers(settings, tmp_path, 0.0))
    assert found["DaemonAlive"] == (1.0, "None")
    assert {fault.split(":")[0] for fault in faults} >= {
        "DataVolumeUsed",
        "HoursSinceNight",
        "SlicesDue",
        "StaleHours",
    }
    assert "HomeVolumeUsed" in found


def _entry(
    number: int, message: Any = None, unit: str = "vlm-daemon.service", at_s: int = 0
) -> dict[str, Any]:
    return {
        "__CURSOR": f"c{number}", "__REALTIME_TIMESTAMP": str((at_s or number) * 1_000_000), "_SYSTEMD_UNIT": unit,
        "MESSAGE": f"line {number}" if message is None else message,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("entries", "sizes"),
    [
        ([_entry(n) for n in range(1, 4)], [3]),
        ([_entry(n) for n in range(1, 2_002)], [2_000, 1]),
        ([_entry(n, "x" * 190_000) for n in range(1, 7)], [4, 2]),
        ([_entry(1), _entry(2, at_s=86_399), _entry(3, at_s=86_401)], [2, 1]),
    ],
    ids=["few", "number", "bytes", "a-day"],
)
def test_batches_keep_to_the_limits_of_cloudwatch(entries: list[dict[str, Any]], sizes: list[int]):
    assert [len(batch) for batch in logs.batches(entries)] == sizes


@pytest.mark.parametrize(
    ("message", "text"),
    [
        ("hello", "hello"),
        (None, "line 1"),
        ([104, 105, 255], "hi\ufffd"),
        ("", " "),
        ("ğ" * 150_000, "ğ" * 100_000),
    ],
    ids=["text", "number", "bytes", "empty", "long"],
)
def test_a_message_is_text_whatever_the_journal_has(message: Any, text: str):
    assert logs.text(_entry(1, message)) == text


@pytest.mark.usefixtures("cloud")
def test_lines_go_to_a_stream_a_unit_and_the_place_in_the_journal_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    client = boto3.client("logs")
    client.create_log_group(logGroupName="/vlm-assets/vlm")
    monkeypatch.setattr(logs, "at_ms", lambda entry, real=logs.at_ms: real(entry) + _now_ms())
    state = tmp_path / "cursor"
    first = [_entry(1), _entry(2, unit="vlm-webserver.service"), _entry(3)]
    assert logs.ship(client, "/vlm-assets/vlm", state, first) == 3
    assert state.read_text("utf-8") == "c3"
    assert logs.ship(client, "/vlm-assets/vlm", state, [_entry(4)]) == 1  # the stream is there already
    assert logs.ship(client, "/vlm-assets/vlm", state, []) == 0
    assert state.read_text("utf-8") == "c4"
    got = {
        stream: [
            one["message"]
            for one in client.get_log_events(logGroupName="/vlm-assets/vlm", logStreamName=stream)["events"]
        ]
        for stream in ("vlm-daemon", "vlm-webserver")
    }
    assert got == {"vlm-daemon": ["line 1", "line 3", "line 4"], "vlm-webserver": ["line 2"]}


def _now_ms() -> int:
    """CloudWatch drops what is two weeks old."""
    import time

    return int(time.time() * 1000) - 60_000


def test_the_journal_is_read_from_where_it_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    program = tmp_path / "journalctl"
    line = json.dumps(_entry(5))
    program.write_text(f"#!/bin/sh\necho \"$@\" >>{tmp_path}/asked\necho '{line}'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert [one["__CURSOR"] for one in [*logs.journal("c4"), *logs.journal(None)]] == ["c5", "c5"]
    after, boot = (tmp_path / "asked").read_text("utf-8").splitlines()
    assert "--after-cursor c4" in after
    assert "--boot" in boot
    assert "--unit vlm-*" in after
