"""No client is led to an address that the settings do not allow: by a redirect, a name, or a second answer."""

import hashlib
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from yarl import URL

from vlm_assets.hub.client import HubRepo
from vlm_assets.hub.repo_files import RepoFile
from vlm_assets.sources.github_release import SOURCE, GithubReleaseSpec
from vlm_assets.transfer.addresses import AddressPolicy, PrivateAddressError
from vlm_assets.transfer.client import Client
from vlm_assets.transfer.files import FileHashes
from vlm_assets.transfer.guard import Guard
from vlm_assets.transfer.guarded_clients import guard_adapter, guarded_transport
from vlm_assets.transfer.http import TransferError
from vlm_assets.transfer.kaggle import Kaggle, KaggleDataset
from vlm_assets.transfer.sync_guest import SyncGuest
from vlm_assets.transfer.tls import tls_context
from vlm_assets.words.contexts import ListContext
from vlm_assets.words.errors import SourceError
from vlm_assets_tests.odd_servers import OddServer, answer
from vlm_assets_tests.sources.kit import COMMON
from vlm_assets_tests.transfer.conftest import quick_settings
from vlm_assets_tests.transfer.odd_answers import TAKEN
from vlm_assets_tests.transfer.test_sync_guest import Limits
from vlm_assets_tests.waiting import HANG_S

ALLOWED = ("127.0.0.1",)
Ask = Callable[[str], bytes]


@pytest.fixture
def server() -> Iterator[OddServer]:
    with OddServer() as running:
        yield running


@pytest.fixture
def private(server: OddServer) -> Iterator[OddServer]:
    """On the same port of an address that is not allowed; gives away what nobody should get."""
    with OddServer(hosts=("127.0.0.2",), port=server.port) as running:
        running.script.update({"/": answer(b"secret"), "/a": answer(b"secret")})
        yield running
        assert not running.log


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[list[str]]]:
    """A resolver of our own: name → its answers, one a look-up, the last for ever."""
    known: dict[str, list[list[str]]] = {}
    real = socket.getaddrinfo

    def look_up(host: Any, port: Any, *args: Any, **options: Any) -> Any:
        if host not in known:
            return real(host, port, *args, **options)
        answers = known[host]
        found = answers.pop(0) if len(answers) > 1 else answers[0]
        return [
            (socket.AF_INET6, socket.SOCK_STREAM, 6, "", (address, port, 0, 0))
            if ":" in address
            else (socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))
            for address in found
        ]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    return known


def _with_aiohttp(url: str, folder: Path) -> bytes:
    with Client(quick_settings(allow_private_hosts=ALLOWED), folder) as client:
        return client.request(url).body


def _with_httpx(url: str, folder: Path) -> bytes:
    import httpx2

    del folder
    guard = Guard(AddressPolicy(ALLOWED))
    with httpx2.Client(
        transport=guarded_transport(lambda: guard, tls_context(None)), follow_redirects=True
    ) as client:
        return bytes(client.get(url).content)


def _with_requests(url: str, folder: Path) -> bytes:
    import requests
    from requests.adapters import HTTPAdapter

    del folder
    guard = Guard(AddressPolicy(ALLOWED))
    with requests.Session() as session:
        session.trust_env = False
        adapter = HTTPAdapter()
        guard_adapter(adapter, guard)
        session.mount("http://", adapter)
        return bytes(session.get(url, timeout=HANG_S).content)


CLIENTS = {"aiohttp": _with_aiohttp, "httpx2": _with_httpx, "requests": _with_requests}


@pytest.fixture(params=["aiohttp", "lenient", "httpx2", "requests"])
def ask(request: pytest.FixtureRequest, tmp_path: Path, server: OddServer) -> Ask:
    """GET with redirects, by each client; for the lenient one every answer of the server is an odd one."""
    server.always = ("no colon in this line",) if request.param == "lenient" else ()
    client = CLIENTS.get(request.param, _with_aiohttp)
    return lambda url: client(url, tmp_path / "locks")


def set_up(server: OddServer, target: str, body: bytes, *headers: str, status: str = "200 OK") -> None:
    server.script[target] = answer(body, *server.always, *headers, status=status)


def first_looks(server: OddServer) -> list[list[str]]:
    """The answers that a first exchange needs: the lenient client comes after the strict one."""
    return [["127.0.0.1"]] * (2 if server.always else 1)


