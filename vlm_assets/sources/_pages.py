"""Catalogue keys of kinds that turn PDFs into pages. Light: the catalogue loads it."""

import re
from typing import Annotated, ClassVar, Final, Literal, Self

from pydantic import Field, model_validator

from vlm_assets.catalog.base import Spec
from vlm_assets.catalog.spec import SourceSpec
from vlm_assets.pdf.facts import PageOptions
from vlm_assets.words.contexts import SourceSettings

PAGE_KEYS: Final = ("dpi", "embedded", "renderer", "pages", "text")
PAGE_COLUMNS: Final = frozenset(
    {"document", "page", "pages", "page_width_pt", "page_height_pt", "page_image", "flags", "repeats_page"}
)
"""What a page has in `extra`."""
_PART: Final = re.compile(r"^(\d+)?(-)?(\d+)?$")
_DEFAULT_RANGE: Final = (1.0, 400.0)
"""A coarser scan is taken, too: more pixels than it has would show no more."""


class NativeDpi(Spec):
    """Pages that are one image of a resolution in this range are taken as they are."""

    native_dpi: tuple[Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)]] = _DEFAULT_RANGE
    """`[from, to]`: resolutions of pictures that are taken as they are."""

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.native_dpi[0] > self.native_dpi[1]:
            raise ValueError(f"native_dpi is [from, to], got {list(self.native_dpi)}")
        return self


class PagesSpec(SourceSpec):
    """Keys of every kind whose records are PDF pages.

    `embedded`: when the bytes of a page that is one image are taken. `pages`: `all`, or pages and ranges counted
    from 1 (`1`, `1-4,7`, `2-`). `text`: `layer` makes the text layer of a page its text.
    """

    COLUMNS: ClassVar[frozenset[str] | None] = PAGE_COLUMNS

    dpi: int = Field(300, ge=20, le=2400)
    """What pages are drawn at."""
    embedded: Literal["always", "never"] | NativeDpi = NativeDpi()
    """Pages of one picture are taken as they are: within `native_dpi`, `always` or `never`."""
    renderer: Literal["poppler", "pdfium"] = "poppler"
    """What draws; the other one where it fails."""
    pages: str = "all"
    """`all`, or a list such as `1-4,7,10-`."""
    text: Literal["none", "layer"] = "none"
    """`layer`: a page's text layer is its text."""

    @model_validator(mode="after")
    def _pages_parse(self) -> Self:
        parse_pages(self.pages)
        return self

    def drawn_by(self) -> str | None:
        """Every page may have to be drawn, and pictures that are not JPEG are encoded here."""
        return self.renderer

    def page_options(self, settings: SourceSettings) -> PageOptions:
        """The keys and the machine's limits as the page pipeline takes them."""
        rule = self.embedded if isinstance(self.embedded, str) else self.embedded.native_dpi
        return PageOptions(
            dpi=self.dpi,
            embedded=rule,
            renderer=self.renderer,
            text=self.text,
            pages=parse_pages(self.pages),
            max_pixels=settings.max_pixels,
        )


def parse_pages(text: str) -> tuple[tuple[int, int | None], ...]:
    """`1-4,7` as zero-based half-open ranges; `all` as ().

    Raises:
        ValueError: not such a list.
    """
    if text.strip() == "all":
        return ()
    ranges = []
    for part in text.replace(" ", "").split(","):
        match = _PART.match(part)
        first, dash, last = match.groups() if match else (None, None, None)
        start = int(first or 1)
        stop = int(last) if last else (None if dash else start)
        if not (first or last) or start < 1 or (stop is not None and stop < start):
            raise ValueError(f"pages is all, or a list such as 1-4,7,10-; got {text!r}")
        ranges.append((start - 1, stop))
    return tuple(ranges)
