import hashlib
import threading
from contextlib import nullcontext

import pytest

from vlm_assets.transfer.client import Client, download_file, request
from vlm_assets.transfer.http import TransferError
from vlm_assets.words.errors import ConfigError, PostponedError, RejectReason, SourceError
from vlm_assets_tests.servers import FaultServer, Reply
from vlm_assets_tests.transfer.conftest import quick_settings
from vlm_assets_tests.waiting import until

BODY = bytes(range(256)) * 12_000  # more than the client buffers, so that a cut one leaves something
SHA = hashlib.sha256(BODY).hexdigest()


def test_a_request_returns_body_headers_and_json(tmp_path):
    reply = Reply(body=b'{"a": 1}', content_type="application/json", headers={"ETag": '"x"'})
    with FaultServer({"/a": reply}) as server:
        answer = request(
            server.url("/a"), settings=quick_settings(), locks_dir=tmp_path, json={"q": 1}, method="POST"
        )
        assert (answer.status, answer.json(), answer.etag) == (200, {"a": 1}, '"x"')
        assert server.log[0].method == "POST"
        assert server.log[0].headers["User-Agent"].startswith("vlm-assets/")


def test_a_conditional_request_says_that_nothing_changed(tmp_path):
    with FaultServer({"/a": Reply(body=b"x", headers={"ETag": '"x"'})}) as server:
        answer = request(server.url("/a"), settings=quick_settings(), locks_dir=tmp_path, etag='"x"')
        assert (answer.status, answer.body) == (304, b"")


@pytest.mark.parametrize(
    ("replies", "tries"),
    [
        pytest.param([Reply(503), Reply(body=b"ok")], 2, id="503-once"),
        pytest.param([Reply(500), Reply(502), Reply(body=b"ok")], 3, id="5xx-twice"),
        pytest.param([Reply(drop=True), Reply(body=b"ok")], 2, id="dropped"),
        pytest.param([Reply(body=b"ok", cut_after=1), Reply(body=b"ok")], 2, id="cut"),
    ],
)
def test_what_may_pass_is_tried_again(tmp_path, replies, tries):
    with FaultServer({"/a": replies}) as server:
        assert request(server.url("/a"), settings=quick_settings(), locks_dir=tmp_path).body == b"ok"
        assert server.counts["/a"] == tries


def test_who_falls_silent_is_asked_again(tmp_path):
    settings = quick_settings(http_timeout_s=1.0, http_attempts=99)  # a busy machine may be silent too
    with FaultServer({"/a": [Reply(body=b"ok", stall_after=1), Reply(body=b"ok")]}) as server:
        assert request(server.url("/a"), settings=settings, locks_dir=tmp_path).body == b"ok"
        assert server.counts["/a"] >= 2


@pytest.mark.parametrize(
    ("reply", "reason", "transient", "tries"),
    [
        pytest.param(Reply(404), RejectReason.NOT_FOUND, False, 1, id="404"),
        pytest.param(Reply(401), RejectReason.FORBIDDEN, False, 1, id="401"),
        pytest.param(Reply(500), RejectReason.HTTP_ERROR, True, 4, id="500-for-ever"),
        pytest.param(Reply(drop=True), RejectReason.UNREACHABLE, True, 4, id="dropped-for-ever"),
        pytest.param(Reply(302, headers={"Location": "ftp://x/"}), RejectReason.BAD_URL, False, 1, id="bad-redirect"),
        pytest.param(
            Reply(302, headers={"Location": "http://169.254.169.254/latest/meta-data/"}),
            RejectReason.PRIVATE_ADDRESS, False, 1, id="metadata-service",
        ),
    ],
)  # fmt: skip
def test_failures_say_why(tmp_path, reply, reason, transient, tries):
    with FaultServer({"/a": reply}) as server, pytest.raises(TransferError) as caught:
        request(server.url("/a?token=secret"), settings=quick_settings(), locks_dir=tmp_path)
    assert (caught.value.reason, caught.value.transient, len(server.log)) == (reason, transient, tries)
    assert "secret" not in str(caught.value)


