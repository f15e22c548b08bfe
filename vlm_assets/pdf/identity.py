"""The renderer identity: what this machine makes of the reference pages, as one short digest.

Two machines of one identity draw the same pages bit for bit, as far as the reference pages tell. It is taken through
the same worker as every page, with the product's fonts, so it says the same as the slices made here.
"""

import io
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Final

from vlm_assets.pdf.facts import PageFault, PageFlag, PageOptions, Renderer
from vlm_assets.pdf.fonts import DIGESTS, check_fonts
from vlm_assets.pdf.pool import PagePool
from vlm_assets.pdf.reference import DPI, PAGES, damaged_document, reference_document
from vlm_assets.pdf.render import renderer_name
from vlm_assets.words.errors import OperationError

_DIGITS: Final = 16


@dataclass(frozen=True, slots=True)
class RendererIdentity:
    """`digest` names the whole; `parts`, by what they are, tell which of it differs elsewhere.

    A page has a part for its bytes and one for its pixels as Pillow decodes them. `version` is the renderer and its
    version as it calls itself, which is history: it is not in the digest.
    """

    renderer: Renderer
    version: str
    parts: Mapping[str, str]

    @property
    def name(self) -> str:
        """Renderer and digest, as manifests hold it: `poppler-0123456789abcdef`."""
        return f"{self.renderer}-{self.digest}"

    @property
    def digest(self) -> str:
        """16 hex digits over all parts."""
        told = "".join(f"{name}={value}\n" for name, value in sorted(self.parts.items()))
        return _short(f"{self.renderer}\n{told}".encode())


@cache
def renderer_identity(renderer: Renderer) -> RendererIdentity:
    """What this machine makes of the reference pages with a renderer; drawn once a process, in about a second.

    Raises:
        OperationError: the renderer is not installed, a font is damaged, or a reference page could not be drawn
            (the machine was too busy, or the renderer is broken); the message names it. Or it is a Poppler that keeps
            silent about damaged pictures.
    """
    check_fonts()
    parts = {f"font {name}": digest[:_DIGITS] for name, digest in DIGESTS.items()}
    with tempfile.TemporaryDirectory(prefix="vlm-reference-") as folder:
        parts |= _drawn(renderer, Path(folder))
    return RendererIdentity(renderer, renderer_name(renderer), dict(sorted(parts.items())))


def _drawn(renderer: Renderer, folder: Path) -> dict[str, str]:
    from PIL import Image

    path = folder / "reference.pdf"
    path.write_bytes(reference_document())
    options = PageOptions(dpi=DPI, embedded="always", renderer=renderer)
    pool = PagePool(options, 1, folder / "pages", folder / "slots")
    parts = {}
    try:
        for page in pool.submit(path).pages():
            if isinstance(page, PageFault):
                what = "as a whole" if page.page is None else PAGES[page.page]
                raise OperationError(
                    f"the reference page {what!r} cannot be drawn by {renderer}: {page.detail}; mend the renderer, "
                    "or try again on a machine that is less busy"
                )
            if PageFlag.OTHER_RENDERER in page.flags:
                raise OperationError(
                    f"the reference page {PAGES[page.page]!r} cannot be drawn by {renderer}, which failed twice; "
                    "mend the renderer"
                )
            data = page.file.read_bytes()
            with Image.open(io.BytesIO(data)) as opened:
                pixels = f"{opened.mode} {opened.size}".encode() + opened.convert("RGB").tobytes()
            parts[f"{PAGES[page.page]}: bytes"] = _short(data)
            parts[f"{PAGES[page.page]}: pixels"] = _short(pixels)
        _check_that_damage_is_told(pool, folder)
    finally:
        pool.close()
    return parts


def _check_that_damage_is_told(pool: PagePool, folder: Path) -> None:
    """Raises where a renderer draws a picture that ends early and says nothing of it: see `pdf.told`."""
    path = folder / "damaged.pdf"
    path.write_bytes(damaged_document())
    for page in pool.submit(path).pages():
        if not isinstance(page, PageFault):
            raise OperationError(
                "this Poppler draws damaged JPEGs without a word (built without libjpeg?): it would make white pages "
                "of cut scans; install another one, or say `renderer: pdfium`"
            )


def _short(data: bytes) -> str:
    return sha256(data).hexdigest()[:_DIGITS]
