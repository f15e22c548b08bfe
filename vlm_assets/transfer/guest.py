"""What one run knows of the hosts it visits: gates, rules, and the right moment for a single request."""

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, closing
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Final

import aiohttp
from yarl import URL

from vlm_assets.transfer.addresses import PrivateAddressError
from vlm_assets.transfer.answers import Answer
from vlm_assets.transfer.budget import Meter
from vlm_assets.transfer.encodings import OverCapError, codings_of, decoded
from vlm_assets.transfer.http import FaultError, fault_of
from vlm_assets.transfer.kept_answers import MAX_OWN_BYTES, KeptAnswer
from vlm_assets.transfer.opt_outs import AI_FILE, NO_OPT_OUTS, TDM_FILE, OptOuts, opt_outs_of
from vlm_assets.transfer.politeness import (
    AskLeniently,
    Fault,
    GiveUp,
    HostLimits,
    Patience,
    Retry,
    judge_fault,
    judge_status,
    utc,
)
from vlm_assets.transfer.redirects import REDIRECTS, Trail
from vlm_assets.transfer.robots import (
    ALLOW_ALL,
    Rules,
    RulesCache,
    rules_for_status,
)
from vlm_assets.transfer.slots import HostGate, host_folder
from vlm_assets.transfer.urls import UrlError, host_key, origin_of, shown_url
from vlm_assets.transfer.wire import Wire
from vlm_assets.words.clock import unix_now
from vlm_assets.words.contexts import SourceSettings
from vlm_assets.words.errors import PostponedError, RejectReason

_ROBOTS_REDIRECTS: Final = 5
"""RFC 9309 2.3.1.2."""
_log = logging.getLogger("vlm_assets.transfer")


