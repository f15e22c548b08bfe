"""What a page worker does: opens documents, takes or renders pages, writes files, tells of them in numbers."""

import tempfile
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from blake3 import blake3
from PIL import Image

from vlm_assets.pdf.checks import page_flags
from vlm_assets.pdf.decide import NO_BOX, Refused, Taken, ToDraw, decide
from vlm_assets.pdf.document import Document, DocumentError, open_document
from vlm_assets.pdf.draw import Drawer, Drawn, NotDrawn
from vlm_assets.pdf.facts import POINTS_PER_INCH, PageFlag, PageOptions
from vlm_assets.pdf.text_layer import page_text
from vlm_assets.words.errors import DiskFullError, RejectReason, StoreError, write_error
from vlm_assets.workers.bounds import cpu_timer
from vlm_assets.workers.far_end import Handler, Say

Answer = dict[str, Any]


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
        self._document: Document | None = None
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
        except OSError as error:
            self._say_unreadable(error)
            return self._elapsed()
        self._say({"pages": document.pages})
        try:
            pages = range(request["start"], min(request["stop"], document.pages))
            if request.get("plain", False):
                self._serve_plain(document, pages)
            else:
                self._serve_pages(document, pages)
        except (OSError, StoreError) as error:  # never another picture, nor a page less
            self._say_failed(error)
        return self._elapsed()

    def _elapsed(self) -> float:
        return round(time.monotonic() - self._started, 4)

    def _step(self, page: int | None, pixels: float = 0.0) -> None:
        """Tells the parent what is being worked on; from here on its processor time is counted anew."""
        self._allow(pixels)
        self._say({"step": page})

    def _allow(self, pixels: float) -> None:
        cpu_timer().start(self._options.cpu_s(pixels))

    def _open(self, path: Path) -> Document:
        if self._document is not None:
            if self._document.path == path and self._document.held.is_still(path):
                return self._document
            self._document.close()
            self._document = None
        self._step(None)
        try:
            self._document = open_document(path)
        except MemoryError as error:
            raise DocumentError(RejectReason.UNREADABLE, "needs too much memory to open") from error
        return self._document

    def _say_failed(self, error: OSError | StoreError) -> None:
        """The slice fails as a whole, and is tried again."""
        if isinstance(error, OSError):
            error = write_error(error.filename or self._folder, error)
        self._say({"error": str(error), "full": isinstance(error, DiskFullError)})

    def _say_unreadable(self, error: OSError) -> None:
        detail = f"it is there, and cannot be read: {error.strerror or error}"
        self._say({"fault": [RejectReason.UNREADABLE, detail, True]})

    def _serve_pages(self, document: Document, pages: range) -> None:
        to_draw = []
        for page in pages:
            if not self._options.wants(page):
                continue
            outcome = self._decide(document, page, thorough=False)
            if isinstance(outcome, ToDraw):
                to_draw.append(outcome)
            elif isinstance(outcome, Refused):
                self._fail(page, outcome.reason, outcome.detail)
            else:
                self._answer_taken(document, page, outcome)
        drawer = Drawer(document, self._options, self._folder, self._step)
        for drawn in drawer.draw(to_draw):
            seen = self._look_again(document, drawn)
            if isinstance(seen, Refused):
                self._fail(drawn.page.page, seen.reason, seen.detail)
            else:
                self._answer_drawn(drawer, seen, document)

    def _decide(self, document: Document, page: int, *, thorough: bool) -> Taken | Refused | ToDraw:
        self._step(page)
        try:
            return decide(document, page, self._options, self._allow, thorough=thorough)
        except MemoryError:
            return Refused(RejectReason.RENDER_FAILED, "out of memory while its objects were read")

    def _look_again(self, document: Document, drawn: Drawn | NotDrawn) -> Drawn | NotDrawn | Refused:
        """The page with what its pictures are found to be, where Poppler was to tell, and may have done so."""
        if not drawn.page.untold:
            return drawn
        if isinstance(drawn, Drawn) and drawn.silent and PageFlag.BLANK not in _flags_of(drawn):
            return drawn
        outcome = self._decide(document, drawn.page.page, thorough=True)
        if isinstance(outcome, Refused):
            if isinstance(drawn, Drawn):
                drawn.file.unlink()
            return outcome
        return replace(drawn, page=outcome) if isinstance(outcome, ToDraw) else drawn

    def _serve_plain(self, document: Document, pages: range) -> None:
        """Draws pages that a worker died over: by Poppler, which dies alone, and without a look at them."""
        drawer = Drawer(document, self._options, self._folder, self._step)
        for page in pages:
            drawn = drawer.by_poppler_alone(ToDraw(page, self._options.dpi))
            if isinstance(drawn, NotDrawn):
                drawn = replace(drawn, detail=f"its worker died over it twice; {drawn.detail}")
            self._answer_drawn(drawer, drawn, None)

    def _answer_taken(self, document: Document, page: int, taken: Taken) -> None:
        image = taken.image
        file = self._new_file(image.extension)
        file.write_bytes(image.data)
        made = _Made(file, (image.width_px, image.height_px), taken.dpi, "embedded", image.data)
        flags = page_flags(file, *made.size_px, len(image.data))
        self._answer_image(document, page, made, taken.box_pt, flags)

    def _answer_drawn(self, drawer: Drawer, drawn: Drawn | NotDrawn, document: Document | None) -> None:
        page = drawn.page
        if isinstance(drawn, NotDrawn):
            self._fail(page.page, RejectReason.RENDER_FAILED, drawn.detail, transient=drawn.transient)
            return
        flags = _flags_of(drawn)
        if PageFlag.BLANK in flags and (
            page.pictures or drawn.renderer == "poppler"
        ):  # it may have left all out
            other = None if drawn.instead else drawer.by_other(drawn)
            if isinstance(other, NotDrawn) and not other.repeats:  # then nobody knows whether it is empty
                detail = f"empty as drawn by {drawn.renderer}; {other.detail}"
                self._fail(page.page, RejectReason.RENDER_FAILED, detail, transient=True)
                return
            if isinstance(other, Drawn) and PageFlag.BLANK not in _flags_of(other):
                drawn, flags = other, _flags_of(other)
            elif page.damage is not None:
                detail = f"nothing of its picture shows: {page.damage.detail}"
                self._fail(page.page, page.damage.reason, detail)
                return
        file = drawn.file.rename(self._new_file("jpg"))
        flags += page.flags + [PageFlag.OTHER_RENDERER] * drawn.instead
        method = f"rendered by {drawn.renderer}"
        made = _Made(file, drawn.size_px, max(1, round(page.dpi)), method, file.read_bytes())
        box_pt = page.box_pt
        if box_pt == NO_BOX:
            box_pt = (
                drawn.size_px[0] * POINTS_PER_INCH / page.dpi,
                drawn.size_px[1] * POINTS_PER_INCH / page.dpi,
            )
        self._answer_image(document, page.page, made, box_pt, flags)

    def _answer_image(
        self,
        document: Document | None,
        page: int,
        made: "_Made",
        box_pt: tuple[float, float],
        flags: Sequence[PageFlag],
    ) -> None:
        text = None
        if self._options.text == "layer":
            text = None if document is None else page_text(document, page)
            flags = [*flags, *([PageFlag.NO_TEXT] * (text is None))]
        self._say(
            {
                "page": page, "file": str(made.file), "size_px": made.size_px, "dpi": made.dpi, "method": made.method,
                "digest": blake3(made.data).hexdigest(), "size_bytes": len(made.data), "flags": list(flags),
                "box_pt": box_pt, "text": text,
            }
        )  # fmt: skip

    def _fail(self, page: int, reason: RejectReason, detail: str, *, transient: bool = False) -> None:
        self._say({"page": page, "fault": [reason, " ".join(detail.split())[:300], transient]})

    def _new_file(self, extension: str) -> Path:
        self._made += 1
        return self._folder / f"{self._made:08d}.{extension}"


@dataclass(frozen=True, slots=True)
class _Made:
    """A page's image: its file, and the bytes in it."""

    file: Path
    size_px: tuple[int, int]
    dpi: int
    method: str
    data: bytes


def _flags_of(drawn: Drawn) -> list[PageFlag]:
    return list(page_flags(drawn.file, *drawn.size_px, drawn.file.stat().st_size))
