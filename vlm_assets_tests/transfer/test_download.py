import hashlib
import itertools
import threading
import time
from collections.abc import Iterable
from pathlib import Path

import pytest

from vlm_assets.transfer.download import Fetched, UrlItem, fetch_urls
from vlm_assets.transfer.politeness import HostLimits
from vlm_assets.transfer.spool import Spool
from vlm_assets.words.contexts import FetchContext
from vlm_assets.words.errors import ConfigError, PostponedError, Reject, RejectReason, SourceError
from vlm_assets_tests.servers import FaultServer, Reply, Script
from vlm_assets_tests.transfer.conftest import jpeg, quick_settings
from vlm_assets_tests.transfer.gate_log import shortest_gap_s

NO_LIMITS = HostLimits()
GOOD = Reply(body=jpeg("good"))


def fetch(
    urls: Iterable[str], context: FetchContext, limits: HostLimits = NO_LIMITS, **declared: str
) -> list[Fetched | Reject]:
    items = [UrlItem(url, url, declared.get(url.rpartition("/")[2], "")) for url in urls]
    return list(fetch_urls(items, context, limits))


def body(result: Fetched | Reject) -> bytes:
    assert isinstance(result, Fetched), result
    return result.body if isinstance(result.body, bytes) else result.body.read_bytes()


def test_bodies_come_in_the_order_of_the_items(context):
    script = {f"/{n}": Reply(body=jpeg(f"i{n}"), delay_s=0.05 * (n % 3)) for n in range(30)}
    with FaultServer(script) as server:
        urls = [server.url(f"/{n}") for n in range(30)]
        results = fetch(urls, context())
        assert [r.key for r in results if isinstance(r, Fetched)] == urls
        assert [body(r) for r in results] == [jpeg(f"i{n}") for n in range(30)]
        assert server.most_in_flight <= 8
        assert server.log[1].headers["Accept-Encoding"] == "identity"


@pytest.mark.parametrize(
    ("replies", "tries"),
    [
        pytest.param([Reply(503), GOOD], 2, id="503-once"),
        pytest.param([Reply(500), Reply(504), GOOD], 3, id="5xx"),
        pytest.param([Reply(429), GOOD], 2, id="429-without-a-word"),
        pytest.param([Reply(body=GOOD.body, cut_after=100), GOOD], 2, id="cut"),
        pytest.param([Reply(drop=True), GOOD], 2, id="dropped"),
    ],
)
def test_what_may_pass_is_tried_again(context, replies, tries):
    with FaultServer({"/a": replies}) as server:
        (result,) = fetch([server.url("/a")], context())
        assert body(result) == GOOD.body
        assert server.counts["/a"] == tries


@pytest.mark.parametrize(
    "silent",
    [
        pytest.param(Reply(body=GOOD.body, stall_after=100), id="in-the-body"),
        pytest.param(Reply(when=lambda: False), id="from-the-start"),
    ],
)
def test_who_falls_silent_is_asked_again(context, silent):
    settings = quick_settings(http_timeout_s=1.0, http_attempts=99)  # a busy machine may be silent too
    with FaultServer({"/a": [silent, GOOD]}) as server:
        (result,) = fetch([server.url("/a")], context(settings))
        assert body(result) == GOOD.body
        assert server.counts["/a"] >= 2


@pytest.mark.parametrize(
    ("reply", "reason", "transient", "tries"),
    [
        (Reply(404), RejectReason.NOT_FOUND, False, 1),
        (Reply(410), RejectReason.NOT_FOUND, False, 1),
        (Reply(403), RejectReason.FORBIDDEN, False, 1),
        (Reply(451), RejectReason.FORBIDDEN, False, 1),
        (Reply(400), RejectReason.HTTP_ERROR, False, 1),
        (Reply(204), RejectReason.HTTP_ERROR, False, 1),
        (Reply(500), RejectReason.HTTP_ERROR, True, 4),
        (Reply(drop=True), RejectReason.UNREACHABLE, True, 4),
        (Reply(body=GOOD.body, cut_after=9), RejectReason.UNREACHABLE, True, 4),
        (Reply(body=b""), RejectReason.EMPTY, False, 1),
        (Reply(body=b"<html>gone</html>", content_type="text/html"), RejectReason.NOT_AN_IMAGE, False, 1),
        (Reply(body=jpeg("x", 70_000)), RejectReason.TOO_MANY_BYTES, False, 1),
        (Reply(body=jpeg("x", 700_000), chunked=True), RejectReason.TOO_MANY_BYTES, False, 1),
        (Reply(body=GOOD.body, headers={"X-Robots-Tag": "noai"}), RejectReason.NOAI, False, 1),
        (Reply(302), RejectReason.BAD_URL, False, 1),
        (Reply(302, headers={"Location": "file:///etc/passwd"}), RejectReason.BAD_URL, False, 1),
        (Reply(302, headers={"Location": "/a"}), RejectReason.BAD_URL, False, 2),
        (Reply(301, headers={"Location": "http://192.168.0.1/"}), RejectReason.PRIVATE_ADDRESS, False, 1),
        (Reply(301, headers={"Location": "http://0xa9fea9fe/"}), RejectReason.PRIVATE_ADDRESS, False, 1),
    ],
    ids=lambda value: str(getattr(value, "status", value)),
)
def test_rejects_say_why(context, reply, reason, transient, tries):
    with FaultServer({"/a": reply}) as server:
        (result,) = fetch([server.url("/a")], context(quick_settings(max_image_bytes=60_000)))
        assert isinstance(result, Reject)
        assert (result.reason, result.transient, server.counts["/a"]) == (reason, transient, tries)
        assert result.not_before <= time.time()


