"""A second client for answers that a strict parser refuses: one connection a request, read as browsers read it.

None of aiohttp, http.client, requests, httpx2, niquests and libcurl takes them all (of 102 kinds of answer in this
project's tests they took 68 to 76); what is dropped here is a header line that means nothing, never a byte of a body.
"""

import asyncio
import re
import socket
import ssl
from base64 import b64encode
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from vlm_assets.transfer.answers import Content, Headers, lengths_said
from vlm_assets.transfer.guarded_resolver import GuardedResolver
from vlm_assets.transfer.http import FaultError
from vlm_assets.transfer.politeness import Fault

_STATUS: Final = re.compile(
    rb"^(?:HTTP|ICY)(?:/[0-9]+(?:\.[0-9]+)?)?[ \t]+([1-5][0-9]{2})(?:[ \t]|$)", re.IGNORECASE
)
_NAME: Final = re.compile(rb"^[!-9;-~]+$")
_SIZE: Final = re.compile(rb"^[ \t]*([0-9A-Fa-f]{1,15})[ \t]*(?:;.*)?$")
_CONTROL: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_MOST_HEAD_BYTES: Final = 512 * 1024
_MOST_INFORMATION: Final = 10
"""Answers 1xx before the one that counts."""
_PIECE: Final = 256 * 1024
_BODILESS: Final = frozenset({204, 304})


@dataclass(frozen=True, slots=True)
class LenientAnswer:
    """As `answers.Answer`."""

    status: int
    headers: Headers
    content: Content


