"""A server on loopback that sends bytes as they are told, however wrong, and keeps what it was asked.

Real web servers, or a test library's, would tidy the answers up.
"""

import asyncio
import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Self

from vlm_assets_tests.servers import OWN_FILES
from vlm_assets_tests.waiting import HANG_S


@dataclass(frozen=True)
class Raw:
    """Bytes of one answer. `close`: end the connection after them; else it is kept, whatever they said."""

    data: bytes
    close: bool = False


@dataclass(frozen=True)
class Question:
    """One request as it arrived; header names in lower case."""

    method: str
    target: str
    headers: Mapping[str, str]
    count: int
    """Earlier requests for the same target."""


Answer = Raw | Callable[[Question], Raw]


def answer(
    body: bytes = b"",
    *headers: str | bytes,
    status: str = "200 OK",
    version: str = "HTTP/1.1",
    length: bool = True,
    eol: bytes = b"\r\n",
    close: bool = False,
) -> Raw:
    """An answer in parts: `headers` are lines, put in as they are after a right Content-Length (`length`)."""
    lines: list[str | bytes] = [f"{version} {status}", *headers]
    if length:
        lines.insert(1, f"Content-Length: {len(body)}")
    encoded = [line if isinstance(line, bytes) else line.encode() for line in lines]
    return Raw(eol.join([*encoded, b"", b""]) + body, close)


@dataclass
class OddServer:
    """Serves `script[target]` on 127.0.0.1 and the other `hosts`; 404 where nothing is set. A context manager."""

    script: dict[str, Answer] = field(default_factory=dict)
    hosts: tuple[str, ...] = ("127.0.0.1",)
    port: int = 0
    log: list[Question] = field(default_factory=list)
    always: tuple[str, ...] = ()
    """Header lines for every answer that a test sets up with them."""

    def __enter__(self) -> Self:
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)
        self._thread.start()
        assert self._ready.wait(HANG_S), "no server"
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(HANG_S)

    def url(self, target: str = "/", host: str = "127.0.0.1") -> str:
        return f"http://{host}:{self.port}{target}"

    @property
    def counts(self) -> Counter[str]:
        """Requests a target, those left out that ask what an origin says of itself."""
        return Counter(asked.target for asked in self.log if asked.target not in OWN_FILES)

    async def _serve(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        self._counts: defaultdict[str, int] = defaultdict(int)
        self._writers: set[asyncio.StreamWriter] = set()
        servers = []
        for host in self.hosts:
            servers.append(await asyncio.start_server(self._talk, host, self.port))
            self.port = servers[0].sockets[0].getsockname()[1]
        self._ready.set()
        await self._stop.wait()
        for server in servers:
            server.close()
        for writer in list(self._writers):
            writer.close()
        await asyncio.sleep(0)

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            while (head := await _head(reader)) is not None:
                said = self._say(head)
                writer.write(said.data)
                await writer.drain()
                if said.close:
                    return
        except ConnectionError:
            return
        finally:
            self._writers.discard(writer)
            writer.close()

    def _say(self, head: bytes) -> Raw:
        first, *lines = head.decode("latin-1").split("\r\n")
        method, target, _ = first.split(" ", 2)
        pairs = (line.partition(":") for line in lines if line)
        headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
        question = Question(method, target, headers, self._counts[target])
        self._counts[target] += 1
        self.log.append(question)
        said = self.script.get(target, answer(b"nothing here", status="404 Not Found"))
        return said if isinstance(said, Raw) else said(question)


async def _head(reader: asyncio.StreamReader) -> bytes | None:
    try:
        return await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        return None
