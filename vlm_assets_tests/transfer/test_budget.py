import multiprocessing
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from vlm_assets.demo.services.huggingface import HubService
from vlm_assets.demo.services.pictures import picture
from vlm_assets.sources.hf_dataset import SOURCE, HfDatasetSpec
from vlm_assets.transfer.budget import (
    Budget,
    BudgetMeter,
    BudgetSpentError,
    Usage,
    metered,
    present_meter,
    read_usage,
)
from vlm_assets.transfer.client import Client
from vlm_assets.transfer.download import Fetched, UrlItem, fetch_urls
from vlm_assets.transfer.politeness import HostLimits
from vlm_assets.words.errors import Reject
from vlm_assets_tests.servers import FaultServer, Reply
from vlm_assets_tests.sources.kit import COMMON, fetch_slice, list_context
from vlm_assets_tests.transfer.conftest import jpeg, quick_settings

NIGHT = "2026-01-05"
BODY = bytes(range(256)) * 12_000


def budget_of(night: str = NIGHT, **limits: int) -> Budget:
    return Budget("web", night, **limits)


def meter_in(folder: Path, night: str = NIGHT, **limits: int) -> BudgetMeter:
    return BudgetMeter(folder / "budgets", budget_of(night, **limits))


@pytest.mark.parametrize(
    ("limits", "spent"),
    [
        pytest.param({"max_requests": 3}, False, id="requests-left"),
        pytest.param({"max_requests": 2}, True, id="requests-gone"),
        pytest.param({"max_bytes": 101}, False, id="bytes-left"),
        pytest.param({"max_bytes": 100}, True, id="bytes-gone"),
        pytest.param({"max_requests": 9, "max_bytes": 1}, True, id="either"),
        pytest.param({}, False, id="no-limit"),
    ],
)
def test_a_budget_is_used_up_by_requests_or_by_bytes(limits, spent):
    assert budget_of(**limits).spent(Usage(2, 100)) is spent


def test_the_words_tell_source_night_and_figures():
    told = budget_of(max_requests=2, max_bytes=5_000_000).told(Usage(2, 1_250_000))
    assert told == (
        "the budget of web for the night of 2026-01-05 is used up (2 of 2 requests, 1.2 of 5.0 MB)"
    )


def _ask(folder: Path, count: int) -> None:
    meter = meter_in(folder, max_requests=150)
    for _ in range(count):
        try:
            meter.request()
        except BudgetSpentError:
            return
        meter.received(10)


def test_processes_share_a_ledger_that_outlives_them_and_is_of_one_night(tmp_path):
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_ask, args=(tmp_path, 100)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert read_usage(tmp_path / "budgets", budget_of()) == Usage(150, 1500)
    assert meter_in(tmp_path, max_requests=150).spent
    assert not meter_in(tmp_path, "2026-01-06", max_requests=150).spent


def test_old_nights_are_forgotten_and_a_damaged_one_counts_anew(tmp_path, caplog):
    for day in range(1, 25):
        meter_in(tmp_path, f"2026-01-{day:02d}", max_requests=9).request()
    assert len(list((tmp_path / "budgets").iterdir())) <= 15
    (tmp_path / "budgets" / "web@2026-01-24.json").write_bytes(b"{half")
    assert read_usage(tmp_path / "budgets", budget_of("2026-01-24")) == Usage()
    assert "damaged" in caplog.text


def test_a_list_of_urls_stops_at_the_budget_and_goes_on_another_night(tmp_path, context):
    paths = [f"/{number}.jpg" for number in range(6)]
    with FaultServer({path: Reply(body=jpeg(path)) for path in paths}) as server:
        items = [UrlItem(path, server.url(path)) for path in paths]
        work = context(quick_settings(obey_robots=False))

        def fetch(night: str, requests: int) -> Iterator[Fetched | Reject]:
            with metered(meter_in(tmp_path, night, max_requests=requests)):
                yield from fetch_urls(items, work, HostLimits(concurrency=2))

        first: list[Fetched | Reject] = []
        with pytest.raises(BudgetSpentError, match="4 of 4 requests"):
            first.extend(fetch(NIGHT, 4))
        assert server.counts.total() == 4
        assert not any(isinstance(one, Reject) for one in first)
        second = list(fetch("2026-01-06", 4))
        assert [one.key for one in second if isinstance(one, Fetched)] == paths
        assert server.counts == dict.fromkeys(paths, 1)


def test_bytes_of_a_list_of_urls_count(tmp_path, context):
    with FaultServer({"/a": Reply(body=jpeg("a", 3000)), "/b": Reply(body=jpeg("b", 3000))}) as server:
        items = [UrlItem(path, server.url(path)) for path in ("/a", "/b")]
        meter = meter_in(tmp_path, max_bytes=3000)
        work = context(quick_settings(obey_robots=False))
        with metered(meter), pytest.raises(BudgetSpentError):
            list(fetch_urls(items, work, HostLimits(concurrency=1)))
        assert meter.used == Usage(1, 3000)


def test_a_large_file_is_cut_and_continued_another_night(tmp_path):
    reply = Reply(body=BODY, headers={"ETag": '"x"'})
    with FaultServer({"/a": reply}, ranges=True) as server:
        with metered(meter_in(tmp_path, max_bytes=1_000_000)), Client(quick_settings(), tmp_path) as client:
            with pytest.raises(BudgetSpentError):
                client.download_file(server.url("/a"), tmp_path / "a")
            with pytest.raises(BudgetSpentError):
                client.request(server.url("/a"))
        assert not (tmp_path / "a").exists()
        meter = meter_in(tmp_path, "2026-01-06", max_bytes=3_000_000)
        with metered(meter), Client(quick_settings(), tmp_path) as client:
            client.download_file(server.url("/a"), tmp_path / "a")
        assert (tmp_path / "a").read_bytes() == BODY
        assert meter.used.size_bytes < len(BODY)
        assert [asked.headers.get("Range", "") != "" for asked in server.log] == [False, True]


def test_the_hub_library_counts_and_stops_too(tmp_path, monkeypatch):
    with HubService() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        monkeypatch.delenv("HF_TOKEN", raising=False)
        buffer = BytesIO()
        images = [{"bytes": picture(str(number)).data, "path": None} for number in range(6)]
        pq.write_table(pa.table({"image": images}), buffer)
        content = buffer.getvalue()
        hub.add("org/set", {"data/train-0.parquet": content})
        spec = HfDatasetSpec(**{**COMMON, "kind": "hf_dataset", "repo": "org/set"})
        listed = SOURCE.list(spec, list_context(tmp_path))
        [name] = [one.name for one in listed.slices]
        with metered(meter_in(tmp_path, max_requests=1)), pytest.raises(BudgetSpentError):
            fetch_slice(SOURCE, spec, tmp_path, listed, name)
        meter = meter_in(tmp_path, "2026-01-06", max_bytes=1 << 30)
        with metered(meter):
            assert len(fetch_slice(SOURCE, spec, tmp_path, listed, name).records) == 6
        assert meter.used.size_bytes >= len(content)


def test_outside_of_a_meter_nothing_is_counted():
    meter = present_meter()
    meter.request()
    meter.received(10, cut=True)
    assert not meter.spent


def test_nights_of_a_clock_that_ran_ahead_take_no_night_its_ledger(tmp_path):
    for day in range(1, 21):
        meter_in(tmp_path, f"2046-01-{day:02d}").request()
    meter_in(tmp_path, max_requests=2).request()
    again = meter_in(tmp_path, max_requests=2)
    again.request()
    with pytest.raises(BudgetSpentError):
        again.request()
