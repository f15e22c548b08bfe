"""Single requests and single files, for kinds that are not lists of URLs: same manners, synchronous.

`Client` keeps connections and one private event loop; `request` and `download_file` are one-off forms of its
methods. All are safe to call from several threads.
"""

import asyncio
import concurrent.futures
import random
import threading
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Generic, Self, TypeVar

import aiohttp
import orjson
from yarl import URL

from vlm_assets.transfer.addresses import PrivateAddressError
from vlm_assets.transfer.answers import Answer
from vlm_assets.transfer.budget import present_meter
from vlm_assets.transfer.contact import require_contact
from vlm_assets.transfer.encodings import OverCapError, codings_of, decoded
from vlm_assets.transfer.guest import Guest
from vlm_assets.transfer.http import FaultError, TransferError, new_loop_factory
from vlm_assets.transfer.part_file import PartFile
from vlm_assets.transfer.politeness import Accept, AskLeniently, GiveUp, HostLimits, Retry, judge_status, utc
from vlm_assets.transfer.redirects import REDIRECTS, Trail, headers_for_hop
from vlm_assets.transfer.urls import UrlError, host_key, shown_url, wire_url
from vlm_assets.transfer.wire import Wire
from vlm_assets.words.clock import unix_now
from vlm_assets.words.contexts import SourceSettings
from vlm_assets.words.errors import PostponedError, RejectReason, SourceError

T = TypeVar("T")
_MAX_ANSWER_BYTES: Final = 64 * 2**20
_READ_ONLY: Final = frozenset({"GET", "HEAD"})
_NO_LIMITS: Final = HostLimits()


@dataclass(frozen=True, slots=True)
class Response:
    """A whole answer. `headers` ignores case; `status` is 2xx, or 304 where an `etag` was given."""

    url: str
    """After redirects; may hold a signed query: show it with `shown_url`."""
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def etag(self) -> str:
        """For the next conditional request; "" where there is none."""
        return self.headers.get("ETag", "")

    @property
    def text(self) -> str:
        """The body as UTF-8, with replacement characters where it is not."""
        return self.body.decode("utf-8-sig", "replace")

    def json(self) -> Any:
        """The body as JSON.

        Raises:
            SourceError: it is none.
        """
        try:
            return orjson.loads(self.body)
        except orjson.JSONDecodeError as error:
            raise SourceError(f"{shown_url(self.url)}: the answer is not JSON: {error}") from None


@dataclass(frozen=True, slots=True)
class DownloadedFile:
    """A complete, verified, synced file."""

    path: Path
    size_bytes: int
    sha256: str
    etag: str = ""
    last_modified: str = ""
    content_type: str = ""
    url: str = ""
    """After redirects; may hold a signed query."""


@dataclass(slots=True)
class _Task(Generic[T]):
    """What one call asks for. `headers` is asked before every try: a resumed file wants another range."""

    url: str
    read: Callable[[Answer, URL], Awaitable[T]]
    headers: Callable[[], Mapping[str, str]] = dict
    method: str = "GET"
    body: bytes | None = None
    robots: bool = False
    accepted: frozenset[int] = field(default_factory=frozenset)
    lenient: bool = False
    """Whether the lenient client asks."""


