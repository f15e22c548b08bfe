"""An outgoing proxy: asked for everything but what `no_proxy` names, and never for what may not be asked at all."""

import asyncio
import socket
import ssl
import threading
from base64 import b64encode
from collections.abc import Iterator
from typing import Any, Self

import pytest
from yarl import URL

from vlm_assets.settings import load_settings
from vlm_assets.sources.kaggle import KaggleSpec
from vlm_assets.transfer.addresses import AddressPolicy, PrivateAddressError
from vlm_assets.transfer.client import Client
from vlm_assets.transfer.download import Fetched, UrlItem, fetch_urls
from vlm_assets.transfer.guard import Guard
from vlm_assets.transfer.guarded_clients import guard_adapter, guarded_transport
from vlm_assets.transfer.http import TransferError
from vlm_assets.transfer.politeness import HostLimits
from vlm_assets.transfer.proxies import Proxies
from vlm_assets.transfer.sync_guest import SyncGuest
from vlm_assets.transfer.tls import tls_context
from vlm_assets.transfer.wire import Wire
from vlm_assets.words.errors import ConfigError, Reject, RejectReason
from vlm_assets_tests.odd_servers import OddServer, answer
from vlm_assets_tests.servers import FaultServer, Reply
from vlm_assets_tests.sources.kit import COMMON
from vlm_assets_tests.transfer.conftest import jpeg, quick_settings
from vlm_assets_tests.transfer.odd_answers import TAKEN
from vlm_assets_tests.waiting import HANG_S

PICTURE = jpeg("behind a proxy")
FAR = "http://images.test/a.jpg"
"""A name that only the proxy knows."""


@pytest.fixture
def proxy() -> Iterator[OddServer]:
    with OddServer() as running:
        running.script[FAR] = answer(PICTURE)
        running.script["http://images.test/robots.txt"] = answer(b"", status="404 Not Found")
        yield running


@pytest.fixture(autouse=True)
def no_proxies_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


PLAIN, OTHER = "http://proxy.test:3128", "http://other.test:8080"


@pytest.mark.parametrize(
    ("setting", "environment", "url", "proxy"),
    [
        (None, {}, "http://a.test/", None),
        (PLAIN, {}, "http://a.test/", PLAIN),
        (PLAIN, {}, "https://a.test/", PLAIN),
        ("proxy.test:3128", {}, "https://a.test/", PLAIN),
        (PLAIN, {"http_proxy": OTHER}, "http://a.test/", PLAIN),
        ("none", {"http_proxy": OTHER}, "http://a.test/", None),
        (None, {"http_proxy": OTHER}, "http://a.test/", OTHER),
        (None, {"http_proxy": OTHER}, "https://a.test/", None),
        (None, {"HTTPS_PROXY": OTHER}, "https://a.test/", OTHER),
        (None, {"https_proxy": PLAIN, "HTTPS_PROXY": OTHER}, "https://a.test/", PLAIN),
        (PLAIN, {"no_proxy": "a.test"}, "http://a.test/", None),
        (PLAIN, {"no_proxy": "a.test"}, "http://b.a.test/", None),
        (PLAIN, {"no_proxy": ".a.test"}, "http://b.a.test/", None),
        (PLAIN, {"no_proxy": "a.test"}, "http://aa.test/", PLAIN),
        (PLAIN, {"NO_PROXY": "x, A.Test ,y"}, "http://a.test/", None),
        (PLAIN, {"no_proxy": "*"}, "http://a.test/", None),
        (PLAIN, {"no_proxy": "a.test:81"}, "http://a.test:81/", None),
        (PLAIN, {"no_proxy": "a.test:81"}, "http://a.test/", PLAIN),
        (PLAIN, {"no_proxy": "10.0.0.0/8"}, "http://10.1.2.3/", None),
        (PLAIN, {"no_proxy": "10.0.0.0/8"}, "http://11.1.2.3/", PLAIN),
        (PLAIN, {"no_proxy": "::1"}, "http://[::1]/", None),
    ],
)
def test_which_proxy_a_url_is_asked_through(setting, environment, url, proxy):
    found = Proxies.of(quick_settings(proxy=setting), environment).for_url(URL(url))
    assert (found and str(found).rstrip("/")) == proxy


