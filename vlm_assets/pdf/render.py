"""Pages as pixels, by Poppler through pdf2image or by pdfium. Runs in a worker process, single-threaded."""

import contextlib
import ctypes
import re
import signal
import subprocess
import sys
from collections.abc import Iterable
from functools import cache, partial
from pathlib import Path
from typing import Any, Final

from vlm_assets.pdf.facts import JPEG_QUALITY, PageOptions

_NUMBERED: Final = re.compile(r"-(\d+)\.jpg$")
_PR_SET_PDEATHSIG: Final = 1
_PREFIX: Final = "poppler"


class RenderError(Exception):
    """The renderer gave no page; the message says why."""


def die_with_parent() -> None:
    """Asks the kernel to kill the calling process when the thread that started it ends (prctl(2))."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def render_poppler(
    document: Path, first: int, last: int, folder: Path, options: PageOptions
) -> dict[int, Path]:
    """Renders the zero-based pages `first`..`last` in one Poppler process; gives the files that are complete.

    Pages that are missing in the answer failed, or come after one that failed or took the time of a page.

    """
    pdf2image = _pdf2image()
    for leftover in folder.glob(f"{_PREFIX}*"):
        leftover.unlink()
    ended = True
    try:
        pdf2image.convert_from_path(
            document,
            dpi=options.dpi,
            output_folder=folder,
            output_file=_PREFIX,
            first_page=first + 1,
            last_page=last + 1,
            fmt="jpeg",
            jpegopt={"quality": JPEG_QUALITY, "progressive": False, "optimize": False},
            use_cropbox=True,
            paths_only=True,
            timeout=options.page_timeout_s,
        )
    except pdf2image.exceptions.PDFPopplerTimeoutError:
        ended = False
    files = _numbered(folder.glob(f"{_PREFIX}*.jpg"))
    if not ended and files:  # pages are written one after another: only the last can be incomplete
        files.pop(max(files)).unlink()
    return {page: file for page, file in files.items() if file.stat().st_size > 0}


def _numbered(files: Iterable[Path]) -> dict[int, Path]:
    return {int(found.group(1)) - 1: file for file in files if (found := _NUMBERED.search(file.name))}


def render_pdfium(document: Any, page: int, file: Path, options: PageOptions) -> None:
    """Renders one zero-based page of an open pypdfium2 document into a JPEG file.

    Raises:
        RenderError: pdfium refuses the page.
    """
    import pypdfium2 as pdfium

    try:
        loaded = document[page]
        # Sizes are rounded up: without the last factor 216 pt at 300 DPI, 900.0000000000001, would be 901 pixels
        bitmap = loaded.render(scale=options.dpi / 72 * (1 - 1e-9), may_draw_forms=True)
        picture = bitmap.to_pil()
    except (pdfium.PdfiumError, ValueError, OSError) as error:
        raise RenderError(_one_line(f"pdfium: {error}")) from error
    with contextlib.closing(loaded):
        rgb = picture.convert("RGB")
        rgb.save(file, "JPEG", quality=JPEG_QUALITY, dpi=(options.dpi, options.dpi))


def open_pdfium(document: Path) -> Any:
    """The document in pypdfium2, forms ready to be drawn, with the product's fonts for those it lacks.

    Raises:
        RenderError: pdfium cannot open it.
    """
    import pypdfium2 as pdfium

    from vlm_assets.pdf.pdfium_fonts import use_own_fonts

    use_own_fonts()
    try:
        opened = pdfium.PdfDocument(document)
        opened.init_forms()
    except (pdfium.PdfiumError, OSError) as error:
        raise RenderError(_one_line(f"pdfium: {error}")) from error
    return opened


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

    Poppler is a child of the worker: when the worker is killed for the time or memory that a page took, nobody
    else would end it. And each call would start `pdfinfo` and `pdftoppm -v` first, 20 ms for what is known.
    """
    import pdf2image

    module = pdf2image.pdf2image
    module.Popen = partial(subprocess.Popen, preexec_fn=die_with_parent)
    module.pdfinfo_from_path = lambda *_, **__: {"Pages": sys.maxsize}
    module._get_poppler_version = cache(module._get_poppler_version)  # noqa: SLF001 - see above
    return pdf2image


def _one_line(text: str) -> str:
    return " ".join(text.split())[:300]
