"""TDMRep and ai.txt: what is reserved is not kept, and an origin's files are asked for once."""

from typing import Any

import pytest
from yarl import URL

from vlm_assets.transfer.download import UrlItem, fetch_urls
from vlm_assets.transfer.opt_outs import matches, opt_outs_of, reserves
from vlm_assets.transfer.politeness import HostLimits
from vlm_assets.words.errors import PostponedError, Reject, RejectReason
from vlm_assets_tests.servers import OWN_FILES, FaultServer, Reply
from vlm_assets_tests.transfer.conftest import jpeg, quick_settings
from vlm_assets_tests.transfer.gate_log import shortest_gap_s

GOOD = Reply(body=jpeg("good"))
TDM = "/.well-known/tdmrep.json"
AI = "/ai.txt"
ALL_TDM = Reply(body=b'[{"location": "/", "tdm-reservation": 1}]', content_type="application/json")
ALL_AI = Reply(body=b"User-Agent: *\nDisallow: /", content_type="text/plain")


def fetch(server, context, *paths: str, limits: HostLimits = HostLimits(), **settings: Any):  # noqa: B008 - frozen
    """The reason of each path's reject, None where it was fetched."""
    settings = {"obey_opt_outs": None, **settings}
    items = [UrlItem(path, server.url(path)) for path in paths]
    found = fetch_urls(items, context(quick_settings(**settings)), limits)
    return [one.reason if isinstance(one, Reject) else None for one in found]


def asked(server) -> list[str]:
    return [one.path for one in server.log]


@pytest.mark.parametrize(
    ("values", "reserved"),
    [
        (["1"], True), ([" 1 "], True), (["0", "1"], True), (["0, 1"], True),
        ([], False), (["0"], False), (["2"], False), (["true"], False), (["11"], False),
    ],
    ids=str,
)  # fmt: skip
def test_the_header(values: list[str], *, reserved: bool):
    assert reserves(values) is reserved


@pytest.mark.parametrize(
    ("pattern", "path", "expected"),
    [
        ("/", "/a", True), ("/a", "/a/b", True), ("/a/", "/a", False), ("/a$", "/a", True),
        ("/a$", "/ab", False), ("*", "/a", True), ("*.jpg", "/a/b.jpg?x", True), ("*.jpg$", "/b.jpg?x", False),
        ("/a/*/c", "/a/b/c/d", True), ("/a/*/c", "/a/c", False), ("/a*b*c$", "/abcbc", True),
        ("/a*a$", "/a", False), ("/a**", "/a", True), ("$", "/", False),
        ("/" + "*a" * 5_000 + "$", "/" + "a" * 4_000, False),
    ],
    ids=lambda value: str(value)[:12],
)  # fmt: skip
def test_patterns_of_paths(pattern: str, path: str, *, expected: bool):
    assert matches(pattern, path) is expected


@pytest.mark.parametrize(
    ("tdm", "ai", "path", "reason"),
    [
        pytest.param('[{"location":"/","tdm-reservation":1}]', "", "/a", RejectReason.TDM_RESERVED, id="all"),
        pytest.param('[{"location":"/","tdm-reservation":0}]', "", "/a", None, id="none"),
        pytest.param('[{"location":"/","tdm-reservation":"1"}]', "", "/a", RejectReason.TDM_RESERVED, id="text"),
        pytest.param('[{"location":"/","tdm-reservation":true}]', "", "/a", None, id="truth"),
        pytest.param('[{"location":"/","tdm-reservation":7}]', "", "/a", None, id="unknown"),
        pytest.param(
            '[{"location":"/free/","tdm-reservation":0},{"location":"/","tdm-reservation":1}]', "", "/free/a", None,
            id="first counts",
        ),
        pytest.param('{"location":"img/*","tdm-reservation":1}', "", "/img/a", RejectReason.TDM_RESERVED, id="one"),
        pytest.param(
            '\ufeff[{"location":"/\u00fc %7Ea","tdm-reservation":1}]', "", "/%C3%BC%20~a", RejectReason.TDM_RESERVED,
            id="encoded",
        ),
        pytest.param('[1,{"tdm-reservation":1},{"location":" "},{"location":3}]', "", "/a", None, id="no rules"),
        pytest.param("<html>Disallow: /</html>", "<html>\nUser-agent: *\nDisallow: /", "/a", None, id="pages"),
        pytest.param("[" * 100_000, "", "/a", None, id="deep"),
        pytest.param("", "User-Agent: *\nDisallow: *.jpg\nAllow: /", "/a.jpg", RejectReason.NOAI, id="ai.txt, kind"),
        pytest.param("", "User-Agent: *\nDisallow: *.jpg\nAllow: /", "/a.png", None, id="ai.txt, other kind"),
        pytest.param("", "User-Agent: other\nDisallow: /", "/a", None, id="ai.txt, other agent"),
        pytest.param("", "User-Agent: vlm-assets\nDisallow: /", "/a", RejectReason.NOAI, id="ai.txt, us"),
    ],
)  # fmt: skip
def test_what_files_reserve(tdm: str, ai: str, path: str, reason: RejectReason | None):
    verdict = opt_outs_of(tdm.encode(), ai.encode()).verdict(URL(f"https://example.org{path}", encoded=True))
    assert (verdict.reason if verdict else None) is reason