def test_bad_urls_are_never_asked_and_need_no_contact(context):
    urls = [
        "",
        "ftp://example.org/x",
        "http://u:p@example.org/x",
        "http://10.0.0.1/x",
        "http://[fe80::1]/x",
        "x y",
    ]
    reasons = [r.reason for r in fetch(urls, context()) if isinstance(r, Reject)]
    assert reasons == [
        RejectReason.BAD_URL, RejectReason.BAD_URL, RejectReason.BAD_URL,
        RejectReason.PRIVATE_ADDRESS, RejectReason.PRIVATE_ADDRESS, RejectReason.BAD_URL,
    ]  # fmt: skip


def test_the_internet_is_not_visited_anonymously(context):
    with pytest.raises(ConfigError, match=r"VLM_CONTACT.*example\.org"):
        fetch(["http://127.0.0.1/x", "http://example.org/x"], context())


def test_a_private_address_needs_the_settings(context):
    with FaultServer({"/a": GOOD}) as server:
        strict = context(quick_settings(allow_private_hosts=(), contact="me@example.org"))
        results = fetch([server.url("/a"), server.url("/a", "localhost")], strict)
        assert {r.reason for r in results if isinstance(r, Reject)} == {RejectReason.PRIVATE_ADDRESS}
        assert len(results) == 2
        assert not server.log


@pytest.mark.parametrize("form", ["seconds", "date"])
def test_nothing_is_asked_of_the_host_before_retry_after(context, gate_log, form):
    wished_until: list[float] = []

    def throttle(_request, count):
        if count:
            return GOOD
        until = int(time.time()) + 3
        wished_until.append(until)
        date = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(until))
        return Reply(429, headers={"Retry-After": "2" if form == "seconds" else date})

    script: dict[str, Script | Reply] = {f"/{n}": GOOD for n in range(20)}
    script["/slow"] = throttle
    with FaultServer(script) as server:
        results = fetch([server.url("/slow")] + [server.url(f"/{n}") for n in range(20)], context())
        assert all(isinstance(r, Fetched) for r in results)
        [pause] = gate_log.pauses()
        assert pause.until >= (pause.at + 2 if form == "seconds" else wished_until[0])
        later = gate_log.let_go_after(pause)
        assert len(later) >= 12
        assert min(later) >= pause.until
        assert len(gate_log.let_go()) == len(server.log)


def test_a_declared_hash_is_verified(context):
    right, wrong = jpeg("right"), Reply(body=jpeg("wrong"))
    script: dict[str, Script | Reply] = {
        "/ok": Reply(body=right),
        "/once": [wrong, Reply(body=right)],
        "/never": wrong,
    }
    digest = hashlib.sha256(right).hexdigest()
    with FaultServer(script) as server:
        urls = [server.url(path) for path in script]
        results = fetch(urls, context(), ok=digest, once=digest, never=digest)
        assert [body(r) for r in results[:2]] == [right, right]
        assert isinstance(results[2], Reject)
        assert (results[2].reason, server.counts["/never"]) == (RejectReason.CHECKSUM, 2)


