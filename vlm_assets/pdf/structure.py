"""Facts of a page that need no rendering: its visible box, and whether it is one upright image of known DPI."""

from dataclasses import dataclass
from typing import Final

import pikepdf

from vlm_assets.pdf.content import Box, Matrix, NotOneImageError, find_one_image
from vlm_assets.pdf.facts import POINTS_PER_INCH, EmbeddedRule

EDGE_PT: Final = 0.5
"""How far an image may miss, or stick out of, an edge of the page: boxes are often rounded to whole points."""
_MAX_ANISOTROPY: Final = 0.01
"""Larger difference of horizontal and vertical DPI: shown as stored, the page would look stretched."""
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


def one_image(page: pikepdf.Page, rule: EmbeddedRule) -> OneImagePage:
    """The image that a page is, if the page as seen is just that and `rule` takes it.

    Raises:
        NotOneImageError: it is more, or less, or its resolution is outside the rule; the message says why.
        pikepdf.PdfError, ValueError, TypeError, KeyError: the page's objects are damaged.
    """
    if rule == "never":
        raise NotOneImageError("embedded: never")
    bounds = page_box(page)
    if not any(_may_be_the_page(image, bounds, rule) for image in _images(page.resources, 0)):
        raise NotOneImageError("no image of the page's shape and resolution")
    if bounds.rotation:
        raise NotOneImageError("the page is rotated")
    if bounds.user_unit != 1:
        raise NotOneImageError("the page has its own unit")
    _refuse_annotations(page)
    _refuse_default_colours(page.resources)
    placed = find_one_image(page, bounds.box, lambda matrix: covers(matrix, bounds.box))
    across, down = native_dpi(placed.image, placed.matrix)
    if not _takes(rule, across, down):
        raise NotOneImageError(f"native DPI {across:.0f} x {down:.0f}")
    return OneImagePage(placed.image, round((across + down) / 2))


def covers(matrix: Matrix, box: Box) -> bool:
    """Whether the unit square under `matrix` is the box, upright, to within `EDGE_PT` at each edge."""
    a, b, c, d, e, f = matrix
    if a <= 0 or d <= 0 or abs(b) > EDGE_PT or abs(c) > EDGE_PT:
        return False
    placed = (e, f, e + a, f + d)
    return all(abs(p - edge) <= EDGE_PT for p, edge in zip(placed, box, strict=True))


def native_dpi(image: pikepdf.Object, matrix: Matrix) -> tuple[float, float]:
    """Horizontal and vertical resolution of an image as placed."""
    width_px, height_px = _pixels(image)
    return (width_px * POINTS_PER_INCH / matrix[0], height_px * POINTS_PER_INCH / matrix[3])


def _takes(rule: EmbeddedRule, across: float, down: float) -> bool:
    if abs(across - down) > _MAX_ANISOTROPY * max(across, down):
        return False
    if isinstance(rule, str):
        return rule == "always"
    # An image placed by rounded numbers may miss the range by a fraction
    return all(rule[0] - 0.5 <= dpi <= rule[1] + 0.5 for dpi in (across, down))


def _may_be_the_page(image: pikepdf.Object, bounds: PageBox, rule: EmbeddedRule) -> bool:
    """Cheap test that spares most pages the reading of their operators: shape and resolution would fit."""
    width_px, height_px = _pixels(image)
    width_pt, height_pt = bounds.size_pt
    if width_px <= 0 or height_px <= 0:
        return False
    slack = 2 * EDGE_PT
    across = [width_px * POINTS_PER_INCH / (width_pt + s) for s in (slack, -min(slack, width_pt / 2))]
    down = [height_px * POINTS_PER_INCH / (height_pt + s) for s in (slack, -min(slack, height_pt / 2))]
    low, high = (0.0, float("inf")) if isinstance(rule, str) else rule
    overlap = max(across[0], down[0]) <= min(across[1], down[1]) * (1 + _MAX_ANISOTROPY)
    return overlap and across[1] >= low - 1 and across[0] <= high + 1


def _images(resources: pikepdf.Object | None, depth: int) -> list[pikepdf.Object]:
    """Image objects of a resource dictionary, those inside forms included."""
    found: list[pikepdf.Object] = []
    xobjects = resources.get("/XObject") if isinstance(resources, pikepdf.Dictionary) else None
    for xobject in dict(xobjects or {}).values():
        if not isinstance(xobject, pikepdf.Stream):
            continue
        if xobject.get("/Subtype") == pikepdf.Name.Image:
            found.append(xobject)
        elif depth < 3:
            found += _images(xobject.get("/Resources"), depth + 1)
    return found


def _refuse_annotations(page: pikepdf.Page) -> None:
    """Raises where an annotation may be visible. Links with a border of width 0 and pop-ups are not."""
    for annotation in page.obj.get("/Annots") or ():
        if not isinstance(annotation, pikepdf.Dictionary):
            continue
        if int(annotation.get("/F", 0)) & _HIDDEN_FLAGS or annotation.get("/Subtype") == pikepdf.Name.Popup:
            continue
        if (
            annotation.get("/Subtype") == pikepdf.Name.Link
            and "/AP" not in annotation
            and _no_border(annotation)
        ):
            continue
        raise NotOneImageError("an annotation may be visible")


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


def pixels_of(image: pikepdf.Object) -> int:
    """Pixels that an image object says it has."""
    width_px, height_px = _pixels(image)
    return width_px * height_px


def _pixels(image: pikepdf.Object) -> tuple[int, int]:
    return (int(image.get("/Width", 0)), int(image.get("/Height", 0)))


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
