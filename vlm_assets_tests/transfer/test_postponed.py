"""One bad URL is one bad URL; a host is given up on the evidence of several, and then nothing is lost."""

from collections.abc import Iterable
from dataclasses import replace

import pytest

from vlm_assets.transfer.download import Fetched, UrlItem, fetch_urls
from vlm_assets.transfer.politeness import MAX_PAUSE_S, HostLimits, Patience
from vlm_assets.transfer.postponed import VISITS, PutOff
from vlm_assets.transfer.slots import host_folder
from vlm_assets.transfer.spool import HostNote, Spool
from vlm_assets.words.contexts import FetchContext
from vlm_assets.words.errors import PostponedError, Reject, RejectReason
from vlm_assets_tests.servers import FaultServer, Reply, Script
from vlm_assets_tests.transfer.conftest import jpeg, quick_settings

BAD = Reply(500)
NO_LIMITS = HostLimits()


def good(name: object) -> Reply:
    return Reply(body=jpeg(str(name)))


def fetch(
    urls: Iterable[str], context: FetchContext, limits: HostLimits = NO_LIMITS
) -> list[Fetched | Reject]:
    return list(fetch_urls([UrlItem(url, url) for url in urls], context, limits))


def end_pauses(context: FetchContext, host: str) -> None:
    """As if the pauses of a host had ended."""
    spool = Spool(context.spool_dir)
    for name, note in spool.hosts.items():
        spool.note_host(name, replace(note, until=0.0))
    spool.close()
    (host_folder(context.locks_dir, host) / "gate").unlink(missing_ok=True)


@pytest.mark.parametrize("status", [500, 503, 429])
@pytest.mark.parametrize("at", [0, 30, 59])
@pytest.mark.parametrize("concurrency", [1, 8])
def test_one_url_that_never_works_costs_nobody_else(context, status, at, concurrency):
    script: dict[str, Script | Reply] = {f"/{n}": good(n) for n in range(60)}
    script[f"/{at}"] = Reply(status)
    with FaultServer(script) as server:
        urls = [server.url(f"/{n}") for n in range(60)]
        results = fetch(urls, context(), HostLimits(concurrency=concurrency))
        assert [n for n, one in enumerate(results) if isinstance(one, Reject)] == [at]
        refused = results[at]
        assert isinstance(refused, Reject)
        assert (refused.reason, refused.transient) == (RejectReason.HTTP_ERROR, True)
        assert refused.detail == f"status {status} after 4 tries"
        assert server.counts[f"/{at}"] == 4


@pytest.mark.parametrize("concurrency", [1, 3, 8])
def test_two_of_three_urls_that_never_work_cost_nobody_else(context, concurrency):
    script: dict[str, Script | Reply] = {f"/{n}": BAD if n % 3 else good(n) for n in range(45)}
    with FaultServer(script) as server:
        urls = [server.url(f"/{n}") for n in range(45)]
        work = context(quick_settings(http_attempts=2))
        results = fetch(urls, work, HostLimits(concurrency=concurrency))
        assert [n for n, one in enumerate(results) if isinstance(one, Fetched)] == list(range(0, 45, 3))


@pytest.mark.parametrize("fault", [Reply(drop=True), BAD, Reply(429)], ids=["dropping", "500", "429"])
def test_what_a_host_that_breaks_has_is_put_off_and_the_rest_is_kept(context, fault):
    fine = {f"/{n}": good(n) for n in range(20)}
    broken: dict[str, Script | Reply] = {"/robots.txt": Reply(404)} | {f"/{n}": fault for n in range(100)}
    with FaultServer(fine) as one, FaultServer(broken) as other:
        urls = [server.url(f"/{n}") for n in range(20) for server in (one, other)]
        work = context()
        with pytest.raises(PostponedError) as caught:
            fetch(urls, work)
        host = f"127.0.0.1:{other.port}"
        assert host in str(caught.value)
        assert "20 of 40 URLs" in str(caught.value)
        assert "UTC" in str(caught.value)
        asked = len(other.log)
        with pytest.raises(PostponedError) as again:
            fetch(urls, work)
        assert again.value.until == caught.value.until
        assert (len(other.log), one.counts.total()) == (asked, 20)
        end_pauses(work, host)
        other.script = {f"/{n}": good(-n) for n in range(20)}
        results = fetch(urls, work)
        assert all(isinstance(result, Fetched) for result in results)
        assert one.counts.total() == 20


