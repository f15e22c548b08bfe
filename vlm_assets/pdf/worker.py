"""What a page worker does: opens documents, takes or renders pages, writes files, tells of them in numbers."""

import tempfile
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pikepdf
from blake3 import blake3
from PIL import Image

from vlm_assets.pdf.checks import page_flags
from vlm_assets.pdf.content import NotOneImageError
from vlm_assets.pdf.embedded import embedded_image
from vlm_assets.pdf.ends import ProcessEnd, process_end
from vlm_assets.pdf.facts import POINTS_PER_INCH, PageFlag, PageOptions
from vlm_assets.pdf.page_fonts import FontNeeds, FontReader
from vlm_assets.pdf.render import (
    RenderError,
    open_pdfium,
    render_pdfium,
    render_poppler,
)
from vlm_assets.pdf.structure import one_image, page_box, pixels_of
from vlm_assets.words.errors import RejectReason
from vlm_assets.workers.bounds import cpu_timer
from vlm_assets.workers.far_end import Handler, Say

_MAX_SIDE_PX: Final = 65_500  # of a JPEG
_HEAD: Final = 1024

Answer = dict[str, Any]


class DocumentError(Exception):
    """The whole document is a reject."""

    def __init__(self, reason: RejectReason, detail: str) -> None:
        self.reason = reason
        self.detail = " ".join(detail.split())[:300]
        super().__init__(detail)


@dataclass(slots=True)
class _Document:
    """One open document; kept between requests, so that a long one is opened once a worker."""

    path: Path
    structure: pikepdf.Pdf | None
    """None where only pdfium can open it: then every page is rendered."""
    pdfium: Any
    pages: int
    boxes: dict[int, tuple[float, float]] = field(default_factory=dict)
    fonts: FontReader = field(default_factory=FontReader)
    needs: dict[int, FontNeeds] = field(default_factory=dict)
    """Of pages that are rendered."""

    def close(self) -> None:
        for opened in (self.structure, self.pdfium):
            if opened is not None:
                opened.close()


def open_document(path: Path) -> _Document:
    """Opens a document with pikepdf (qpdf), or with pdfium, which repairs more.

    Raises:
        DocumentError: EMPTY, ENCRYPTED, TRUNCATED or UNREADABLE.
    """
    try:
        with path.open("rb") as stream:
            head = stream.read(_HEAD)
    except OSError as error:
        raise DocumentError(RejectReason.NOT_FOUND, f"{type(error).__name__}: {error.strerror}") from error
    _refuse_other_files(head)
    try:
        opened = pikepdf.open(path)
        pages = len(opened.pages)
    except pikepdf.PasswordError as error:
        raise DocumentError(RejectReason.ENCRYPTED, "needs a password") from error
    except (pikepdf.PdfError, ValueError, TypeError, RuntimeError) as error:
        return _open_damaged(path, error)
    if pages == 0:
        opened.close()
        return _open_damaged(path, None)
    if _was_cut(path, opened):
        opened.close()
        raise DocumentError(RejectReason.TRUNCATED, "the end of the file is missing; some pages may be lost")
    return _Document(path, opened, None, pages)


def _refuse_other_files(head: bytes) -> None:
    if not head:
        raise DocumentError(RejectReason.EMPTY, "no bytes")
    if b"%PDF-" in head:
        return
    text = head.lstrip(b"\xef\xbb\xbf\t\r\n ").lower()
    what = (
        "a web page"
        if text.startswith((b"<!doctype html", b"<html", b"<head", b"<?xml"))
        else "no PDF header"
    )
    raise DocumentError(RejectReason.UNREADABLE, f"not a PDF: {what}, begins with {head[:16]!r}")


def _open_damaged(path: Path, error: Exception | None) -> _Document:
    """What qpdf refuses (`error`), or finds no page in (None), is tried with pdfium, which repairs more."""
    told = str(error or "no page").replace(str(path), path.name)
    if _has_no_end(path):
        raise DocumentError(RejectReason.TRUNCATED, f"the end of the file is missing: {told}")
    try:
        opened = open_pdfium(path)
    except RenderError as second:
        reason = RejectReason.UNREADABLE if error else RejectReason.EMPTY
        raise DocumentError(reason, told) from second
    if not len(opened):
        opened.close()
        raise DocumentError(RejectReason.EMPTY, "a document without pages")
    return _Document(path, None, opened, len(opened))


def _has_no_end(path: Path) -> bool:
    """Neither an end mark nor a pointer to the cross-reference table in the last 2 KiB."""
    with path.open("rb") as stream:
        stream.seek(max(0, path.stat().st_size - 2048))
        tail = stream.read()
    return b"%%EOF" not in tail and b"startxref" not in tail


def _was_cut(path: Path, opened: pikepdf.Pdf) -> bool:
    """A repaired file that lost its end: what is left of it may open, with pages or their pictures missing."""
    return _has_no_end(path) and bool(opened.get_warnings())


