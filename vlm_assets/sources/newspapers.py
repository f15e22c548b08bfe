"""`newspapers`: newspaper archives on the web: a spider finds the issues, every page of their PDFs is a sample."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from hashlib import sha256
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal, Self

import orjson
from pydantic import Field, model_validator

from vlm_assets.catalog.place_forms import PlaceForm
from vlm_assets.catalog.spec import SourceSpec
from vlm_assets.sources._pages import PAGE_COLUMNS, PAGE_KEYS, PagesSpec
from vlm_assets.sources.protocol import Obtained, Requests, Traits
from vlm_assets.spiders.crawl import crawl, default_base_url, spiders
from vlm_assets.spiders.model import CrawlTask
from vlm_assets.words.contexts import FetchContext, ListContext
from vlm_assets.words.errors import LeftOut, LeftOutReason, Reject, SourceError
from vlm_assets.words.layout import nfc
from vlm_assets.words.records import Item, KeysTell, Listed, ListedSlice, Record

if TYPE_CHECKING:
    from vlm_assets.spiders.model import Issue, Title

_DEFAULT_SPIDER: Final = "istanbul_uni_newspapers"
_ISSUE_COLUMNS: Final = frozenset({"title", "title_slug", "year", "date_printed", "date_iso"})


class NewspapersSpec(PagesSpec):
    """Keys of a newspaper archive. `spider` names a module of `vlm_assets.spiders`.

    `titles`: slugs or printed titles. `years`: first and last, inclusive, by the heading that an issue stands under.
    """

    PLACE: ClassVar[PlaceForm] = PlaceForm(
        here="a folder of PDFs on this machine is read by: vlm-assets add pdf_folder"
    )
    BYTES_KEYS: ClassVar[tuple[str, ...]] = PAGE_KEYS
    COLUMNS: ClassVar[frozenset[str] | None] = PAGE_COLUMNS | _ISSUE_COLUMNS

    spider: str = _DEFAULT_SPIDER
    """A module of `vlm_assets.spiders`."""
    base_url: str = ""
    """The archive; empty: the spider's own."""
    titles: Literal["all"] | tuple[str, ...] = "all"
    """`all`, or a list of slugs or printed titles."""
    years: tuple[int, int] | None = None
    """`[from, to]`, both inclusive, by the heading that an issue stands under."""
    # A public library's server: gentler defaults than those of other kinds
    max_concurrency: int | None = Field(2, ge=1)
    cooldown_s: float = Field(1.0, ge=0)

    def upstream_url(self) -> str | None:
        """The archive, where the catalogue names it."""
        return self.base_url or None

    @model_validator(mode="after")
    def _known_spider(self) -> Self:
        if self.spider not in spiders():
            raise ValueError(f"no spider {self.spider!r}; there are: {', '.join(spiders())}")
        if self.years is not None and self.years[0] > self.years[1]:
            raise ValueError(f"years is [from, to], got {list(self.years)}")
        return self


class Newspapers:
    """A slice is a title and a year, an item an issue, a record a page."""

    kind: ClassVar[str] = "newspapers"
    version: ClassVar[int] = 4
    spec_type: ClassVar[type[SourceSpec]] = NewspapersSpec
    traits: ClassVar[Traits] = Traits(
        requests=Requests.ONE_AN_ITEM,
        renders_pages=True,
        memory_mib=16_384,
        badges=frozenset(),
        obtained=Obtained.CRAWLED,
    )

    def list(self, spec: NewspapersSpec, context: ListContext) -> Listed:
        """Every issue that the archive links, taken once, under the first title (by slug) that has it.

        Raises:
            SourceError: a page of the archive cannot be had, or does not look as its spider expects.
            ConfigError: the settings name no contact, and the archive is on the internet.
        """
        from vlm_assets.transfer.contact import require_contact

        base_url = spec.base_url or default_base_url(spec.spider)
        require_contact(context.settings, [base_url])
        titles = crawl(_task(spec, base_url, context), context.settings, force=context.force)
        slices, left_out, twice = _slices(spec, base_url, titles)
        if not slices:
            raise SourceError(f"source {spec.name}: no issue of {base_url} matches titles and years")
        told = sha256(
            orjson.dumps([(one.name, [(item.key, item.identity) for item in one.items]) for one in slices])
        )
        without_link = sum(title.without_link for title in titles)
        attributes = {
            "issues_without_link": without_link,
            "issues_listed_twice": twice,
            "issues_outside_years": len(left_out),
        }
        return Listed(
            f"sha256:{told.hexdigest()}", slices, attributes=attributes,
            left_out=[*left_out, *_without_link(titles)],
            upstream=sum(len(title.issues) + title.without_link for title in titles),
            companions=twice,
        )  # fmt: skip

    def fetch(
        self, spec: NewspapersSpec, items: Sequence[Item], context: FetchContext
    ) -> Iterator[Record | Reject]:
        """Every page of every issue, downloaded a few issues ahead; a reject for an issue that cannot be had."""
        from vlm_assets.pdf.records import page_records
        from vlm_assets.sources._issues import IssueDownloads, with_retries

        wanted = items if context.max_records is None else items[: context.max_records]
        with IssueDownloads(spec, wanted, context) as downloads:
            events = page_records(downloads, spec.page_options(context.settings), context)
            yield from with_retries(events, downloads)


