"""The crawl as its server sees it: order, pace, repeats, kills, and pages that changed."""

import json
import os
import signal
import ssl
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import psutil
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from vlm_assets.demo.newspaper_site import BASE_PATH, NewspaperSite
from vlm_assets.demo.services.base import Fault, Reply
from vlm_assets.settings import load_settings
from vlm_assets.spiders.crawl import _is_stale, crawl, spiders
from vlm_assets.spiders.model import INDEX_FILE, CrawlTask
from vlm_assets.words.errors import SourceError
from vlm_assets_tests.odd_servers import OddServer
from vlm_assets_tests.sources.held_site import HeldSite, first, two_at_once
from vlm_assets_tests.transfer.gate_log import shortest_gap_s
from vlm_assets_tests.waiting import HANG_S, until

INDEX = BASE_PATH
TITLE = f"{BASE_PATH}gazete.php"
LOGGED = """
import json, os, sys
sys.path.insert(0, sys.argv[1])
from vlm_assets.spiders import run
from vlm_assets_tests.transfer.gate_log import GateLog
log = GateLog()
log.watch()
run.main(int(sys.argv[2]))
with open(os.environ["VLM_GATE_LOG"], "w") as file:
    json.dump(log.let_go(), file)
"""
RESOLVED = """
import json, os, socket, sys
sys.path.insert(0, sys.argv[1])
real, known = socket.getaddrinfo, json.loads(os.environ["VLM_NAMES"])
def look_up(host, port, *args, **options):
    if host not in known:
        return real(host, port, *args, **options)
    answers = known[host]
    found = answers.pop(0) if len(answers) > 1 else answers[0]
    families = {True: socket.AF_INET6, False: socket.AF_INET}
    return [(families[":" in one], socket.SOCK_STREAM, 6, "", (one, port)) for one in found]
socket.getaddrinfo = look_up
from vlm_assets.spiders import run
run.main(int(sys.argv[2]))
"""
"""A crawl with a resolver of its own: name → its answers, one a look-up, the last for ever."""
SETTINGS = load_settings(env_file=None)


def task_of(folder: Path, site: NewspaperSite, **overrides: Any) -> CrawlTask:
    defaults: dict[str, Any] = {
        "spider": "istanbul_uni_newspapers", "base_url": site.base_url, "titles": (), "folder": folder / "crawl",
        "locks_dir": folder / "locks", "user_agent": "vlm-assets/test (+mailto:me@example.org)",
        "allow_private_hosts": ("127.0.0.1",), "obey_robots": True, "concurrency": 2, "delay_s": 0.0,
        "timeout_s": HANG_S, "attempts": 2,
    }  # fmt: skip
    return CrawlTask(**{**defaults, **overrides})


def paths(site: NewspaperSite) -> list[str]:
    return [entry.path for entry in site.requests()]


def test_there_is_a_spider_for_the_archive() -> None:
    assert spiders() == ("istanbul_uni_newspapers",)


def test_a_crawl_finds_every_title_and_issue(tmp_path: Path) -> None:
    with NewspaperSite() as site:
        titles = crawl(task_of(tmp_path, site), SETTINGS)
        assert [(title.slug, title.title) for title in titles] == [
            ("anadolu", "Anadolu"), ("vatan", "Vatan"), ("yeni_isik", "Yeni Işık"),
        ]  # fmt: skip
        for found, made in zip(titles, site.titles, strict=True):
            assert [(i.url, i.year, i.date_printed) for i in found.issues] == [
                (site.wire_url(i), str(i.year), i.date_printed) for i in made.issues
            ]
        dates = [issue.date_iso for title in titles for issue in title.issues]
    assert dates == [
        "1935-03-10", "1935-03-11", "1935-01-03", "1936-10-01", "1936-10-02", "1940-08-04", "1940-08-05",
        "1940-08-06", None, "1941-11-19", "1941-11-20", "1941-11-21", "1929-01-05", "1929-10-07", "1935-03-10",
        "1935-03-12",
    ]  # fmt: skip


def test_robots_come_first_and_a_repeat_asks_for_index_and_titles_only(tmp_path: Path) -> None:
    with NewspaperSite() as site:
        crawl(task_of(tmp_path, site), SETTINGS)
        assert paths(site) == ["/robots.txt", INDEX, TITLE, TITLE, TITLE]
        assert {entry.headers["user-agent"] for entry in site.requests()} == {
            "vlm-assets/test (+mailto:me@example.org)"
        }
        site.clear_log()
        crawl(task_of(tmp_path, site), SETTINGS)
        assert paths(site) == [INDEX, TITLE, TITLE, TITLE]


