"""A small HTTP/1.1 server on loopback with a request log and scripted faults.

What the upstream services have in common. Serves generated content only; listens on 127.0.0.1 alone.
"""

import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from email.message import Message
from fnmatch import fnmatchcase
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Literal, Self
from urllib.parse import parse_qsl, unquote, urlsplit

FaultKind = Literal["429", "503", "cut", "stall", "corrupt"]


@dataclass(slots=True)
class Fault:
    """What goes wrong with the next `times` requests whose path matches `path` (a glob).

    `429` and `503` carry `Retry-After` where it is given; `cut` closes the connection half-way through the body;
    `stall` sends half and then nothing until the client gives up; `corrupt` changes bytes and keeps the size.
    """

    path: str
    kind: FaultKind
    times: int = 1
    retry_after_s: int | None = None
    method: str = "*"
    headers: dict[str, str] = field(default_factory=dict)
    """More headers of a 429 or 503."""


@dataclass(frozen=True, slots=True)
class LogEntry:
    """One request as the server saw it; `at` is `time.monotonic()` at its arrival."""

    at: float
    method: str
    path: str
    status: int
    headers: dict[str, str]
    sent_bytes: int


@dataclass(slots=True)
class Request:
    """A parsed request."""

    method: str
    path: str
    """Decoded, without query."""
    query: dict[str, str]
    headers: Message
    body: bytes
    base_url: str


@dataclass(slots=True)
class Reply:
    """What a service answers. Bodies answer Range and If-None-Match requests by themselves."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)


class Service:
    """One upstream service on its own port (0: any free one). Subclasses override `answer`.

    `known_as`: the origin of its URLs where it is asked through a proxy; else that is where it listens.
    """

    known_as = ""

    def __init__(self, port: int = 0) -> None:
        self.log: list[LogEntry] = []
        self.faults: list[Fault] = []
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._server = _Server(self, port)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    @property
    def port(self) -> int:
        """Port on 127.0.0.1."""
        return int(self._server.server_address[1])

    @property
    def url(self) -> str:
        """Base URL without a trailing slash."""
        return self.known_as or f"http://127.0.0.1:{self.port}"

    def start(self) -> Self:
        """Serves until `stop`."""
        self._thread.start()
        return self

    def stop(self) -> None:
        """Ends the server and every stalled reply."""
        self._stopping.set()
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def answer(self, request: Request) -> Reply:
        """The reply of the service in good health."""
        raise NotImplementedError

    def asked_for(self, request: Request) -> "Service":
        """The service that a request is for: this one, unless it is a proxy."""
        del request
        return self

    def requests(self, path: str = "*") -> list[LogEntry]:
        """Logged requests whose path matches the glob, in order of arrival."""
        with self._lock:
            return sorted((e for e in self.log if fnmatchcase(e.path, path)), key=lambda e: e.at)

    def clear_log(self) -> None:
        """Forget the requests so far."""
        with self._lock:
            self.log.clear()

    def counts(self) -> Counter[tuple[str, str, int]]:
        """Requests by (method, path, status)."""
        with self._lock:
            return Counter((e.method, e.path, e.status) for e in self.log)

    def take_fault(self, request: Request) -> Fault | None:
        """The next scripted fault for a request, counted down."""
        with self._lock:
            for fault in self.faults:
                wanted = fault.times > 0 and fnmatchcase(request.path, fault.path)
                if wanted and fnmatchcase(request.method, fault.method):
                    fault.times -= 1
                    return fault
        return None

    def record(self, entry: LogEntry) -> None:
        """Keep a request in the log."""
        with self._lock:
            self.log.append(entry)

    def stall(self) -> None:
        """Hold a reply until the service stops (the client gives up long before)."""
        self._stopping.wait(120)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256

    def __init__(self, service: Service, port: int) -> None:
        self.service = service
        super().__init__(("127.0.0.1", port), _Handler)

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that hangs up is part of the game."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server
    timeout = 60

    def do_GET(self) -> None:
        self._serve()

    def do_HEAD(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        self._serve()

    def do_PUT(self) -> None:
        self._serve()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # named so in the base class
        """The service keeps its own log."""

    def _serve(self) -> None:
        at = time.monotonic()
        request = self._parse()
        service = self.server.service.asked_for(request)
        fault = service.take_fault(request)
        if fault is not None and fault.kind in ("429", "503"):
            headers = dict(fault.headers)
            if fault.retry_after_s is not None:
                headers["Retry-After"] = str(fault.retry_after_s)
            reply = Reply(int(fault.kind), b"scripted fault", headers)
        else:
            reply = _conditional(request, service.answer(request))
        body = reply.body
        if fault is not None and fault.kind == "corrupt" and body:
            middle = len(body) // 2
            body = body[:middle] + bytes([body[middle] ^ 0xFF]) + body[middle + 1 :]
        part = body[: len(body) // 2] if fault is not None and fault.kind in ("cut", "stall") else body
        sent = 0 if self.command == "HEAD" else len(part)
        sent_headers = {key.lower(): value for key, value in self.headers.items()}
        service.record(LogEntry(at, request.method, request.path, reply.status, sent_headers, sent))
        self._send(reply, len(body), part)
        if len(part) < len(body) and self.command != "HEAD":
            if fault is not None and fault.kind == "stall":
                service.stall()
            self.close_connection = True

    def _parse(self) -> Request:
        target = urlsplit(self.path)
        length = int(self.headers.get("Content-Length") or 0)
        host = self.headers.get("Host") or f"127.0.0.1:{self.server.service.port}"
        return Request(
            method=self.command,
            path=unquote(target.path),
            query=dict(parse_qsl(target.query, keep_blank_values=True)),
            headers=self.headers,
            body=self.rfile.read(length) if length else b"",
            base_url=f"http://{host}",
        )

    def _send(self, reply: Reply, full_length: int, part: bytes) -> None:
        self.send_response(reply.status)
        headers = {"Content-Length": str(full_length), **reply.headers}
        if reply.status == 304:
            headers.pop("Content-Length")
        for key, value in headers.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(part)
            self.wfile.flush()


def _conditional(request: Request, reply: Reply) -> Reply:
    """Answers `If-None-Match` and a single `Range: bytes=a-b` for a 200 that allows them."""
    if reply.status != 200:
        return reply
    etag = reply.headers.get("ETag")
    if etag and request.headers.get("If-None-Match") == etag:
        return Reply(304, b"", reply.headers)
    wanted = request.headers.get("Range")
    if not wanted or reply.headers.get("Accept-Ranges") != "bytes":
        return reply
    first, _, last = wanted.removeprefix("bytes=").partition("-")
    size = len(reply.body)
    start = max(size - int(last), 0) if not first else int(first)
    end = size if not first or not last else min(int(last) + 1, size)
    if start >= size:
        return Reply(416, b"", {"Content-Range": f"bytes */{size}"})
    headers = {**reply.headers, "Content-Range": f"bytes {start}-{end - 1}/{size}"}
    return Reply(206, reply.body[start:end], headers)
