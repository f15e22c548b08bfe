"""An S3 server on loopback, and a proxy before it that does harm as told and writes down every request."""

import http.client
import logging
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cached_property
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qs, unquote, urlsplit

import boto3
from moto.core import DEFAULT_ACCOUNT_ID
from moto.s3.models import FakeKey, s3_backends
from moto.server import ThreadedMotoServer

from vlm_assets.remote.bucket import Bucket, s3_client
from vlm_assets.remote.names import RemoteAddress
from vlm_assets_tests.waiting import HANG_S

CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}
BUCKET = "corpus-remote"
PREFIX = "team/a"
REMOTE = f"s3://{BUCKET}/{PREFIX}"


class S3Server:
    """moto in server mode. `client()` speaks to it directly; `new_bucket()` empties the place for a test."""

    def __init__(self) -> None:
        self._server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)

    def __enter__(self) -> Self:
        os.environ.update(CREDENTIALS)
        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        self._server.start()
        host, port = self._server.get_host_and_port()
        self.port = port
        self.endpoint = f"http://{host}:{port}"
        return self

    def __exit__(self, *_: object) -> None:
        self._server.stop()

    def client(self) -> Any:
        return self._client

    @cached_property
    def _client(self) -> Any:
        """One for all: to make one takes as long as many a test."""
        return boto3.client("s3", endpoint_url=self.endpoint)

    def new_bucket(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.port)
        connection.request("POST", "/moto-api/reset")
        connection.getresponse().read()
        connection.close()
        client = self.client()
        client.create_bucket(Bucket=BUCKET)
        client.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})

    def listed(self, prefix: str = "") -> list[str]:
        """Keys under the remote's prefix, without it."""
        pages = (
            self.client()
            .get_paginator("list_objects_v2")
            .paginate(Bucket=BUCKET, Prefix=f"{PREFIX}/{prefix}")
        )
        return [one["Key"].removeprefix(f"{PREFIX}/") for page in pages for one in page.get("Contents", ())]

    def get(self, key: str) -> bytes:
        body: bytes = self.client().get_object(Bucket=BUCKET, Key=f"{PREFIX}/{key}")["Body"].read()
        return body

    def every_version(self, key: str) -> list[bytes]:
        """What the bucket has stored of a key, earlier versions included."""
        client, full = self.client(), f"{PREFIX}/{key}"
        found = client.list_object_versions(Bucket=BUCKET, Prefix=full).get("Versions", ())
        stored = [
            client.get_object(Bucket=BUCKET, Key=full, VersionId=one["VersionId"])["Body"].read()
            for one in found
        ]
        return [bytes(one) for one in stored]

    @property
    def _store(self) -> Any:
        """What moto holds: it serves from this process, and a look at everything takes no request each."""
        return s3_backends[DEFAULT_ACCOUNT_ID]["aws"]

    def stored(self) -> Iterator[tuple[str, bytes]]:
        """Keys and contents of all stored versions, deleted ones included."""
        for key, versions in list(self._store.get_bucket(BUCKET).keys.lists()):
            yield from ((key, one.value) for one in versions if isinstance(one, FakeKey))

    def everything(self) -> dict[str, tuple[bytes, dict[str, str], str]]:
        """Content, metadata and checksum of every object."""
        keys = dict(self._store.get_bucket(BUCKET).keys.items())
        return {
            key: (one.value, dict(one.metadata), one.checksum_value)
            for key, one in keys.items()
            if isinstance(one, FakeKey)
        }

    def put_back(self, everything: Mapping[str, tuple[bytes, Mapping[str, str], str]]) -> None:
        """An empty bucket with these objects in it."""
        self.new_bucket()
        for key, (data, metadata, checksum) in everything.items():
            made = self._store.put_object(BUCKET, key, data, checksum_value=checksum)
            made.checksum_algorithm = "SHA256"
            made.set_metadata(dict(metadata))

    def put(self, key: str, data: bytes, *, age_s: float = 0.0) -> None:
        """`age_s`: by the server's clock."""
        self.client().put_object(Bucket=BUCKET, Key=f"{PREFIX}/{key}", Body=data)
        if age_s:
            self._store.get_bucket(BUCKET).keys[f"{PREFIX}/{key}"].last_modified -= timedelta(seconds=age_s)


@dataclass(frozen=True)
class Asked:
    """One request as the proxy saw it."""

    method: str
    key: str
    """Without bucket and prefix; empty for requests to the bucket."""
    query: dict[str, list[str]]
    size_bytes: int
    range: str | None = None
    """The header of that name."""

    @property
    def sends_object(self) -> bool:
        """Whether file content goes up with it."""
        return self.method == "PUT" and self.key.startswith("objects/")