@pytest.mark.parametrize("value", ["socks5://me:s3cret@a.test:1080", "http://:3128", "ftp://a.test"])
def test_what_is_no_proxy_is_named_without_its_value(value):
    with pytest.raises(ConfigError, match="http_proxy") as caught:
        Proxies.of(quick_settings(), {"http_proxy": value})
    with pytest.raises(ConfigError, match="VLM_PROXY") as refused:
        load_settings(None, proxy=value)
    assert value not in f"{caught.value} {refused.value}"


def fetch(context, url: str, **settings: object) -> Fetched | Reject:
    strict = quick_settings(**{"allow_private_hosts": (), "contact": "me@a.test", **settings})
    (result,) = fetch_urls([UrlItem(url, url)], context(strict), HostLimits())
    return result


def test_a_list_is_fetched_through_it_though_it_is_on_a_private_address(context, proxy):
    result = fetch(context, FAR, proxy=proxy.url())
    assert isinstance(result, Fetched), result
    assert result.body == PICTURE
    assert {asked.headers["host"] for asked in proxy.log} == {"images.test"}


def test_the_environment_names_it_too(context, proxy, monkeypatch):
    monkeypatch.setenv("http_proxy", proxy.url())
    assert isinstance(fetch(context, FAR), Fetched)


def test_its_credentials_go_to_it_and_stand_nowhere_else(context, proxy, caplog):
    result = fetch(context, FAR, proxy=f"http://me:s3cret@127.0.0.1:{proxy.port}")
    assert isinstance(result, Fetched)
    wanted = f"Basic {b64encode(b'me:s3cret').decode()}"
    assert {asked.headers["proxy-authorization"] for asked in proxy.log} == {wanted}
    assert "s3cret" not in caplog.text


def test_odd_answers_come_through_it(context, proxy):
    proxy.script[FAR] = TAKEN["no-colon-first"](PICTURE)
    result = fetch(context, FAR, proxy=proxy.url())
    assert isinstance(result, Fetched), result
    assert result.body == PICTURE


@pytest.mark.parametrize(
    "url",
    [
        "http://10.0.0.1/a.jpg",
        "http://169.254.169.254/",
        "http://[::1]/",
        "http://0x7f.1/",
        "http://inside.test/",
    ],
)
def test_it_is_not_asked_for_what_is_private(context, proxy, monkeypatch, url):
    real = socket.getaddrinfo

    def look_up(host: str, port: int, *args: Any, **options: Any) -> Any:
        if host != "inside.test":
            return real(host, port, *args, **options)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (one, port)) for one in ("8.8.8.8", "10.0.0.1")]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    result = fetch(context, url, proxy=proxy.url())
    assert isinstance(result, Reject)
    assert result.reason is RejectReason.PRIVATE_ADDRESS
    assert not proxy.counts


def test_a_redirect_through_it_leads_nowhere_private(context, proxy):
    proxy.script[FAR] = answer(b"", "Location: http://10.0.0.1/", status="302 Found")
    result = fetch(context, FAR, proxy=proxy.url())
    assert isinstance(result, Reject)
    assert result.reason is RejectReason.PRIVATE_ADDRESS


