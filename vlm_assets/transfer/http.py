"""The errors of a request as `Fault`s."""

import asyncio
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import aiohttp
from yarl import URL

from vlm_assets.transfer.addresses import PrivateAddressError
from vlm_assets.transfer.politeness import Fault, utc
from vlm_assets.transfer.urls import UrlError, shown_url
from vlm_assets.words.errors import PostponedError, Reject, RejectReason, SourceError

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
        due = f"; not before {utc(not_before)}" if not_before > 0 else ""
        super().__init__(f"{shown_url(url)}: {detail}{due}")

    def told(self, where: str) -> SourceError:
        """The same of something larger that needed the request: postponed, where the server has said until when."""
        if self.not_before > 0:
            return PostponedError(
                f"{where}: {self.detail}; not before {utc(self.not_before)}", self.not_before
            )
        return SourceError(f"{where}: {self.detail}")

    def as_reject(self, item: str) -> Reject:
        """What to say of an item whose only request this was."""
        wish = self.not_before if self.transient else 0
        return Reject(item, self.reason, self.detail[:300], None, self.transient, wish)


class FaultError(Exception):
    """A request that failed under way; may be worth another try."""

    def __init__(self, fault: Fault, detail: str) -> None:
        self.fault, self.detail = fault, detail
        super().__init__(f"{fault}: {detail}")


def new_loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """The loops of uvloop where it is installed (a third less CPU a request), else asyncio's own."""
    try:
        import uvloop  # noqa: PLC0415 - not on every platform
    except ImportError:
        return None
    return uvloop.new_event_loop


def fault_of(error: BaseException) -> FaultError | None:
    """The fault behind an error of the HTTP library, or None where it is something else."""
    detail = _plain(error)
    if isinstance(error, FaultError):
        return error
    if isinstance(error, aiohttp.ClientConnectorCertificateError | ssl.SSLCertVerificationError):
        return FaultError(Fault.CERTIFICATE, detail)
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return FaultError(Fault.DNS, detail)
    if isinstance(error, aiohttp.ClientSSLError | ssl.SSLError):
        return FaultError(Fault.TLS, detail)
    if isinstance(error, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError):
        return FaultError(Fault.CONNECT, detail or "no connection in time")
    if isinstance(error, TimeoutError):
        return FaultError(Fault.TIMEOUT, "no byte in time")
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return FaultError(Fault.CONNECT, f"the proxy answered with status {error.status}")
    if isinstance(error, aiohttp.ClientResponseError):
        return FaultError(Fault.MALFORMED, _parser_said(error))
    if isinstance(error, aiohttp.ClientError | ConnectionError):
        return FaultError(Fault.CUT, detail or type(error).__name__)
    return None


def _parser_said(error: aiohttp.ClientResponseError) -> str:
    """The first line of a parser's complaint; what it quotes of the answer may be a secret."""
    return error.message.strip().partition("\n")[0].rstrip(": ")[:100] or type(error).__name__


def _plain(error: BaseException) -> str:
    if isinstance(error, aiohttp.ClientConnectorError):
        inner = error.os_error
        return (inner.strerror or str(inner) or type(inner).__name__)[:150]
    # Other messages of the library may quote the URL, and so its query.
    return type(error).__name__


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a URL is not asked at all, as a reject."""

    reason: RejectReason
    detail: str


def refusal_of(error: UrlError | PrivateAddressError) -> Refusal:
    """The reject behind an error of the checks before a request."""
    reason = RejectReason.BAD_URL if isinstance(error, UrlError) else RejectReason.PRIVATE_ADDRESS
    return Refusal(reason, str(error)[:300])