@pytest.mark.parametrize("robots", [True, False], ids=["found-by-its-rules", "found-by-its-urls"])
def test_a_host_that_is_never_back_is_let_go(context, robots):
    with FaultServer({"/a": good("a")}) as server:
        dead = [f"http://127.0.0.2:{server.port}/{n}" for n in range(50)]
        settings = quick_settings(allow_private_hosts=("127.0.0.0/8",), obey_robots=robots, http_attempts=2)
        work = context(settings)
        pauses = []
        for _ in range(VISITS - 1):
            with pytest.raises(PostponedError) as caught:
                fetch([*dead, server.url("/a")], work)
            pauses.append(caught.value.until)
            end_pauses(work, f"127.0.0.2:{server.port}")
        results = fetch([*dead, server.url("/a")], work)
        assert isinstance(results[-1], Fetched)
        assert {(r.reason, r.transient) for r in results if isinstance(r, Reject)} == {
            (RejectReason.UNREACHABLE, True)
        }
        assert "given up on 4 visits" in str(results[0])
        assert server.counts["/a"] == 1


def test_a_few_urls_of_a_dead_host_are_judged_one_by_one(context):
    with FaultServer({"/a": good("a")}) as server:
        dead = [f"http://127.0.0.2:{server.port}/{n}" for n in range(4)]
        settings = quick_settings(allow_private_hosts=("127.0.0.0/8",), obey_robots=False, http_attempts=2)
        results = fetch([*dead, server.url("/a")], context(settings))
        assert [isinstance(one, Reject) for one in results] == [True] * 4 + [False]


@pytest.mark.parametrize("at", [0, 10, 19])
def test_a_url_that_asks_for_a_long_pause_does_not_keep_the_others_for_ever(context, at):
    script: dict[str, Script | Reply] = {f"/{n}": good(n) for n in range(20)}
    script[f"/{at}"] = Reply(429, headers={"Retry-After": "999999999"})
    with FaultServer(script) as server:
        urls, work = [server.url(f"/{n}") for n in range(20)], context()
        if at < 19:
            with pytest.raises(PostponedError) as caught:
                fetch(urls, work, HostLimits(concurrency=1))
            assert caught.value.until <= server.log[-1].at + MAX_PAUSE_S + 1
            end_pauses(work, f"127.0.0.1:{server.port}")
        results = fetch(urls, work, HostLimits(concurrency=1))
        assert [n for n, one in enumerate(results) if isinstance(one, Reject)] == [at]


def test_items_that_were_rejects_before_stay_rejects_and_put_nothing_off(context):
    with FaultServer({}) as server:
        dead = [f"http://127.0.0.2:{server.port}/{n}" for n in range(50)]
        settings = quick_settings(allow_private_hosts=("127.0.0.0/8",), obey_robots=False)
        results = fetch(dead, context(settings, retried=frozenset(dead)))
        assert {one.transient for one in results if isinstance(one, Reject)} == {True}
        assert len(results) == 50


def test_a_forced_fetch_forgets_what_was_put_off(context):
    with FaultServer({"/robots.txt": Reply(404)} | {f"/{n}": BAD for n in range(40)}) as server:
        urls = [server.url(f"/{n}") for n in range(40)]
        with pytest.raises(PostponedError):
            fetch(urls, context())
        server.script.update({f"/{n}": good(n) for n in range(40)})
        assert all(isinstance(one, Fetched) for one in fetch(urls, context(force=True)))


@pytest.mark.parametrize(
    ("ahead_s", "waits"),
    [
        pytest.param(-1.0, False, id="over"),
        pytest.param(600.0 * 64, True, id="the-longest-pause-of-a-host"),
        pytest.param(MAX_PAUSE_S, True, id="the-longest-that-a-server-may-ask-for"),
        pytest.param(20 * 365 * 86_400.0, False, id="of-a-clock-that-ran-ahead"),
    ],
)
def test_a_pause_on_record_holds_unless_another_clock_wrote_it(ahead_s, waits):
    now, patience = 1_800_000_000.0, Patience(attempts=3, base_s=1.0, cap_s=60.0, max_wait_s=600.0)
    note = HostNote(3, now + ahead_s, "x")
    assert PutOff({"a": note}, patience).still("a", now) == (note if waits else None)
