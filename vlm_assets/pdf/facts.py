"""What goes into the page pipeline and what comes out. No PDF library here: the catalogue loads this module."""

from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, Literal

from vlm_assets.words.errors import RejectReason

JPEG_QUALITY: Final = 90
"""Of rendered pages (4:2:0, baseline). A format constant: another value gives other bytes for every page."""

POINTS_PER_INCH: Final = 72

LARGE_PAGE_PIXELS: Final = 30_000_000
"""An A3 page at 400 DPI."""

Renderer = Literal["poppler", "pdfium"]

EmbeddedRule = Literal["always", "never"] | tuple[float, float]
"""When the bytes of a page that is one image are taken: a range of native DPI, or regardless of it, or never."""


class PageFlag(StrEnum):
    """What was noticed about a page. Flags reject nothing: they stand in the row's `extra`."""

    BLANK = "blank"
    """No two spots of the page, averaged over 8 x 8 pixels, differ by more than 8 of 255 grey levels."""
    TINY = "tiny"
    """A side of one pixel."""
    REPEATED = "repeated"
    """The same bytes as an earlier page of the document; `repeats` names it."""
    SUBSTITUTED = "substituted"
    """Rendered, and its document lacks a font that the page asks for: one of the product's stands in."""
    NO_GLYPH = "no_glyph"
    """Such a font names a glyph that the product's fonts lack, or tells no characters: text may be missing."""
    ENLARGED = "enlarged"
    """Drawn with more pixels than the scan on it has: something else is on the page, or its pixels are no squares."""
    DAMAGED = "damaged"
    """The data of a small picture on it end early, or a decoder refused one that a renderer may have shown."""
    OTHER_RENDERER = "other_renderer"
    """The renderer that was asked for failed over it twice, or showed nothing: the other one drew it."""
    NO_TEXT = "no_text"
    """Its text was asked for (`text: layer`), and it has none."""


@dataclass(frozen=True, slots=True)
class PageOptions:
    """How pages become images. All but the limits change bytes.

    `pages` are zero-based half-open ranges to take, () for all. `page_cpu_s` bounds the processor time of a page of
    up to `LARGE_PAGE_PIXELS`, in whole seconds; larger ones have more, in proportion. `hang_s`, on the wall, is for
    a renderer that uses no processor and never ends; a worker that is silent for `grace_s` more is killed.
    `memory_bytes` bounds the address space of a worker process and, separately, of the renderer it starts.
    """

    dpi: int = 300
    embedded: EmbeddedRule = (1.0, 400.0)
    renderer: Renderer = "poppler"
    text: Literal["none", "layer"] = "none"
    pages: tuple[tuple[int, int | None], ...] = ()
    max_pixels: int = 178_956_970
    page_cpu_s: float = 60.0
    hang_s: float = 3600.0
    grace_s: float = 600.0
    memory_bytes: int = 3 * 2**30

    def to_json(self) -> dict[str, Any]:
        """As JSON values; `from_json` reads them back."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "PageOptions":
        """Inverse of `to_json`."""
        embedded = values["embedded"]
        pages = tuple((start, stop) for start, stop in values["pages"])
        rule = embedded if isinstance(embedded, str) else tuple(embedded)
        return cls(**{**values, "embedded": rule, "pages": pages})

    def cpu_s(self, pixels: float) -> float:
        """Processor time for a page of so many pixels."""
        return self.page_cpu_s * max(1.0, pixels / LARGE_PAGE_PIXELS)

    def wants(self, page: int) -> bool:
        """Whether the zero-based page is among `pages`."""
        return not self.pages or any(
            start <= page and (stop is None or page < stop) for start, stop in self.pages
        )


@dataclass(frozen=True, slots=True)
class PageFault:
    """Why a page, or with `page` None a whole document, gave no image. `detail` is one line.

    A `transient` one says as much of the machine as of the document: another time it may give one.
    """

    page: int | None
    reason: RejectReason
    detail: str
    transient: bool = False


@dataclass(frozen=True, slots=True)
class PageImage:
    """One page as an image file.

    `page` counts from 0. `file` belongs to the receiver, who removes it. `dpi` is the resolution in which the
    image shows the page. `method` is "embedded" (the bytes of the page's one image, lossless) or "rendered by" and
    the renderer, without its version, which is history and no content. `box_pt` is the visible size of the page,
    unrotated. `repeats` is the earlier page with the same bytes, by `digest` (blake3 hex). `text` is its text layer,
    where that was asked for and there is one.
    """

    page: int
    file: Path
    width_px: int
    height_px: int
    dpi: int
    method: str
    box_pt: tuple[float, float]
    digest: str
    size_bytes: int
    flags: tuple[PageFlag, ...] = ()
    repeats: int | None = None
    text: str | None = None


@dataclass(slots=True)
class DocumentSummary:
    """Figures of one document, complete once its last page was handed out. Conserved: pages = images + faults."""

    pages: int = 0
    """Pages of the document itself, those outside `PageOptions.pages` included."""
    skipped: int = 0
    """Pages outside `PageOptions.pages`."""
    images: int = 0
    embedded: int = 0
    encoded: int = 0
    """Of the embedded ones, those that became PNG here: their bytes are this machine's too."""
    faults: int = 0
    seconds: float = 0.0
    """CPU-independent time that workers spent on it, added up."""
    flags: dict[PageFlag, int] = field(default_factory=dict)
