"""One HTTP exchange: a session that checks addresses and TLS, and the errors of a request as `Fault`s."""

import asyncio
import ssl
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.metadata import version
from typing import Final

import aiohttp
from yarl import URL

from vlm_assets.transfer.addresses import AddressPolicy, GuardedResolver, PrivateAddressError
from vlm_assets.transfer.politeness import Fault
from vlm_assets.transfer.urls import UrlError, origin_of, shown_url, wire_url
from vlm_assets.words.contexts import SourceSettings
from vlm_assets.words.errors import Reject, RejectReason, SourceError

MAX_REDIRECTS: Final = 10
REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_KEPT_ACROSS_ORIGINS: Final = frozenset({"accept", "range", "if-range", "user-agent"})
_THREADS: Final = 32
_READ_BUFFER: Final = 256 * 1024


class TransferError(SourceError):
    """A request that ended without what was asked for.

    `reason` says how, `status` is the last one (0: none), `transient` that a later try may do, `not_before` when
    (Unix seconds; 0: any time).
    """

    def __init__(
        self,
        url: str | URL,
        reason: RejectReason,
        detail: str,
        *,
        status: int = 0,
        transient: bool = False,
        not_before: float = 0.0,
    ) -> None:
        self.reason, self.detail, self.status = reason, detail, status
        self.transient, self.not_before = transient, not_before
        super().__init__(f"{shown_url(url)}: {detail}")

    def as_reject(self, item: str) -> Reject:
        """What to say of an item whose only request this was."""
        wish = self.not_before if self.transient else 0
        return Reject(item, self.reason, self.detail[:300], None, self.transient, wish)


class FaultError(Exception):
    """A request that failed under way; may be worth another try."""

    def __init__(self, fault: Fault, detail: str) -> None:
        self.fault, self.detail = fault, detail
        super().__init__(f"{fault}: {detail}")


def user_agent(settings: SourceSettings) -> str:
    """`vlm-assets/<version> (+<contact>)`: honest, with somebody to write to."""
    contact = " ".join(settings.contact.split())
    product = f"vlm-assets/{version('vlm-assets')}"
    return f"{product} (+{contact})" if contact else product


def new_loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """The loops of uvloop where it is installed (a third less CPU a request), else asyncio's own."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


def open_session(settings: SourceSettings, policy: AddressPolicy) -> aiohttp.ClientSession:
    """A session without proxies, cookies, redirects of its own, or a way around the address check.

    Must be called inside the running loop that will use it.
    """
    # Name lookups that hang must not keep others, or a sync of the spool, waiting.
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(_THREADS, thread_name_prefix="http"))
    resolver = GuardedResolver(policy)
    context = ssl.create_default_context()
    if settings.ca_bundle is not None:
        context.load_verify_locations(settings.ca_bundle)
    connector = aiohttp.TCPConnector(
        limit=0,  # the scheduler limits, over all processes
        resolver=resolver,
        socket_factory=resolver.socket_for,
        ssl=context,
        ttl_dns_cache=300,
        keepalive_timeout=15,
    )
    timeout_s = settings.http_timeout_s
    session = aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=False,
        read_bufsize=_READ_BUFFER,
        timeout=aiohttp.ClientTimeout(
            total=None, connect=timeout_s, sock_connect=timeout_s, sock_read=timeout_s
        ),
        # Bytes as they were published: a body re-encoded under way is another body.
        headers={"User-Agent": user_agent(settings), "Accept-Encoding": "identity"},
        requote_redirect_url=False,
    )
    # The library would ask again at once, uncounted, when a server drops a connection; no public switch for it.
    session._retry_connection = False  # noqa: SLF001
    return session


def fault_of(error: BaseException) -> FaultError | None:
    """The fault behind an error of the HTTP library, or None where it is something else."""
    detail = _plain(error)
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return FaultError(Fault.CERTIFICATE, detail)
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return FaultError(Fault.DNS, detail)
    if isinstance(error, aiohttp.ClientSSLError | ssl.SSLError):
        return FaultError(Fault.TLS, detail)
    if isinstance(error, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError):
        return FaultError(Fault.CONNECT, detail or "no connection in time")
    if isinstance(error, TimeoutError):
        return FaultError(Fault.TIMEOUT, "no byte in time")
    if isinstance(error, aiohttp.ClientError | ConnectionError):
        return FaultError(Fault.CUT, detail or type(error).__name__)
    return None


def _plain(error: BaseException) -> str:
    if isinstance(error, aiohttp.ClientConnectorError):
        inner = error.os_error
        return (inner.strerror or str(inner) or type(inner).__name__)[:150]
    # Other messages of the library may quote the URL, and so its query.
    return type(error).__name__


def next_hop(current: URL, location: str | None, policy: AddressPolicy) -> URL:
    """Where a redirect leads.

    Raises:
        UrlError: nowhere, or to something that is no http(s) URL.
        PrivateAddressError: to a literal address that is not allowed.
    """
    if not location:
        raise UrlError("a redirect without a target")
    raw = location.encode("utf-8", "surrogateescape")
    try:
        target = wire_url(raw.decode(), base=current)
    except UnicodeDecodeError:
        target = wire_url(raw.decode("latin-1"), base=current)
    policy.check_literal(target)
    return target


def headers_for_hop(headers: Mapping[str, str], first: URL, current: URL) -> dict[str, str]:
    """The caller's headers for one hop: credentials and the like only for the origin they were given for."""
    if origin_of(first) == origin_of(current):
        return dict(headers)
    return {name: value for name, value in headers.items() if name.lower() in _KEPT_ACROSS_ORIGINS}


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a URL is not asked at all, as a reject."""

    reason: RejectReason
    detail: str


def refusal_of(error: UrlError | PrivateAddressError) -> Refusal:
    """The reject behind an error of the checks before a request."""
    reason = RejectReason.BAD_URL if isinstance(error, UrlError) else RejectReason.PRIVATE_ADDRESS
    return Refusal(reason, str(error)[:300])
