from email.utils import formatdate

import pytest
from multidict import CIMultiDict

from vlm_assets.catalog.spec import SourceSpec
from vlm_assets.settings import load_settings
from vlm_assets.transfer.politeness import (
    MAX_PAUSE_S,
    Accept,
    Fault,
    GiveUp,
    HostLimits,
    Patience,
    Retry,
    judge_fault,
    judge_status,
    retry_after_s,
)
from vlm_assets.words.errors import RejectReason
from vlm_assets.words.hosts import HostSpec
from vlm_assets_tests.transfer.conftest import quick_settings

NOW = 1_800_000_000.0
PATIENCE = Patience(attempts=3, base_s=1.0, cap_s=60.0, max_wait_s=600.0)


def http_date(moment: float) -> str:
    return formatdate(moment, usegmt=True)


@pytest.mark.parametrize(
    ("status", "headers", "tries", "expected"),
    [
        (200, {}, 1, Accept()),
        (206, {}, 3, Accept()),
        (404, {}, 1, GiveUp(RejectReason.NOT_FOUND, "status 404")),
        (410, {}, 1, GiveUp(RejectReason.NOT_FOUND, "status 410")),
        (401, {}, 1, GiveUp(RejectReason.FORBIDDEN, "status 401")),
        (403, {}, 1, GiveUp(RejectReason.FORBIDDEN, "status 403")),
        (451, {}, 1, GiveUp(RejectReason.FORBIDDEN, "status 451")),
        (400, {}, 1, GiveUp(RejectReason.HTTP_ERROR, "status 400")),
        (304, {}, 1, GiveUp(RejectReason.HTTP_ERROR, "status 304")),
        (500, {}, 1, Retry(0.5, 0.0, "status 500")),
        (500, {}, 2, Retry(1.0, 0.0, "status 500")),
        (500, {}, 3, GiveUp(RejectReason.HTTP_ERROR, "status 500 after 3 tries", transient=True, not_before=NOW)),
        (408, {}, 1, Retry(0.5, 0.0, "status 408")),
        (429, {}, 1, Retry(0.0, 0.5, "status 429")),
        (503, {}, 2, Retry(0.0, 1.0, "status 503")),
        (429, {"retry-after": "7"}, 1, Retry(0.0, 7.5, "status 429")),
        (503, {"Retry-After": "7"}, 3,
         GiveUp(RejectReason.HTTP_ERROR, "status 503 after 3 tries", transient=True, not_before=NOW + 7)),
        (500, {"Retry-After": "7"}, 1, Retry(0.0, 7.5, "status 500")),
        (
            429, {"Retry-After": "601"}, 1,
            GiveUp(
                RejectReason.HTTP_ERROR, "status 429, wants a pause of 601 s", transient=True, not_before=NOW + 601
            ),
        ),
        (403, {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": str(int(NOW) + 9)}, 1,
         Retry(0.0, 10.5, "status 403")),
        (403, {"X-RateLimit-Remaining": "5", "X-RateLimit-Reset": str(int(NOW) + 9)}, 1,
         GiveUp(RejectReason.FORBIDDEN, "status 403")),
    ],
)  # fmt: skip
def test_statuses(status, headers, tries, expected):
    got = judge_status(status, CIMultiDict(headers), tries=tries, patience=PATIENCE, jitter=0.5, now=NOW)
    assert got == expected


@pytest.mark.parametrize(
    ("fault", "tries", "expected"),
    [
        (Fault.CUT, 1, Retry(0.5, 0.0, "cut: x")),
        (Fault.TIMEOUT, 2, Retry(1.0, 0.0, "timeout: x")),
        (Fault.DNS, 3, GiveUp(RejectReason.UNREACHABLE, "dns: x after 3 tries", transient=True)),
        (Fault.CERTIFICATE, 1, GiveUp(RejectReason.UNREACHABLE, "certificate refused: x", transient=True)),
    ],
)
def test_faults(fault, tries, expected):
    assert judge_fault(fault, "x", tries=tries, patience=PATIENCE, jitter=0.5) == expected


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, None),
        ({"Retry-After": "0"}, 0),
        ({"Retry-After": " 12 "}, 12),
        ({"Retry-After": "-3"}, None),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": "²"}, None),
        ({"Retry-After": "90.5"}, 90.5),
        ({"Retry-After": "999999999"}, MAX_PAUSE_S),
        ({"Retry-After": "9" * 40}, MAX_PAUSE_S),
        ({"Retry-After": "9" * 5000}, MAX_PAUSE_S),
        ({"Retry-After": "Fri, 31 Dec 9999 23:59:59 GMT"}, MAX_PAUSE_S),
        ({"Retry-After": "Fri, 31 Dec 99999 23:59:59 GMT"}, None),
        ({"Retry-After": "inf"}, None),
        ({"Retry-After": "nan"}, None),
        ({"Retry-After": "1e9"}, None),
        ({"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "99999999999999999999"}, MAX_PAUSE_S),
        ({"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "9" * 5000}, MAX_PAUSE_S),
        ({"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": f"{NOW * 1000:.0f}"}, MAX_PAUSE_S),
        ({"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "60"}, 61),
        ({"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "-1"}, None),
        ({"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "soon"}, None),
        ({"Retry-After": http_date(NOW + 30)}, 30),
        ({"Retry-After": http_date(NOW - 30)}, 0),
        ({"Retry-After": http_date(NOW + 30), "Date": http_date(NOW - 100)}, 130),
        ({"Retry-After": http_date(NOW + 30), "Date": http_date(NOW + 20)}, 30),
        ({"X-RateLimit-Remaining": "0"}, None),
        ({"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": str(int(NOW) - 5)}, 1),
        (
            {
                "X-RateLimit-Remaining": "0",
                "X-RateLimit-Reset": str(int(NOW) - 5),
                "Date": http_date(NOW - 65),
            },
            61,
        ),
    ],
)
def test_retry_after(headers, expected):
    assert retry_after_s(CIMultiDict(headers), NOW) == expected


@pytest.mark.parametrize(
    ("tries", "jitter", "expected"), [(1, 0.0, 0), (1, 0.99, 0.99), (4, 0.5, 4), (99, 0.5, 30)]
)
def test_backoff_doubles_up_to_a_cap(tries, jitter, expected):
    assert PATIENCE.backoff_s(tries, jitter) == expected


@pytest.mark.parametrize(
    ("cooldown_s", "most", "rate", "expected"),
    [
        (0, None, None, HostLimits(8, 0)),
        (0, 2, None, HostLimits(2, 0)),
        (0, 100, None, HostLimits(8, 0)),
        (0, None, 4, HostLimits(8, 0.25)),
        (3, None, 4, HostLimits(8, 3)),
    ],
)
def test_limits_only_tighten(cooldown_s, most, rate, expected):
    class Spec:
        def __init__(self) -> None:
            self.cooldown_s, self.max_concurrency, self.requests_per_second = cooldown_s, most, rate
            self.hosts: dict[str, HostSpec] = {}

    assert HostLimits.of(Spec()).tightened(quick_settings()) == expected


def test_a_named_host_has_its_own_limits_and_the_rest_of_the_source():
    spec = SourceSpec(
        name="a", kind="x", category="c", subcategory="s", licence="MIT",
        max_concurrency=4, requests_per_second=10,
        hosts={"Slow.example": HostSpec(requests_per_second=0.5), "one.example:81": HostSpec(max_concurrency=1)},
    )  # fmt: skip
    limits = HostLimits.of(spec).tightened(load_settings(None))
    told = {
        host: (limits.at(host).concurrency, limits.at(host).interval_s)
        for host in ("slow.example", "one.example:81", "other.example")
    }
    assert told == {"slow.example": (4, 2.0), "one.example:81": (1, 0.1), "other.example": (4, 0.1)}


def test_a_wish_beyond_a_day_is_told_with_what_is_made_of_it():
    verdict = judge_status(429, {"Retry-After": "999999999"}, tries=1, patience=PATIENCE, jitter=0.5, now=NOW)
    assert isinstance(verdict, GiveUp)
    assert verdict.detail == "status 429, wants a pause of 999999999 s, taken as 86400 s"
    assert verdict.not_before == NOW + 86400
