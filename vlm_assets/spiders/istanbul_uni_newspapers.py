"""The newspaper archive of Istanbul University, "Gazeteden Tarihe Bakış" (1928–1942).

Index: a link a title. Title page: a button a year, followed by a table with a row an issue: date and PDF link.
"""

from collections.abc import Iterator
from typing import Any, ClassVar
from urllib.parse import parse_qs, urlsplit

from scrapy.http import TextResponse
from yarl import URL

from vlm_assets.spiders.archive import ArchiveSpider
from vlm_assets.spiders.dates import parse_date
from vlm_assets.spiders.model import Issue, StructureError, Title, TitleLink
from vlm_assets.transfer.urls import UrlError, shown_url, wire_url

_CELL = "div.col-6.col-sm-6.col-md-4.mb-4.mb-lg-0.col-lg-2"
_TITLE_LINK = f'{_CELL} a.popular-category.h-40[href*="gazete.php?gazete="]'
_CAPTION = "span.caption.mb-2.d-block"
_YEAR = "button.collapsible"
_CONTENT = "following::div[contains(concat(' ', normalize-space(@class), ' '), ' content ')][1]"
_YEARS_BEFORE = (
    "count(preceding::button[contains(concat(' ', normalize-space(@class), ' '), ' collapsible ')])"
)
_DATE = "./td[substring(normalize-space(@class), string-length(normalize-space(@class)) - 4) = '-left']"


class IstanbulUniNewspapers(ArchiveSpider):
    """55 titles, about 65,000 issues."""

    name = "istanbul_uni_newspapers"
    default_base_url: ClassVar[str] = "https://nek.istanbul.edu.tr/ekos/GAZETE/"

    def titles_of(self, page: TextResponse) -> list[TitleLink]:
        """See the base class."""
        found: dict[str, TitleLink] = {}
        for anchor in page.css(_TITLE_LINK):
            url = page.urljoin(anchor.attrib["href"].strip())
            slug = _slug(url)
            title = _text(anchor.css(_CAPTION))
            if not slug or not title:
                raise StructureError(
                    shown_url(page.url), f"{_TITLE_LINK} {_CAPTION}", "a link without slug or caption"
                )
            found.setdefault(slug, TitleLink(slug, title, url))
        if not found:
            raise StructureError(shown_url(page.url), _TITLE_LINK, "no title")
        return list(found.values())

    def title_of(self, page: TextResponse, link: TitleLink) -> Title:
        """See the base class."""
        # The query names the title: without it all title pages would look alike in a message
        where = f"{shown_url(page.url)} (gazete={link.slug})"
        buttons = page.css(_YEAR)
        if not buttons:
            raise StructureError(where, _YEAR, "no year")
        issues: list[Issue] = []
        without_link = dated = 0
        for number, button in enumerate(buttons, 1):
            year = _text([button])
            content = button.xpath(_CONTENT)
            own = content and content.xpath(_YEARS_BEFORE).get() == f"{number}.0"  # not that of a later year
            table = content.xpath("./table") if own else None
            if not table or not year:
                raise StructureError(
                    where, f"{_YEAR} + div.content > table", f"no table after the year {year!r}"
                )
            for date_printed, hrefs in _rows(table):
                dated += bool(date_printed)
                without_link += not hrefs
                issues += [_issue(page, where, year, date_printed, href) for href in hrefs]
        if not issues:
            raise StructureError(where, "tr > td > a[href]", "no issue")
        if not dated:
            raise StructureError(where, 'td[class$="-left"]', "no issue has a date")
        return Title(link.slug, link.title, tuple(issues), without_link)


SPIDER = IstanbulUniNewspapers


def _slug(url: str) -> str:
    return parse_qs(urlsplit(url).query).get("gazete", [""])[0].strip()


def _rows(table: Any) -> Iterator[tuple[str, list[str]]]:
    """(printed date, links) of every row that is an issue: it has a link, or at least a date. So no header row is."""
    for row in table.xpath(".//tr[td]"):
        date_printed = "".join(row.xpath(_DATE).xpath(".//text()").getall()).strip()
        hrefs = row.xpath(".//a/@href").getall()
        if hrefs or parse_date(date_printed, year=1930):
            yield date_printed, hrefs


def _issue(page: TextResponse, where: str, year: str, date_printed: str, href: str) -> Issue:
    try:
        url = wire_url(href, base=URL(page.url, encoded=True))
    except UrlError as error:
        raise StructureError(where, "tr > td > a[href]", f"{href!r}: {error}") from error
    digits = "".join(c for c in year if c.isdigit())
    date_iso = parse_date(date_printed, year=int(digits) if len(digits) == 4 else None)
    return Issue(str(url), year, date_printed, date_iso)


def _text(nodes: Any) -> str:
    """Text of the nodes with single spaces."""
    return " ".join("".join("".join(node.xpath(".//text()").getall()) for node in nodes).split())