def test_nothing_is_asked_before_a_retry_after_has_passed_by_anyone(tmp_path, gate_log):
    with FaultServer({"/a": [Reply(429, headers={"Retry-After": "1"}), Reply()], "/b": Reply()}) as server:

        def other() -> None:
            until(gate_log.pauses, "the pause")
            request(server.url("/b"), settings=quick_settings(), locks_dir=tmp_path)

        thread = threading.Thread(target=other)
        thread.start()
        request(server.url("/a"), settings=quick_settings(), locks_dir=tmp_path)
        thread.join()
        [pause] = gate_log.pauses()
        assert pause.until >= pause.at + 1
        assert len(server.log) == 3
        assert len(gate_log.let_go_after(pause)) == 2
        assert min(gate_log.let_go_after(pause)) >= pause.until


def test_a_long_retry_after_is_not_waited_for(tmp_path):
    with FaultServer({"/a": Reply(503, headers={"Retry-After": "4000"})}) as server:
        with pytest.raises(TransferError) as caught:
            request(server.url("/a"), settings=quick_settings(), locks_dir=tmp_path)
        assert caught.value.not_before >= server.log[0].at + 4000
        with pytest.raises(PostponedError) as put_off:  # the pause is on record
            request(server.url("/b"), settings=quick_settings(), locks_dir=tmp_path)
        assert put_off.value.until >= server.log[0].at + 4000
        assert len(server.log) == 1


def test_credentials_stay_with_their_origin(tmp_path):
    with FaultServer({"/file": Reply(body=b"x")}) as storage:
        moved = {
            "/a": Reply(302, headers={"Location": storage.url("/file")}),
            "/b": Reply(302, headers={"Location": "/c"}),
        }
        with FaultServer({**moved, "/c": Reply()}) as server:
            headers = {"Authorization": "Bearer t", "X-Api-Key": "k"}
            for path in ("/a", "/b"):
                request(server.url(path), settings=quick_settings(), locks_dir=tmp_path, headers=headers)
            assert all(asked.headers.get("Authorization") == "Bearer t" for asked in server.log)
            assert not {"Authorization", "X-Api-Key"} & set(storage.log[0].headers)


def test_a_file_arrives_whole(tmp_path):
    with FaultServer({"/f": Reply(body=BODY, headers={"ETag": '"1"'})}) as server:
        seen: list[int] = []
        dest = tmp_path / "deep" / "f.bin"
        done = download_file(
            server.url("/f"),
            dest,
            settings=quick_settings(),
            locks_dir=tmp_path / "l",
            sha256=SHA,
            progress=seen.append,
        )
    assert (done.path, done.sha256, done.size_bytes, done.etag) == (dest, SHA, len(BODY), '"1"')
    assert dest.read_bytes() == BODY
    assert [p.name for p in dest.parent.iterdir()] == ["f.bin"]
    assert sum(seen) == len(BODY)


@pytest.mark.parametrize(
    ("etag", "sha256", "ranged"),
    [
        pytest.param('"1"', None, True, id="etag"),
        pytest.param(None, SHA, True, id="hash-declared"),
        pytest.param('W/"1"', None, False, id="weak-etag"),
        pytest.param(None, None, False, id="nothing-to-go-by"),
    ],
)
def test_a_cut_file_continues_where_that_is_safe(tmp_path, etag, sha256, ranged):
    headers = {"ETag": etag} if etag else {}
    replies = [Reply(body=BODY, headers=headers, cut_after=2_500_000), Reply(body=BODY, headers=headers)]
    with FaultServer({"/f": replies}, ranges=True) as server:
        done = download_file(
            server.url("/f"),
            tmp_path / "f",
            settings=quick_settings(),
            locks_dir=tmp_path / "l",
            sha256=sha256,
        )
        assert done.sha256 == SHA
        assert ("Range" in server.log[1].headers) == ranged


def test_a_file_that_changed_meanwhile_starts_anew(tmp_path):
    other = BODY[::-1]
    replies = [
        Reply(body=BODY, headers={"ETag": '"1"'}, cut_after=2_500_000),
        Reply(body=other, headers={"ETag": '"2"'}),
    ]
    with FaultServer({"/f": replies}, ranges=True) as server:
        download_file(server.url("/f"), tmp_path / "f", settings=quick_settings(), locks_dir=tmp_path / "l")
    assert (tmp_path / "f").read_bytes() == other


