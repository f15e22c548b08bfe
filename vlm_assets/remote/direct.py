"""Parts of objects without the client's machinery around each request, which costs more than the bytes do.

An address is signed once an object (a presigned URL, SigV4; the header `Range` may be added to it) and used for some
minutes. It is a secret: nothing raised here names it. Connections are kept, and the kernel writes into the memory
that the bytes are for: a part of 400 kB costs a fifth of the processor time that it costs through botocore. Whatever
is not the part that was asked for is left to the client, which knows how to try again and what to say.
"""

import socket
import ssl
import threading
import time
from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import SplitResult, urlsplit

_SIGNED_S: Final = 3_600
_USED_S: Final = 600.0
"""Temporary credentials end; the client renews them some minutes before."""
_SAYS_NOTHING: Final = frozenset({404, 416, 429})
"""Refusals that are about the object or the moment, not about how it was asked for."""
_TIMEOUT_S: Final = 60.0
_LINE_BYTES: Final = 65_536
_HEADERS: Final = 200


class _BrokenError(OSError):
    """What came is no answer of HTTP/1.1, or ended early."""


class _Connection:
    """One kept connection, for one request after the other. Knows answers of a known length alone."""

    def __init__(self, place: SplitResult, context: ssl.SSLContext | None) -> None:
        port = place.port or (80 if context is None else 443)
        self._socket = socket.create_connection((place.hostname or "", port), timeout=_TIMEOUT_S)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if context is not None:
            self._socket = context.wrap_socket(self._socket, server_hostname=place.hostname)
        self._file = self._socket.makefile("rb")

    def ask(self, head: bytes) -> tuple[int, dict[bytes, bytes]]:
        """Status and headers of the answer; its body comes next."""
        self._socket.sendall(head)
        version, _, rest = self._line().partition(b" ")
        status = rest[:3]
        if not version.startswith(b"HTTP/1.1") or not status.isdigit():
            raise _BrokenError("no answer of HTTP/1.1")
        headers: dict[bytes, bytes] = {}
        for _ in range(_HEADERS):
            line = self._line()
            if not line:
                return int(status), headers
            name, _, value = line.partition(b":")
            headers[name.strip().lower()] = value.strip()
        raise _BrokenError("too many headers")

    def _line(self) -> bytes:
        line = self._file.readline(_LINE_BYTES)
        if not line.endswith(b"\n"):
            raise _BrokenError("the connection ended")
        return line.rstrip(b"\r\n")

    def fill(self, target: memoryview) -> None:
        """The next bytes of the body."""
        done = 0
        while done < len(target):
            count = self._file.readinto(target[done:])
            if not count:
                raise _BrokenError("the body ended early")
            done += count

    def close(self) -> None:
        """Ends it."""
        self._file.close()
        self._socket.close()

    def __del__(self) -> None:
        if hasattr(self, "_file"):
            self.close()


class DirectParts:
    """Reads parts with the addresses, certificates and name of a boto3 client. For several threads at once."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self._urls: dict[tuple[str, str], tuple[SplitResult, float]] = {}
        self._idle: dict[str, list[_Connection]] = {}
        self._lock = threading.Lock()
        self._context: ssl.SSLContext | None = None
        self._refused = False

    def fill(self, bucket: str, key: str, begin: int, targets: Sequence[memoryview]) -> str | None:
        """Fills memory, one piece after the other, from a place on; the answer's `Content-Range`.

        None where the client has to ask: what was filled by then says nothing.
        """
        if self._refused:
            return None
        url = self._url(bucket, key)
        if self._goes_another_way(url.geturl()):
            return None
        kept = self._kept(url)
        if kept is not None:
            try:
                return self._asked(kept, url, begin, targets)
            except OSError:  # the server had closed it, without a word
                kept.close()
        fresh = None
        try:
            fresh = _Connection(url, self._certificates() if url.scheme == "https" else None)
            return self._asked(fresh, url, begin, targets)
        except OSError:
            if fresh is not None:
                fresh.close()
            return None

    def _asked(
        self, connection: _Connection, url: SplitResult, begin: int, targets: Sequence[memoryview]
    ) -> str | None:
        size = sum(map(len, targets))
        head = (
            f"GET {url.path}?{url.query} HTTP/1.1\r\nHost: {url.netloc}\r\nAccept-Encoding: identity\r\n"
            f"User-Agent: {self._client.meta.config.user_agent}\r\nRange: bytes={begin}-{begin + size - 1}\r\n\r\n"
        )
        status, headers = connection.ask(head.encode())
        if status != 206 or headers.get(b"content-length") != b"%d" % size or b"transfer-encoding" in headers:
            if 400 <= status < 500 and status not in _SAYS_NOTHING:
                self._refused = True  # a store or a policy that takes no signed addresses
            connection.close()
            return None
        for target in targets:
            connection.fill(target)
        if headers.get(b"connection", b"").lower() == b"close":
            connection.close()
        else:
            with self._lock:
                self._idle.setdefault(url.netloc, []).append(connection)
        return headers.get(b"content-range", b"").decode("latin-1")

    def _goes_another_way(self, url: str) -> bool:
        """Through a proxy, or to a server whose certificate nobody is to look at: the client knows how."""
        session = self._client._endpoint.http_session  # noqa: SLF001 - as it was told, by arguments or environment
        return bool(session._proxy_config.proxy_url_for(url)) or not session._verify  # noqa: SLF001 - the same

    def _kept(self, url: SplitResult) -> _Connection | None:
        with self._lock:
            idle = self._idle.get(url.netloc)
            return idle.pop() if idle else None

    def _certificates(self) -> ssl.SSLContext:
        from botocore.httpsession import get_cert_path  # noqa: PLC0415 - half a second, where a remote is asked

        with self._lock:
            if self._context is None:
                verify = self._client._endpoint.http_session._verify  # noqa: SLF001 - the client's own bundle
                self._context = ssl.create_default_context(cafile=get_cert_path(verify))
            return self._context

    def _url(self, bucket: str, key: str) -> SplitResult:
        url, until = self._urls.get((bucket, key), (urlsplit(""), 0.0))
        if time.monotonic() >= until:
            signed = self._client.generate_presigned_url(
                "get_object", Params={"Bucket": bucket, "Key": key}, ExpiresIn=_SIGNED_S
            )
            url = urlsplit(signed)
            self._urls[bucket, key] = url, time.monotonic() + _USED_S
        return url