@dataclass(frozen=True, slots=True)
class LenientClient:
    """Sends one request a connection, behind the same address check as the strict client."""

    resolver: GuardedResolver
    tls: ssl.SSLContext
    timeout_s: float
    headers: Mapping[str, str]
    """Sent with every request."""

    @asynccontextmanager
    async def request(
        self,
        method: str,
        url: URL,
        *,
        headers: Mapping[str, str],
        data: bytes | None = None,
        proxy: URL | None = None,
    ) -> AsyncIterator[LenientAnswer]:
        """One exchange, through `proxy` if there is one.

        Raises:
            FaultError: no connection, no answer that can be made out, or none in time.
            PrivateAddressError: the host leads to an address that is not allowed.
        """
        reader, writer = await self._connect(url, proxy)
        try:
            writer.write(_request(method, url, {**self.headers, **headers}, data, proxy))
            lines = _Lines(reader, self.timeout_s)
            status, found = await _head(lines)
            yield LenientAnswer(status, found, _body(method, status, found, lines))
        finally:
            writer.transport.abort()  # what is not read is not wanted

    async def _connect(
        self, url: URL, proxy: URL | None
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        via = proxy or url
        async with asyncio.timeout(self.timeout_s):
            try:
                connection = await self.resolver.connect(via.raw_host or "", via.port or 80)
            except socket.gaierror as error:
                raise FaultError(Fault.DNS, error.strerror or "no such name") from None
            except OSError as error:
                raise FaultError(Fault.CONNECT, error.strerror or type(error).__name__) from None
            tls = self.tls if via.scheme == "https" else None
            try:
                reader, writer = await asyncio.open_connection(
                    sock=connection, limit=_PIECE, ssl=tls, server_hostname=via.raw_host if tls else None
                )
            except BaseException:
                connection.close()
                raise
            if proxy is not None and url.scheme == "https":
                await self._tunnel(reader, writer, url, proxy)
            return reader, writer

    async def _tunnel(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, url: URL, proxy: URL
    ) -> None:
        """Through the proxy to the host itself, with TLS to the host."""
        target = f"{_host(url)}:443" if url.is_default_port() else _host(url)
        lines = [f"CONNECT {target} HTTP/1.1", f"Host: {target}"]
        lines += [f"{name}: {value}" for name, value in _proxy_headers(proxy).items()]
        writer.write("\r\n".join([*lines, "", ""]).encode())
        try:
            _check_tunnel((await _head(_Lines(reader, self.timeout_s)))[0])
            await writer.start_tls(self.tls, server_hostname=url.raw_host)
        except BaseException:
            writer.transport.abort()
            raise


def _request(
    method: str, url: URL, headers: Mapping[str, str], data: bytes | None, proxy: URL | None
) -> bytes:
    forwarded = proxy is not None and url.scheme == "http"
    target = f"http://{_host(url)}{url.raw_path_qs}" if forwarded else url.raw_path_qs
    lines = [f"{method} {target} HTTP/1.1", f"Host: {_host(url)}", "Connection: close"]
    if proxy is not None and forwarded:
        headers = {**headers, **_proxy_headers(proxy)}
    lines += [f"{name}: {value}" for name, value in headers.items()]
    lines += [f"Content-Length: {len(data)}"] if data is not None else []
    return "\r\n".join([*lines, "", ""]).encode("utf-8", "surrogateescape") + (data or b"")


def _check_tunnel(status: int) -> None:
    if not 200 <= status < 300:
        raise FaultError(Fault.CONNECT, f"the proxy answered with status {status}")


def _proxy_headers(proxy: URL) -> dict[str, str]:
    if proxy.user is None:
        return {}
    pair = f"{proxy.user}:{proxy.password or ''}".encode()
    return {"Proxy-Authorization": f"Basic {b64encode(pair).decode()}"}


def _host(url: URL) -> str:
    host = url.raw_host or ""
    shown = f"[{host}]" if ":" in host else host
    return shown if url.is_default_port() else f"{shown}:{url.port}"


class _Lines:
    """A stream read by lines that end in LF, with or without CR, and by pieces."""

    def __init__(self, reader: asyncio.StreamReader, timeout_s: float) -> None:
        self._reader = reader
        self._timeout_s = timeout_s
        self._left = _MOST_HEAD_BYTES

    async def line(self) -> bytes | None:
        """The next line without its end; None at the end of the stream.

        Raises:
            FaultError: the lines of one answer are too many, or do not come in time.
        """
        try:
            async with asyncio.timeout(self._timeout_s):
                line = await self._reader.readuntil(b"\n")
        except asyncio.IncompleteReadError as error:
            if not error.partial:
                return None
            line = error.partial
        except asyncio.LimitOverrunError:
            raise FaultError(Fault.MALFORMED, f"a line of more than {_PIECE} bytes") from None
        self._left -= len(line)
        if self._left < 0:
            raise FaultError(Fault.MALFORMED, f"more than {_MOST_HEAD_BYTES} bytes of headers")
        return line.removesuffix(b"\n").removesuffix(b"\r")

    async def piece(self, most: int = _PIECE) -> bytes:
        """At least one byte, or none at the end of the stream."""
        async with asyncio.timeout(self._timeout_s):
            return await self._reader.read(most)

    def new_budget(self) -> None:
        """The lines of a body's chunks are not those of the head."""
        self._left = _MOST_HEAD_BYTES


async def _head(lines: _Lines) -> tuple[int, Headers]:
    """Status and headers of the answer that counts."""
    for _ in range(_MOST_INFORMATION):
        line = await lines.line()
        while line == b"":
            line = await lines.line()
        if line is None:
            raise FaultError(Fault.CUT, "the connection was closed without an answer")
        match = _STATUS.match(line)
        if match is None:
            raise FaultError(Fault.MALFORMED, f"no status line but {line[:40]!r}")
        headers = await _headers(lines)
        if not 100 <= int(match[1]) < 200:
            return int(match[1]), headers
    raise FaultError(Fault.MALFORMED, f"more than {_MOST_INFORMATION} answers 1xx")


async def _headers(lines: _Lines) -> Headers:
    found: list[tuple[str, str]] = []
    while (line := await lines.line()) != b"":
        if line is None:
            raise FaultError(Fault.CUT, "the connection was closed within the headers")
        if line[:1] in {b" ", b"\t"}:
            if found:
                name, value = found.pop()
                found.append((name, f"{value} {_text(line)}"))
            continue
        name_bytes, colon, value_bytes = line.partition(b":")
        if colon and _NAME.match(name_bytes.rstrip()):
            found.append((name_bytes.rstrip().decode("ascii"), _text(value_bytes)))
    return CIMultiDictProxy(CIMultiDict(found))


def _text(value: bytes) -> str:
    return _CONTROL.sub(" ", value.decode("utf-8", "surrogateescape")).strip()


def _body(method: str, status: int, headers: Headers, lines: _Lines) -> Content:
    if method == "HEAD" or status in _BODILESS:
        return _Counted(lines, frozenset({0}))
    codings = ",".join(headers.getall("Transfer-Encoding", ())).lower().split(",")
    if any(coding.strip() == "chunked" for coding in codings):
        lines.new_budget()
        return _Chunked(lines)
    return _Counted(lines, lengths_said(headers))


class _Counted:
    """A body of a known length, or, where `lengths` is empty, up to the end of the connection."""

    def __init__(self, lines: _Lines, lengths: frozenset[int]) -> None:
        self._lines = lines
        self._lengths = lengths
        self._most = max(lengths, default=None)
        self._size = 0

    async def readany(self) -> bytes:
        if self._most is not None and self._size >= self._most:
            return b""
        most = _PIECE if self._most is None else min(_PIECE, self._most - self._size)
        piece = await self._lines.piece(most)
        self._size += len(piece)
        if not piece and self._lengths and self._size not in self._lengths:
            raise FaultError(Fault.CUT, f"{self._size} of {self._most} bytes")
        return piece


class _Chunked:
    """A body in chunks; extensions and trailers are passed over."""

    def __init__(self, lines: _Lines) -> None:
        self._lines = lines
        self._left = 0
        self._over = False

    async def readany(self) -> bytes:
        if not self._left and not self._over:
            await self._next_chunk()
        if self._over:
            return b""
        piece = await self._lines.piece(min(self._left, _PIECE))
        if not piece:
            raise FaultError(Fault.CUT, "the connection was closed within a chunk")
        self._left -= len(piece)
        if not self._left:
            await self._lines.line()  # the end of the chunk's own line
            self._lines.new_budget()
        return piece

    async def _next_chunk(self) -> None:
        line = await self._lines.line()
        if line is None:
            raise FaultError(Fault.CUT, "the connection was closed before the last chunk")
        match = _SIZE.match(line)
        if match is None:
            raise FaultError(Fault.MALFORMED, f"no size of a chunk but {line[:40]!r}")
        self._left = int(match[1], 16)
        self._over = self._left == 0
