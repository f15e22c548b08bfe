"""HTTP as real servers speak it: what is an answer to a browser is one here."""

import gzip
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from yarl import URL

from vlm_assets.transfer.addresses import AddressPolicy
from vlm_assets.transfer.client import Client
from vlm_assets.transfer.download import Fetched, UrlItem, fetch_urls
from vlm_assets.transfer.politeness import HostLimits
from vlm_assets.transfer.redirects import next_hop
from vlm_assets.words.contexts import FetchContext
from vlm_assets.words.errors import Reject, RejectReason
from vlm_assets_tests.odd_servers import Answer, OddServer, Question, Raw, answer
from vlm_assets_tests.transfer.conftest import jpeg, quick_settings
from vlm_assets_tests.transfer.odd_answers import TAKEN
from vlm_assets_tests.transfer.patience import be_brisk

NAMES = sorted(TAKEN)
PICTURE = jpeg("a picture", 9000)


@pytest.fixture
def server() -> Iterator[OddServer]:
    with OddServer() as running:
        yield running


@pytest.fixture
def fetch(context):
    def one(url: str, **settings: Any) -> Fetched | Reject:
        (result,) = fetch_urls([UrlItem(url, url)], context(quick_settings(**settings)), HostLimits())
        return result

    return one


def content(result: Fetched | Reject) -> bytes:
    assert isinstance(result, Fetched), result
    return result.body if isinstance(result.body, bytes) else result.body.read_bytes()


Told = tuple[Fetched | Reject, Counter[str]]
"""What became of a URL, and what its server was asked."""


def told_of(scripts: Mapping[str, Mapping[str, Answer]], folder: Path, target: str = "/a") -> dict[str, Told]:
    """`target` of each script, from a server of its own, all in one fetch: their waits go by at once."""
    with ExitStack() as stack:
        be_brisk(stack.enter_context(pytest.MonkeyPatch.context()).setattr)
        servers = {name: stack.enter_context(OddServer(dict(script))) for name, script in scripts.items()}
        context = FetchContext(
            quick_settings(max_image_bytes=2_000_000), "web", "all", "r", {},
            folder / "cache", folder / "spool", folder / "locks",
        )  # fmt: skip
        urls = [UrlItem(name, one.url(target)) for name, one in servers.items()]
        results = fetch_urls(urls, context, HostLimits())
        return {name: (found, servers[name].counts) for name, found in zip(servers, results, strict=True)}


@pytest.fixture(scope="module")
def taken(tmp_path_factory) -> dict[str, Told]:
    return told_of({name: {"/a": TAKEN[name](PICTURE)} for name in NAMES}, tmp_path_factory.mktemp("taken"))


@pytest.mark.parametrize("name", NAMES)
def test_what_browsers_take_is_taken_with_two_requests_at_most(taken, name):
    found, asked = taken[name]
    assert content(found) == PICTURE
    assert asked["/a"] <= 2


@pytest.mark.parametrize("name", NAMES)
def test_single_requests_take_it_too(server, tmp_path, name):
    server.script["/a"] = TAKEN[name](PICTURE)
    with Client(quick_settings(), tmp_path / "locks") as client:
        assert client.request(server.url("/a")).body == PICTURE


@pytest.mark.parametrize("name", NAMES)
def test_files_take_it_too(server, tmp_path, name):
    server.script["/a"] = TAKEN[name](PICTURE)
    with Client(quick_settings(), tmp_path / "locks") as client:
        done = client.download_file(server.url("/a"), tmp_path / "a.jpg")
    assert done.path.read_bytes() == PICTURE
    assert done.size_bytes == len(PICTURE)


def test_an_origin_that_is_odd_once_is_asked_leniently_from_then_on(server, context):
    script = {f"/{n}": TAKEN["no-colon-first"](jpeg(str(n))) for n in range(20)}
    server.script.update(script)
    urls = [server.url(f"/{n}") for n in range(20)]
    results = fetch_urls([UrlItem(url, url) for url in urls], context(), HostLimits(concurrency=1))
    assert [content(one) for one in results] == [jpeg(str(n)) for n in range(20)]
    assert server.counts.total() == 21


