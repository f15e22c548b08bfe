"""Scrapy's manners made those of the platform: addresses checked, limits and pauses shared by the whole machine."""

import asyncio
import os
import random
import socket
from typing import Any, ClassVar

from scrapy import Request
from scrapy.core.downloader.handlers.http11 import HTTP11DownloadHandler
from scrapy.crawler import Crawler
from scrapy.downloadermiddlewares.robotstxt import RobotsTxtMiddleware
from scrapy.exceptions import CannotResolveHostError, IgnoreRequest
from scrapy.http import Response
from scrapy.http.request import NO_CALLBACK
from scrapy.resolver import HostResolution
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.threads import deferToThreadPool
from w3lib.http import basic_auth_header
from yarl import URL

from vlm_assets.spiders.model import CrawlTask
from vlm_assets.transfer.addresses import AddressPolicy, PrivateAddressError, literal_address, refusal
from vlm_assets.transfer.guard import Guard
from vlm_assets.transfer.politeness import retry_after_s
from vlm_assets.transfer.proxies import Proxies
from vlm_assets.transfer.robots import Rules, RulesCache, rules_for_status
from vlm_assets.transfer.slots import HostGate, host_folder
from vlm_assets.transfer.urls import host_key, origin_of
from vlm_assets.words.clock import unix_now

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
            while (until := gate.try_start(unix_now(), interval_s)) > 0:  # noqa: ASYNC110 - nor here
                await asyncio.sleep(min(max(until - unix_now(), 0.001), 5.0))
            response = await self._answer(request, proxy or url)
            if response.status in {429, 503}:
                now = unix_now()
                asked_s = retry_after_s(response.headers.to_unicode_dict(), now)
                gate.pause(now, now + min(1.0 if asked_s is None else asked_s, _MAX_PAUSE_S))
            return response
        finally:
            gate.close()

    async def _answer(self, request: Request, via: URL) -> Response:
        try:
            response: Response = await super().download_request(request)
        except CannotResolveHostError as error:
            if (why := GuardedResolver.refused.get(via.raw_host or "")) is not None:
                raise IgnoreRequest(why) from error
            raise
        return response


def _guard_of(task: CrawlTask) -> Guard:
    return Guard(AddressPolicy(task.allow_private_hosts), Proxies.of_environment(os.environ))


def _through(proxy: URL, request: Request) -> Request:
    """The request by way of a proxy, whose credentials go to it alone."""
    made = request.copy()
    made.meta["proxy"] = str(proxy.with_user(None))
    if proxy.user is not None:
        made.headers["Proxy-Authorization"] = basic_auth_header(proxy.user, proxy.password or "")
    return made


class GuardedResolver:
    """As Twisted asks for names: gives the addresses that may be connected to, and looks again at each connection."""

    refused: ClassVar[dict[str, str]] = {}
    """Why names have no address, in this process: Twisted itself says of every one that it has none."""

    def __init__(self, reactor: Any, guard: Guard) -> None:
        self._reactor = reactor
        self._guard = guard
        self._granted: set[str] = set(guard.proxy_addresses)

    @classmethod
    def from_crawler(cls, crawler: Crawler, reactor: Any) -> "GuardedResolver":
        """As Scrapy makes it."""
        return cls(reactor, _guard_of(crawler.settings[TASK]))

    def install_on_reactor(self) -> None:
        """Every name and every connection of the process goes by this guard from here on."""
        self._reactor.installNameResolver(self)
        connect = self._reactor.connectTCP

        def checked(host: str, *args: Any, **options: Any) -> Any:
            address = literal_address(host)
            if host not in self._granted and (address is None or not self._guard.policy.allows(address)):
                raise PrivateAddressError(refusal(host, host))
            return connect(host, *args, **options)

        self._reactor.connectTCP = checked

    def resolveHostName(  # noqa: N802 - Twisted's names, here and below
        self,
        resolutionReceiver: Any,  # noqa: N803
        hostName: str,  # noqa: N803
        portNumber: int = 0,  # noqa: N803
        addressTypes: Any = None,  # noqa: ARG002, N803
        transportSemantics: str = "TCP",  # noqa: N803
    ) -> HostResolution:
        """Looks a name up once; what is connected to is what was checked."""
        resolution = HostResolution(hostName)
        resolutionReceiver.resolutionBegan(resolution)

        def found(infos: Any) -> None:
            for family, _, _, _, address in infos:
                host = str(address[0])
                self._granted.add(host)
                made = IPv6Address if family == socket.AF_INET6 else IPv4Address
                resolutionReceiver.addressResolved(made(transportSemantics, host, portNumber))

        def failed(failure: Any) -> None:
            failure.trap(PrivateAddressError, OSError)
            if failure.check(PrivateAddressError):
                self.refused[hostName] = str(failure.value)

        looked = deferToThreadPool(
            self._reactor, self._reactor.getThreadPool(), self._guard.addresses, hostName, portNumber
        )
        looked.addCallbacks(found, failed).addBoth(lambda _: resolutionReceiver.resolutionComplete())
        return resolution


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