SOURCE = Newspapers()


def _task(spec: NewspapersSpec, base_url: str, context: ListContext) -> "CrawlTask":
    from vlm_assets.transfer.agent import user_agent
    from vlm_assets.transfer.politeness import HostLimits

    settings = context.settings
    limits = HostLimits.of(spec).tightened(settings)
    name = sha256(f"{spec.spider}\n{base_url}".encode()).hexdigest()[:8]
    return CrawlTask(
        spider=spec.spider,
        base_url=base_url,
        titles=() if spec.titles == "all" else tuple(spec.titles),
        folder=context.cache_dir / f"crawl-{name}",
        locks_dir=context.locks_dir,
        user_agent=user_agent(settings),
        allow_private_hosts=settings.allow_private_hosts,
        obey_robots=settings.obey_robots,
        concurrency=limits.concurrency or 1,
        delay_s=limits.interval_s,
        timeout_s=settings.http_timeout_s,
        attempts=settings.http_attempts,
    )


def _slices(
    spec: NewspapersSpec, base_url: str, titles: "Sequence[Title]"
) -> tuple[list[ListedSlice], list[LeftOut], int]:
    """Slices by title and year, issues of other years, and how many are listed under a further title too."""
    by_slice: defaultdict[str, list[Item]] = defaultdict(list)
    seen: set[str] = set()
    outside: list[tuple[str, LeftOut]] = []
    twice = 0
    for title in titles:
        for issue in title.issues:
            if not _in_years(spec, issue):
                key = nfc(issue.url.removeprefix(base_url))
                told = f"{title.slug}, {issue.year}: not in years"
                outside.append((issue.url, LeftOut(key, LeftOutReason.EXCLUDED, told)))
            elif issue.url in seen:
                twice += 1
            else:
                seen.add(issue.url)
                by_slice[f"{title.slug}_{issue.year}"].append(_item(base_url, title, issue))
    slices = [
        ListedSlice(name, by_slice[name], container=True, keys_tell=KeysTell.WHOLE)
        for name in sorted(by_slice)
    ]
    left_out = [one for url, one in outside if url not in seen]
    return slices, left_out, twice + len(outside) - len(left_out)


def _without_link(titles: "Sequence[Title]") -> Iterator[LeftOut]:
    """Issues that a page dates but links no file of."""
    for title in titles:
        for number in range(title.without_link):
            key = f"{title.slug}#without-link={number}"
            yield LeftOut(key, LeftOutReason.UNKNOWN_TYPE, "an issue without a link: nothing to download")


def _in_years(spec: NewspapersSpec, issue: "Issue") -> bool:
    if spec.years is None:
        return True
    year = issue.year if issue.year.isdigit() else (issue.date_iso or "")[:4]
    return year.isdigit() and spec.years[0] <= int(year) <= spec.years[1]


def _item(base_url: str, title: "Title", issue: "Issue") -> Item:
    """The key is the URL below the archive's own, so that it survives a move of the archive to another host."""
    payload: dict[str, Any] = {
        "url": issue.url, "title": title.title, "title_slug": title.slug, "year": issue.year,
        "date_printed": issue.date_printed, "date_iso": issue.date_iso,
    }  # fmt: skip
    said = {name: value for name, value in payload.items() if name != "url"}
    identity = sha256(orjson.dumps(said, option=orjson.OPT_SORT_KEYS)).hexdigest()[:16]
    return Item(nfc(issue.url.removeprefix(base_url)), identity, payload)