def refused(ask: Ask, url: str, address: str = "") -> None:
    """It says which address it was led to, and how that would be allowed."""
    with pytest.raises((PrivateAddressError, TransferError), match="VLM_ALLOW_PRIVATE_HOSTS") as told:
        ask(url)
    assert address in str(told.value)


@pytest.mark.usefixtures("private")
@pytest.mark.parametrize("spelling", ["127.0.0.2", "127.2", "2130706434", "0x7f.2", "[::ffff:127.0.0.2]"])
def test_a_redirect_to_an_address_is_not_followed(server, ask, spelling):
    set_up(server, "/a", b"", f"Location: http://{spelling}:{server.port}/", status="302 Found")
    refused(ask, server.url("/a"), "127.0.0.2" if "::" not in spelling else "::ffff:")


@pytest.mark.usefixtures("private")
@pytest.mark.parametrize(
    "address",
    ["127.0.0.2", "::ffff:127.0.0.2", "::1", "64:ff9b::7f00:2", "2002:7f00:2::1", "fe80::1%1", "169.254.169.254",
     "fd00:ec2::254", "10.0.0.1"],
)  # fmt: skip
def test_a_redirect_to_a_name_is_not_followed(server, ask, names, address):
    for target in ("inside.test", "inside.test.", "xn--iz-kja.test"):
        names[target] = [[address]]
        set_up(server, "/a", b"", f"Location: http://{target}:{server.port}/", status="302 Found")
        refused(ask, server.url("/a"), f"leads to {address}")


@pytest.mark.usefixtures("private")
def test_the_address_that_was_checked_is_the_one_that_is_connected_to(server, ask, names):
    names["rebind.test"] = [*first_looks(server), ["127.0.0.2"]]
    set_up(server, "/a", b"public")
    assert ask(f"http://rebind.test:{server.port}/a") == b"public"


@pytest.mark.usefixtures("private")
def test_a_name_that_leads_inside_later_is_refused_then(server, ask, names):
    names["rebind.test"] = [["127.0.0.2"]]
    refused(ask, f"http://rebind.test:{server.port}/a")
    set_up(server, "/b", b"", f"Location: http://rebind.test:{server.port}/a", status="302 Found")
    names["rebind.test"] = [*first_looks(server), ["127.0.0.2"]]
    set_up(server, "/a", b"public")
    assert ask(f"http://rebind.test:{server.port}/a") == b"public"
    refused(ask, server.url("/b"))


@pytest.mark.usefixtures("private")
def test_of_several_addresses_only_the_allowed_are_tried(server, ask, names):
    names["both.test"] = [["127.0.0.2", "::1", "::ffff:127.0.0.2", "127.0.0.1", "fe80::1%1"]]
    set_up(server, "/a", b"public")
    assert ask(f"http://both.test:{server.port}/a") == b"public"


@pytest.fixture
def guest(tmp_path: Path) -> Iterator[SyncGuest]:
    with SyncGuest(quick_settings(allow_private_hosts=ALLOWED), Limits(), tmp_path / "locks") as made:
        yield made


@pytest.mark.parametrize("target", ["http://127.0.0.2:{port}/", "http://inside.test:{port}/"])
def test_the_hub_leads_nowhere_private(server, private, names, guest, monkeypatch, target):
    names["inside.test"] = [["127.0.0.2"]]
    monkeypatch.setenv("HF_ENDPOINT", server.url("").rstrip("/"))
    target = target.format(port=server.port)
    server.script["/api/datasets/a/b/revision/main"] = answer(b"", f"Location: {target}", status="302 Found")
    server.script["/api/datasets/a/b"] = answer(b"", f"Location: {target}", status="302 Found")
    with pytest.raises(SourceError, match="VLM_ALLOW_PRIVATE_HOSTS"):
        HubRepo.open("a/b", guest.settings, guest).resolve("main")
    assert server.log
    assert not private.log