def test_concurrency_and_delay_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vlm_assets.spiders.crawl._PROGRAM", LOGGED)
    monkeypatch.setenv("VLM_GATE_LOG", str(tmp_path / "gates.json"))
    with HeldSite(two_at_once, TITLE) as site:
        crawl(task_of(tmp_path, site, delay_s=0.2), SETTINGS)
        asked = len(site.log)
    let_go = json.loads((tmp_path / "gates.json").read_bytes())
    assert site.most_at_once == 2
    assert len(let_go) == asked == 5
    assert shortest_gap_s(let_go) > 0.1999


@pytest.mark.parametrize(
    ("robots", "told"),
    [
        pytest.param(
            Reply(200, b"User-agent: vlm-assets\nDisallow: /"), "robots.txt forbids", id="forbidden_to_us"
        ),
        pytest.param(Reply(500), "robots.txt: status 500", id="server_error"),
    ],
)
def test_nothing_is_asked_that_robots_forbid(robots: Reply, told: str, tmp_path: Path) -> None:
    with NewspaperSite() as site:
        site.overrides["/robots.txt"] = robots
        with pytest.raises(SourceError, match=told):
            crawl(task_of(tmp_path, site), SETTINGS)
        assert set(paths(site)) == {"/robots.txt"}


def test_a_missing_robots_file_allows_all(tmp_path: Path) -> None:
    with NewspaperSite() as site:
        site.overrides["/robots.txt"] = Reply(404)
        assert len(crawl(task_of(tmp_path, site), SETTINGS)) == 3


def test_a_busy_server_is_given_the_pause_that_it_asks_for(tmp_path: Path) -> None:
    with NewspaperSite() as site:
        site.faults.append(Fault(INDEX, "429", retry_after_s=2))
        assert len(crawl(task_of(tmp_path, site), SETTINGS)) == 3
        refused, answered = (entry.at for entry in site.requests(INDEX))
    assert answered - refused >= 2


def test_a_page_that_changed_fails_the_crawl_with_its_url_and_selector(tmp_path: Path) -> None:
    with NewspaperSite() as site:
        site.overrides["gazete.php?gazete=vatan"] = Reply(
            200, b"<html>moved</html>", {"Content-Type": "text/html"}
        )
        with pytest.raises(SourceError, match=r"gazete\.php.*gazete=vatan.*button\.collapsible"):
            crawl(task_of(tmp_path, site), SETTINGS)


def test_a_title_that_cannot_be_had_fails_the_crawl_and_later_alone_is_asked_again(tmp_path: Path) -> None:
    with NewspaperSite() as site:
        site.overrides["gazete.php?gazete=vatan"] = Reply(500, b"broken")
        with pytest.raises(SourceError, match="status 500"):
            crawl(task_of(tmp_path, site), SETTINGS)
        site.overrides.clear()
        site.clear_log()
        assert len(crawl(task_of(tmp_path, site), SETTINGS)) == 3
        assert paths(site) == [TITLE]


@pytest.mark.parametrize("target", ["10.1.2.3", "localhost:1"])
def test_a_redirect_into_a_private_network_is_not_followed(target: str, tmp_path: Path) -> None:
    with NewspaperSite() as site:
        site.overrides["gazete.php?gazete=vatan"] = Reply(302, b"", {"Location": f"http://{target}/"})
        with pytest.raises(SourceError, match=target.partition(":")[0]):
            crawl(task_of(tmp_path, site, attempts=1), SETTINGS)


def test_no_name_leads_a_crawl_into_a_private_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is connected to is what was checked; robots.txt of a page's host is asked first."""
    names = {
        "inside.test": [["127.0.0.2", "::ffff:127.0.0.2"]],
        "several.test": [["127.0.0.2", "::1", "127.0.0.1"]],
        "rebind.test": [["127.0.0.1"], ["169.254.169.254"]],
    }
    monkeypatch.setattr("vlm_assets.spiders.crawl._PROGRAM", RESOLVED)
    monkeypatch.setenv("VLM_NAMES", json.dumps(names))
    with NewspaperSite() as site, OddServer(hosts=("127.0.0.2",), port=site.port) as private:
        for title, name in zip(("anadolu", "vatan", "yeni_isik"), names, strict=True):
            to = {"Location": f"http://{name}:{site.port}/{name}", "Connection": "close"}
            site.overrides[f"gazete.php?gazete={title}"] = Reply(302, b"", to)
        site.overrides["/rebind.test"] = site.overrides["/several.test"] = Reply(404)
        with pytest.raises(SourceError) as told:
            crawl(task_of(tmp_path, site, attempts=1), SETTINGS)
        asked = paths(site)
        assert not private.log
    assert "inside.test leads to 127.0.0.2, which is a private" in str(told.value)
    assert "/several.test" in asked
    assert "/inside.test" not in asked
    assert ("/rebind.test" in asked) or "rebind.test leads to 169.254.169.254" in str(told.value)