class Client:
    """A connection pool with manners; a context manager. Rates and pauses of hosts are shared machine-wide."""

    def __init__(
        self,
        settings: SourceSettings,
        locks_dir: Path,
        limits: HostLimits = _NO_LIMITS,
        *,
        cancelled: threading.Event | None = None,
    ) -> None:
        """`limits` tighten the settings' own, for every host; `cancelled` makes a waiting call raise."""
        self._settings = settings
        self._locks_dir = locks_dir
        self._limits = limits
        self._cancelled = cancelled
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()
        self._stack = AsyncExitStack()
        self._guest: Guest | None = None
        self._meter = present_meter()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def requests(self) -> int:
        """Requests sent so far, redirects and retries included."""
        return self._guest.requests if self._guest else 0

    def close(self) -> None:
        """End the loop and its connections."""
        loop, thread = self._loop, self._thread
        if loop is None or thread is None:
            return
        asyncio.run_coroutine_threadsafe(self._stack.aclose(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
        self._loop = self._thread = None

    def request(
        self,
        url: str,
        *,
        method: str = "GET",
        headers: Mapping[str, str] | None = None,
        json: Any = None,
        etag: str = "",
        max_bytes: int = _MAX_ANSWER_BYTES,
        robots: bool = False,
    ) -> Response:
        """The answer to one request, redirects followed and retries done.

        `headers` go to the origin of `url` alone, never to where it redirects. `etag`: of an answer at hand; a 304
        says that it still holds. `robots`: obey robots.txt, and require a contact (crawling, not an API).

        Raises:
            TransferError: no 2xx answer; says why, with which status, and whether later may do.
            PostponedError: nothing may be asked of the host for now.
            ConfigError: `robots` without a contact in the settings.
            SourceError: cancelled.
            BudgetSpentError: the night's budget of the source is used up.
        """
        given = dict(headers or {})
        if etag:
            given["If-None-Match"] = etag
        body = None
        if json is not None:
            body = orjson.dumps(json)
            given.setdefault("Content-Type", "application/json")

        async def read(answer: Answer, at: URL) -> Response:
            try:
                content = decoded(
                    await self._content(answer, max_bytes), codings_of(answer.headers), max_bytes
                )
            except OverCapError:
                raise TransferError(
                    url, RejectReason.TOO_MANY_BYTES, f"more than {max_bytes} bytes"
                ) from None
            return Response(str(at), answer.status, answer.headers, content)

        accepted = frozenset({304}) if etag else frozenset()
        task = _Task(url, read, lambda: given, method.upper(), body, robots, accepted)
        return self._wait(self._exchange(task))

    def download_file(
        self,
        url: str,
        dest: Path,
        *,
        headers: Mapping[str, str] | None = None,
        sha256: str | None = None,
        resume: bool = True,
        known_as: str = "",
        max_bytes: int | None = None,
        robots: bool = False,
        progress: Callable[[int], None] = lambda size_bytes: None,  # noqa: ARG005 - a callback's shape
    ) -> DownloadedFile:
        """`dest` holds the whole body, verified and synced; until then nothing has that name.

        Bytes gather in `<dest>.part`. A later call continues there when the server confirms by `If-Range` that
        the file is still the same, or when `sha256` will prove it. A body that does not hash to `sha256` is
        fetched once more, then refused. An existing `dest` is replaced; whether to ask at all is for the caller.
        `known_as` names the file where its URL is signed anew for every call, so that a later call can continue.
        `progress` is called in this thread with the bytes since its last call.

        Raises:
            TransferError, PostponedError, ConfigError, SourceError, BudgetSpentError: as `request`.
            DiskFullError, StoreError: it cannot be written.
        """
        given = dict(headers or {})
        with PartFile(dest, known_as or url, resume=resume, declared=(sha256 or "").lower()) as part:
            counted = 0

            def report() -> None:
                nonlocal counted
                if part.received != counted:
                    progress(part.received - counted)
                    counted = part.received

            async def read(answer: Answer, at: URL) -> DownloadedFile:
                part.begin(answer.status, answer.headers)
                if max_bytes is not None and (part.expected or 0) > max_bytes:
                    raise TransferError(
                        url, RejectReason.TOO_MANY_BYTES, f"{part.expected} bytes, the cap is {max_bytes}"
                    )
                while chunk := await answer.content.readany():
                    part.write(chunk)
                    self._meter.received(len(chunk), cut=True)
                    if max_bytes is not None and part.size_bytes > max_bytes:
                        raise TransferError(url, RejectReason.TOO_MANY_BYTES, f"more than {max_bytes} bytes")
                part.check()
                return DownloadedFile(
                    dest, part.content_bytes, part.sha256, part.etag, part.last_modified,
                    answer.headers.get("Content-Type", "").partition(";")[0].strip().lower(), str(at),
                )  # fmt: skip

            task = _Task(
                url, read, lambda: given | part.range_headers(), robots=robots, accepted=frozenset({416})
            )
            done = self._wait(self._exchange(task), report)
            report()
            part.finish()
            return done

    async def _content(self, answer: Answer, max_bytes: int) -> bytes:
        content = bytearray()
        while chunk := await answer.content.readany():
            content += chunk
            self._meter.received(len(chunk))
            if len(content) > max_bytes:
                raise OverCapError
        return bytes(content)

    def _wait(self, work: Coroutine[Any, Any, T], report: Callable[[], None] = lambda: None) -> T:
        future = asyncio.run_coroutine_threadsafe(work, self._running_loop())
        try:
            while True:
                try:
                    return future.result(timeout=0.25)
                except concurrent.futures.TimeoutError:
                    if future.done():
                        return future.result()
                report()
                if self._cancelled is not None and self._cancelled.is_set():
                    raise SourceError("cancelled while downloading; what has arrived is kept")
        finally:
            if not future.done():
                future.cancel()
                concurrent.futures.wait([future], timeout=5)

    def _running_loop(self) -> asyncio.AbstractEventLoop:
        with self._starting:
            if self._loop is None:
                factory = new_loop_factory() or asyncio.new_event_loop
                self._loop = factory()
                self._thread = threading.Thread(
                    target=self._loop.run_forever, name="http client", daemon=True
                )
                self._thread.start()
                asyncio.run_coroutine_threadsafe(self._open(), self._loop).result()
            return self._loop

    async def _open(self) -> None:
        wire = await self._stack.enter_async_context(Wire(self._settings))
        self._guest = Guest(self._settings, self._locks_dir, wire, self._meter)
        self._stack.callback(self._guest.close)

    async def _exchange(self, task: _Task[T]) -> T:
        """Tries, redirects and pauses of one request until it is read or given up."""
        if task.robots:
            require_contact(self._settings, [task.url])
        failures = 0
        while True:
            try:
                verdict = await self._hops(task, failures + 1)
            except UrlError as error:
                raise TransferError(task.url, RejectReason.BAD_URL, str(error)) from None
            except PrivateAddressError as error:
                raise TransferError(task.url, RejectReason.PRIVATE_ADDRESS, str(error)) from None
            if isinstance(verdict, _Read):
                return verdict.result
            if isinstance(verdict, AskLeniently):
                task.lenient = True
                continue
            task.lenient = task.lenient or verdict.leniently
            failures += 1
            await asyncio.sleep(verdict.delay_s)

    async def _hops(self, task: _Task[T], tries: int) -> "_Read[T] | Retry | AskLeniently":
        """One try, from the first URL through its redirects."""
        guest = self._guest
        if guest is None:
            raise SourceError("the client is closed")
        first = url = wire_url(task.url)
        guest.policy.check_literal(url)
        trail = Trail()
        while True:
            async with guest.turn(host_key(url), self._limits) as gate:
                if task.robots:
                    await self._obey(guest, url)
                answer = await self._ask(guest, task, trail, first, url, tries)
                if isinstance(answer, GiveUp):
                    now = unix_now()
                    if answer.not_before > now:
                        gate.pause(now, answer.not_before)
                    raise TransferError(
                        task.url, answer.reason, answer.detail,
                        status=_status_in(answer.detail), transient=answer.transient, not_before=answer.not_before,
                    )  # fmt: skip
                if isinstance(answer, Retry) and answer.pause_s > 0:
                    now = unix_now()
                    gate.pause(now, now + answer.pause_s)
            if not isinstance(answer, URL):
                return answer
            url = answer

    async def _obey(self, guest: Guest, url: URL) -> None:
        interval_s = self._limits.at(host_key(url)).interval_s
        rules, asked = await guest.rules(url, interval_s)
        if rules.unavailable is not None:
            why = rules.unavailable
            if not why.transient:
                raise TransferError(url, why.reason, why.detail)
            until = max(why.not_before, unix_now() + guest.patience.max_wait_s)
            raise PostponedError(f"{host_key(url)}: {why.detail}; not before {utc(until)}", until)
        if not rules.allows(str(url)):
            raise TransferError(url, RejectReason.ROBOTS, "robots.txt forbids it")
        if asked:
            await guest.wait(host_key(url), max(interval_s, rules.crawl_delay_s))

    async def _ask(
        self, guest: Guest, task: _Task[T], trail: Trail, first: URL, url: URL, tries: int
    ) -> "_Read[T] | URL | GiveUp | Retry | AskLeniently":
        headers = headers_for_hop(task.headers(), first, url) | trail.headers(url)
        try:
            async with guest.send(
                url, method=task.method, headers=headers, data=task.body, lenient=task.lenient
            ) as answer:
                if answer.status in REDIRECTS and task.method in _READ_ONLY:
                    return trail.follow(url, answer.headers, guest.policy)
                verdict = judge_status(
                    answer.status,
                    answer.headers,
                    tries=tries,
                    patience=guest.patience,
                    jitter=random.random(),
                )
                if isinstance(verdict, Accept) or answer.status in task.accepted:
                    return _Read(await task.read(answer, url))
                return verdict
        except (aiohttp.ClientError, OSError, FaultError) as error:
            return guest.judge_error(error, url, tries)


@dataclass(frozen=True, slots=True)
class _Read(Generic[T]):
    result: T


def _status_in(detail: str) -> int:
    word, _, rest = detail.partition(" ")
    number = rest[:3]
    return int(number) if word == "status" and number.isdigit() else 0


def request(
    url: str, *, settings: SourceSettings, locks_dir: Path, limits: HostLimits = _NO_LIMITS, **options: Any
) -> Response:
    """`Client.request` with a client of its own; `options` are that method's."""
    with Client(settings, locks_dir, limits) as client:
        return client.request(url, **options)


def download_file(
    url: str,
    dest: Path,
    *,
    settings: SourceSettings,
    locks_dir: Path,
    limits: HostLimits = _NO_LIMITS,
    **options: Any,
) -> DownloadedFile:
    """`Client.download_file` with a client of its own; `options` are that method's."""
    with Client(settings, locks_dir, limits) as client:
        return client.download_file(url, dest, **options)