@dataclass(frozen=True)
class Fault:
    """`status`: this answer, nothing forwarded. `cut_after`: so many bytes of the real answer's body, then the end.

    `flip`: one bit of the body turned. `drop`: no answer. `forward_first`: with `drop` or `status`, the request is
    carried out and its answer lost.
    """

    status: int = 0
    code: str = "InternalError"
    cut_after: int | None = None
    flip: bool = False
    drop: bool = False
    forward_first: bool = False


@dataclass
class FaultProxy:
    """Forwards to the server; asks `fault` before each request what to do to it."""

    server: S3Server
    fault: Callable[[Asked], Fault | None] = lambda _: None
    log: list[Asked] = field(default_factory=list)

    def __enter__(self) -> Self:
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._http.daemon_threads = True
        self._thread = threading.Thread(target=self._http.serve_forever, daemon=True)
        self._thread.start()
        self.endpoint = f"http://127.0.0.1:{self._http.server_address[1]}"
        return self

    def __exit__(self, *_: object) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join(HANG_S)

    def sent(self) -> list[str]:
        """Keys of everything that was written, in order."""
        return [asked.key for asked in self.log if asked.method in {"PUT", "POST", "DELETE"}]


def nth(match: Callable[[Asked], bool], numbers: range, fault: Fault) -> Callable[[Asked], Fault | None]:
    """The fault for those of the matching requests (counted from 0)."""
    count = 0
    lock = threading.Lock()

    def decide(asked: Asked) -> Fault | None:
        nonlocal count
        if not match(asked):
            return None
        with lock:
            count += 1
            return fault if count - 1 in numbers else None

    return decide


def first_of_each(match: Callable[[Asked], bool], fault: Fault) -> Callable[[Asked], Fault | None]:
    """The fault for the first matching request of every key."""
    seen: set[str] = set()
    lock = threading.Lock()

    def decide(asked: Asked) -> Fault | None:
        with lock:
            if not match(asked) or asked.key in seen:
                return None
            seen.add(asked.key)
            return fault

    return decide


def _handler(proxy: FaultProxy) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def _do(self) -> None:
            body = self._body()
            url = urlsplit(self.path)
            key = unquote(url.path).removeprefix(f"/{BUCKET}").lstrip("/").removeprefix(f"{PREFIX}/")
            query = parse_qs(url.query, keep_blank_values=True)
            asked = Asked(self.command, key, query, len(body), self.headers.get("Range"))
            proxy.log.append(asked)
            fault = proxy.fault(asked) or Fault()
            if fault.forward_first:
                self._forward(body)
            if fault.drop:
                self.close_connection = True
                self.connection.close()
            elif fault.status:
                self._answer(fault.status, _error(fault.code), {"Content-Type": "application/xml"})
            else:
                self._pass_on(fault, body)

        do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = _do  # noqa: N815 - http.server's names

        def _body(self) -> bytes:
            if self.headers.get("Expect", "").lower() == "100-continue":
                pass  # http.server has answered it
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))

        def _forward(self, body: bytes) -> tuple[int, bytes, dict[str, str]]:
            connection = http.client.HTTPConnection("127.0.0.1", proxy.server.port, timeout=HANG_S)
            try:
                headers = {k: v for k, v in self.headers.items() if k.lower() not in {"connection", "expect"}}
                connection.request(self.command, self.path, body or None, headers)
                answer = connection.getresponse()
                kept = {k: v for k, v in answer.headers.items() if k.lower() not in _HOP_BY_HOP}
                return answer.status, answer.read(), kept
            finally:
                connection.close()

        def _pass_on(self, fault: Fault, body: bytes) -> None:
            status, data, headers = self._forward(body)
            if fault.flip and data:
                middle = len(data) // 2
                data = data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]
            self._answer(status, data, headers, fault.cut_after)

        def _answer(
            self, status: int, data: bytes, headers: dict[str, str], cut_after: int | None = None
        ) -> None:
            self.send_response_only(status)
            length = headers.pop("Content-Length", str(len(data)))
            for name, value in headers.items():
                self.send_header(name, value)
            if status not in {204, 304}:
                self.send_header("Content-Length", length if self.command == "HEAD" else str(len(data)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(data if cut_after is None else data[:cut_after])
            if cut_after is not None:
                self.wfile.flush()
                self.close_connection = True

    return Handler


_HOP_BY_HOP = {"connection", "transfer-encoding", "keep-alive", "date", "server"}


def _error(code: str) -> bytes:
    return f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>made up</Message></Error>".encode()


def open_bucket(endpoint: str, concurrency: int = 4) -> Bucket:
    """The remote of the tests, through an endpoint."""
    return Bucket(RemoteAddress.parse(REMOTE), s3_client(endpoint, concurrency), concurrency=concurrency)
