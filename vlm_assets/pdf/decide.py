"""How a page becomes an image, before anything is drawn: taken as it is, drawn in some resolution, or refused."""

import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Final

import pikepdf
from pikepdf.models import PdfParsingError

from vlm_assets.pdf.content import NotOneImageError, PageContent
from vlm_assets.pdf.damage import Damage, damage_of, poppler_misreads
from vlm_assets.pdf.document import Document
from vlm_assets.pdf.embedded import EmbeddedImage, embedded_image
from vlm_assets.pdf.facts import POINTS_PER_INCH, PageFlag, PageOptions
from vlm_assets.pdf.operators import operators_end
from vlm_assets.pdf.page_fonts import FontNeeds
from vlm_assets.pdf.pictures import EndsReader, size_of
from vlm_assets.pdf.structure import PageLook, drawing_dpi, has_annotations, look_at, one_image
from vlm_assets.pdf.told import told_by_poppler
from vlm_assets.words.errors import RejectReason

_MAX_SIDE_PX: Final = 65_500  # of a JPEG
_MISSED_SHARE: Final = 0.05
"""A damaged picture on this much of the page costs the page."""

DAMAGED_OBJECTS: Final = (
    pikepdf.PikepdfError, PdfParsingError, struct.error, zlib.error, ArithmeticError, AttributeError, LookupError,
    RuntimeError, TypeError, ValueError,
)  # fmt: skip
"""What reading damaged objects raises. Faults of the machine are none of these: `OSError`, `MemoryError`."""


NO_BOX: Final = (0.0, 0.0)
"""Of a page whose size nothing tells."""


@dataclass(frozen=True, slots=True)
class Taken:
    """The page is one image, and these are its bytes."""

    image: EmbeddedImage
    dpi: int
    box_pt: tuple[float, float]


@dataclass(frozen=True, slots=True)
class Refused:
    """The page gives no image."""

    reason: RejectReason
    detail: str


@dataclass(slots=True)
class ToDraw:
    """The page is drawn, in `dpi`. `box_pt` is its visible size, unrotated; `flags` are known beforehand.

    `by_pdfium`: Poppler lacks what it takes, here or on some machine, or its releases draw it differently.
    `pictures`: it shows some, so that an empty page is not to be believed; `damage`: what may be wrong with one.
    `untold`: one was not looked at, since Poppler tells where it is damaged; see `decide`.
    """

    page: int
    dpi: float
    box_pt: tuple[float, float] = NO_BOX
    flags: list[PageFlag] = field(default_factory=list)
    by_pdfium: bool = False
    pictures: bool = False
    damage: Damage | None = None
    untold: bool = False


_HALF: Final = Refused(RejectReason.TRUNCATED, "the page's operators end early")


def _unbounded(_: float) -> None: ...


def decide(
    document: Document,
    page: int,
    options: PageOptions,
    allow: Callable[[float], None] = _unbounded,
    *,
    thorough: bool = True,
) -> Taken | Refused | ToDraw:
    """What becomes of a page of a document. `allow` is told of how many pixels an image has before it is decoded.

    Without `thorough`, pictures that Poppler will draw, and whose damage it tells of, are left to it. Where it says
    anything, draws nothing, or another renderer draws the page, the thorough answer holds.

    Raises:
        OSError, MemoryError: a fault of the machine.
    """
    if document.structure is None:
        return _decide_by_size(document, page, options)
    try:
        opened = document.structure.pages[page]
    except DAMAGED_OBJECTS:
        return ToDraw(page, options.dpi)
    try:
        look = look_at(opened, document.images)
    except DAMAGED_OBJECTS:  # the renderers repair more
        if not _operators_end(opened):
            return _HALF
        return ToDraw(page, options.dpi, flags=_font_flags(_needs(document, page)))
    return _taken(look, options, allow) or _drawn(document, page, look, options, thorough=thorough)


def _decide_by_size(document: Document, page: int, options: PageOptions) -> Refused | ToDraw:
    try:
        width_pt, height_pt = document.pdfium[page].get_size()
    except (RuntimeError, ValueError):  # the renderer will say so
        return ToDraw(page, options.dpi)
    scale = options.dpi / POINTS_PER_INCH
    refused = _too_large((width_pt * scale, height_pt * scale), options.dpi, options)
    return refused or ToDraw(page, options.dpi, (width_pt, height_pt))


def _too_large(size_px: tuple[float, float], dpi: float, options: PageOptions) -> Refused | None:
    width_px, height_px = size_px
    if width_px * height_px <= options.max_pixels and max(width_px, height_px) <= _MAX_SIDE_PX:
        return None
    detail = f"{width_px:.0f} x {height_px:.0f} pixels at {dpi:.0f} DPI"
    return Refused(RejectReason.PAGE_TOO_LARGE, detail)


