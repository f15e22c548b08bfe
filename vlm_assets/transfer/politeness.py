"""What to do after an answer: accept, try again, spare the host, or give up. Pure, so that tables can test it."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import StrEnum
from typing import Final, Protocol, Self

from vlm_assets.words.clock import unix_now
from vlm_assets.words.contexts import SourceSettings
from vlm_assets.words.errors import RejectReason
from vlm_assets.words.hosts import HostSpec


class Fault(StrEnum):
    """How a request failed without a usable status."""

    DNS = "dns"
    CONNECT = "connect"
    TLS = "tls"
    CERTIFICATE = "certificate"
    TIMEOUT = "timeout"
    CUT = "cut"
    MALFORMED = "malformed"
    """An answer came that cannot be made out."""


class LimitedSpec(Protocol):
    """The politeness keys of a source."""

    @property
    def hosts(self) -> Mapping[str, HostSpec]: ...  # noqa: D102 - a key of SourceSpec, described there

    @property
    def cooldown_s(self) -> float: ...  # noqa: D102 - the same

    @property
    def max_concurrency(self) -> int | None: ...  # noqa: D102 - the same

    @property
    def requests_per_second(self) -> float | None: ...  # noqa: D102 - the same


@dataclass(frozen=True, slots=True)
class HostLimits:
    """How hard one host may be worked: requests in flight on this machine, seconds between two request starts."""

    concurrency: int | None = None
    interval_s: float = 0.0
    hosts: Mapping[str, "HostLimits"] = field(default_factory=dict)
    """Those of hosts that the catalogue names, by `urls.host_key`."""

    @classmethod
    def of(cls, spec: LimitedSpec) -> "HostLimits":
        """Limits of a source: `cooldown_s` is a pause between two requests to a host, whatever the rate."""
        named = {
            name.lower(): HostLimits(
                spec.max_concurrency if own.max_concurrency is None else own.max_concurrency,
                _interval_s(
                    spec.cooldown_s if own.cooldown_s is None else own.cooldown_s,
                    spec.requests_per_second if own.requests_per_second is None else own.requests_per_second,
                ),
            )
            for name, own in spec.hosts.items()
        }
        return cls(spec.max_concurrency, _interval_s(spec.cooldown_s, spec.requests_per_second), named)

    def at(self, host: str) -> "HostLimits":
        """What holds for one host, given by `urls.host_key`."""
        return self.hosts.get(host, self)

    def tightened(self, settings: SourceSettings) -> "HostLimits":
        """These limits, never looser than the machine's own."""
        most = min(settings.http_per_host, settings.http_concurrency)
        named = {name: own.tightened(settings) for name, own in self.hosts.items()}
        return HostLimits(min(self.concurrency or most, most), self.interval_s, named)


def _interval_s(cooldown_s: float, requests_per_second: float | None) -> float:
    return max(cooldown_s, 1 / requests_per_second if requests_per_second else 0.0)


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to try: scaled by the settings' timeout, so that one number makes a run quick or patient."""

    attempts: int
    base_s: float
    cap_s: float
    max_wait_s: float
    """A host that asks for a longer pause is given up for this slice; its pause stays on record."""

    @classmethod
    def of(cls, settings: SourceSettings) -> Self:
        """At the default timeout of 30 s: back off from 1 s to 60 s, wait 10 minutes for a Retry-After."""
        timeout_s = settings.http_timeout_s
        return cls(settings.http_attempts, timeout_s / 30, timeout_s * 2, timeout_s * 20)

    def backoff_s(self, tries: int, jitter: float) -> float:
        """Full jitter (`jitter` in [0, 1)): anything up to base · 2^(tries-1), capped.

        Source: AWS Architecture Blog, "Exponential Backoff And Jitter".
        """
        return jitter * min(self.cap_s, self.base_s * 2.0 ** min(tries - 1, 30))


@dataclass(frozen=True, slots=True)
class Accept:
    """The body is wanted."""


@dataclass(frozen=True, slots=True)
class GiveUp:
    """No sample. `not_before`: a transient one is not due earlier (Unix seconds)."""

    reason: RejectReason
    detail: str
    transient: bool = False
    not_before: float = 0.0


@dataclass(frozen=True, slots=True)
class Retry:
    """Ask again after `delay_s`; leave the whole host alone for `pause_s`."""

    delay_s: float
    pause_s: float
    detail: str
    leniently: bool = False
    """With the lenient client, which sees an end where the strict one sees a cut."""


@dataclass(frozen=True, slots=True)
class AskLeniently:
    """Ask again at once with the lenient client: the answer was odd, and that is nobody's failure."""

    detail: str


Verdict = Accept | GiveUp | Retry

_GONE: Final = frozenset({404, 410})
_FORBIDDEN: Final = frozenset({401, 403, 451})
_THROTTLED: Final = frozenset({429, 503})
_PASSING: Final = frozenset({408, 425})
_NUMBER: Final = re.compile(r"^[0-9]+(?:\.[0-9]*)?$", re.ASCII)
_SECONDS_NOT_EPOCH: Final = 365 * 86400.0
MAX_PAUSE_S: Final = 86400.0
"""A day: what a server asks for beyond it is taken for so long. It means never, or nothing (31 years, year 9999)."""