def test_robots_txt_is_asked_once_and_obeyed(context, gate_log):
    robots = Reply(body=b"User-agent: *\nDisallow: /no/\nCrawl-delay: 0.2", content_type="text/plain")
    script = {"/robots.txt": robots, "/no/a": GOOD} | {f"/{n}": GOOD for n in range(4)}
    with FaultServer(script) as server:
        urls = [server.url("/no/a")] + [server.url(f"/{n}") for n in range(4)]
        results = fetch(urls, context())
        assert [isinstance(r, Reject) for r in results] == [True, False, False, False, False]
        assert server.log[0].path == "/robots.txt"
        assert len(gate_log.let_go()) == len(server.log)
        assert shortest_gap_s(gate_log.let_go()) > 0.1999
        fetch([server.url("/3")], context(spool_dir=context().spool_dir / "other"))
        assert [asked.path for asked in server.log].count("/robots.txt") == 1
        fetch([server.url("/no/a")], context(quick_settings(obey_robots=False)))
        assert server.counts["/no/a"] == 1


def test_robots_txt_that_cannot_be_read_forbids_for_now(context):
    with FaultServer({"/robots.txt": Reply(503), "/a": GOOD}) as server:
        (result,) = fetch([server.url("/a")], context())
        assert isinstance(result, Reject)
        assert (result.reason, result.transient) == (RejectReason.ROBOTS, True)
        assert server.counts["/a"] == 0


def test_robots_txt_of_a_redirect_target_counts(context):
    forbidding = {
        "/robots.txt": Reply(body=b"User-agent: *\nDisallow: /", content_type="text/plain"),
        "/b": GOOD,
    }
    with (
        FaultServer(forbidding) as other,
        FaultServer({"/a": Reply(302, headers={"Location": other.url("/b")})}) as server,
    ):
        (result,) = fetch([server.url("/a")], context())
        assert isinstance(result, Reject)
        assert (result.reason, other.counts["/b"]) == (RejectReason.ROBOTS, 0)


def test_redirects_are_followed_and_taken_down_targets_are_not(context):
    script = {
        "/a": Reply(302, headers={"Location": "/b"}), "/b": Reply(307, headers={"Location": "/ü?x=1"}),
        "/%C3%BC?x=1": GOOD, "/t": GOOD, "/u": Reply(302, headers={"Location": "/t"}),
    }  # fmt: skip
    with FaultServer(script) as server:
        urls = [server.url(path) for path in ("/a", "/u")]
        results = fetch(urls, context(tombstoned_urls=frozenset([server.url("/t")])))
        assert body(results[0]) == GOOD.body
        assert [r.reason for r in results[1:] if isinstance(r, Reject)] == [RejectReason.TOMBSTONED]
        assert server.counts["/t"] == 0


def test_a_large_body_becomes_a_file(context):
    large = jpeg("large", 6 * 2**20)
    with FaultServer({"/a": Reply(body=large)}) as server:
        (result,) = fetch([server.url("/a")], context())
        assert isinstance(result, Fetched)
        assert isinstance(result.body, Path)
        assert body(result) == large


@pytest.mark.parametrize("robots", [True, False], ids=["found-by-its-rules", "found-by-its-urls"])
def test_a_dead_host_costs_a_few_tries_not_one_a_url(context, robots):
    with FaultServer({"/a": GOOD}) as server:
        alive, port = server.url("/a"), server.port
        dead = [f"http://127.0.0.2:{port}/{n}" for n in range(5000)]
        figures: dict[str, float] = {}
        settings = quick_settings(allow_private_hosts=("127.0.0.0/8",), obey_robots=robots)
        work = context(settings, measure=lambda name, value: figures.update({name: value}))
        with pytest.raises(PostponedError, match="5000 of 5,001 URLs"):
            fetch([*dead, alive], work)
        assert figures["requests"] < 40
        assert server.counts["/a"] == 1


@pytest.mark.parametrize("fault", [Reply(drop=True), Reply(500)], ids=["dropping", "500"])
def test_a_host_that_breaks_is_given_up(context, fault):
    with FaultServer({f"/{n}": fault for n in range(300)}) as server:
        with pytest.raises(PostponedError, match="300 of 300 URLs"):
            fetch([server.url(f"/{n}") for n in range(300)], context())
        assert len(server.log) < 40


def test_a_host_that_is_away_for_a_moment_loses_nothing(context):
    tries = itertools.count(1)

    def flaky(_request, _count):
        return Reply(drop=True) if next(tries) <= 12 else GOOD

    with FaultServer({"/robots.txt": Reply(404)} | {f"/{n}": flaky for n in range(200)}) as server:
        results = fetch([server.url(f"/{n}") for n in range(200)], context(quick_settings(http_attempts=9)))
        assert all(isinstance(r, Fetched) for r in results)


