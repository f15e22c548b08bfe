"""What a crawl finds, and what it is told. No Scrapy here: the catalogue loads this module."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from vlm_assets.spiders.dates import fold
from vlm_assets.words.errors import SourceError
from vlm_assets.words.layout import slice_key

INDEX_FILE: Final = "index.json"
ERRORS_FILE: Final = "errors.json"


@dataclass(frozen=True, slots=True)
class Issue:
    """One issue of a newspaper: one PDF.

    `url` as it goes over the wire. `year` is the heading that it stands under, as printed. `date_iso` is None where
    `date_printed` cannot be read as one day.
    """

    url: str
    year: str
    date_printed: str
    date_iso: str | None


@dataclass(frozen=True, slots=True)
class TitleLink:
    """One title in the index. `slug` names it in the archive's URLs."""

    slug: str
    title: str
    url: str


def is_wanted(link: TitleLink, titles: tuple[str, ...]) -> bool:
    """Whether a title is among `titles` (slugs or printed titles, in any case; () means all)."""
    return not titles or any(fold(name) in {fold(link.slug), fold(link.title)} for name in titles)


def title_file(folder: Path, slug: str) -> Path:
    """Where a crawl keeps a title."""
    return folder / f"title-{slice_key(slug)}.json"


@dataclass(frozen=True, slots=True)
class Title:
    """One newspaper with all its issues, in the order of its page.

    `without_link` counts rows of issues that the page dates but does not link: nothing to download.
    """

    slug: str
    title: str
    issues: tuple[Issue, ...]
    without_link: int = 0

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Title":
        """Inverse of `to_json`."""
        issues = tuple(Issue(**issue) for issue in values["issues"])
        return cls(values["slug"], values["title"], issues, values["without_link"])


@dataclass(frozen=True, slots=True)
class CrawlTask:
    """What a crawl is told. `titles` are slugs or printed titles, () for all."""

    spider: str
    base_url: str
    """"" for the spider's own."""
    titles: tuple[str, ...]
    folder: Path
    """Of this crawl: what is in it already is not asked for again."""
    locks_dir: Path
    user_agent: str
    allow_private_hosts: tuple[str, ...]
    obey_robots: bool
    concurrency: int
    delay_s: float
    timeout_s: float
    attempts: int

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {**asdict(self), "folder": str(self.folder), "locks_dir": str(self.locks_dir)}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "CrawlTask":
        """Inverse of `to_json`."""
        paths = {key: Path(values[key]) for key in ("folder", "locks_dir")}
        lists = {key: tuple(values[key]) for key in ("titles", "allow_private_hosts")}
        return cls(**{**values, **paths, **lists})


class StructureError(SourceError):
    """A page does not look as its spider expects: names the URL, the selector and what was wrong."""

    def __init__(self, url: str, selector: str, found: str) -> None:
        self.url, self.selector, self.found = url, selector, found
        super().__init__(f"{url}: {selector}: {found}; has the site changed? Then its spider needs an update")