def judge_status(
    status: int,
    headers: Mapping[str, str],
    *,
    tries: int,
    patience: Patience,
    jitter: float,
    now: float | None = None,
) -> Verdict:
    """What an answer with this status means after `tries` tries of the request."""
    if 200 <= status < 300:
        return Accept()
    if status in _GONE:
        return GiveUp(RejectReason.NOT_FOUND, f"status {status}")
    now = unix_now() if now is None else now
    wish_s = _wish_s(headers, now)
    asked_s = None if wish_s is None else min(wish_s, MAX_PAUSE_S)
    throttled = status in _THROTTLED or (status == 403 and asked_s is not None)
    if status in _FORBIDDEN and not throttled:
        return GiveUp(RejectReason.FORBIDDEN, f"status {status}")
    if not throttled and status not in _PASSING and status < 500:
        return GiveUp(RejectReason.HTTP_ERROR, f"status {status}")
    detail = f"status {status}"
    if wish_s is not None and asked_s is not None and asked_s > patience.max_wait_s:
        wish = f"{detail}, wants a pause of {_told_s(wish_s)}"
        return GiveUp(RejectReason.HTTP_ERROR, wish, transient=True, not_before=now + asked_s)
    if tries >= patience.attempts:
        spent = f"{detail} after {tries} tries"
        return GiveUp(RejectReason.HTTP_ERROR, spent, transient=True, not_before=now + (asked_s or 0))
    backoff_s = patience.backoff_s(tries, jitter)
    if asked_s is not None:
        # Jitter on top, so that all who were told the same moment do not come back in it.
        return Retry(0.0, asked_s + min(backoff_s, 1.0), detail)
    return Retry(0.0, backoff_s, detail) if throttled else Retry(backoff_s, 0.0, detail)


def judge_fault(
    fault: Fault, detail: str, *, tries: int, patience: Patience, jitter: float
) -> GiveUp | Retry:
    """What a request that failed under way means after `tries` tries."""
    if fault is Fault.MALFORMED:
        return GiveUp(RejectReason.HTTP_ERROR, f"malformed answer: {detail}"[:200])
    if fault is Fault.CERTIFICATE:
        return GiveUp(RejectReason.UNREACHABLE, f"certificate refused: {detail}", transient=True)
    if tries >= patience.attempts:
        return GiveUp(RejectReason.UNREACHABLE, f"{fault}: {detail} after {tries} tries", transient=True)
    return Retry(patience.backoff_s(tries, jitter), 0.0, f"{fault}: {detail}")


def retry_after_s(headers: Mapping[str, str], now: float) -> float | None:
    """Seconds, at most `MAX_PAUSE_S`, that the server asks to be left alone, or None.

    `Retry-After` in seconds or as an HTTP date (RFC 9110 10.2.3). A date is also compared with the server's own
    `Date`, and the longer wait taken: clocks differ. `X-RateLimit-Reset` counts when nothing remains (GitHub), and is
    compared in the same way.
    """
    wish_s = _wish_s(headers, now)
    return None if wish_s is None else min(wish_s, MAX_PAUSE_S)


def _wish_s(headers: Mapping[str, str], now: float) -> float | None:
    """What the server asks for, however long: infinite where the number has no end."""
    value, server_now = headers.get("Retry-After", "").strip(), _http_date(headers.get("Date", ""))
    if (seconds := _number(value)) is not None:
        return seconds
    if value:
        until = _http_date(value)
        if until is not None:
            return _longer_wait_s(until, now, server_now)
    if headers.get("X-RateLimit-Remaining", "").strip() == "0":
        reset = _number(headers.get("X-RateLimit-Reset", "").strip())
        if reset is not None:
            # A number that would lie decades back counts seconds from now, as other APIs have it.
            return (reset if reset < _SECONDS_NOT_EPOCH else _longer_wait_s(reset, now, server_now)) + 1
    return None


def _longer_wait_s(until: float, now: float, server_now: float | None) -> float:
    """Until then, by this machine's clock or by the server's own."""
    return max(until - (now if server_now is None else min(now, server_now)), 0.0)


def _number(text: str) -> float | None:
    """A decimal number as servers write it, infinite where it is out of all bounds."""
    if not _NUMBER.match(text):
        return None
    return float(text) if len(text) < 300 else float("inf")


def _told_s(seconds: float) -> str:
    if seconds <= MAX_PAUSE_S:
        return f"{seconds:.0f} s"
    told = f"{seconds:.0f} s" if seconds < 1e15 else "no end"
    return f"{told}, taken as {MAX_PAUSE_S:.0f} s"


def _http_date(text: str) -> float | None:
    try:
        at = parsedate_to_datetime(text)
        return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def utc(at: float) -> str:
    """A time for a message: the next whole second, UTC."""
    return datetime.fromtimestamp(math.ceil(at), UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