def test_a_host_that_settings_do_not_list_is_not_asked(tmp_path: Path) -> None:
    with NewspaperSite() as site:
        with pytest.raises(SourceError, match="VLM_ALLOW_PRIVATE_HOSTS"):
            crawl(task_of(tmp_path, site, allow_private_hosts=()), SETTINGS)
        assert paths(site) == []


def test_only_wanted_titles_are_asked_for(tmp_path: Path) -> None:
    with NewspaperSite() as site:
        found = crawl(task_of(tmp_path, site, titles=("yeni ışık", "VATAN")), SETTINGS)
        assert [title.slug for title in found] == ["vatan", "yeni_isik"]
        assert paths(site).count(TITLE) == 2


def test_an_unknown_title_is_an_error_that_lists_the_known(tmp_path: Path) -> None:
    with NewspaperSite() as site, pytest.raises(SourceError, match="anadolu, vatan, yeni_isik"):
        crawl(task_of(tmp_path, site, titles=("cumhuriyet",)), SETTINGS)


def test_a_killed_crawl_goes_on_with_what_is_left(tmp_path: Path) -> None:
    with HeldSite(first(1), TITLE) as site:
        task = task_of(tmp_path, site, concurrency=1)
        program = (
            "import json, sys; from vlm_assets.settings import load_settings; "
            "from vlm_assets.spiders.crawl import crawl; from vlm_assets.spiders.model import CrawlTask; "
            "crawl(CrawlTask.from_json(json.load(sys.stdin)), load_settings(env_file=None))"
        )
        child = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, text=True)
        assert child.stdin is not None
        child.stdin.write(json.dumps(task.to_json()))
        child.stdin.close()
        until(lambda: site.arrived == 2, "the second title")
        crawlers = psutil.Process(child.pid).children(recursive=True)
        assert crawlers
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
        _, alive = psutil.wait_procs(crawlers, timeout=HANG_S)  # they die with their caller
        assert not alive
        site.released.set()
        until(lambda: paths(site).count(TITLE) == 2, "the log of what the dead crawl had asked for")
        site.clear_log()
        assert len(crawl(task, SETTINGS)) == 3
        assert paths(site) == [TITLE, TITLE]


def test_a_crawl_cut_short_long_ago_is_begun_anew(tmp_path: Path) -> None:
    with NewspaperSite() as site:
        site.overrides["gazete.php?gazete=vatan"] = Reply(404)
        task = task_of(tmp_path, site)
        with pytest.raises(SourceError):
            crawl(task, SETTINGS)
        old = time.time() - 2 * 86400
        os.utime(task.folder / "index.json", (old, old))
        site.overrides.clear()
        site.clear_log()
        crawl(task, SETTINGS)
        assert paths(site) == [INDEX, TITLE, TITLE, TITLE]


class _TlsSite(NewspaperSite):
    """The same site behind TLS with a certificate of its own."""

    def __init__(self, certificate: Path, key: Path) -> None:
        super().__init__()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"


def _self_signed(folder: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that no authority vouches for, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "demo")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(7)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem, key_pem = folder / "cert.pem", folder / "key.pem"
    pem.write_bytes(certificate.public_bytes(Encoding.PEM))
    key_pem.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return pem, key_pem


def test_tls_is_verified_and_an_extra_ca_bundle_counts(tmp_path: Path) -> None:
    certificate, key = _self_signed(tmp_path)
    with _TlsSite(certificate, key) as site:
        with pytest.raises(SourceError, match=r"robots\.txt cannot be read"):
            crawl(task_of(tmp_path, site), SETTINGS)
        assert paths(site) == []
        trusting = load_settings(env_file=None, ca_bundle=certificate)
        assert len(crawl(task_of(tmp_path, site), trusting)) == 3


@pytest.mark.parametrize(
    ("age_s", "stale"),
    [(0.0, False), (80_000.0, False), (90_000.0, True), (-7_200.0, True)],
    ids=["new", "of-today", "of-yesterday", "of-a-clock-that-ran-ahead"],
)
def test_an_index_is_asked_for_anew_after_a_day(tmp_path: Path, *, age_s: float, stale: bool):
    assert _is_stale(tmp_path)
    index = tmp_path / INDEX_FILE
    index.touch()
    os.utime(index, (time.time() - age_s - 1,) * 2)
    assert _is_stale(tmp_path) is stale
