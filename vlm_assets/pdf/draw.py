"""Pages drawn: by the renderer that was asked for, and where that fails over a page twice, by the other one."""

import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from PIL import Image

from vlm_assets.pdf.decide import ToDraw
from vlm_assets.pdf.document import Document
from vlm_assets.pdf.ends import ProcessEnd, process_end
from vlm_assets.pdf.facts import POINTS_PER_INCH, PageOptions, Renderer
from vlm_assets.pdf.render import RenderError, render_pdfium, render_poppler
from vlm_assets.words.errors import StoreError, write_error

_ROUNDING: Final = 1 - 1e-6
"""Sizes are rounded up: a page of 1,000 pixels of its own would have 1,001 where its numbers are rounded."""
_WRITE_ERRORS: Final = ("write error", "error opening output", "couldn't open image file")
"""What Poppler and its libjpeg say where a file cannot be written."""


@dataclass(frozen=True, slots=True)
class Drawn:
    """A page, drawn into a file by a renderer. `instead`: the other one failed over it.

    `silent`: by Poppler, which had nothing to say about it.
    """

    page: ToDraw
    file: Path
    size_px: tuple[int, int]
    renderer: Renderer
    instead: bool = False
    silent: bool = False


@dataclass(frozen=True, slots=True)
class NotDrawn:
    """A page that gave no image. `repeats`: it is the page's own fault, as far as can be told."""

    page: ToDraw
    detail: str
    transient: bool
    repeats: bool = False