def _taken(look: PageLook, options: PageOptions, allow: Callable[[float], None]) -> Taken | None:
    try:
        found = one_image(look, options.embedded)
        width_px, height_px = size_of(found.image)
        allow(min(width_px * height_px, options.max_pixels))
        return Taken(embedded_image(found.image, options.max_pixels), found.dpi, look.bounds.size_pt)
    except (NotOneImageError, *DAMAGED_OBJECTS):  # what is damaged is found out before it is drawn
        return None


def _drawn(
    document: Document, page: int, look: PageLook, options: PageOptions, *, thorough: bool
) -> ToDraw | Refused:
    try:
        dpi, enlarged = drawing_dpi(look, options.dpi)
    except (NotOneImageError, *DAMAGED_OBJECTS):
        dpi, enlarged = options.dpi, False
    refused = _too_large(look.bounds.size_px(dpi), dpi, options)
    if refused is not None:
        return refused
    content = look.content
    has_words = content is None or content.marks or _has_annotations(look)
    needs = _needs(document, page) if has_words else FontNeeds()
    by_pdfium = (
        needs.character_maps or _poppler_misreads(look, document.ends) or _disputed(document, look.page)
    )
    leaves = options.renderer == "poppler" and not by_pdfium and not thorough
    damage, share, untold = _worst_damage(document, look, options.max_pixels, leaves=leaves)
    if damage is not None and damage.certain and share >= _MISSED_SHARE:
        return Refused(damage.reason, f"a picture of the page: {damage.detail}")
    if not _operators_end(look.page):
        return _HALF
    missing = content is not None and content.missing
    if missing and damage is None:
        damage = Damage(RejectReason.CORRUPT, "an image or form that it draws is missing", certain=False)
    flags = [PageFlag.ENLARGED] * enlarged + [PageFlag.DAMAGED] * (damage is not None) + _font_flags(needs)
    pictures = missing or (content is not None and bool(content.pictures))
    return ToDraw(page, dpi, look.bounds.size_pt, flags, by_pdfium, pictures, damage, untold)


def _has_annotations(look: PageLook) -> bool:
    try:
        return has_annotations(look.page)
    except DAMAGED_OBJECTS:
        return True


def _poppler_misreads(look: PageLook, ends: EndsReader) -> bool:
    pictures = look.content.pictures if look.content is not None else ()
    try:
        return any(
            isinstance(one.image, pikepdf.Stream) and poppler_misreads(one.image, ends) for one in pictures
        )
    except DAMAGED_OBJECTS:
        return False


def _disputed(document: Document, page: pikepdf.Page) -> bool:
    try:
        return document.disputes.disputed(page)
    except DAMAGED_OBJECTS:
        return False


def _operators_end(page: pikepdf.Page) -> bool:
    try:
        return operators_end(page)
    except DAMAGED_OBJECTS:
        return True


def _worst_damage(
    document: Document, look: PageLook, max_pixels: int, *, leaves: bool
) -> tuple[Damage | None, float, bool]:
    """What is wrong with the pictures that a page shows: the certain before the uncertain; and their part of it.

    The last: whether one was left to Poppler, as `leaves` allows.
    """
    found: list[tuple[Damage, float]] = []
    untold = False
    content = look.content or PageContent()
    for placed in [content.one] if content.one is not None else content.pictures:
        image, share = placed.image, look.share(placed.matrix)
        if not isinstance(image, pikepdf.Stream) or not share:
            continue
        place = image.objgen
        if placed.holder is not None:
            damage = _damage(document, image, max_pixels)
        else:
            if place not in document.damage:
                if leaves and _told_by_poppler(image, max_pixels, document.ends):
                    untold = True
                    continue
                document.damage[place] = _damage(document, image, max_pixels)
            damage = document.damage[place]
        if damage is not None:
            found.append((damage, share))
    certain = [one for one in found if one[0].certain]
    worst = max(certain or found, key=lambda one: one[1], default=(None, 0.0))
    return worst[0], sum(share for _, share in certain), untold


def _told_by_poppler(image: pikepdf.Stream, max_pixels: int, ends: EndsReader) -> bool:
    try:
        return told_by_poppler(image, max_pixels, ends)
    except DAMAGED_OBJECTS:
        return False


def _damage(document: Document, image: pikepdf.Stream, max_pixels: int) -> Damage | None:
    try:
        found = damage_of(image, max_pixels)
    except DAMAGED_OBJECTS as error:
        found = Damage(RejectReason.CORRUPT, f"{type(error).__name__}: {error}", certain=False)
    if found is None:
        return None
    return replace(found, detail=document.held.told(found.detail)[:200])


def _needs(document: Document, page: int) -> FontNeeds:
    if document.structure is None:
        return FontNeeds()
    try:
        return document.fonts.needs(document.structure.pages[page])
    except DAMAGED_OBJECTS:  # what can be drawn is
        return FontNeeds()


def _font_flags(needs: FontNeeds) -> list[PageFlag]:
    return [PageFlag.SUBSTITUTED] * needs.substituted + [PageFlag.NO_GLYPH] * needs.no_glyph
