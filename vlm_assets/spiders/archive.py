"""What every archive's spider builds on: index, then titles, each kept on disk as soon as it is parsed.

A spider of an archive is one file with a class `SPIDER` that says where the index is and how its pages read.
"""

import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, ClassVar

import scrapy
from scrapy.http import Response, TextResponse
from w3lib.encoding import html_body_declared_encoding, http_content_type_encoding

from vlm_assets.spiders.model import (
    ERRORS_FILE,
    INDEX_FILE,
    CrawlTask,
    StructureError,
    Title,
    TitleLink,
    is_wanted,
    title_file,
)
from vlm_assets.transfer.urls import shown_url


class ArchiveSpider(scrapy.Spider):  # type: ignore[misc]  # Scrapy is untyped here
    """Crawls an index and its titles. Subclasses give the two parsers."""

    default_base_url: ClassVar[str] = ""
    fallback_encoding: ClassVar[str] = "cp1254"
    """Of pages that declare none and are not UTF-8."""

    def __init__(self, task: CrawlTask, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._task = task
        self._errors: list[str] = []
        self.base_url = task.base_url or self.default_base_url

    def titles_of(self, page: TextResponse) -> list[TitleLink]:
        """Titles of the index page, at least one.

        Raises:
            StructureError: it does not look as expected.
        """
        raise NotImplementedError

    def title_of(self, page: TextResponse, link: TitleLink) -> Title:
        """A title with all its issues, at least one.

        Raises:
            StructureError: it does not look as expected.
        """
        raise NotImplementedError

    async def start(self) -> AsyncIterator[Any]:
        """The index, or, where an earlier crawl that was cut short has it, what is left of the titles."""
        known = self._task.folder / INDEX_FILE
        if known.exists():
            links = [TitleLink(**values) for values in json.loads(known.read_text("utf-8"))]
            for request in self._title_requests(links):
                yield request
        else:
            yield scrapy.Request(
                self.base_url, callback=self.read_index, errback=self.note_failure, dont_filter=True
            )

    def read_index(self, response: Response) -> Iterator[scrapy.Request]:
        """Keeps the index and asks for its titles."""
        try:
            links = sorted(self.titles_of(self._page(response)), key=lambda link: link.slug)
        except StructureError as error:
            self._errors.append(str(error))
            return
        _write(self._task.folder / INDEX_FILE, [_plain(link) for link in links])
        yield from self._title_requests(links)

    def _title_requests(self, links: list[TitleLink]) -> Iterator[scrapy.Request]:
        chosen = {link.slug: link for link in links if is_wanted(link, self._task.titles)}
        for wanted in self._task.titles:
            if not any(is_wanted(link, (wanted,)) for link in links):
                there = ", ".join(link.slug for link in links)
                self._errors.append(f"no title {wanted!r} in {shown_url(self.base_url)}; there are: {there}")
        for link in chosen.values():
            if not title_file(self._task.folder, link.slug).exists():
                yield scrapy.Request(
                    link.url, callback=self.read_title, errback=self.note_failure, dont_filter=True,
                    cb_kwargs={"link": link},
                )  # fmt: skip

    def read_title(self, response: Response, link: TitleLink) -> None:
        """Keeps one title."""
        try:
            title = self.title_of(self._page(response), link)
        except StructureError as error:
            self._errors.append(str(error))
            return
        _write(title_file(self._task.folder, link.slug), title.to_json())

    def note_failure(self, failure: Any) -> None:
        """A page that could not be had fails the crawl, which goes on with the others."""
        response = getattr(failure.value, "response", None)
        told = f"status {response.status}" if response is not None else failure.getErrorMessage()
        self._errors.append(f"{shown_url(failure.request.url)}: {told}")

    def closed(self, reason: str) -> None:
        """Leaves a file with the errors: the sign that the crawl came to its end."""
        if reason != "finished":
            self._errors.append(f"the crawl ended early: {reason}")
        _write(self._task.folder / ERRORS_FILE, sorted(self._errors))

    def _page(self, response: Response) -> TextResponse:
        """The page in its declared encoding, else UTF-8, else the archive's fallback."""
        if not isinstance(response, TextResponse):
            raise StructureError(shown_url(response.url), "html", "not a text page")
        told = http_content_type_encoding((response.headers.get("Content-Type") or b"").decode("latin-1"))
        if told or html_body_declared_encoding(response.body):
            return response
        try:
            response.body.decode("utf-8")
        except UnicodeDecodeError:
            return response.replace(encoding=self.fallback_encoding)
        return response.replace(encoding="utf-8")


def _plain(link: TitleLink) -> dict[str, str]:
    return {"slug": link.slug, "title": link.title, "url": link.url}


def _write(path: Path, value: Any) -> None:
    """Whole or not at all: a crawl may be killed at any time."""
    temp = path.with_name(f".{path.name}.tmp")
    temp.write_text(json.dumps(value, ensure_ascii=False), "utf-8")
    temp.replace(path)