class Drawer:
    """Draws pages of one document. `step` is told what is begun, with its pixels; files lie in `folder`."""

    def __init__(
        self,
        document: Document,
        options: PageOptions,
        folder: Path,
        step: Callable[[int, float], None],
    ) -> None:
        self._document = document
        self._options = options
        self._folder = folder
        self._step = step

    def draw(self, pages: Iterable[ToDraw]) -> Iterator[Drawn | NotDrawn]:
        """Every page once, in some order: by the renderer of the options, or by pdfium where Poppler lacks something.

        Character maps, mostly: Poppler finds them in files that a machine may lack (poppler-data); pdfium has them.

        Raises:
            StoreError: a file cannot be written.
        """
        poppler: list[ToDraw] = []
        for page in pages:
            if self._options.renderer == "poppler" and not page.by_pdfium:
                poppler.append(page)
            else:
                yield self._once_more(page, "pdfium", self._by_pdfium(page))
        for run in _runs(poppler):
            yield from self._by_poppler(run)

    def by_other(self, drawn: Drawn) -> Drawn | NotDrawn:
        """The same page by the renderer that did not draw it, asked twice where it fails."""
        other = _OTHER[drawn.renderer]
        first = self._by(other, drawn.page, instead=True)
        return first if isinstance(first, Drawn) else self._by(other, drawn.page, instead=True)

    def by_poppler_alone(self, page: ToDraw) -> Drawn | NotDrawn:
        """The page by Poppler, which is a process of its own; nothing of the document is read here."""
        return self._by("poppler", page, instead=True)

    def _by_poppler(self, run: list[ToDraw]) -> Iterator[Drawn | NotDrawn]:
        """One Poppler process for all; where it stops, the next page is tried alone, then the rest together."""
        pending = list(run)
        while pending:
            alone = len(pending) == 1
            drawn, end = self._ask_poppler(pending)
            yield from drawn
            pending = pending[len(drawn) :]
            if pending:
                yield self._once_more(pending.pop(0), "poppler", end, alone=alone)

    def _once_more(
        self, page: ToDraw, renderer: Renderer, end: Drawn | ProcessEnd, *, alone: bool = True
    ) -> Drawn | NotDrawn:
        """It may have failed over anything: once more, and then the other one."""
        if isinstance(end, Drawn):
            return end
        if not alone or end.died or end.repeats:
            again = self._ask(renderer, page)
            if isinstance(again, Drawn):
                return again
            end = again
        if not end.repeats:
            return NotDrawn(page, end.detail, end.transient)
        other = self._by(_OTHER[renderer], page, instead=True)
        if isinstance(other, Drawn):
            return other
        return NotDrawn(page, f"{end.detail}; {other.detail}", other.transient)

    def _by(self, renderer: Renderer, page: ToDraw, *, instead: bool) -> Drawn | NotDrawn:
        if renderer == "poppler" and shutil.which("pdftoppm") is None:
            return NotDrawn(page, "Poppler, which may draw it, is not installed", transient=True)
        drawn = self._ask(renderer, page)
        if isinstance(drawn, Drawn):
            return Drawn(page, drawn.file, drawn.size_px, renderer, instead)
        return NotDrawn(page, drawn.detail, drawn.transient, drawn.repeats)

    def _ask(self, renderer: Renderer, page: ToDraw) -> Drawn | ProcessEnd:
        if renderer == "pdfium":
            return self._by_pdfium(page)
        drawn, end = self._ask_poppler([page])
        return drawn[0] if drawn else end

    def _by_pdfium(self, page: ToDraw) -> Drawn | ProcessEnd:
        self._step(page.page, self._pixels(page))
        file = self._folder / f"pdfium-{page.page}.jpg"
        try:
            render_pdfium(self._document.pdfium, page.page, file, dpi=self._dpi(page))
        except RenderError as error:
            self._document.forget_pdfium()
            return ProcessEnd(str(error), repeats=True)
        except MemoryError as error:
            return ProcessEnd(f"pdfium: {str(error) or 'out of memory'}")
        return self._checked(page, file, "pdfium")

    def _ask_poppler(self, pages: list[ToDraw]) -> tuple[list[Drawn], ProcessEnd]:
        """The first of the pages, as many as one Poppler process draws, and how it ended."""
        self._step(pages[0].page, 0.0)
        cpu_s = max(self._options.cpu_s(self._pixels(page)) for page in pages)
        first, last, hang_s = pages[0].page, pages[-1].page, self._options.hang_s
        run = render_poppler(
            self._document.held,
            first,
            last,
            self._folder,
            dpi=self._dpi(pages[0]),
            cpu_s=cpu_s,
            hang_s=hang_s,
        )
        end = process_end("Poppler", run.status, cpu_s, hang_s, run.told)
        if len(run.files) < len(pages):
            self._look_for_a_full_disk(run.told)
        silent = run.status == 0 and not run.told.strip()
        drawn: list[Drawn] = []
        for page in pages:
            file = run.files.get(page.page)
            made = None if file is None else self._checked(page, file, "poppler")
            if not isinstance(made, Drawn):
                return drawn, made or end
            drawn.append(replace(made, silent=silent))
        return drawn, end

    def _checked(self, page: ToDraw, file: Path, renderer: Renderer) -> Drawn | ProcessEnd:
        try:
            with Image.open(file) as opened:
                size = opened.size
        except (OSError, SyntaxError) as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise
            return ProcessEnd(f"{renderer} wrote no image: {error}", repeats=True)
        if size == (1, 1) and min(page.box_pt) * page.dpi / POINTS_PER_INCH > 2:
            return ProcessEnd(f"{renderer} gave one pixel", repeats=True)  # pdf2image#34: instead of a page
        return Drawn(page, file, size, renderer)

    def _look_for_a_full_disk(self, told: str) -> None:
        """Raises where a page is missing since nothing can be written here."""
        if any(sign in told.lower() for sign in _WRITE_ERRORS):
            raise StoreError(f"{self._folder}: cannot be written (Poppler: {told.strip()[:200]})")
        try:
            probe = self._folder / "probe"
            probe.write_bytes(bytes(2**16))
            probe.unlink()
        except OSError as error:
            raise write_error(self._folder, error) from error

    def _dpi(self, page: ToDraw) -> float:
        return page.dpi if page.dpi == self._options.dpi else page.dpi * _ROUNDING

    def _pixels(self, page: ToDraw) -> float:
        width_pt, height_pt = page.box_pt
        return width_pt * height_pt * (page.dpi / POINTS_PER_INCH) ** 2


_OTHER: Final[dict[Renderer, Renderer]] = {"poppler": "pdfium", "pdfium": "poppler"}


def _runs(pages: list[ToDraw]) -> Iterator[list[ToDraw]]:
    """Consecutive pages of one resolution together."""
    run: list[ToDraw] = []
    for page in pages:
        if run and (page.page != run[-1].page + 1 or page.dpi != run[-1].dpi):
            yield run
            run = []
        run.append(page)
    if run:
        yield run