class Guest:
    """Gates and rules of every host that one run visits. Lives in one event loop."""

    def __init__(
        self,
        settings: SourceSettings,
        locks_dir: Path,
        wire: Wire,
        meter: Meter,
    ) -> None:
        self.settings = settings
        self.meter = meter
        self.patience = Patience.of(settings)
        self.policy = wire.guard.policy
        self._heeds_opt_outs = settings.heeds_opt_outs
        self._wire = wire
        self._odd: set[str] = set()
        """Origins whose answers the strict client does not take: no second request for each of their URLs."""
        self.requests = 0
        """Sent, those for robots.txt and its like included."""
        self._locks_dir = locks_dir
        self._gates: dict[str, HostGate] = {}
        self._rules: dict[str, Rules] = {}
        self._opt_outs: dict[str, OptOuts] = {}
        self._own_bodies: dict[str, dict[str, bytes]] = {}
        """By origin and path, of those files that say what is reserved."""
        self._loading: dict[str, asyncio.Lock] = {}

    def send(
        self,
        url: URL,
        *,
        method: str = "GET",
        headers: Mapping[str, str] = MappingProxyType({}),
        data: bytes | None = None,
        lenient: bool = False,
    ) -> AbstractAsyncContextManager[Answer]:
        """One request, counted, and its answer; see `Wire.send`.

        Raises:
            BudgetSpentError: it may not be sent.
        """
        self.meter.request()
        self.requests += 1
        lenient = lenient or (bool(self._odd) and origin_of(url) in self._odd)
        return self._wire.send(method, url, headers=headers, data=data, lenient=lenient)

    def judge_error(self, error: Exception, url: URL, tries: int) -> GiveUp | Retry | AskLeniently:
        """What an error of `send`, or of reading its answer, means after `tries` tries of the request.

        Raises:
            Exception: the error itself, where it is none of the network.
        """
        fault = fault_of(error)
        if fault is None:
            raise error
        if fault.fault is Fault.MALFORMED and fault is not error:
            self._odd.add(origin_of(url))
            _log.info("%s: %s; asked again leniently", shown_url(url), fault.detail)
            return AskLeniently(fault.detail)
        verdict = judge_fault(
            fault.fault, fault.detail, tries=tries, patience=self.patience, jitter=random.random()
        )
        return replace(verdict, leniently=fault.fault is Fault.CUT) if isinstance(verdict, Retry) else verdict

    def gate(self, host: str) -> HostGate:
        """The host's gate, made at first sight."""
        gate = self._gates.get(host)
        if gate is None:
            gate = self._gates[host] = HostGate(self._locks_dir, host)
        return gate

    @asynccontextmanager
    async def turn(self, host: str, limits: HostLimits) -> AsyncIterator[HostGate]:
        """One slot of the host, when its rate and pauses allow a request; for requests outside a `Schedule`."""
        # A gate of its own: a shared one would take this task's slots for somebody else's.
        gate = HostGate(self._locks_dir, host)
        limits = limits.at(host)
        most = limits.tightened(self.settings).concurrency or 1
        try:
            while (slot := gate.take_slot(most)) is None:  # noqa: ASYNC110 - other processes send no event
                await asyncio.sleep(0.02 + 0.05 * random.random())
            await self.start(gate, limits.interval_s)
            yield gate
            gate.free_slot(slot)
        finally:
            gate.close()

    async def start(self, gate: HostGate, interval_s: float) -> None:
        """Wait until the host's rate and pauses allow a request, which then counts.

        Raises:
            PostponedError: the host wants to be left alone for longer than the run is willing to wait.
        """
        while (until := gate.try_start(unix_now(), interval_s)) > 0:
            if (wish_s := gate.paused_until(unix_now()) - unix_now()) > self.patience.max_wait_s:
                raise PostponedError(
                    f"{gate.host} wants to be left alone for {wish_s:.0f} s more: not before {utc(until)}",
                    until,
                )
            await asyncio.sleep(min(max(until - unix_now(), 0.001), 5.0))

    def known_rules(self, url: URL) -> Rules | None:
        """The rules of the URL's origin, if they have been asked for in this run."""
        return self._rules.get(origin_of(url))

    async def rules(self, url: URL, interval_s: float) -> tuple[Rules, bool]:
        """The rules of the URL's origin, and whether a request was made for them just now."""
        if not self.settings.obey_robots:
            return ALLOW_ALL, False
        origin = origin_of(url)
        if (known := self._rules.get(origin)) is not None:
            return known, False
        async with self._loading.setdefault(origin, asyncio.Lock()):
            if (known := self._rules.get(origin)) is not None:
                return known, False
            cache = RulesCache(host_folder(self._locks_dir, host_key(url)), origin)
            rules, asked = cache.load(), False
            if rules is None:
                rules, asked = await self._new_rules(url, interval_s, cache), True
            self._rules[origin] = rules
            return rules, asked

    async def _new_rules(self, url: URL, interval_s: float, cache: RulesCache) -> Rules:
        try:
            return await self._ask_rules(url, interval_s, cache)
        except PostponedError as error:
            why = GiveUp(RejectReason.HTTP_ERROR, str(error), transient=True, not_before=error.until)
            return Rules(unavailable=why)

    async def _ask_rules(self, url: URL, interval_s: float, cache: RulesCache) -> Rules:
        """robots.txt over the network, with retries; the caller holds a turn for the first request."""
        answer = await self._own_file(url, "/robots.txt", interval_s)
        if isinstance(answer, GiveUp):
            _log.warning(
                "%s: robots.txt: %s; nothing is asked there in this run", origin_of(url), answer.detail
            )
            reason = RejectReason.ROBOTS if answer.reason is RejectReason.HTTP_ERROR else answer.reason
            return Rules(unavailable=replace(answer, reason=reason, detail=f"robots.txt: {answer.detail}"))
        if answer is None:
            return ALLOW_ALL
        cache.save(*answer)
        return rules_for_status(*answer)

    def refusal(self, url: URL) -> GiveUp | None:
        """Why a URL is not to be asked for, as far as what its origin says of itself is known."""
        origin = origin_of(url)
        rules = self._rules.get(origin)
        if rules is not None and rules.unavailable is not None:
            return rules.unavailable
        if rules is not None and not rules.allows(str(url)):
            return GiveUp(RejectReason.ROBOTS, f"robots.txt of {origin}")
        opt_outs = self._opt_outs.get(origin) if self._heeds_opt_outs else NO_OPT_OUTS
        if opt_outs is None or opt_outs.unavailable is not None:
            return None if opt_outs is None else opt_outs.unavailable
        return opt_outs.verdict(url)

    def known_opt_outs(self, url: URL) -> OptOuts | None:
        """What the files of the URL's origin reserve, if they have been asked for in this run."""
        return self._opt_outs.get(origin_of(url)) if self._heeds_opt_outs else NO_OPT_OUTS

    async def opt_outs(self, url: URL, interval_s: float) -> tuple[GiveUp | None, bool]:
        """Ask for the first file of the URL's origin that is not known; the caller holds a turn for that one request.

        `known_opt_outs` has the answer once all are. A file that cannot be had reserves nothing, as TDMRep says.

        Returns:
            Why nothing may be asked there for now, and whether a request was made.
        """
        origin = origin_of(url)
        async with self._loading.setdefault(origin, asyncio.Lock()):
            if self.known_opt_outs(url) is not None:
                return None, False
            asked, bodies = False, self._own_bodies.setdefault(origin, {})
            try:
                for path in (TDM_FILE, AI_FILE):
                    if path not in bodies and not asked:
                        bodies[path], asked = await self._opt_out_file(url, path, interval_s)
            except PostponedError as error:
                why = GiveUp(RejectReason.HTTP_ERROR, str(error), transient=True, not_before=error.until)
                self._opt_outs[origin] = OptOuts(unavailable=why)
                return why, True
            if len(bodies) == len((TDM_FILE, AI_FILE)):
                self._opt_outs[origin] = opt_outs_of(bodies[TDM_FILE], bodies[AI_FILE])
            return None, asked

    async def _opt_out_file(self, url: URL, path: str, interval_s: float) -> tuple[bytes, bool]:
        """The file's body, or nothing, and whether it was asked for.

        Raises:
            PostponedError: the host wants to be left alone.
        """
        origin, home = origin_of(url), URL(f"{url.scheme}://{url.raw_authority}{path}", encoded=True)
        if (rules := self._rules.get(origin)) is not None and not rules.allows(str(home)):
            return b"", False
        kept = KeptAnswer(host_folder(self._locks_dir, host_key(url)), path.rpartition("/")[2], origin)
        if (known := kept.load()) is not None:
            return _body_of(known), False
        answer = await self._own_file(url, path, interval_s)
        if isinstance(answer, GiveUp):
            _log.info("%s: %s; it counts as none", shown_url(home), answer.detail)
            if answer.not_before > unix_now():
                raise PostponedError(f"{shown_url(home)}: {answer.detail}", answer.not_before)
            return b"", True
        found = answer or (404, b"")
        kept.save(*found)
        return _body_of(found), True

    async def _own_file(self, url: URL, path: str, interval_s: float) -> tuple[int, bytes] | GiveUp | None:
        """A file of the URL's origin, with retries: status and body, why there is none, or None: led in circles."""
        target = URL(f"{url.scheme}://{url.raw_authority}{path}", encoded=True)
        tries, trail = 0, Trail()
        while True:
            tries += 1
            answer = await self._ask_once(target, tries, trail)
            if isinstance(answer, URL):
                if trail.hops > _ROBOTS_REDIRECTS:
                    return None
                target, tries = answer, 0
                await self.wait(host_key(target), interval_s, 0.0)
            elif isinstance(answer, AskLeniently):
                tries -= 1
                await self.wait(host_key(target), interval_s, 0.0)
            elif isinstance(answer, Retry):
                await self.wait(host_key(target), interval_s, max(answer.pause_s, answer.delay_s))
            else:
                return answer

    async def wait(self, host: str, interval_s: float, pause_s: float = 0.0) -> None:
        """Spare a host for `pause_s`, then wait for the next moment at which it may be asked."""
        with closing(HostGate(self._locks_dir, host)) as gate:
            if pause_s > 0:
                now = unix_now()
                gate.pause(now, now + pause_s)
            await self.start(gate, interval_s)

    async def _ask_once(
        self, target: URL, tries: int, trail: Trail
    ) -> URL | Retry | AskLeniently | GiveUp | tuple[int, bytes]:
        try:
            async with self.send(target, headers=trail.headers(target)) as answer:
                if answer.status in REDIRECTS:
                    return trail.follow(target, answer.headers, self.policy)
                body = bytearray()
                while len(body) < MAX_OWN_BYTES and (chunk := await answer.content.readany()):
                    body += chunk
                self.meter.received(len(body))
                if 200 <= answer.status < 300 or (400 <= answer.status < 500 and answer.status != 429):
                    return answer.status, decoded(bytes(body), codings_of(answer.headers), MAX_OWN_BYTES)
                verdict = judge_status(
                    answer.status,
                    answer.headers,
                    tries=tries,
                    patience=self.patience,
                    jitter=random.random(),
                )
        except (UrlError, PrivateAddressError, aiohttp.InvalidURL, OverCapError):
            return 404, b""
        except (aiohttp.ClientError, OSError, FaultError) as error:
            return self.judge_error(error, target, tries)
        return verdict if isinstance(verdict, Retry | GiveUp) else (404, b"")

    def close(self) -> None:
        """Free all gates."""
        for gate in self._gates.values():
            gate.close()


def _body_of(answer: tuple[int, bytes]) -> bytes:
    status, body = answer
    return body if 200 <= status < 300 else b""