@pytest.mark.parametrize("target", ["http://127.0.0.2:{port}/", "http://inside.test:{port}/"])
def test_kaggle_leads_nowhere_private(server, private, names, guest, monkeypatch, target):
    names["inside.test"] = [["127.0.0.2"]]
    for name, value in {
        "KAGGLE_API_ENVIRONMENT": "LOCALHOST", "KAGGLE_USERNAME": "a", "KAGGLE_KEY": "b",
        "http_proxy": server.url(), "no_proxy": "127.0.0.2,inside.test",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    target = target.format(port=server.port)
    with SyncGuest(guest.settings, Limits(), Path(guest._locks_dir)) as proxied:
        for call in ("GetDataset", "DownloadDataset"):
            path = f"http://localhost/api/v1/datasets.DatasetApiService/{call}"
            server.script[path] = answer(b"", f"Location: {target}", status="302 Found")
        with pytest.raises(SourceError, match="VLM_ALLOW_PRIVATE_HOSTS"):
            Kaggle(proxied).resolve(KaggleDataset("a", "b", None))
    assert server.log
    assert not private.log


@pytest.mark.parametrize("target", ["http://127.0.0.2:{port}/", "http://inside.test:{port}/"])
def test_github_leads_nowhere_private(server, private, names, tmp_path, target):
    names["inside.test"] = [["127.0.0.2"]]
    target = target.format(port=server.port)
    server.script["/repos/a/b/releases/latest"] = answer(b"", f"Location: {target}", status="302 Found")
    spec = GithubReleaseSpec.model_validate(
        {**COMMON, "kind": "github_release", "repo": "a/b", "api": server.url("")}
    )
    settings = quick_settings(allow_private_hosts=ALLOWED)
    with pytest.raises(SourceError, match="VLM_ALLOW_PRIVATE_HOSTS"):
        SOURCE.list(spec, ListContext(settings, tmp_path / "cache", tmp_path / "locks"))
    assert server.log
    assert not private.log


def test_a_strange_answer_is_read_behind_the_same_check(server, names, tmp_path):
    names["images.test"] = [["127.0.0.1"]]
    server.script["/a"] = TAKEN["no-colon-first"](b"picture")
    assert _with_aiohttp(f"http://images.test:{server.port}/a", tmp_path) == b"picture"


@pytest.mark.usefixtures("private")
@pytest.mark.parametrize("host", ["127.0.0.2", "proxy.test"])
def test_a_proxy_is_no_host_to_ask_whatever_no_proxy_says(server, names, monkeypatch, host):
    names["proxy.test"] = [["127.0.0.2"]]
    for name, value in {"http_proxy": f"http://{host}:{server.port}", "no_proxy": host}.items():
        monkeypatch.setenv(name, value)
    guard = Guard.of(quick_settings(allow_private_hosts=ALLOWED))
    for port in (server.port, 22):
        with pytest.raises(PrivateAddressError, match=r"127\.0\.0\.2"):
            guard.proxy_for(URL(f"http://{host}:{port}/"))


@pytest.mark.parametrize("host", ["metadata.google.internal", "printer.local", "vault", "vault.", "db.LAN"])
def test_names_of_private_networks_are_not_left_to_a_proxy(monkeypatch, host):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.delenv("no_proxy", raising=False)

    def unknown(*_: Any, **__: Any) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    guard = Guard.of(quick_settings(allow_private_hosts=ALLOWED))
    with pytest.raises(PrivateAddressError, match=host.rstrip(".").lower()):
        guard.proxy_for(URL(f"http://{host}/"))
    assert guard.proxy_for(URL("http://images.example/")) is not None
    assert Guard.of(quick_settings(allow_private_hosts=(host,))).proxy_for(URL(f"http://{host}/")) is not None


def test_the_hub_is_not_left_for_xet(server, private, guest, monkeypatch, tmp_path):
    """Its client in Rust connects by itself; a server that offers it gets plain requests all the same."""
    body, sha = b"a picture", "0" * 40
    monkeypatch.setenv("HF_ENDPOINT", server.url("").rstrip("/"))
    offers = (f"X-Xet-Hash: {'1' * 64}", f"X-Xet-Refresh-Route: {private.url('/a')}", f"X-Repo-Commit: {sha}",
              f'ETag: "{hashlib.sha256(body).hexdigest()}"')  # fmt: skip
    server.script[f"/datasets/a/b/resolve/{sha}/x.jpg"] = answer(body, *offers)
    file = RepoFile("x.jpg", len(body), "", hashlib.sha256(body).hexdigest())
    with FileHashes(tmp_path / "hashes.db") as hashes:
        path = HubRepo.open("a/b", guest.settings, guest).fetch(file, sha, tmp_path / "hub", hashes)
    assert path.read_bytes() == body
    assert not private.log
