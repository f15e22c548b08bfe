import threading
import time
from pathlib import Path
from typing import Any

import pytest

from vlm_assets.transfer.politeness import HostLimits
from vlm_assets.transfer.sync_guest import SyncGuest
from vlm_assets.words.errors import SourceError
from vlm_assets.words.hosts import HostSpec
from vlm_assets_tests.sources.kit import settings_of


class Limits:
    """The politeness keys of a source."""

    def __init__(self, **keys: Any) -> None:
        self.cooldown_s = keys.get("cooldown_s", 0.0)
        self.max_concurrency = keys.get("max_concurrency")
        self.hosts = keys.get("hosts", {})
        self.requests_per_second = keys.get("requests_per_second")


def guest_of(folder: Path, **keys: Any) -> SyncGuest:
    return SyncGuest(settings_of(folder, http_timeout_s=1, http_attempts=3), Limits(**keys), folder / "locks")


def starts(guests: list[SyncGuest], each: int) -> list[float]:
    times: list[float] = []

    def ask(guest: SyncGuest) -> None:
        for _ in range(each):
            guest.wait("host")
            times.append(time.monotonic())

    threads = [threading.Thread(target=ask, args=(guest,)) for guest in guests]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sorted(times)


def test_two_runs_do_not_double_the_rate(tmp_path: Path) -> None:
    guests = [guest_of(tmp_path, requests_per_second=20) for _ in range(2)]
    assert guests[0].limits == HostLimits(8, 0.05)
    times = starts(guests, 5)
    assert times[-1] - times[0] >= 9 * 0.05 - 0.01


def test_a_pause_holds_for_every_guest_of_the_machine(tmp_path: Path) -> None:
    with guest_of(tmp_path) as one, guest_of(tmp_path) as other:
        assert one.tries_again("host", 429, {"Retry-After": "1"}, 1)
        clock = time.monotonic()
        other.wait("elsewhere")
        assert time.monotonic() - clock < 0.5
        other.wait("host")
        assert time.monotonic() - clock >= 0.9


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


def test_slots_are_shared(tmp_path: Path) -> None:
    with guest_of(tmp_path, max_concurrency=1) as one, guest_of(tmp_path, max_concurrency=1) as other:
        inside: list[str] = []

        def enter() -> None:
            with other.slot("host"):
                inside.append("other")

        with one.slot("host"):
            thread = threading.Thread(target=enter)
            thread.start()
            time.sleep(0.2)
            assert inside == []
        thread.join(5)
        assert inside == ["other"]


def test_a_host_that_the_catalogue_names_is_asked_at_its_own_rate(tmp_path):
    with guest_of(
        tmp_path, requests_per_second=100, hosts={"slow": HostSpec(requests_per_second=5)}
    ) as guest:
        began = time.monotonic()
        for _ in range(3):
            guest.wait("quick")
        between = time.monotonic()
        for _ in range(3):
            guest.wait("slow")
        assert time.monotonic() - between >= 0.39
        assert between - began < 0.39