def test_a_later_call_continues_a_part(tmp_path):
    cut = Reply(body=BODY, headers={"ETag": '"1"'}, cut_after=2_500_000)
    with FaultServer(
        {"/f": [cut, Reply(404), Reply(body=BODY, headers={"ETag": '"1"'})]}, ranges=True
    ) as server:
        with pytest.raises(TransferError):
            download_file(
                server.url("/f"), tmp_path / "f", settings=quick_settings(), locks_dir=tmp_path / "l"
            )
        assert not (tmp_path / "f").exists()
        download_file(server.url("/f"), tmp_path / "f", settings=quick_settings(), locks_dir=tmp_path / "l")
        assert int(server.log[2].headers["Range"][6:-1]) > 0
    assert (tmp_path / "f").read_bytes() == BODY


@pytest.mark.parametrize(
    ("replies", "fine"),
    [
        pytest.param([Reply(body=b"wrong"), Reply(body=BODY)], True, id="once"),
        pytest.param([Reply(body=b"wrong")], False, id="always"),
    ],
)
def test_a_wrong_hash_never_gets_in(tmp_path, replies, fine):
    with FaultServer({"/f": replies}) as server:
        with nullcontext() if fine else pytest.raises(TransferError, match="sha256"):
            download_file(
                server.url("/f"),
                tmp_path / "f",
                settings=quick_settings(),
                locks_dir=tmp_path / "l",
                sha256=SHA,
            )
        assert (tmp_path / "f").exists() == fine
        assert server.counts["/f"] == 2


def test_two_downloads_of_one_file_do_not_mix(tmp_path):
    called = threading.Event()
    with (
        FaultServer({"/f": Reply(body=BODY, when=called.is_set)}) as server,
        Client(quick_settings(), tmp_path / "l") as client,
    ):
        threads = [
            threading.Thread(target=client.download_file, args=(server.url("/f"), tmp_path / "f"))
            for _ in range(3)
        ]
        for thread in threads:
            thread.start()
        called.set()
        for thread in threads:
            thread.join()
    assert (tmp_path / "f").read_bytes() == BODY
    assert sorted(p.name for p in tmp_path.iterdir()) == ["f", "l"]


def test_a_file_above_the_cap_is_refused(tmp_path):
    with FaultServer({"/f": Reply(body=BODY), "/g": Reply(body=BODY, chunked=True)}) as server:
        for path in ("/f", "/g"):
            with pytest.raises(TransferError) as caught:
                download_file(
                    server.url(path),
                    tmp_path / "f",
                    settings=quick_settings(),
                    locks_dir=tmp_path / "l",
                    max_bytes=1000,
                )
            assert caught.value.reason is RejectReason.TOO_MANY_BYTES


def test_robots_bind_crawling_and_need_a_contact(tmp_path):
    robots = Reply(body=b"User-agent: *\nDisallow: /private/", content_type="text/plain")
    script = {"/robots.txt": robots, "/private/f": Reply(body=b"x"), "/open/f": Reply(body=b"x")}
    with FaultServer(script) as server, Client(quick_settings(), tmp_path / "l") as client:
        client.download_file(server.url("/open/f"), tmp_path / "f", robots=True)
        with pytest.raises(TransferError) as caught:
            client.download_file(server.url("/private/f"), tmp_path / "g", robots=True)
        assert caught.value.reason is RejectReason.ROBOTS
        with pytest.raises(ConfigError, match="VLM_CONTACT"):
            client.request("http://example.org/x", robots=True)
        assert [asked.path for asked in server.log] == ["/robots.txt", "/open/f"]


def test_a_call_that_would_wait_for_ever_can_be_cancelled(tmp_path):
    cancelled = threading.Event()
    with (
        FaultServer({"/f": Reply(body=BODY, stall_after=10)}) as server,
        Client(quick_settings(), tmp_path / "l", cancelled=cancelled) as client,
        pytest.raises(SourceError, match="cancelled"),
    ):
        client.download_file(server.url("/f"), tmp_path / "f", progress=lambda _: cancelled.set())
