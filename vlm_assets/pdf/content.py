"""Reads a page's drawing operators and says whether all that is seen of it is one image.

A conservative interpreter of the operators of ISO 32000-1, annex A: what it does not know counts as visible.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, Final

import pikepdf

MAX_CONTENT_BYTES: Final = 4 * 2**20
"""Decoded operators of a page; a page with more is a drawing, and reading it would cost more than rendering it."""

_MAX_FORM_DEPTH: Final = 3
_INVISIBLE: Final = 3  # text rendering mode of an OCR layer

Matrix = tuple[float, float, float, float, float, float]
IDENTITY: Final[Matrix] = (1.0, 0.0, 0.0, 1.0, 0.0, 0.0)
Box = tuple[float, float, float, float]
"""Left, bottom, right, top in points."""

_IGNORED: Final = frozenset({
    "w", "J", "j", "M", "d", "ri", "i", "CS", "cs", "SC", "SCN", "sc", "scn", "G", "g", "RG", "rg", "K", "k",
    "MP", "DP", "EMC", "BX", "EX", "BT", "ET", "Tc", "Tw", "Tz", "TL", "Ts", "Td", "TD", "Tm", "T*",
})  # fmt: skip
_PATH: Final = frozenset(["m", "l", "c", "v", "y", "h"])
_PAINT: Final = frozenset(["S", "s", "f", "F", "f*", "B", "B*", "b", "b*", "sh"])
_SHOW_TEXT: Final = frozenset(["Tj", "TJ", "'", '"'])


class NotOneImageError(Exception):
    """The page is not one image; the message says why. Ends as a rendered page."""


@dataclass(frozen=True, slots=True)
class Placed:
    """The last full-page image drawn: its object and the matrix that maps the unit square onto the page."""

    image: pikepdf.Object
    matrix: Matrix


@dataclass(frozen=True, slots=True)
class _State:
    ctm: Matrix = IDENTITY
    clipped: bool = False
    """A clip that does not surely contain the whole visible page."""
    blended: bool = False
    """Soft mask, blend mode, opacity or transfer function in force."""
    text_mode: int = 0
    type3: bool = False
    """The current font is Type 3, which no text mode hides."""


def multiply(first: Matrix, then: Matrix) -> Matrix:
    """The matrix that applies `first`, then `then` (row vectors, as PDF writes them)."""
    a, b, c, d, e, f = first
    p, q, r, s, t, u = then
    return (
        a * p + b * r, a * q + b * s,
        c * p + d * r, c * q + d * s,
        e * p + f * r + t, e * q + f * s + u,
    )  # fmt: skip


def find_one_image(page: pikepdf.Page, box: Box, covers: Callable[[Matrix], bool]) -> Placed:
    """The one image that is all that is seen of the page's visible `box`.

    `covers` tells whether an image under a matrix fills the box upright and without being cut. Whatever is drawn
    before such an image is hidden by it (it must be opaque: the caller looks at the image itself); after it only
    invisible text may come.

    Raises:
        NotOneImageError: anything else, or more operators than `MAX_CONTENT_BYTES`.
        pikepdf.PdfError: the content stream is damaged.
    """
    reader = _Reader(box, covers)
    resources = page.obj.get("/Resources")
    if resources is None:  # inherited
        resources = page.resources
    reader.run(_instructions(page.obj.get("/Contents"), page), resources, _State(), 0)
    if reader.found is None:
        raise NotOneImageError("no image fills the page")
    return reader.found


def _instructions(contents: pikepdf.Object | None, page: pikepdf.Page | pikepdf.Object) -> Iterable[Any]:
    streams = [contents] if isinstance(contents, pikepdf.Stream) else list(contents or ())
    size = 0
    for stream in streams:
        if not isinstance(stream, pikepdf.Stream):
            raise NotOneImageError("a content stream is missing")
        raw_size = int(stream.get("/Length", 0))
        if raw_size > MAX_CONTENT_BYTES:
            raise NotOneImageError("a large content stream")
        size += len(stream.read_bytes())
    if size > MAX_CONTENT_BYTES:
        raise NotOneImageError("a large content stream")
    return pikepdf.parse_content_stream(page)


class _Reader:
    """Walks operators with a graphics state; remembers the last image that fills the page."""

    def __init__(self, box: Box, covers: Callable[[Matrix], bool]) -> None:
        self._box = box
        self._covers = covers
        self.found: Placed | None = None

    def run(
        self, instructions: Iterable[Any], resources: pikepdf.Object | None, state: _State, depth: int
    ) -> None:
        """Interprets one content stream, forms included."""
        stack: list[_State] = []
        path: list[Box | None] = []  # a rectangle in points, None for any other part of a path
        pending_clip = False
        for operands, operator in instructions:
            name = str(operator)
            if name == "q":
                stack.append(state)
            elif name == "Q":
                state = stack.pop() if stack else state
            elif name == "cm":
                state = replace(state, ctm=multiply(_matrix(operands), state.ctm))
            elif name == "re":
                path.append(_rectangle(operands, state.ctm))
            elif name in _PATH:
                path.append(None)
            elif name in {"W", "W*"}:
                pending_clip = True
            elif name == "n" or name in _PAINT:
                if name != "n":
                    self._paint(name)
                if pending_clip and not (len(path) == 1 and self._contains(path[0])):
                    state = replace(state, clipped=True)
                path, pending_clip = [], False
            elif name == "Do":
                self._draw(_resource(resources, "/XObject", operands), state, resources, depth)
            elif name == "gs":
                state = _apply(_resource(resources, "/ExtGState", operands), state)
            elif name == "Tr":
                state = replace(state, text_mode=int(operands[0]))
            elif name == "Tf":
                font = _resource(resources, "/Font", operands)
                state = replace(state, type3=font.get("/Subtype") == pikepdf.Name.Type3)
            elif name in _SHOW_TEXT:
                if state.text_mode > _INVISIBLE:
                    raise NotOneImageError("text as a clip")
                if state.text_mode != _INVISIBLE or state.type3:
                    self._paint("text")
            elif name in {"BDC", "BMC"}:
                if operands and operands[0] == pikepdf.Name.OC:
                    raise NotOneImageError("optional content")
            elif name == "INLINE IMAGE":
                self._paint("an inline image")
            elif name not in _IGNORED:
                raise NotOneImageError(f"operator {name}")

    def _paint(self, what: str) -> None:
        if self.found is not None:
            raise NotOneImageError(f"{what} over the image")

    def _contains(self, clip: Box | None) -> bool:
        """Whether a clip rectangle leaves the visible box whole (half a point of slack, as for images)."""
        if clip is None:
            return False
        left, bottom, right, top = self._box
        return (
            clip[0] <= left + 0.5
            and clip[1] <= bottom + 0.5
            and clip[2] >= right - 0.5
            and clip[3] >= top - 0.5
        )

    def _draw(
        self, drawn: pikepdf.Object, state: _State, resources: pikepdf.Object | None, depth: int
    ) -> None:
        if "/OC" in drawn:
            raise NotOneImageError("optional content")
        kind = drawn.get("/Subtype")
        if kind == pikepdf.Name.Form:
            self._draw_form(drawn, state, resources, depth)
        elif kind == pikepdf.Name.Image:
            if not self._covers(state.ctm):
                self._paint("another image")
            elif state.clipped or state.blended:
                raise NotOneImageError("the image is clipped or blended")
            elif drawn.get("/ImageMask", False) or "/SMask" in drawn or "/Mask" in drawn:
                raise NotOneImageError("the image has a mask")
            else:
                self.found = Placed(drawn, state.ctm)
        else:
            raise NotOneImageError("an XObject of unknown type")

    def _draw_form(
        self, form: pikepdf.Object, state: _State, resources: pikepdf.Object | None, depth: int
    ) -> None:
        if depth >= _MAX_FORM_DEPTH:
            raise NotOneImageError("forms nested too deep")
        matrix = form.get("/Matrix")
        inner = replace(state, ctm=multiply(_matrix(matrix), state.ctm)) if matrix is not None else state
        left, bottom, right, top = (float(v) for v in form.BBox)
        bounds = _rectangle([left, bottom, right - left, top - bottom], inner.ctm)
        if not self._contains(bounds):
            inner = replace(inner, clipped=True)
        self.run(_instructions(form, form), form.get("/Resources", resources), inner, depth + 1)


def _matrix(operands: Iterable[Any]) -> Matrix:
    a, b, c, d, e, f = (float(v) for v in operands)
    return (a, b, c, d, e, f)


def _rectangle(operands: Iterable[Any], ctm: Matrix) -> Box | None:
    """A rectangle in page points; None where the matrix turns or skews it."""
    x, y, width, height = (float(v) for v in operands)
    a, b, c, d, e, f = ctm
    if b or c:
        return None
    xs = sorted((a * x + e, a * (x + width) + e))
    ys = sorted((d * y + f, d * (y + height) + f))
    return (xs[0], ys[0], xs[1], ys[1])


def _resource(resources: pikepdf.Object | None, kind: str, operands: Any) -> pikepdf.Object:
    if resources is None:
        raise NotOneImageError("the page has no resources")
    try:
        return resources[kind][str(operands[0])]
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise NotOneImageError(f"a resource is missing: {kind}") from error


_PLAIN: Final = {
    "/SMask": frozenset({"/None"}),
    "/BM": frozenset({"/Normal", "/Compatible"}),
    "/TR": frozenset({"/Identity"}),
    "/TR2": frozenset({"/Default", "/Identity"}),
}


def _apply(parameters: pikepdf.Object, state: _State) -> _State:
    """The state under an ExtGState. Once blended it stays so until Q: a later reset is too rare to follow."""
    blended = state.blended
    for key, plain in _PLAIN.items():
        value = parameters.get(key)
        if value is not None and not (isinstance(value, pikepdf.Name) and str(value) in plain):
            blended = True
    if float(parameters.get("/ca", 1)) < 1:
        blended = True
    font = parameters.get("/Font")
    type3 = state.type3 if font is None else True
    return replace(state, blended=blended, type3=type3)
