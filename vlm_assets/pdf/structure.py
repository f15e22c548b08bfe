"""Facts of a page that need no rendering: its visible box, its pictures, and whether it is just one of them."""

import math
from dataclasses import dataclass
from typing import Final

import pikepdf

from vlm_assets.pdf.content import (
    Box,
    Matrix,
    NotOneImageError,
    PageContent,
    Placed,
    read_content,
)
from vlm_assets.pdf.facts import POINTS_PER_INCH, EmbeddedRule
from vlm_assets.pdf.operators import may_show_pictures
from vlm_assets.pdf.pictures import size_of
from vlm_assets.pdf.resources import Place, reached

EDGE_PT: Final = 0.5
"""How far an image may miss, or stick out of, an edge of the page: boxes are often rounded to whole points."""
_MAX_ANISOTROPY: Final = 0.01
"""Larger difference of horizontal and vertical DPI: shown as stored, the page would look stretched."""
_LEAST_SHARE: Final = 0.01
"""A picture on less of the page than this decides nothing about it."""
_SCAN_SHARE: Final = 0.5
"""A picture on this much of the page is a scan of it."""
_DEFAULT_BOX: Final[Box] = (0.0, 0.0, 612.0, 792.0)  # Letter, as Poppler and pdfium assume
_HIDDEN_FLAGS: Final = 2 | 32  # Hidden, NoView


@dataclass(frozen=True, slots=True)
class PageBox:
    """What is visible of a page, before rotation: crop box within media box, in points."""

    box: Box
    rotation: int
    user_unit: float

    @property
    def size_pt(self) -> tuple[float, float]:
        """Width and height before rotation."""
        left, bottom, right, top = self.box
        return (right - left, top - bottom)

    def size_px(self, dpi: float) -> tuple[float, float]:
        """Width and height at a resolution, before rotation. A user unit counts, whatever the renderer does."""
        scale = dpi / POINTS_PER_INCH * max(1.0, self.user_unit)
        width, height = self.size_pt
        return (width * scale, height * scale)


@dataclass(frozen=True, slots=True)
class OneImagePage:
    """A page that is one image: the image object and the resolution that it shows the page in."""

    image: pikepdf.Object
    dpi: int


def page_box(page: pikepdf.Page) -> PageBox:
    """The visible box of a page, whatever its boxes look like (swapped corners, inherited, missing)."""
    media = _box(_inherited(page, "/MediaBox")) or _DEFAULT_BOX
    crop = _box(_inherited(page, "/CropBox")) or media
    visible = (
        max(media[0], crop[0]), max(media[1], crop[1]), min(media[2], crop[2]), min(media[3], crop[3])
    )  # fmt: skip
    if visible[0] >= visible[2] or visible[1] >= visible[3]:
        visible = media
    rotation = _inherited(page, "/Rotate")
    unit = page.obj.get("/UserUnit", 1)
    return PageBox(
        visible,
        int(rotation) % 360 if isinstance(rotation, int) else 0,
        float(unit) if _is_number(unit) else 1.0,
    )


class ImageFinder:
    """Whether images stand in the resources of a document's pages; resources that pages share are read once."""

    def __init__(self) -> None:
        self._known: dict[Place, bool] = {}

    def has_images(self, resources: pikepdf.Object | None) -> bool:
        """Whether an image stands in a resource dictionary, or in one that it leads to."""
        if not isinstance(resources, pikepdf.Dictionary):
            return False
        place = resources.objgen
        if not resources.is_indirect or place not in self._known:
            self._known[place] = any(
                one.get("/Subtype") == pikepdf.Name.Image
                for _, drawn in reached([resources])
                for one in drawn
            )
        return self._known[place]


@dataclass(frozen=True, slots=True)
class PageLook:
    """A page with what is known of it before it is drawn. `content` is None where it can show no picture."""

    page: pikepdf.Page
    bounds: PageBox
    content: PageContent | None

    def share(self, matrix: Matrix) -> float:
        """Of the visible page, the part that the bounds of the unit square under a matrix cover."""
        a, b, c, d, e, f = matrix
        left, bottom, right, top = self.bounds.box
        xs, ys = sorted((e, e + a, e + c, e + a + c)), sorted((f, f + b, f + d, f + b + d))
        width, height = min(xs[-1], right) - max(xs[0], left), min(ys[-1], top) - max(ys[0], bottom)
        return max(0.0, width) * max(0.0, height) / ((right - left) * (top - bottom))


def look_at(page: pikepdf.Page, images: ImageFinder) -> PageLook:
    """Reads what a page shows, where that can be a picture.

    Raises:
        pikepdf.PdfError, ValueError, TypeError, KeyError: the page's objects are damaged.
    """
    bounds = page_box(page)
    if not images.has_images(page.resources) and not may_show_pictures(page):
        return PageLook(page, bounds, None)
    content = read_content(page, bounds.box, lambda matrix: covers(matrix, bounds.box))
    return PageLook(page, bounds, content)


