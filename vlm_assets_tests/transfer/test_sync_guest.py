import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from vlm_assets.transfer.politeness import HostLimits
from vlm_assets.transfer.sync_guest import SyncGuest
from vlm_assets.words.errors import SourceError
from vlm_assets.words.hosts import HostSpec
from vlm_assets_tests.sources.kit import settings_of
from vlm_assets_tests.waiting import HANG_S


class Limits:
    """The politeness keys of a source."""

    def __init__(self, **keys: Any) -> None:
        self.cooldown_s = keys.get("cooldown_s", 0.0)
        self.max_concurrency = keys.get("max_concurrency")
        self.hosts = keys.get("hosts", {})
        self.requests_per_second = keys.get("requests_per_second")


class Clock:
    """Time that passes only where somebody sleeps."""

    def __init__(self) -> None:
        self.now = self.start = 1_800_000_000.0

    @property
    def passed_s(self) -> float:
        return self.now - self.start

    def time(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("vlm_assets.transfer.sync_guest.time", clock)
    monkeypatch.setattr("vlm_assets.transfer.sync_guest.unix_now", clock.time)
    return clock


def guest_of(folder: Path, **keys: Any) -> SyncGuest:
    return SyncGuest(settings_of(folder, http_attempts=3), Limits(**keys), folder / "locks")


def test_two_runs_do_not_double_the_rate(tmp_path: Path, clock: Clock) -> None:
    one, other = (guest_of(tmp_path, requests_per_second=20) for _ in range(2))
    assert one.limits == HostLimits(8, 0.05)
    times = []
    for guest in (one, other, other, one, one, other):
        guest.wait("host")
        times.append(clock.passed_s)
    assert times == pytest.approx([0.05 * n for n in range(6)], abs=1e-6)
    assert (one.requests, other.requests) == (3, 3)


def test_a_pause_holds_for_every_guest_of_the_machine(tmp_path: Path, clock: Clock) -> None:
    with guest_of(tmp_path) as one, guest_of(tmp_path) as other:
        assert one.tries_again("host", 429, {"Retry-After": "1"}, 1)
        other.wait("elsewhere")
        assert clock.passed_s == 0
        other.wait("host")
        assert clock.passed_s >= 1


def test_what_is_given_up_is_an_error_and_stays_on_record(tmp_path: Path) -> None:
    with guest_of(tmp_path) as guest:
        assert not guest.tries_again("host", 404, {}, 1)
        assert not guest.tries_again("host", 200, {}, 1)
        with pytest.raises(SourceError, match="wants a pause of 3600 s"):
            guest.tries_again("host", 429, {"Retry-After": "3600"}, 1)
        with pytest.raises(SourceError, match="host wants to be left alone"):
            guest.wait("host")
        with pytest.raises(SourceError, match="after 3 tries"):
            guest.tries_again("other", 503, {}, 3)


def test_slots_are_shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refused = threading.Event()

    def sleep(seconds: float) -> None:
        refused.set()
        time.sleep(seconds)

    monkeypatch.setattr("vlm_assets.transfer.sync_guest.time", SimpleNamespace(sleep=sleep))
    with guest_of(tmp_path, max_concurrency=1) as one, guest_of(tmp_path, max_concurrency=1) as other:
        inside: list[str] = []

        def enter() -> None:
            with other.slot("host"):
                inside.append("other")

        with one.slot("host"):
            thread = threading.Thread(target=enter)
            thread.start()
            assert refused.wait(HANG_S)
            assert inside == []
        thread.join(HANG_S)
        assert inside == ["other"]


def test_a_host_that_the_catalogue_names_is_asked_at_its_own_rate(tmp_path: Path, clock: Clock) -> None:
    hosts = {"slow": HostSpec(requests_per_second=5)}
    with guest_of(tmp_path, requests_per_second=100, hosts=hosts) as guest:
        for _ in range(3):
            guest.wait("quick")
        assert clock.passed_s == pytest.approx(0.02, abs=1e-6)
        for _ in range(3):
            guest.wait("slow")
        assert clock.passed_s == pytest.approx(0.42, abs=1e-6)
