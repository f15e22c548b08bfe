"""The kind over the demo archive: slices, records, rejects with their reasons, downloads that go on."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from vlm_assets.demo.newspaper_site import BASE_PATH, TITLES, DemoIssue, DemoTitle, NewspaperSite, pdf_of
from vlm_assets.demo.services.base import Fault, Reply
from vlm_assets.sources.newspapers import SOURCE, NewspapersSpec
from vlm_assets.spiders.model import Issue, Title
from vlm_assets.transfer.politeness import MAX_PAUSE_S
from vlm_assets.words.errors import ConfigError, PostponedError, RejectReason, SourceError
from vlm_assets.words.records import Listed
from vlm_assets_tests.sources.held_site import HeldSite, first, two_at_once
from vlm_assets_tests.sources.kit import (
    COMMON,
    Fetched,
    fetch_slice,
    identities,
    list_context,
    settings_of,
    slices_of,
)
from vlm_assets_tests.transfer.gate_log import GateLog, shortest_gap_s
from vlm_assets_tests.waiting import until


@pytest.fixture
def site() -> Iterator[NewspaperSite]:
    with NewspaperSite() as running:
        yield running


def spec_of(site: NewspaperSite | None = None, **keys: Any) -> NewspapersSpec:
    base_url = site.base_url if site else ""
    return NewspapersSpec(kind="newspapers", **{"base_url": base_url, "cooldown_s": 0, **COMMON, **keys})


def listed_of(site: NewspaperSite, spec: NewspapersSpec) -> Listed:
    """What `list` gives, without the seconds that a crawl takes (the crawl has its own tests)."""
    from vlm_assets.sources import newspapers
    from vlm_assets.spiders.dates import parse_date

    titles = [
        Title(
            title.slug, title.title,
            tuple(
                Issue(site.wire_url(i), str(i.year), i.date_printed, parse_date(i.date_printed)) for i in title.issues
            ),
        )
        for title in site.titles
    ]  # fmt: skip
    slices, _, _ = newspapers._slices(spec, site.base_url, titles)
    return Listed(revision="test", slices=slices)


def fetch(folder: Path, site: NewspaperSite, name: str, **overrides: Any) -> Fetched:
    spec = overrides.pop("spec", None) or spec_of(site)
    return fetch_slice(SOURCE, spec, folder, listed_of(site, spec), name, **overrides)


def key_of(title: int, issue: int) -> str:
    return TITLES[title].issues[issue].file.replace(" ", "%20")


def test_a_listing_has_a_slice_a_title_and_year_and_every_issue_once(
    tmp_path: Path, site: NewspaperSite
) -> None:
    spec = spec_of(site)
    listed = SOURCE.list(spec, list_context(tmp_path))
    assert {name: len(one.items) for name, one in slices_of(listed).items()} == {
        "anadolu_1935": 3, "anadolu_1936": 2, "vatan_1940": 4, "vatan_1941": 3, "yeni_isik_1929": 2,
        "yeni_isik_1935": 1,
    }  # fmt: skip
    assert all(one.container for one in listed.slices)
    assert listed.attributes == {
        "issues_without_link": 0,
        "issues_listed_twice": 1,
        "issues_outside_years": 0,
    }
    item = next(i for i in slices_of(listed)["anadolu_1935"].items if i.key == key_of(0, 2))
    assert item.payload == {
        "url": f"{site.base_url}anadolu/anadolu_1935/ikinci%20kanun_/anadolu%201935%203.pdf",
        "title": "Anadolu", "title_slug": "anadolu", "year": "1935", "date_printed": "3 İkinci Kanun 1935",
        "date_iso": "1935-01-03",
    }  # fmt: skip
    assert listed.revision == SOURCE.list(spec, list_context(tmp_path)).revision
    assert identities(listed) == identities(listed_of(site, spec))


def test_an_issue_without_readable_date_is_listed_all_the_same(site: NewspaperSite) -> None:
    items = slices_of(listed_of(site, spec_of(site)))["vatan_1940"].items
    undated = [item.payload for item in items if item.payload["date_iso"] is None]
    assert [payload["date_printed"] for payload in undated] == ["Ağustos sayısı"]


def test_years_choose_slices(site: NewspaperSite) -> None:
    listed = listed_of(site, spec_of(site, years=[1935, 1936]))
    assert sorted(slices_of(listed)) == ["anadolu_1935", "anadolu_1936", "yeni_isik_1935"]


def test_a_listing_of_nothing_is_an_error(tmp_path: Path, site: NewspaperSite) -> None:
    with pytest.raises(SourceError, match="titles and years"):
        SOURCE.list(spec_of(site, years=[1800, 1801], titles=["vatan"]), list_context(tmp_path))


def test_the_internet_is_not_asked_without_a_contact(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="istanbul"):
        SOURCE.list(spec_of(), list_context(tmp_path))


def test_pages_say_where_and_when_they_were_printed(tmp_path: Path, site: NewspaperSite) -> None:
    fetched = fetch(tmp_path, site, "anadolu_1935")
    assert fetched.rejects == []
    assert [(r.item, r.record) for r in fetched.records] == [
        (key_of(0, n), p) for n in (0, 1, 2) for p in (0, 1)
    ]
    record = fetched.records[1]
    url = f"{site.base_url}{key_of(0, 0)}"
    assert (record.key, record.origin, record.images[0].dpi) == (
        f"{key_of(0, 0)}#page=2",
        f"{url}#page=2",
        300,
    )
    assert record.extra == {
        "title": "Anadolu", "title_slug": "anadolu", "year": "1935", "date_printed": "10 mart  1935",
        "date_iso": "1935-03-10", "document": url, "page": 2, "pages": 2, "page_width_pt": 148.8,
        "page_height_pt": 211.2, "page_image": "embedded",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "rejects", "pages"),
    [
        pytest.param(
            "vatan_1940",
            [(key_of(1, 1), RejectReason.UNREADABLE, True), (key_of(1, 2), RejectReason.TRUNCATED, True)], 4,
            id="web_page_and_cut",
        ),
        pytest.param(
            "vatan_1941",
            [(key_of(1, 4), RejectReason.ENCRYPTED, False), (key_of(1, 5), RejectReason.EMPTY, True)], 2,
            id="encrypted_and_empty",
        ),
        pytest.param("yeni_isik_1935", [(key_of(2, 3), RejectReason.NOT_FOUND, False)], 0, id="missing"),
    ],
)  # fmt: skip
def test_an_issue_that_is_no_whole_pdf_is_a_reject(
    name: str, rejects: list[Any], pages: int, tmp_path: Path, site: NewspaperSite
) -> None:
    fetched = fetch(tmp_path, site, name)
    assert [(r.item, r.reason, r.transient) for r in fetched.rejects] == rejects
    assert [r.tries for r in fetched.rejects if r.transient] == [5] * sum(one[2] for one in rejects)
    assert len(fetched.records) == pages


def test_what_is_on_disk_is_not_asked_for_again_but_broken_files_are(
    tmp_path: Path, site: NewspaperSite
) -> None:
    first = fetch(tmp_path, site, "vatan_1940").content()
    asked = [entry.path for entry in site.requests("*.pdf")]
    assert len(asked) == len(set(asked)) == 4
    site.clear_log()
    assert fetch(tmp_path, site, "vatan_1940").content() == first
    assert sorted(entry.path for entry in site.requests("*.pdf")) == sorted(
        BASE_PATH + TITLES[1].issues[n].file for n in (1, 2)
    )
    site.clear_log()
    fetch(tmp_path, site, "vatan_1940", force=True)
    assert len(site.requests("*.pdf")) == 4


def test_a_cut_download_is_tried_again_at_once(tmp_path: Path, site: NewspaperSite) -> None:
    site.faults.append(Fault(BASE_PATH + TITLES[0].issues[0].file, "cut"))
    fetched = fetch(tmp_path, site, "anadolu_1935")
    assert (len(fetched.records), fetched.rejects) == (6, [])


def test_an_issue_that_asks_for_a_long_pause_does_not_keep_the_others_for_ever(tmp_path: Path) -> None:
    issues = tuple(DemoIssue(1930, f"{n} mart 1930", f"a/{n}.pdf", pages=1) for n in range(1, 7))
    with NewspaperSite((DemoTitle("a", "A", issues),)) as site:
        site.overrides["a/1.pdf"] = Reply(429, b"", {"Retry-After": "999999999"})
        spec = spec_of(site, max_concurrency=1)
        with pytest.raises(PostponedError, match="UTC") as caught:
            fetch(tmp_path, site, "a_1930", spec=spec)
        assert caught.value.until < time.time() + MAX_PAUSE_S + 1
        (gate,) = (tmp_path / "locks").rglob("gate")
        gate.unlink()  # as if the pause had ended
        fetched = fetch(tmp_path, site, "a_1930", spec=spec)
        assert [(one.reason, one.transient) for one in fetched.rejects] == [(RejectReason.HTTP_ERROR, True)]
        assert len(fetched.records) == 5
        assert len(site.requests("*a/1.pdf")) == 1


def test_a_server_that_stays_down_gives_transient_rejects(tmp_path: Path, site: NewspaperSite) -> None:
    site.faults.append(Fault("*ikinci*", "503", times=99))
    fetched = fetch(tmp_path, site, "anadolu_1935", settings=settings_of(tmp_path, http_attempts=2))
    assert [(r.item, r.transient) for r in fetched.rejects] == [(key_of(0, 2), True)]


@pytest.mark.parametrize(
    ("robots", "reason"),
    [(b"User-agent: *\nDisallow: /ekos/GAZETE/anadolu/", RejectReason.ROBOTS)],
    ids=["robots"],
)
def test_forbidden_issues_are_rejects(
    robots: bytes, reason: RejectReason, tmp_path: Path, site: NewspaperSite
) -> None:
    site.robots = robots
    fetched = fetch(tmp_path, site, "anadolu_1935")
    assert [r.reason for r in fetched.rejects] == [reason] * 3
    assert site.requests("*.pdf") == []


def test_a_link_into_a_private_network_is_never_followed(tmp_path: Path, site: NewspaperSite) -> None:
    moved = {"Location": "http://169.254.169.254/latest/meta-data/"}
    site.overrides[TITLES[0].issues[0].file] = Reply(302, b"", moved)
    fetched = fetch(tmp_path, site, "anadolu_1935")
    assert [(r.item, r.reason) for r in fetched.rejects] == [(key_of(0, 0), RejectReason.PRIVATE_ADDRESS)]


def test_downloads_keep_the_pace_and_robots_come_first(tmp_path: Path, gate_log: GateLog) -> None:
    issues = tuple(DemoIssue(1930, f"{n} mart 1930", f"a/{n}.pdf", pages=1) for n in range(1, 11))
    for issue in issues:
        pdf_of(issue.file, 1)
    with HeldSite(two_at_once, ".pdf", (DemoTitle("a", "A", issues),)) as site:
        fetched = fetch(tmp_path, site, "a_1930", spec=spec_of(site, cooldown_s=0.1))
        log = site.requests()
    assert len(fetched.records) == 10
    assert log[0].path == "/robots.txt"
    assert site.most_at_once == 2
    assert len(gate_log.let_go()) == len(log) == 11
    assert shortest_gap_s(gate_log.let_go()) > 0.0999


def test_test_mode_downloads_no_more_than_it_needs(tmp_path: Path, site: NewspaperSite) -> None:
    fetched = fetch(tmp_path, site, "anadolu_1935", max_records=1)
    assert len(site.requests("*.pdf")) == 1
    assert fetched.records


def test_a_killed_fetch_goes_on_with_what_is_left(tmp_path: Path) -> None:
    issues = tuple(DemoIssue(1930, f"{n} mart 1930", f"a/{n}.pdf", pages=1) for n in range(1, 9))
    title = DemoTitle("a", "A", issues)
    pdfs = tmp_path / "cache" / "spool" / "a_1930" / "pdf"
    with HeldSite(first(4), ".pdf", (title,)) as site:
        program = (
            "import sys; from pathlib import Path; from types import SimpleNamespace;"
            "from vlm_assets_tests.sources.test_newspapers import *;"
            "site = NewspaperSite((DemoTitle('a', 'A', tuple(DemoIssue(1930, f'{n} mart 1930', f'a/{n}.pdf')"
            " for n in range(1, 9))),)); listed_url = sys.argv[2];"
            "NewspaperSite.base_url = property(lambda self: listed_url);"
            "fetch(Path(sys.argv[1]), site, 'a_1930')"
        )
        child = subprocess.Popen([sys.executable, "-c", program, str(tmp_path), site.base_url])
        until(
            lambda: len(list(pdfs.glob("*.pdf"))) == 4 and site.arrived == 6,
            "four issues and two on their way",
        )
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
        site.released.set()
        until(lambda: len(site.requests("*.pdf")) == 6, "the log of what the dead child had asked for")
        site.clear_log()
        fetched = fetch(tmp_path, site, "a_1930")
        assert len(fetched.records) == 8
        assert len(site.requests("*.pdf")) == 4


@pytest.mark.parametrize(
    "keys", [{"spider": "unknown"}, {"years": [1940, 1930]}, {"titles": "some"}, {"dpi": 1}], ids=str
)
def test_keys_are_checked_at_load(keys: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        spec_of(**keys)


def test_only_keys_that_change_pages_are_in_the_byte_configuration(site: NewspaperSite) -> None:
    plain = spec_of(site).byte_config()
    assert spec_of(site, dpi=200).byte_config() != plain
    same = {"base_url": "http://other/", "titles": ["a"], "years": [1, 2], "cooldown_s": 9}
    assert spec_of(site).model_copy(update=same).byte_config() == plain


def test_the_same_archive_on_another_host_has_the_same_items(site: NewspaperSite) -> None:
    with NewspaperSite() as other:
        assert other.base_url != site.base_url
        assert identities(listed_of(other, spec_of(other))) == identities(listed_of(site, spec_of(site)))


def test_another_printed_date_is_another_identity(site: NewspaperSite) -> None:
    before = identities(listed_of(site, spec_of(site)))["anadolu_1935"]
    first = site.titles[0]
    issues = (replace(first.issues[0], date_printed="9 mart 1935"), *first.issues[1:])
    site.titles = (replace(first, issues=issues), *site.titles[1:])
    after = identities(listed_of(site, spec_of(site)))["anadolu_1935"]
    assert [key for key in before if before[key] != after[key]] == [key_of(0, 0)]