def one_image(look: PageLook, rule: EmbeddedRule) -> OneImagePage:
    """The image that a page is, if the page as seen is just that and `rule` takes it.

    Raises:
        NotOneImageError: it is more, or less, or its resolution is outside the rule; the message says why.
        pikepdf.PdfError, ValueError, TypeError, KeyError: the page's objects are damaged.
    """
    if rule == "never":
        raise NotOneImageError("embedded: never")
    if look.content is None:
        raise NotOneImageError("no image")
    if look.bounds.rotation:
        raise NotOneImageError("the page is rotated")
    if look.bounds.user_unit != 1:
        raise NotOneImageError("the page has its own unit")
    if has_annotations(look.page):
        raise NotOneImageError("an annotation may be visible")
    _refuse_default_colours(look.page.resources)
    placed = look.content.one
    if placed is None:
        raise NotOneImageError(look.content.refusal)
    across, down = native_dpi(placed)
    if not _takes(rule, across, down):
        raise NotOneImageError(f"native DPI {across:.0f} x {down:.0f}")
    return OneImagePage(placed.image, max(1, round((across + down) / 2)))


def covers(matrix: Matrix, box: Box) -> bool:
    """Whether the unit square under `matrix` is the box, upright, to within `EDGE_PT` at each edge."""
    a, b, c, d, e, f = matrix
    if a <= 0 or d <= 0 or abs(b) > EDGE_PT or abs(c) > EDGE_PT:
        return False
    placed = (e, f, e + a, f + d)
    return all(abs(p - edge) <= EDGE_PT for p, edge in zip(placed, box, strict=True))


def native_dpi(placed: Placed) -> tuple[float, float]:
    """Resolution of an image as placed, along its rows and its columns; of its mask where that is finer.

    Raises:
        NotOneImageError: it has no pixels, or no area.
    """
    a, b, c, d, _, _ = placed.matrix
    sizes = [size_of(placed.image)]
    sizes += [
        size_of(mask)
        for key in ("/SMask", "/Mask")
        if isinstance(mask := placed.image.get(key), pikepdf.Stream)
    ]
    width_px, height_px = (max(side) for side in zip(*sizes, strict=True))
    width_pt, height_pt = math.hypot(a, b), math.hypot(c, d)
    if min(width_px, height_px) <= 0 or min(width_pt, height_pt) <= 0:
        raise NotOneImageError("an image without pixels or area")
    return (width_px * POINTS_PER_INCH / width_pt, height_px * POINTS_PER_INCH / height_pt)


def drawing_dpi(look: PageLook, dpi: int) -> tuple[float, bool]:
    """The resolution to draw a page in, `dpi` at most; and whether it has more pixels there than its scan.

    A page of nothing but pictures is drawn in the finest of their resolutions: more pixels would show no more.
    """
    placed = look.content.pictures if look.content is not None else []
    shown = [(share, native_dpi(one)) for one in placed if (share := look.share(one.matrix)) >= _LEAST_SHARE]
    if not shown:
        return (dpi, False)
    finest = max(max(native) for _, native in shown)
    only_pictures = look.content is not None and not look.content.marks and not has_annotations(look.page)
    drawn = min(float(dpi), finest) if only_pictures else float(dpi)
    scans = [native for share, native in shown if share >= _SCAN_SHARE]
    most = max((across * down for across, down in scans), default=math.inf)
    return (drawn, drawn * drawn > most * (1 + _MAX_ANISOTROPY) ** 2)


def _takes(rule: EmbeddedRule, across: float, down: float) -> bool:
    if abs(across - down) > _MAX_ANISOTROPY * max(across, down):
        return False
    if isinstance(rule, str):
        return rule == "always"
    # An image placed by rounded numbers may miss the range by a fraction
    return all(rule[0] - 0.5 <= dpi <= rule[1] + 0.5 for dpi in (across, down))


def has_annotations(page: pikepdf.Page) -> bool:
    """Whether an annotation may be visible. Links with a border of width 0 and pop-ups are not."""
    annotations = page.obj.get("/Annots")
    for annotation in annotations if isinstance(annotations, pikepdf.Array) else ():
        if not isinstance(annotation, pikepdf.Dictionary):
            continue
        if int(annotation.get("/F", 0)) & _HIDDEN_FLAGS or annotation.get("/Subtype") == pikepdf.Name.Popup:
            continue
        is_link = annotation.get("/Subtype") == pikepdf.Name.Link
        if not (is_link and "/AP" not in annotation and _no_border(annotation)):
            return True
    return False


def _no_border(annotation: pikepdf.Object) -> bool:
    style = annotation.get("/BS")
    if style is not None:
        return float(style.get("/W", 1)) == 0
    border = list(annotation.get("/Border", ()))
    return len(border) >= 3 and float(border[2]) == 0


def _refuse_default_colours(resources: pikepdf.Object) -> None:
    spaces: pikepdf.Object | dict[str, object] = resources.get("/ColorSpace") or {}
    if any(name in spaces for name in ("/DefaultGray", "/DefaultRGB", "/DefaultCMYK")):
        raise NotOneImageError("the page redefines the device colours")


def _inherited(page: pikepdf.Page, key: str) -> pikepdf.Object | int | None:
    node, hops = page.obj, 0
    while node is not None and hops < 50:  # a page tree may be a ring in a damaged file
        value = node.get(key)
        if value is not None:
            return value
        node, hops = node.get("/Parent"), hops + 1  # type: ignore[assignment]  # None ends the loop
    return None


def _box(value: object) -> Box | None:
    """Corners in order; None for anything that spans no area."""
    if not isinstance(value, pikepdf.Array) or len(value) != 4 or not all(_is_number(v) for v in value):
        return None
    x0, y0, x1, y1 = (float(v) for v in value)
    box = (min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1))
    return box if box[0] < box[2] and box[1] < box[3] else None


def _is_number(value: object) -> bool:
    from decimal import Decimal

    return isinstance(value, (int, float, Decimal)) and not isinstance(value, bool)
