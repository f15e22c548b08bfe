"""Pages as pixels, by Poppler through pdf2image or by pdfium. Runs in a worker process, single-threaded."""

import contextlib
import ctypes
import os
import re
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

from vlm_assets.pdf.facts import JPEG_QUALITY
from vlm_assets.pdf.held import HeldFile
from vlm_assets.workers.bounds import bound_cpu_time, die_with_parent

_NUMBERED: Final = re.compile(r"-(\d+)\.jpg$")
_PREFIX: Final = "poppler"
_SINCE: Final = (0, 84)
"""Of Poppler, 2020: pdf2image keeps no option from this one and later ones."""


class RenderError(Exception):
    """The renderer gave no page; the message says why."""


@dataclass(frozen=True, slots=True)
class PopplerRun:
    """What one Poppler process gave: complete files by zero-based page, its exit status, None where it hung, and
    what it told.
    """

    files: dict[int, Path]
    status: int | None
    told: str = ""


def render_poppler(
    document: HeldFile, first: int, last: int, folder: Path, *, dpi: float, cpu_s: float, hang_s: float
) -> PopplerRun:
    """Renders the zero-based pages `first`..`last` in one Poppler process, which may use `cpu_s` of processor time.

    Pages that are missing in the answer failed, or come after one that failed or used up that time.
    """
    pdf2image = _pdf2image()
    for leftover in folder.glob(f"{_PREFIX}*"):
        leftover.unlink()
    _START.cpu_s, _START.descriptors = cpu_s, document.descriptors
    hung = False
    try:
        pdf2image.convert_from_path(
            document.path,
            dpi=dpi,
            output_folder=folder,
            output_file=_PREFIX,
            first_page=first + 1,
            last_page=last + 1,
            fmt="jpeg",
            jpegopt={"quality": JPEG_QUALITY, "progressive": False, "optimize": False},
            use_cropbox=True,
            paths_only=True,
            timeout=hang_s,
        )
    except pdf2image.exceptions.PDFPopplerTimeoutError:
        hung = True
    files = _numbered(folder.glob(f"{_PREFIX}*.jpg"))
    whole = {page: file for page, file in files.items() if _has_end(file)}
    status = None if hung or _START.process is None else _START.process.returncode
    return PopplerRun(whole, status, _START.told.decode(errors="replace"))


def _has_end(file: Path) -> bool:
    """Whether a JPEG was written to its end; a renderer that died leaves the page at work without."""
    with file.open("rb") as stream:
        stream.seek(max(0, file.stat().st_size - 2))
        return stream.read() == b"\xff\xd9"


def _numbered(files: Iterable[Path]) -> dict[int, Path]:
    return {int(found.group(1)) - 1: file for file in files if (found := _NUMBERED.search(file.name))}


def render_pdfium(document: Any, page: int, file: Path, *, dpi: float) -> None:
    """Renders one zero-based page of an open pypdfium2 document into a JPEG file.

    Raises:
        RenderError: pdfium refuses the page.
        MemoryError: there is no memory for it.
        OSError: the file cannot be written.
    """
    import pypdfium2 as pdfium

    try:
        loaded = document[page]
        # Sizes are rounded up: without the last factor 216 pt at 300 DPI, 900.0000000000001, would be 901 pixels
        bitmap = loaded.render(scale=dpi / 72 * (1 - 1e-9), may_draw_forms=True)
        picture = bitmap.to_pil()
    except (pdfium.PdfiumError, ValueError, ctypes.ArgumentError) as error:
        if "bitmap" in str(error).lower():
            raise MemoryError("no memory for the page's pixels") from error
        raise RenderError(_one_line(f"pdfium: {error}")) from error
    with contextlib.closing(loaded):
        rgb = picture.convert("RGB")
        rgb.save(file, "JPEG", quality=JPEG_QUALITY, dpi=(round(dpi), round(dpi)))


def open_pdfium(document: HeldFile) -> Any:
    """The document in pypdfium2, forms ready to be drawn, with the product's fonts for those it lacks.

    Raises:
        RenderError: pdfium cannot open it.
        MemoryError: there is no memory for it.
    """
    import pypdfium2 as pdfium

    from vlm_assets.pdf.pdfium_fonts import use_own_fonts

    use_own_fonts()
    try:
        opened = pdfium.PdfDocument(document.mapped() or document.path)
        opened.init_forms()
    except pdfium.PdfiumError as error:
        raise RenderError(_one_line(f"pdfium: {error}")) from error
    return opened


class _Start:
    """`subprocess.Popen` for pdf2image: bounds the processor time, and keeps exit status and standard errors.

    Poppler is a child of the worker: when the worker is killed for the time or memory that a page took, nobody else
    would end it. So it dies with it.
    """

    cpu_s: float = 0.0
    descriptors: tuple[int, ...] = ()
    """What the program opens by name."""
    worker: int = 0
    process: subprocess.Popen[bytes] | None = None
    told: bytes = b""

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        self.worker, self.told = os.getpid(), b""
        start: Any = subprocess.Popen
        self.process = process = start(
            *arguments, preexec_fn=self._prepare, pass_fds=self.descriptors, **options
        )
        listen = process.communicate

        def communicate(*given: Any, **named: Any) -> tuple[bytes, bytes]:
            out, self.told = listen(*given, **named)
            return out, self.told

        process.communicate = communicate
        return process

    def _prepare(self) -> None:
        die_with_parent(self.worker)
        bound_cpu_time(self.cpu_s)


_START: Final = _Start()


@cache
def renderer_name(renderer: str) -> str:
    """Renderer and version, for the history of a slice."""
    if renderer == "pdfium":
        import pypdfium2 as pdfium

        return f"pdfium {pdfium.PDFIUM_INFO.build}"
    told = subprocess.run(["pdftoppm", "-v"], capture_output=True, text=True, check=False).stderr
    found = re.search(r"version (\S+)", told)
    return f"poppler {found.group(1) if found else 'unknown'}"


@cache
def _pdf2image() -> Any:
    """pdf2image with three of its names replaced, in this process; it has no arguments for what they do.

    Each call would start `pdfinfo` and `pdftoppm -v` first, 20 ms for what is known; and where the latter did not
    answer, pdf2image would take Poppler for one of 2011 and leave out the quality.
    """
    import pdf2image

    module = pdf2image.pdf2image
    module.Popen = _START
    module.pdfinfo_from_path = lambda *_, **__: {"Pages": sys.maxsize}
    module._get_poppler_version = lambda *_, **__: _SINCE  # noqa: SLF001 - see above
    return pdf2image


def _one_line(text: str) -> str:
    return " ".join(text.split())[:300]
