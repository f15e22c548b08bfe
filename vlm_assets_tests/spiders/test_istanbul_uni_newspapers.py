"""The spider's two parsers on pages as they are, and as they may become."""

from pathlib import Path
from typing import Any

import pytest
from scrapy.http import HtmlResponse, Response, TextResponse

from vlm_assets.demo.newspaper_site import TITLES, NewspaperSite
from vlm_assets.spiders.istanbul_uni_newspapers import SPIDER
from vlm_assets.spiders.model import CrawlTask, StructureError, Title, TitleLink

BASE = "https://archive.example/ekos/GAZETE/"


def spider_of(base_url: str = BASE) -> Any:
    task = CrawlTask("istanbul_uni_newspapers", base_url, (), Path(), Path(), "", (), True, 1, 0, 1, 1)  # noqa: FBT003 - a row
    return SPIDER(task)


def body_of(slug: str) -> str:
    site = NewspaperSite()
    try:
        site_url, body = site.url, site._index()
        if slug:
            body = site._title(next(title for title in TITLES if title.slug == slug))
    finally:
        site._server.server_close()
    return f"<html><head></head><body>{body}</body></html>".replace(site_url, "https://archive.example")


def parse(slug: str, html: str) -> Any:
    url = f"{BASE}gazete.php?gazete={slug}" if slug else BASE
    page = HtmlResponse(url, body=html.encode(), encoding="utf-8")
    spider = spider_of()
    return spider.title_of(page, TitleLink(slug, slug.title(), url)) if slug else spider.titles_of(page)


def test_titles_of_the_index() -> None:
    links = parse("", body_of(""))
    assert [(link.slug, link.title) for link in links] == [
        ("anadolu", "Anadolu"),
        ("vatan", "Vatan"),
        ("yeni_isik", "Yeni Işık"),
    ]
    assert links[0].url == f"{BASE}gazete.php?gazete=anadolu"


def test_issues_of_a_title() -> None:
    title: Title = parse("anadolu", body_of("anadolu"))
    assert [(i.year, i.date_printed, i.date_iso) for i in title.issues] == [
        ("1935", "10 mart  1935", "1935-03-10"),
        ("1935", "11 mart  1935", "1935-03-11"),
        ("1935", "3 İkinci Kanun 1935", "1935-01-03"),
        ("1936", "1 birinci teşrin 1936", "1936-10-01"),
        ("1936", "2 birinci teşrin 1936", "1936-10-02"),
    ]
    assert title.issues[2].url == f"{BASE}anadolu/anadolu_1935/ikinci%20kanun_/anadolu%201935%203.pdf"


@pytest.mark.parametrize(
    ("slug", "old", "new", "selector"),
    [
        pytest.param("", "popular-category", "category", "a.popular-category.h-40", id="index_links_renamed"),
        pytest.param("", "col-lg-2", "col-lg-3", "div.col-6", id="index_cells_renamed"),
        pytest.param("", "gazete.php?gazete=", "title?name=", "gazete.php?gazete=", id="index_links_moved"),
        pytest.param("", "caption", "title", "span.caption", id="captions_renamed"),
        pytest.param("vatan", "collapsible", "accordion", "button.collapsible", id="years_renamed"),
        pytest.param("vatan", 'class="content"', 'class="panel"', "div.content > table", id="tables_moved"),
        pytest.param("vatan", ">1940</button>", "></button>", "button.collapsible", id="year_without_text"),
        pytest.param("vatan", "<a href", "<b title", "a[href]", id="links_gone"),
        pytest.param("vatan", "column1-left", "column1", 'td[class$="-left"]', id="dates_renamed"),
        pytest.param("vatan", 'href="https', 'href="ftp', "a[href]", id="links_of_another_kind"),
    ],
)
def test_a_page_that_changed_names_url_and_selector(slug: str, old: str, new: str, selector: str) -> None:
    page = body_of(slug)
    assert old in page
    with pytest.raises(StructureError) as error:
        parse(slug, page.replace(old, new))
    assert selector in error.value.selector
    assert error.value.url.startswith(BASE)
    assert slug in error.value.url


def test_a_year_whose_table_is_gone_does_not_take_the_next_ones() -> None:
    page = body_of("vatan")
    start = page.index('<div class="content">')
    end = page.index("</div>", start) + len("</div>")
    with pytest.raises(StructureError, match="no table after the year '1940'"):
        parse("vatan", page[:start] + page[end:])


def test_header_rows_of_any_kind_are_no_issues() -> None:
    page = body_of("anadolu").replace(
        "<tr><th>Tarih</th><th>Bağlantı</th></tr>", '<tr><td class="x-left">Tarih</td><td>Bağlantı</td></tr>'
    )
    title: Title = parse("anadolu", page)
    assert (len(title.issues), title.without_link) == (5, 0)


def test_rows_without_link_are_counted_and_rows_with_two_are_two_issues() -> None:
    row = '<tr><td class="x-left">9 mart 1935</td><td>yok</td></tr>'
    row += (
        '<tr><td class="x-left">8 mart 1935</td><td><a href="/a.pdf">I</a> <a href="b c.pdf">II</a></td></tr>'
    )
    title: Title = parse("anadolu", body_of("anadolu").replace("</table>", f"{row}</table>", 1))
    assert (len(title.issues), title.without_link) == (7, 1)
    assert [issue.url for issue in title.issues if issue.date_printed == "8 mart 1935"] == [
        "https://archive.example/a.pdf",
        f"{BASE}b%20c.pdf",
    ]


def test_pages_without_a_wrapper_read_alike() -> None:
    page = body_of("yeni_isik").removeprefix("<html><head></head><body>").removesuffix("</body></html>")
    assert len(parse("yeni_isik", page).issues) == 4


@pytest.mark.parametrize("declared", ["header", "meta", "nowhere"])
@pytest.mark.parametrize("encoding", ["utf-8", "iso-8859-9", "cp1254"])
def test_turkish_letters_survive_every_encoding(encoding: str, declared: str) -> None:
    meta = f'<meta charset="{encoding}">' if declared == "meta" else ""
    body = f"<html><head>{meta}</head><body>İkinci Teşrin, ışık, Ağustos</body></html>".encode(encoding)
    kind = f"text/html; charset={encoding}" if declared == "header" else "text/html"
    page = spider_of()._page(HtmlResponse(BASE, body=body, headers={"Content-Type": kind}))
    assert isinstance(page, TextResponse)
    assert page.xpath("//body/text()").get() == "İkinci Teşrin, ışık, Ağustos"


def test_what_is_no_text_is_no_page() -> None:
    with pytest.raises(StructureError, match="not a text page"):
        spider_of()._page(Response(BASE, body=b"%PDF-1.4"))