@pytest.mark.parametrize(
    ("script", "reason", "detail", "sent"),
    [
        (
            {"/a": Reply(body=GOOD.body, headers={"TDM-Reservation": "1"})},
            "tdm_reserved",
            "tdm-reservation",
            1,
        ),
        ({"/a": GOOD, TDM: ALL_TDM}, "tdm_reserved", "tdmrep.json of http://127.0.0.1:", 0),
        ({"/a": GOOD, AI: ALL_AI}, "noai", "ai.txt of http://127.0.0.1:", 0),
    ],
    ids=["header", "tdmrep.json", "ai.txt"],
)
def test_a_reject_names_its_signal(context, script, reason, detail, sent):
    with FaultServer(script) as server:
        settings = quick_settings(obey_opt_outs=None)
        [result] = fetch_urls([UrlItem("a", server.url("/a"))], context(settings), HostLimits())
        assert isinstance(result, Reject)
        assert (str(result.reason), result.transient, server.counts["/a"]) == (reason, False, sent)
        assert result.detail.startswith(detail)


@pytest.mark.parametrize(
    ("robots", "opt_outs", "obeyed"),
    [(True, None, True), (False, None, False), (False, True, True), (True, False, False)],
    ids=str,
)
def test_settings(context, *, robots, opt_outs, obeyed):
    with FaultServer({"/a": GOOD, TDM: ALL_TDM}) as server:
        reasons = fetch(server, context, "/a", obey_robots=robots, obey_opt_outs=opt_outs)
        assert reasons == [RejectReason.TDM_RESERVED if obeyed else None]
        assert (TDM in asked(server), AI in asked(server)) == (obeyed, obeyed)
        assert ("/robots.txt" in asked(server)) is robots


def test_files_are_asked_for_once_a_day_at_the_pace_of_the_host(context, gate_log):
    names = [f"/{n}" for n in range(6)]
    with FaultServer(dict.fromkeys(names, GOOD)) as server:
        assert fetch(server, context, *names, limits=HostLimits(interval_s=0.05)) == [None] * 6
        assert asked(server)[:3] == ["/robots.txt", TDM, AI]
        assert sum(path in OWN_FILES for path in asked(server)) == 3
        assert len(gate_log.let_go()) == len(server.log) == 9
        assert shortest_gap_s(gate_log.let_go()) > 0.0499
        server.log.clear()
        assert fetch(server, lambda one: context(one, force=True), "/0") == [None]
        assert asked(server) == ["/0"]


@pytest.mark.parametrize(
    ("forbidden", "reason", "sent"),
    [
        ("Disallow: /", RejectReason.ROBOTS, []),
        ("Disallow: /.well-known/", None, [AI, "/a"]),
        ("Disallow: /ai.txt", None, [TDM, "/a"]),
    ],
    ids=["all", "tdmrep.json", "ai.txt"],
)
def test_files_that_robots_forbid_are_not_asked_for(context, forbidden, reason, sent):
    robots = Reply(body=f"User-agent: *\n{forbidden}".encode(), content_type="text/plain")
    with FaultServer({"/robots.txt": robots, "/a": GOOD}) as server:
        assert fetch(server, context, "/a") == [reason]
        assert asked(server) == ["/robots.txt", *sent]


@pytest.mark.parametrize("broken", [Reply(500), Reply(drop=True), Reply(403)], ids=["500", "drop", "403"])
def test_a_file_that_cannot_be_had_reserves_nothing(context, broken):
    with FaultServer({TDM: broken, "/a": GOOD, "/b": GOOD}) as server:
        assert fetch(server, context, "/a", "/b", http_attempts=2) == [None, None]


def test_a_host_that_wants_peace_is_left_alone(context):
    names = [f"/{n}" for n in range(30)]
    with FaultServer(
        {TDM: Reply(503, headers={"Retry-After": "80000"})} | dict.fromkeys(names, GOOD)
    ) as server:
        with pytest.raises(PostponedError):
            fetch(server, context, *names)
        assert asked(server) == ["/robots.txt", TDM]


def test_the_files_of_a_redirect_target_count(context):
    with (
        FaultServer({TDM: ALL_TDM, "/b": GOOD}) as other,
        FaultServer({"/a": Reply(302, headers={"Location": other.url("/b")})}) as server,
    ):
        assert fetch(server, context, "/a") == [RejectReason.TDM_RESERVED]
        assert other.counts["/b"] == 0
