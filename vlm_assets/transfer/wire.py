"""What goes over the network: two clients behind one address check, a fast strict one and a lenient one."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Final, Self

import aiohttp
from yarl import URL

from vlm_assets.transfer.agent import user_agent
from vlm_assets.transfer.answers import Answer
from vlm_assets.transfer.guard import Guard
from vlm_assets.transfer.guarded_resolver import GuardedResolver
from vlm_assets.transfer.lenient import LenientClient
from vlm_assets.transfer.tls import shared_tls_context
from vlm_assets.words.contexts import SourceSettings

_THREADS: Final = 32
_READ_BUFFER: Final = 256 * 1024
_MOST_FIELD_BYTES: Final = 64 * 1024
"""Of one header; what http.client takes, too. Content-Security-Policy alone is longer than aiohttp's own 8 KiB."""


class Wire:
    """The connections of one run; an async context manager, of the loop that enters it.

    Knows no redirects, cookies or retries of its own.
    """

    def __init__(self, settings: SourceSettings) -> None:
        self.guard = Guard.of(settings)
        self._settings = settings

    async def __aenter__(self) -> Self:
        # Name lookups that hang must not keep others, or a sync of the spool, waiting.
        asyncio.get_running_loop().set_default_executor(
            ThreadPoolExecutor(_THREADS, thread_name_prefix="http")
        )
        resolver = GuardedResolver(self.guard)
        tls = shared_tls_context(self._settings.ca_bundle)
        # Bytes as they were published: a body re-encoded under way is another body.
        headers = {"User-Agent": user_agent(self._settings), "Accept": "*/*", "Accept-Encoding": "identity"}
        self._session = _open_session(self._settings.http_timeout_s, resolver, tls, headers)
        self._proxied = bool(self.guard.proxies)
        self._lenient = LenientClient(resolver, tls, self._settings.http_timeout_s, headers)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    def send(
        self,
        method: str,
        url: URL,
        *,
        headers: Mapping[str, str],
        data: bytes | None = None,
        lenient: bool = False,
    ) -> AbstractAsyncContextManager[Answer]:
        """One request and its answer, whose body is still to be read, codings and all.

        Raises:
            PrivateAddressError: the host leads to an address that is not allowed.
            aiohttp.ClientError, OSError, FaultError: as `http.fault_of` explains them.
        """
        if self._proxied:
            return self._send_by_proxy(method, url, headers, data, lenient=lenient)
        return self._sent(method, url, headers, data, None, lenient=lenient)

    def _sent(
        self,
        method: str,
        url: URL,
        headers: Mapping[str, str],
        data: bytes | None,
        proxy: URL | None,
        *,
        lenient: bool,
    ) -> AbstractAsyncContextManager[Answer]:
        if lenient:
            return self._lenient.request(method, url, headers=headers, data=data, proxy=proxy)
        return self._session.request(
            method, url, headers=headers, data=data, allow_redirects=False, proxy=proxy
        )

    @asynccontextmanager
    async def _send_by_proxy(
        self, method: str, url: URL, headers: Mapping[str, str], data: bytes | None, *, lenient: bool
    ) -> AsyncIterator[Answer]:
        proxy = await asyncio.to_thread(self.guard.proxy_for, url)
        async with self._sent(method, url, headers, data, proxy, lenient=lenient) as answer:
            yield answer


def _open_session(
    timeout_s: float, resolver: GuardedResolver, tls: ssl.SSLContext, headers: Mapping[str, str]
) -> aiohttp.ClientSession:
    connector = aiohttp.TCPConnector(
        limit=0,  # the scheduler limits, over all processes
        resolver=resolver,
        socket_factory=resolver.socket_for,
        ssl=tls,
        ttl_dns_cache=300,
        keepalive_timeout=15,
    )
    session = aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=False,
        read_bufsize=_READ_BUFFER,
        timeout=aiohttp.ClientTimeout(
            total=None, connect=timeout_s, sock_connect=timeout_s, sock_read=timeout_s
        ),
        headers=headers,
        auto_decompress=False,
        max_line_size=_MOST_FIELD_BYTES,
        max_field_size=_MOST_FIELD_BYTES,
        requote_redirect_url=False,
    )
    # The library would ask again at once, uncounted, when a server drops a connection; no public switch for it.
    session._retry_connection = False  # noqa: SLF001
    return session
