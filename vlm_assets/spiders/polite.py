"""Scrapy's manners made those of the platform: addresses checked, limits and pauses shared by the whole machine."""

import asyncio
import os
import random
import time
from typing import Any

from scrapy import Request
from scrapy.core.downloader.handlers.http11 import HTTP11DownloadHandler
from scrapy.crawler import Crawler
from scrapy.downloadermiddlewares.robotstxt import RobotsTxtMiddleware
from scrapy.exceptions import IgnoreRequest
from scrapy.http import Response
from scrapy.http.request import NO_CALLBACK
from scrapy.resolver import CachingThreadedResolver
from w3lib.http import basic_auth_header
from yarl import URL

from vlm_assets.spiders.model import CrawlTask
from vlm_assets.transfer.addresses import AddressPolicy, PrivateAddressError, literal_address
from vlm_assets.transfer.guard import Guard
from vlm_assets.transfer.politeness import retry_after_s
from vlm_assets.transfer.proxies import Proxies
from vlm_assets.transfer.robots import Rules, RulesCache, rules_for_status
from vlm_assets.transfer.slots import HostGate, host_folder
from vlm_assets.transfer.urls import host_key, origin_of

TASK = "VLM_TASK"
"""Setting that holds the `CrawlTask`."""
_MAX_PAUSE_S = 600.0


class PoliteHandler(HTTP11DownloadHandler):  # type: ignore[misc]  # Scrapy is untyped here
    """Sends a request when its host's gate, shared with every other process of the machine, lets it through."""

    def __init__(self, crawler: Crawler) -> None:
        super().__init__(crawler)
        self._task: CrawlTask = crawler.settings[TASK]
        self._guard = _guard_of(self._task)

    async def download_request(self, request: Request) -> Response:
        """One exchange, after the address check, within a slot of the host, at its pace."""
        url = URL(request.url, encoded=True)
        try:
            proxy = await asyncio.to_thread(self._guard.proxy_for, url)
        except PrivateAddressError as error:
            raise IgnoreRequest(str(error)) from error
        if proxy is not None:
            request = _through(proxy, request)
        gate = HostGate(self._task.locks_dir, host_key(url))
        try:
            while gate.take_slot(self._task.concurrency) is None:  # noqa: ASYNC110 - other processes send no event
                await asyncio.sleep(0.02 + 0.05 * random.random())
            interval_s = max(self._task.delay_s, request.meta.get("crawl_delay_s", 0.0))
            while (until := gate.try_start(time.time(), interval_s)) > 0:  # noqa: ASYNC110 - nor here
                await asyncio.sleep(min(max(until - time.time(), 0.001), 5.0))
            response = await super().download_request(request)
            if response.status in {429, 503}:
                now = time.time()
                asked_s = retry_after_s(response.headers.to_unicode_dict(), now)
                gate.pause(now, now + min(1.0 if asked_s is None else asked_s, _MAX_PAUSE_S))
            return response
        finally:
            gate.close()


def _guard_of(task: CrawlTask) -> Guard:
    return Guard(AddressPolicy(task.allow_private_hosts), Proxies.of_environment(os.environ))


def _through(proxy: URL, request: Request) -> Request:
    """The request by way of a proxy, whose credentials go to it alone."""
    made = request.copy()
    made.meta["proxy"] = str(proxy.with_user(None))
    if proxy.user is not None:
        made.headers["Proxy-Authorization"] = basic_auth_header(proxy.user, proxy.password or "")
    return made


class GuardedResolver(CachingThreadedResolver):  # type: ignore[misc]  # as above
    """Resolves a name to an address that may be connected to, or fails."""

    _guard: Guard

    @classmethod
    def from_crawler(cls, crawler: Crawler, reactor: Any) -> "GuardedResolver":
        """As Scrapy makes it."""
        made: GuardedResolver = super().from_crawler(crawler, reactor)
        made._guard = _guard_of(crawler.settings[TASK])
        return made

    def getHostByName(self, name: str, timeout: Any = ()) -> Any:  # noqa: N802 - Twisted's name
        """The address as Twisted asks for it."""
        return super().getHostByName(name, timeout).addCallback(self._check, name)

    def _check(self, address: str, name: str) -> str:
        found, policy = literal_address(address), self._guard.policy
        if name in {host for host, _ in self._guard.proxies.endpoints}:
            return address
        if found is None or not (policy.allows_name(name) or policy.allows(found)):
            raise PrivateAddressError(
                f"{name} resolves to an address that VLM_ALLOW_PRIVATE_HOSTS does not list"
            )
        return address


class StrictRobots(RobotsTxtMiddleware):  # type: ignore[misc]  # as above
    """robots.txt as RFC 9309 has it, from the cache that downloads use too.

    Scrapy's own takes a server error for permission; here nothing is asked until robots.txt can be read.
    """

    def __init__(self, crawler: Crawler) -> None:
        super().__init__(crawler)
        self._locks_dir = crawler.settings[TASK].locks_dir
        self._rules: dict[str, asyncio.Task[Rules]] = {}

    async def process_request(self, request: Request, spider: Any = None) -> None:  # noqa: ARG002 - Scrapy's shape
        """Lets a request pass, or ends it.

        Raises:
            IgnoreRequest: robots.txt forbids it, or cannot be read.
        """
        if request.meta.get("dont_obey_robotstxt"):
            return
        origin = origin_of(URL(request.url, encoded=True))
        if origin not in self._rules:
            self._rules[origin] = asyncio.ensure_future(self._ask(request.url, origin))
        rules = await self._rules[origin]
        if rules.unavailable is not None:
            raise IgnoreRequest(rules.unavailable.detail)
        if not rules.allows(request.url):
            raise IgnoreRequest("robots.txt forbids it")
        request.meta["crawl_delay_s"] = rules.crawl_delay_s

    async def _ask(self, url: str, origin: str) -> Rules:
        at = URL(url, encoded=True)
        cache = RulesCache(host_folder(self._locks_dir, host_key(at)), origin)
        rules = cache.load()
        if rules is not None:
            return rules
        target = str(URL(f"{at.scheme}://{at.raw_authority}/robots.txt", encoded=True))
        request = Request(target, priority=1000, meta={"dont_obey_robotstxt": True}, callback=NO_CALLBACK)
        try:
            response = await self.crawler.engine.download_async(request)
        except Exception as error:
            raise IgnoreRequest(f"robots.txt cannot be read: {error}") from error
        cache.save(response.status, response.body)
        return rules_for_status(response.status, response.body)