def test_an_odd_robots_txt_is_read(server, fetch):
    server.script["/robots.txt"] = TAKEN["no-colon-first"](b"User-agent: *\nDisallow: /no")
    server.script["/no"] = answer(PICTURE)
    refused = fetch(server.url("/no"))
    assert isinstance(refused, Reject)
    assert (refused.reason, server.counts["/no"]) == (RejectReason.ROBOTS, 0)


def _gzip(body: bytes) -> Raw:
    return answer(body, "Content-Encoding: gzip", "Content-Type: image/jpeg")


REFUSED: dict[str, tuple[Raw, RejectReason, bool, int]] = {
    "204": (answer(status="204 No Content", length=False), RejectReason.HTTP_ERROR, False, 1),
    "205": (answer(status="205 Reset Content"), RejectReason.HTTP_ERROR, False, 1),
    "304-unasked": (answer(status="304 Not Modified", length=False), RejectReason.HTTP_ERROR, False, 1),
    "300": (answer(b"", "Location: /b", status="300 Multiple Choices"), RejectReason.HTTP_ERROR, False, 1),
    "101": (answer(status="101 Switching Protocols"), RejectReason.HTTP_ERROR, False, 1),
    "404-with-a-picture": (answer(PICTURE, status="404 Not Found"), RejectReason.NOT_FOUND, False, 1),
    "the-first-part": (
        answer(PICTURE[:99], "Content-Range: bytes 0-98/9000", status="206 Partial Content"),
        RejectReason.HTTP_ERROR, False, 1,
    ),
    "the-last-part": (
        answer(PICTURE[99:], "Content-Range: bytes 99-8999/9000", status="206 Partial Content"),
        RejectReason.HTTP_ERROR, False, 1,
    ),
    "a-range-of-what": (
        answer(PICTURE, "Content-Range: pages 1-2", status="206 Partial Content"),
        RejectReason.HTTP_ERROR, False, 1,
    ),
    "empty": (answer(b""), RejectReason.EMPTY, False, 1),
    "empty-gzip": (_gzip(gzip.compress(b"")), RejectReason.EMPTY, False, 1),
    "another-protocol": (Raw(b"SSH-2.0-OpenSSH_9.2\r\n", close=True), RejectReason.HTTP_ERROR, False, 2),
    "http-0.9": (Raw(PICTURE, close=True), RejectReason.HTTP_ERROR, False, 2),
    "headers-without-end": (
        answer(PICTURE, *(f"X-{n}: " + "a" * 9000 for n in range(150))), RejectReason.HTTP_ERROR, False, 2,
    ),
    "informations-without-end": (
        Raw(answer(status="102 Processing", length=False).data * 50, close=True), RejectReason.HTTP_ERROR, False, 2,
    ),
    "chunks-of-what": (
        Raw(answer(b"xyz\r\n" + PICTURE, "Transfer-Encoding: chunked", length=False).data, close=True),
        RejectReason.HTTP_ERROR, False, 2,
    ),
    "closed-in-the-headers": (Raw(b"HTTP/1.1 200 OK\r\nContent-Ty", close=True), RejectReason.UNREACHABLE, True, 4),
    "closed-in-a-chunk": (
        Raw(answer(b"ffff\r\n" + PICTURE, "Transfer-Encoding: chunked", length=False).data, close=True),
        RejectReason.UNREACHABLE, True, 4,
    ),
    "closed-before-its-length": (
        answer(PICTURE, "Content-Length: 9999", length=False, close=True), RejectReason.UNREACHABLE, True, 4,
    ),
    "closed-before-either-length": (
        answer(PICTURE, "Content-Length: 9998", "Content-Length: 9999", length=False, close=True),
        RejectReason.UNREACHABLE, True, 5,
    ),
    "gzip-cut": (
        answer(gzip.compress(PICTURE)[:-20], "Content-Encoding: gzip", length=False, close=True),
        RejectReason.UNREACHABLE, True, 4,
    ),
    "gzip-bomb": (_gzip(gzip.compress(b"\xff\xd8" + bytes(3_000_000))), RejectReason.TOO_MANY_BYTES, False, 1),
    "gzip-of-a-page": (_gzip(gzip.compress(b"<html>gone</html>")), RejectReason.NOT_AN_IMAGE, False, 1),
    "page-as-image": (
        answer(b"<!DOCTYPE html><html>sign in</html>", "Content-Type: image/jpeg"),
        RejectReason.NOT_AN_IMAGE, False, 1,
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def refused(tmp_path_factory) -> dict[str, Told]:
    scripts = {name: {"/a": said} for name, (said, *_) in REFUSED.items()}
    return told_of(scripts, tmp_path_factory.mktemp("refused"))


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_what_is_no_picture_is_refused_for_its_true_reason(refused, name):
    (result, counts), (_, reason, transient, asked) = refused[name], REFUSED[name]
    assert isinstance(result, Reject)
    assert (result.reason, result.transient, counts["/a"]) == (reason, transient, asked), result


LEADS: dict[str, tuple[str | bytes, str]] = {
    "relative": ("b.jpg", "/x/b.jpg"),
    "here": ("./b.jpg", "/x/b.jpg"),
    "up": ("../b.jpg", "/b.jpg"),
    "too-far-up": ("../../../b.jpg", "/b.jpg"),
    "absolute-path": ("/b.jpg", "/b.jpg"),
    "query": ("?page=2", "/x/a?page=2"),
    "same-scheme": ("//{host}/b.jpg", "/b.jpg"),
    "absolute": ("http://{host}/b.jpg", "/b.jpg"),
    "scheme-in-capitals": ("HTTP://{host}/b.jpg", "/b.jpg"),
    "no-path": ("http://{host}", "/"),
    "no-path-but-query": ("http://{host}?b=1", "/?b=1"),
    "spaces-around": ("  /b.jpg \t", "/b.jpg"),
    "fragment": ("/b.jpg#top", "/b.jpg"),
    "spaces-inside": ("/a b c.jpg", "/a%20b%20c.jpg"),
    "escapes-stay": ("/a%20b.jpg?s=%2Fx%3D", "/a%20b.jpg?s=%2Fx%3D"),
    "stray-percent": ("/100%.jpg", "/100%25.jpg"),
    "utf-8": ("/çiçek.jpg".encode(), "/%C3%A7i%C3%A7ek.jpg"),
    "code-page": ("/çiçek.jpg".encode("cp1254"), "/%E7i%E7ek.jpg"),
    "characters-of-no-url": ('/a"b<c>|d.jpg', "/a%22b%3Cc%3E%7Cd.jpg"),
    "characters-of-a-url": ("/a;b=1,c:d@e.jpg", "/a;b=1,c:d@e.jpg"),
}
STATUSES = ("301 Moved", "307 Temporary Redirect")


@pytest.fixture(scope="module")
def led(tmp_path_factory) -> dict[str, Told]:
    def script(location: str | bytes, target: str, status: str) -> dict[str, Any]:
        def leads(asked: Question) -> Raw:
            named = location
            if isinstance(named, str):
                named = named.replace("{host}", asked.headers["host"]).encode()
            return answer(b"", b"Location: " + named, status=status)

        return {"/x/a": leads, target: answer(PICTURE)}

    scripts = {f"{name} {status}": script(*LEADS[name], status) for name in LEADS for status in STATUSES}
    return told_of(scripts, tmp_path_factory.mktemp("led"), "/x/a")


@pytest.mark.parametrize("name", LEADS)
@pytest.mark.parametrize("status", STATUSES)
def test_redirects_lead_where_browsers_go(led, name, status):
    found, asked = led[f"{name} {status}"]
    assert content(found) == PICTURE
    assert asked == {"/x/a": 1, LEADS[name][1]: 1}


@pytest.mark.parametrize(
    ("location", "reason"),
    [
        pytest.param("", RejectReason.BAD_URL, id="empty"),
        pytest.param("ftp://127.0.0.1/b.jpg", RejectReason.BAD_URL, id="ftp"),
        pytest.param("file:///etc/passwd", RejectReason.BAD_URL, id="file"),
        pytest.param("data:image/png;base64,AAAA", RejectReason.BAD_URL, id="data"),
        pytest.param("http://", RejectReason.BAD_URL, id="no-host"),
        pytest.param("http://me:secret@127.0.0.1/b.jpg", RejectReason.BAD_URL, id="credentials"),
        pytest.param("http://[::1/b.jpg", RejectReason.BAD_URL, id="broken-address"),
        pytest.param("http://10.0.0.1/b.jpg", RejectReason.PRIVATE_ADDRESS, id="private"),
        pytest.param("//169.254.169.254/latest/meta-data", RejectReason.PRIVATE_ADDRESS, id="metadata"),
        pytest.param("http://[::ffff:10.0.0.1]/b.jpg", RejectReason.PRIVATE_ADDRESS, id="mapped"),
        pytest.param("http://0x7f000002/b.jpg", RejectReason.PRIVATE_ADDRESS, id="hexadecimal"),
    ],
)
def test_redirects_that_lead_nowhere_say_so(server, fetch, location, reason):
    server.script["/a"] = answer(b"", f"Location: {location}", status="302 Found")
    result = fetch(server.url("/a"))
    assert isinstance(result, Reject)
    assert (result.reason, result.transient) == (reason, False)
    assert "secret" not in result.detail


def test_a_name_in_other_letters_is_asked_for_in_its_own():
    base = URL("http://a.example/x", encoded=True)
    policy = AddressPolicy(())
    assert str(next_hop(base, "//bücher.example/ş", policy)) == "http://xn--bcher-kva.example/%C5%9F"
    assert str(next_hop(base, "https://istanbul.Example:8443/", policy)) == "https://istanbul.example:8443/"


@pytest.mark.parametrize("length", [20, 21])
def test_a_chain_may_be_long_but_ends(server, fetch, length):
    for n in range(length):
        server.script[f"/{n}"] = answer(b"", f"Location: /{n + 1}", status="302 Found")
    server.script[f"/{length}"] = answer(PICTURE)
    assert isinstance(fetch(server.url("/0")), Fetched if length == 20 else Reject)


def _wall(asked: Question) -> Raw:
    if "seen=1" in asked.headers.get("cookie", ""):
        return answer(PICTURE)
    return answer(b"", f"Location: {asked.target}", "Set-Cookie: seen=1; Path=/", status="302 Found")


def test_a_cookie_that_a_redirect_sets_is_sent_on_its_way_and_no_further(server, fetch):
    server.script["/a"] = server.script["/b"] = _wall
    assert content(fetch(server.url("/a"))) == PICTURE
    assert server.counts["/a"] == 2
    fetch(server.url("/b"))
    assert server.counts["/b"] == 2


def test_a_cookie_may_be_set_elsewhere_on_the_host(server, fetch):
    server.script["/a"] = lambda asked: (
        answer(PICTURE)
        if "ok=yes" in asked.headers.get("cookie", "")
        else answer(b"", "Location: /gate", status="302 Found")
    )
    server.script["/gate"] = answer(b"", "Location: /a", "Set-Cookie: ok=yes; Path=/", status="302 Found")
    assert content(fetch(server.url("/a"))) == PICTURE


def test_a_cookie_is_not_shown_to_another_host(context):
    with OddServer(hosts=("127.0.0.1", "127.0.0.2")) as server:
        server.script["/b"] = answer(PICTURE)
        target = server.url("/b", host="127.0.0.2")
        server.script["/a"] = answer(b"", f"Location: {target}", "Set-Cookie: seen=1", status="302 Found")
        settings = quick_settings(allow_private_hosts=("127.0.0.0/8",))
        (result,) = fetch_urls([UrlItem("a", server.url("/a"))], context(settings), HostLimits())
        assert content(result) == PICTURE
        assert not any("cookie" in asked.headers for asked in server.log)


@pytest.mark.parametrize(
    "chain", [("/a", "/a"), ("/a", "/b", "/a"), ("/a", "/b", "/c", "/b")], ids=["itself", "two", "later"]
)
def test_a_circle_is_called_one(server, fetch, chain):
    for here, there in pairwise(chain):
        server.script[here] = answer(b"", f"Location: {there}", status="302 Found")
    result = fetch(server.url("/a"))
    assert isinstance(result, Reject)
    assert (result.reason, result.detail) == (RejectReason.BAD_URL, "redirect: redirects in a circle")
    assert server.counts.total() <= 6