def page_worker(options: PageOptions, folder: Path) -> Handler:
    """Handler of requests for pages of a document; see `_Worker.serve`. Files are written below `folder`."""
    warnings.simplefilter("ignore")
    Image.MAX_IMAGE_PIXELS = None  # `max_pixels` is checked before; the memory limit holds besides
    return _Worker(options, folder).serve


class _Worker:
    """Serves requests one after another; holds the last document open."""

    def __init__(self, options: PageOptions, folder: Path) -> None:
        self._options = options
        self._folder = Path(tempfile.mkdtemp(dir=folder))
        self._say: Say = lambda answer: None  # noqa: ARG005 - nobody listens yet
        self._document: _Document | None = None
        self._made = 0
        self._started = 0.0

    def serve(self, request: Answer, say: Say) -> float:
        """One request: pages `start`..`stop` (half-open) of a file. A message a page; answers the seconds it took.

        Ahead of them a message with what is wrong with the document, or with its number of pages; and one `step`
        before each thing that may end the worker.
        """
        self._say = say
        self._started = time.monotonic()
        path = Path(request["path"])
        try:
            document = self._open(path)
        except DocumentError as fault:
            self._say({"fault": [fault.reason, fault.detail, False]})
            return self._elapsed()
        document.boxes.clear()
        document.needs.clear()
        self._say({"pages": document.pages})
        wanted = [
            page
            for page in range(request["start"], min(request["stop"], document.pages))
            if self._options.wants(page)
        ]
        to_render = [page for page in wanted if not self._take_embedded(document, page)]
        self._render(document, to_render)
        return self._elapsed()

    def _elapsed(self) -> float:
        return round(time.monotonic() - self._started, 4)

    def _step(self, page: int | None, pixels: float = 0.0) -> None:
        """Tells the parent what is being worked on; from here on its processor time is counted anew."""
        cpu_timer().start(self._options.cpu_s(pixels))
        self._say({"step": page})

    def _open(self, path: Path) -> _Document:
        if self._document is not None and self._document.path == path:
            return self._document
        if self._document is not None:
            self._document.close()
            self._document = None
        self._step(None)
        try:
            self._document = open_document(path)
        except MemoryError as error:
            raise DocumentError(RejectReason.UNREADABLE, "needs too much memory to open") from error
        return self._document

    def _take_embedded(self, document: _Document, page: int) -> bool:
        """Answers for the page if it is an image whose bytes can be taken, or is too large for any way."""
        self._step(page)
        if document.structure is None:
            return self._refuse_large(document, page, *_pdfium_size(document, page, self._options.dpi))
        found = image = None
        try:
            opened = document.structure.pages[page]
            bounds = page_box(opened)
            document.boxes[page] = bounds.size_pt
            if self._options.embedded != "never":
                found = one_image(opened, self._options.embedded)
                cpu_timer().start(self._options.cpu_s(min(pixels_of(found.image), self._options.max_pixels)))
                image = embedded_image(found.image, self._options.max_pixels)
        except NotOneImageError:
            pass
        except Exception:  # noqa: BLE001 - damaged objects raise anything; the page is rendered, or refused, instead
            document.boxes.setdefault(page, (0.0, 0.0))
            return False
        if found is None or image is None:
            return self._refuse_large(document, page, *bounds.size_px(self._options.dpi))
        file = self._new_file(image.extension)
        file.write_bytes(image.data)
        self._answer_image(
            document, page, file, size_px=(image.width_px, image.height_px), dpi=found.dpi,
            method="embedded", digest=blake3(image.data).hexdigest(),
        )  # fmt: skip
        return True

    def _refuse_large(self, document: _Document, page: int, width_px: float, height_px: float) -> bool:
        del document
        if width_px * height_px <= self._options.max_pixels and max(width_px, height_px) <= _MAX_SIDE_PX:
            return False
        detail = f"{width_px:.0f} x {height_px:.0f} pixels at {self._options.dpi} DPI"
        self._say({"page": page, "fault": [RejectReason.PAGE_TOO_LARGE, detail, False]})
        return True

    def _render(self, document: _Document, pages: list[int]) -> None:
        """By the renderer of the options, but by pdfium what needs character maps.

        Poppler finds those in files that a machine may lack (poppler-data); pdfium carries them.
        """
        for page in pages:
            document.needs[page] = _font_needs(document, page)
        poppler = self._options.renderer == "poppler"
        by_poppler = [page for page in pages if poppler and not document.needs[page].character_maps]
        for page in sorted({*pages} - {*by_poppler}):
            self._render_by_pdfium(document, page)
        for run in _runs(by_poppler):
            self._render_by_poppler(document, run)

    def _render_by_pdfium(self, document: _Document, page: int) -> None:
        self._step(page, self._pixels(document, page))
        file = self._new_file("jpg")
        try:
            if document.pdfium is None:
                document.pdfium = open_pdfium(document.path)
            render_pdfium(document.pdfium, page, file, self._options)
            self._answer_rendered(document, page, file, "pdfium")
        except (RenderError, MemoryError) as error:
            self._fail(page, str(error) or "out of memory")

    def _render_by_poppler(self, document: _Document, run: list[int]) -> None:
        """One Poppler process for all; where it stops, the next page is tried alone, then the rest together."""
        pending = list(run)
        while pending:
            alone = len(pending) == 1
            ended = self._ask_poppler(document, pending)
            page, pending = pending[:1], pending[1:]
            if page and (
                not alone or ended.died
            ):  # it may have died of anything: once more before it is a fault
                ended = self._ask_poppler(document, page)
            if page:
                self._fail(page[0], ended.detail, transient=ended.transient)

    def _ask_poppler(self, document: _Document, pending: list[int]) -> ProcessEnd:
        """Answers for, and removes, the pages that one Poppler process renders; tells how it ended."""
        self._step(pending[0])
        cpu_s = max(self._options.cpu_s(self._pixels(document, page)) for page in pending)
        done = render_poppler(document.path, pending[0], pending[-1], self._folder, self._options, cpu_s)
        for page in sorted(done.files):
            file = done.files[page].rename(self._new_file("jpg"))
            self._answer_rendered(document, page, file, "poppler")
        pending[:] = [page for page in pending if page not in done.files]
        return process_end("Poppler", done.status, cpu_s, self._options.hang_s)

    def _pixels(self, document: _Document, page: int) -> float:
        width_pt, height_pt = document.boxes.get(page, (0.0, 0.0))
        return width_pt * height_pt * (self._options.dpi / POINTS_PER_INCH) ** 2

    def _answer_rendered(self, document: _Document, page: int, file: Path, renderer: str) -> None:
        dpi = self._options.dpi
        try:
            with Image.open(file) as opened:
                size = opened.size
        except (OSError, SyntaxError) as error:
            self._fail(page, f"the renderer wrote no image: {error}")
            return
        box = document.boxes.get(page, (0.0, 0.0))
        if size == (1, 1) and min(box) * dpi / 72 > 2:  # pdf2image#34: a blank pixel instead of a page
            self._fail(page, "the renderer gave one pixel")
            return
        digest = blake3(file.read_bytes()).hexdigest()
        self._answer_image(
            document, page, file, size_px=size, dpi=dpi, method=f"rendered by {renderer}", digest=digest
        )

    def _answer_image(
        self,
        document: _Document,
        page: int,
        file: Path,
        *,
        size_px: tuple[int, int],
        dpi: int,
        method: str,
        digest: str,
    ) -> None:
        size_bytes = file.stat().st_size
        try:
            flags = list(page_flags(file, *size_px, size_bytes))
        except (OSError, SyntaxError, ValueError):
            flags = []  # the decode that follows in the pipeline gives the reason
        needs = document.needs.get(page, FontNeeds())
        flags += [PageFlag.SUBSTITUTED] * needs.substituted + [PageFlag.NO_GLYPH] * needs.no_glyph
        self._say(
            {
                "page": page, "file": str(file), "size_px": size_px, "dpi": dpi, "method": method, "digest": digest,
                "size_bytes": size_bytes, "flags": flags, "box_pt": document.boxes.get(page, (0.0, 0.0)),
            }
        )  # fmt: skip

    def _fail(self, page: int, detail: str, *, transient: bool = False) -> None:
        fault = [RejectReason.RENDER_FAILED, " ".join(detail.split())[:300], transient]
        self._say({"page": page, "fault": fault})

    def _new_file(self, extension: str) -> Path:
        self._made += 1
        return self._folder / f"{self._made:08d}.{extension}"


def _pdfium_size(document: _Document, page: int, dpi: int) -> tuple[float, float]:
    try:
        width_pt, height_pt = document.pdfium[page].get_size()
    except Exception:  # noqa: BLE001 - a damaged page; the renderer will say so
        return (0.0, 0.0)
    document.boxes[page] = (width_pt, height_pt)
    return (width_pt * dpi / 72, height_pt * dpi / 72)


def _font_needs(document: _Document, page: int) -> FontNeeds:
    if document.structure is None:
        return FontNeeds()
    try:
        return document.fonts.needs(document.structure.pages[page])
    except Exception:  # noqa: BLE001 - damaged objects raise anything; what can be drawn is
        return FontNeeds()


def _runs(pages: list[int]) -> Iterator[list[int]]:
    """Consecutive pages together."""
    run: list[int] = []
    for page in pages:
        if run and page != run[-1] + 1:
            yield run
            run = []
        run.append(page)
    if run:
        yield run
