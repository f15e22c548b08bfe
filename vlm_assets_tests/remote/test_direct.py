"""Parts over kept connections: what is no part in full is left to the client, whatever a server sends or cuts."""

import socket
import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from vlm_assets.remote.direct import DirectParts

PART = b"0123456789"
WHOLE = b"HTTP/1.1 206 Partial Content\r\nContent-Length: 10\r\nContent-Range: bytes 5-14/99\r\n\r\n" + PART


class Scripted:
    """Accepts connections, and on each answers one request after the other with what is next in its script."""

    def __init__(self, *connections: tuple[bytes, ...]) -> None:
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.place = f"127.0.0.1:{self._listening.getsockname()[1]}"
        self.asked: list[tuple[int, str]] = []
        self._thread = threading.Thread(target=self._run, args=(connections,))
        self._thread.start()

    def _run(self, connections: tuple[tuple[bytes, ...], ...]) -> None:
        for number, answers in enumerate(connections):
            connection, _ = self._listening.accept()
            with connection, connection.makefile("rb") as file:
                for answer in answers:
                    head = b"".join(iter(file.readline, b"\r\n")).decode()
                    self.asked.append((number, head))
                    connection.sendall(answer)

    def close(self) -> None:
        self._thread.join()
        self._listening.close()


def client(place: str, *, verify: bool = True, proxy: str | None = None) -> Any:
    session = SimpleNamespace(_verify=verify, _proxy_config=SimpleNamespace(proxy_url_for=lambda _: proxy))

    def sign(_: str, **given: Any) -> str:
        named = given["Params"]
        return f"http://{place}/{named['Bucket']}/{named['Key']}?signed=1"

    return SimpleNamespace(
        generate_presigned_url=sign,
        meta=SimpleNamespace(config=SimpleNamespace(user_agent="tester")),
        _endpoint=SimpleNamespace(http_session=session),
    )


@pytest.fixture
def script(request: pytest.FixtureRequest) -> Iterator[Scripted]:
    server = Scripted(*request.param)
    yield server
    server.close()


def filled(parts: DirectParts) -> tuple[str | None, bytes]:
    first, second = bytearray(4), bytearray(6)
    found = parts.fill("bucket", "key", 5, [memoryview(first), memoryview(second)])
    return found, bytes(first + second)


@pytest.mark.parametrize(
    ("script", "connections"),
    [([(WHOLE, WHOLE)], [0, 0]), ([(WHOLE,), (WHOLE,)], [0, 1])],
    ids=["a connection is kept", "the server closed it"],
    indirect=["script"],
)
def test_parts_come_over_kept_connections(script: Scripted, connections: list[int]):
    parts = DirectParts(client(script.place))
    for _ in connections:
        assert filled(parts) == ("bytes 5-14/99", PART)
    assert [number for number, _ in script.asked] == connections
    assert script.asked[0][1].splitlines() == [
        "GET /bucket/key?signed=1 HTTP/1.1", f"Host: {script.place}", "Accept-Encoding: identity",
        "User-Agent: tester", "Range: bytes=5-14",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "script",
    [
        [(WHOLE[:-3],)],
        [(WHOLE.replace(b"206", b"200"),)],
        [(WHOLE.replace(b"Content-Length: 10", b"Content-Length: 11"),)],
        [(WHOLE.replace(b"Content-Length: 10", b"Transfer-Encoding: chunked"),)],
        [(b"HTTP/1.1 206 Partial\r\n",)],
        [(b"SSH-2.0-x\r\n",)],
        [(b"HTTP/1.1 206 Partial\r\n" + b"a: b\r\n" * 300,)],
        [(b"HTTP/1.1 503 Slow Down\r\nContent-Length: 0\r\n\r\n",)],
    ],
    ids=[
        "cut",
        "whole object",
        "other length",
        "chunked",
        "no headers",
        "no HTTP",
        "headers without end",
        "slow",
    ],
    indirect=True,
)
def test_what_is_no_part_is_left_to_the_client(script: Scripted):
    assert filled(DirectParts(client(script.place)))[0] is None


@pytest.mark.parametrize("script", [[(b"HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n",)]], indirect=True)
def test_a_store_that_refuses_is_not_asked_again(script: Scripted):
    parts = DirectParts(client(script.place))
    assert [filled(parts)[0] for _ in range(3)] == [None, None, None]
    assert len(script.asked) == 1


@pytest.mark.parametrize(
    "told", [{"proxy": "http://127.0.0.1:9"}, {"verify": False}], ids=["proxy", "unverified"]
)
def test_another_way_is_the_clients(told: dict[str, Any]):
    assert filled(DirectParts(client("127.0.0.1:9", **told)))[0] is None


def test_nobody_there_is_left_to_the_client():
    assert filled(DirectParts(client("127.0.0.1:9")))[0] is None