def test_no_proxy_is_obeyed_and_the_address_is_checked_there(context, proxy, monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with OddServer() as direct:
        direct.script["/a"] = answer(PICTURE)
        refused = fetch(context, direct.url("/a"), proxy=proxy.url())
        assert isinstance(refused, Reject)
        assert not direct.log
        allowed = fetch(context, direct.url("/a"), proxy=proxy.url(), allow_private_hosts=("127.0.0.1",))
        assert isinstance(allowed, Fetched)
        assert not proxy.log


def test_httpx2_and_requests_go_through_it(proxy):
    import httpx2
    import requests
    from requests.adapters import HTTPAdapter

    guard = Guard(AddressPolicy(()), Proxies({"http": URL(proxy.url())}))
    with httpx2.Client(transport=guarded_transport(lambda: guard, tls_context(None))) as client:
        assert client.get(FAR).content == PICTURE
        with pytest.raises(PrivateAddressError):
            client.get("http://10.0.0.1/")
    with requests.Session() as session:
        session.trust_env = False
        adapter = HTTPAdapter()
        guard_adapter(adapter, guard)
        session.mount("http://", adapter)
        assert session.get(FAR, proxies={"http": proxy.url()}, timeout=HANG_S).content == PICTURE
    assert proxy.counts == {FAR: 2}


def test_a_proxy_that_refuses_is_told(tmp_path, proxy):
    """A tunnel for https that the proxy does not open: `CONNECT` gets its 404."""
    settings = quick_settings(allow_private_hosts=(), contact="me@a.test", proxy=proxy.url(), http_attempts=1)
    with (
        Client(settings, tmp_path) as client,
        pytest.raises(TransferError, match="the proxy answered with status 404"),
    ):
        client.request("https://images.test/a")
    assert [asked.method for asked in proxy.log] == ["CONNECT"]


class Tunnel:
    """A proxy that connects `CONNECT` to one port of this machine, whatever name was asked for."""

    def __init__(self, port: int) -> None:
        self._to, self.asked, self.port = port, list[str](), 0
        self._ready, self._loop = threading.Event(), asyncio.new_event_loop()
        self._thread = threading.Thread(
            target=lambda: self._loop.run_until_complete(self._serve()), daemon=True
        )

    def __enter__(self) -> Self:
        self._thread.start()
        self._ready.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)
        self._loop.close()

    async def _serve(self) -> None:
        self._stop, self._tasks = asyncio.Event(), set[asyncio.Task[None]]()
        server = await asyncio.start_server(self._talk, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._stop.wait()
        server.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        self.asked.append(head.split(b"\r\n")[0].decode())
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._to)
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        try:
            await asyncio.gather(_pump(reader, far_writer), _pump(far_reader, writer))
        finally:
            writer.close()
            far_writer.close()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()


@pytest.mark.parametrize("lenient", [False, True], ids=["strict", "lenient"])
def test_https_goes_through_a_tunnel_and_is_verified_at_its_end(certificate, lenient):
    server_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_side.load_cert_chain(certificate)

    async def ask(url: URL, proxy: str) -> bytes:
        async with (
            Wire(quick_settings(ca_bundle=certificate, proxy=proxy)) as wire,
            wire.send("GET", url, headers={}, lenient=lenient) as found,
        ):
            body = b""
            while piece := await found.content.readany():
                body += piece
            return body

    with FaultServer({"/a": Reply(body=PICTURE)}, tls=server_side) as server, Tunnel(server.port) as tunnel:
        url = URL(server.url("/a"))
        assert asyncio.run(ask(url, f"http://127.0.0.1:{tunnel.port}")) == PICTURE
        assert tunnel.asked == [f"CONNECT 127.0.0.1:{server.port} HTTP/1.1"]


def test_the_client_of_kaggle_trusts_the_bundle_at_the_end_of_a_tunnel(certificate, tmp_path):
    from vlm_assets.transfer.kaggle import _polite_client

    server_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_side.load_cert_chain(certificate)
    spec = KaggleSpec(**COMMON, kind="kaggle", handle="org/set")
    with FaultServer({"/a": Reply(body=PICTURE)}, tls=server_side) as server, Tunnel(server.port) as tunnel:
        settings = quick_settings(ca_bundle=certificate, proxy=f"http://127.0.0.1:{tunnel.port}")
        with (
            SyncGuest(settings, spec, tmp_path) as guest,
            _polite_client(guest) as client,
            client.http_client()._session as session,
        ):
            assert session.get(server.url("/a"), timeout=HANG_S).content == PICTURE
        [asked] = tunnel.asked
        assert asked.startswith(f"CONNECT 127.0.0.1:{server.port} ")