def test_a_second_fetch_asks_only_for_rejects(context):
    script = {f"/{n}": GOOD for n in range(5)} | {"/gone": [Reply(404), GOOD]}
    with FaultServer(script) as server:
        urls = [server.url(path) for path in script]
        assert sum(isinstance(r, Reject) for r in fetch(urls, context())) == 1
        server.log.clear()
        assert all(isinstance(r, Fetched) for r in fetch(urls, context()))
        assert server.counts == {"/gone": 1}
        server.log.clear()
        fetch(urls, context(force=True))
        assert sum(server.counts.values()) == 6


def test_a_host_that_wants_to_be_left_alone_says_until_when(context):
    with FaultServer({"/a": Reply(503, headers={"Retry-After": "80000"})}) as server:
        before = time.time()
        (result,) = fetch([server.url("/a")], context())
        assert isinstance(result, Reject)
        assert result.transient
        assert before + 79_999 <= result.not_before <= time.time() + 80_001


@pytest.mark.parametrize(("wish_s", "asked"), [(0, 1), (-5, 1), (3600, 0)], ids=["none", "over", "holds"])
def test_what_a_killed_fetch_gave_up_for_now_is_asked_again_unless_the_host_wants_peace(
    context, wish_s, asked
):
    with FaultServer({"/a": GOOD, "/gone": GOOD}) as server:
        given = context()
        spool = Spool(given.spool_dir)
        wish = time.time() + wish_s if wish_s else 0
        spool.add_reject(Reject(server.url("/a"), RejectReason.UNREACHABLE, transient=True, not_before=wish))
        spool.add_reject(Reject(server.url("/gone"), RejectReason.NOT_FOUND))
        spool.close()
        fetch([server.url("/a"), server.url("/gone")], given)
        assert (server.counts["/a"], server.counts["/gone"]) == (asked, 0)


def test_cancelling_ends_what_would_wait_for_ever_and_keeps_what_arrived(context):
    held = {f"/{n}": Reply(when=lambda: False) for n in range(10, 60)}
    script = {f"/{n}": Reply(body=jpeg(str(n))) for n in range(10)} | held
    with FaultServer(script) as server:
        cancelled = threading.Event()
        done: list[int] = []

        def progress(items: int, _size_bytes: int) -> None:
            done.append(items)
            if sum(done) == 10:
                cancelled.set()

        urls = [server.url(f"/{n}") for n in range(60)]
        with pytest.raises(SourceError, match="cancelled with 10 of 60 URLs done"):
            fetch(urls, context(cancelled=cancelled, progress=progress))
        server.script = {f"/{n}": Reply(body=jpeg(str(n))) for n in range(60)}
        server.log.clear()
        assert len(fetch(urls, context())) == 60
        assert not server.counts["/5"]


def test_a_caller_that_stops_early_leaves_no_thread(context):
    with FaultServer({f"/{n}": GOOD for n in range(50)}) as server:
        stream = fetch_urls(
            [UrlItem(server.url(f"/{n}"), server.url(f"/{n}")) for n in range(50)], context(), NO_LIMITS
        )
        next(iter(stream))
        stream.close()  # type: ignore[attr-defined]  # a generator, typed as what it yields
        assert not [t for t in threading.enumerate() if t.name.startswith("fetch ")]


def test_the_limit_of_requests_under_way_holds_and_is_used(context):
    both = Reply(body=GOOD.body, delay_s=0.03, when=lambda: server.most_in_flight >= 2)
    with FaultServer({"/robots.txt": Reply(404)} | {f"/{n}": both for n in range(10)}) as server:
        fetch([server.url(f"/{n}") for n in range(10)], context(), HostLimits(concurrency=2))
        assert server.most_in_flight == 2


def test_the_rate_holds(context, gate_log):
    with FaultServer({f"/{n}": GOOD for n in range(10)}) as server:
        fetch([server.url(f"/{n}") for n in range(10)], context(), HostLimits(interval_s=0.1))
        assert len(gate_log.let_go()) == len(server.log) == 11
        assert shortest_gap_s(gate_log.let_go()) > 0.0999


def test_progress_and_figures_add_up(context):
    figures: dict[str, float] = {}
    seen: list[tuple[int, int]] = []
    with FaultServer({f"/{n}": GOOD for n in range(20)}) as server:
        ctx = context(
            progress=lambda *more: seen.append(more),
            measure=lambda name, value: figures.update({name: value}),
        )
        fetch([server.url(f"/{n}") for n in range(20)] + [server.url("/no")], ctx)
    assert [sum(column) for column in zip(*seen, strict=True)] == [21, 20 * len(GOOD.body)]
    assert figures["requests"] == 22
    assert figures["download_bytes"] == 20 * len(GOOD.body)
