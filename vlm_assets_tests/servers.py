"""A web server on loopback that answers as told, and remembers what it was asked and when."""

import asyncio
import ssl
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Self

from aiohttp import web

from vlm_assets_tests.waiting import HANG_S

OWN_FILES = frozenset({"/robots.txt", "/.well-known/tdmrep.json", "/ai.txt"})


@dataclass(frozen=True)
class Reply:
    """One scripted answer. `cut_after`: close the connection after so many body bytes, with all of them announced.

    `stall_after`: send so many and then nothing. `delay_s`: before the headers, after `when` is true.
    """

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    content_type: str = "image/jpeg"
    cut_after: int | None = None
    stall_after: int | None = None
    delay_s: float = 0.0
    when: Callable[[], bool] | None = None
    chunked: bool = False
    drop: bool = False
    """Close the connection without any answer."""


@dataclass(frozen=True)
class Asked:
    """One request as it arrived."""

    method: str
    path: str
    """With the query, as sent."""
    headers: Mapping[str, str]
    at: float


Script = Sequence[Reply] | Callable[[web.Request, int], Reply]


class FaultServer:
    """Serves `script[path]`: the n-th request gets the n-th reply, later ones the last. 404 where nothing is set.

    Use as a context manager; `url(path)` is the address, `log` all requests in order of arrival.
    """

    def __init__(
        self,
        script: Mapping[str, Script | Reply] | None = None,
        *,
        ranges: bool = False,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._tls = tls
        self.script: dict[str, Script | Reply] = dict(script or {})
        self.log: list[Asked] = []
        self.in_flight = 0
        self.most_in_flight = 0
        self.port = 0
        self._ranges = ranges
        self._counts: defaultdict[str, int] = defaultdict(int)
        self._started = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._started.wait(HANG_S), "no server"
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(HANG_S)

    def url(self, path: str = "/", host: str = "127.0.0.1") -> str:
        return f"{'https' if self._tls else 'http'}://{host}:{self.port}{path}"

    @property
    def counts(self) -> Counter[str]:
        """Requests a path, those left out that ask what an origin says of itself."""
        return Counter(asked.path for asked in self.log if asked.path not in OWN_FILES)

    def times(self, path: str | None = None) -> list[float]:
        return [asked.at for asked in self.log if path is None or asked.path == path]

    def _run(self) -> None:
        self._loop.run_until_complete(self._serve())
        self._loop.close()

    async def _serve(self) -> None:
        app = web.Application()
        app.router.add_route("*", "/{tail:.*}", self._answer)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=self._tls)
        await site.start()
        self.port = runner.addresses[0][1]
        self._started.set()
        await self._stop.wait()
        await runner.cleanup()
        leftover = asyncio.all_tasks() - {asyncio.current_task()}
        for task in leftover:
            task.cancel()
        await asyncio.gather(*leftover, return_exceptions=True)

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        path = request.raw_path
        self.log.append(Asked(request.method, path, dict(request.headers), time.time()))
        reply = self._next(request, path)
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            await _hold_back(reply)
        finally:
            # Before the body: who has read it may ask again before this loop runs on.
            self.in_flight -= 1
        return await self._reply(request, reply)

    def _next(self, request: web.Request, path: str) -> Reply:
        script = self.script.get(path, self.script.get(request.path))
        count = self._counts[path]
        self._counts[path] += 1
        if script is None:
            return Reply(404, b"nothing here", content_type="text/plain")
        if isinstance(script, Reply):
            return script
        if callable(script):
            return script(request, count)
        return script[min(count, len(script) - 1)]

    async def _reply(self, request: web.Request, reply: Reply) -> web.StreamResponse:
        if reply.drop:
            _drop(request)
            return web.Response()
        status, body, headers = self._ranged(request, reply)
        response = web.StreamResponse(status=status, headers={"Content-Type": reply.content_type, **headers})
        if not reply.chunked:
            response.content_length = len(body)
        await response.prepare(request)
        if reply.cut_after is not None:
            await response.write(body[: reply.cut_after])
            if request.transport is not None:
                request.transport.close()  # what was written still arrives; an abort would take it back
            return response
        if reply.stall_after is not None:
            await response.write(body[: reply.stall_after])
            await asyncio.Event().wait()
        if request.method != "HEAD" and status not in {204, 304}:
            await response.write(body)
        await response.write_eof()
        return response

    def _ranged(self, request: web.Request, reply: Reply) -> tuple[int, bytes, dict[str, str]]:
        headers = dict(reply.headers)
        etag = headers.get("ETag")
        if etag and request.headers.get("If-None-Match") == etag and reply.status == 200:
            return 304, b"", headers
        wanted = request.headers.get("Range", "")
        if not (
            self._ranges and reply.status == 200 and wanted.startswith("bytes=") and wanted.endswith("-")
        ):
            return reply.status, reply.body, headers
        if request.headers.get("If-Range", etag) != etag:
            return reply.status, reply.body, headers
        start, total = int(wanted[6:-1]), len(reply.body)
        if start >= total:
            return 416, b"", {**headers, "Content-Range": f"bytes */{total}"}
        return 206, reply.body[start:], {**headers, "Content-Range": f"bytes {start}-{total - 1}/{total}"}


async def _hold_back(reply: Reply) -> None:
    while reply.when is not None and not reply.when():  # noqa: ASYNC110 - a condition of the test, no event
        await asyncio.sleep(0.002)
    await asyncio.sleep(reply.delay_s)


def _drop(request: web.Request) -> None:
    if request.transport is not None:
        request.transport.abort()
