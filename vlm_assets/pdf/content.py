"""Reads a page's drawing operators: which pictures it shows, and whether all that is seen of it is one of them.

A conservative interpreter of the operators of ISO 32000-1, annex A: what it does not know counts as visible.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any, Final

import pikepdf

from vlm_assets.pdf.operators import MAX_CONTENT_BYTES, decoded_bytes

_LEAST_INLINE_SHARE: Final = 0.05
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
    """An image that is drawn: its object and the matrix that maps the unit square onto the page."""

    image: pikepdf.Object
    matrix: Matrix
    holder: pikepdf.Pdf | None = None
    """Of an image that stands in the page's operators: what keeps the object that it was made into."""


@dataclass(slots=True)
class PageContent:
    """What a page shows.

    `one` is the image that is all that is seen of it, else None and `refusal` says why. `pictures` are all images
    drawn, in order, hidden ones included. `marks`: something else may be seen (text, lines, inline images), or the
    operators could not be read to their end. `missing`: an image or form that is drawn is not in the file.
    """

    one: Placed | None = None
    refusal: str = "no image fills the page"
    pictures: list[Placed] = field(default_factory=list)
    marks: bool = False
    missing: bool = False


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


def read_content(page: pikepdf.Page, box: Box, covers: Callable[[Matrix], bool]) -> PageContent:
    """What is drawn on the page's visible `box`.

    `covers` tells whether an image under a matrix fills the box upright and without being cut. Whatever is drawn
    before such an image is hidden by it (it must be opaque: the caller looks at the image itself); after it only
    invisible text may come.

    Raises:
        pikepdf.PdfError, ValueError, TypeError, KeyError: the content stream is damaged.
    """
    reader = _Reader(box, covers)
    resources = page.obj.get("/Resources")
    if resources is None:  # inherited
        resources = page.resources
    try:
        reader.run(reader.instructions(page.obj.get("/Contents"), page), resources, _State(), 0)
    except NotOneImageError as end:  # not read to its end
        reader.refuse(str(end))
        reader.content.marks = True
    return reader.content


class _Reader:
    """Walks operators with a graphics state; remembers what it saw."""

    def __init__(self, box: Box, covers: Callable[[Matrix], bool]) -> None:
        self._box = box
        self._covers = covers
        self._left_bytes = MAX_CONTENT_BYTES
        self._refused = False
        self._patterns: set[tuple[int, int]] = set()
        self.content = PageContent()

    def instructions(
        self, contents: pikepdf.Object | None, drawn: pikepdf.Page | pikepdf.Object
    ) -> Iterable[Any]:
        """The operators of a page or form.

        Raises:
            NotOneImageError: a stream is missing, or all together are too large.
        """
        for stream in [contents] if isinstance(contents, pikepdf.Stream) else list(contents or ()):
            if not isinstance(stream, pikepdf.Stream):
                raise NotOneImageError("a content stream is missing")
            self._left_bytes -= decoded_bytes(stream, self._left_bytes)
            if self._left_bytes < 0:
                raise NotOneImageError("large content streams")
        return pikepdf.parse_content_stream(drawn)

    def refuse(self, why: str) -> None:
        """The page is not one image; the first reason is kept."""
        if not self._refused:
            self._refused, self.content.one, self.content.refusal = True, None, why

    def run(
        self, instructions: Iterable[Any], resources: pikepdf.Object | None, state: _State, depth: int
    ) -> None:
        """Interprets one content stream, forms included.

        Raises:
            NotOneImageError: it cannot be read to its end.
        """
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
                    self._mark(name)
                if pending_clip and not (len(path) == 1 and self._contains(path[0])):
                    state = replace(state, clipped=True)
                path, pending_clip = [], False
            elif name == "Do":
                self._draw(_stream_of(resources, "/XObject", operands), state, resources, depth)
            elif name == "gs":
                state = _apply(_resource(resources, "/ExtGState", operands), state)
            elif name == "Tr":
                state = replace(state, text_mode=int(operands[0]))
            elif name == "Tf":
                font = _resource(resources, "/Font", operands)
                state = replace(state, type3=font.get("/Subtype") == pikepdf.Name.Type3)
            elif name in _SHOW_TEXT:
                self._show_text(state)
            elif name in {"BDC", "BMC"}:
                if operands and operands[0] == pikepdf.Name.OC:
                    self.refuse("optional content")
            elif name in {"scn", "SCN"}:
                self._draw_pattern(resources, operands, depth)
            elif name == "INLINE IMAGE":
                self._draw_inline(operands[0], state, resources)
            elif name not in _IGNORED:
                self.content.marks = True
                self.refuse(f"operator {name}")

    def _show_text(self, state: _State) -> None:
        if state.text_mode > _INVISIBLE:
            self.refuse("text as a clip")
        if state.text_mode != _INVISIBLE or state.type3:
            self._mark("text")

    def _mark(self, what: str) -> None:
        self.content.marks = True
        self._paint(what)

    def _paint(self, what: str) -> None:
        if self.content.one is not None:
            self.refuse(f"{what} over the image")

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
        self, drawn: pikepdf.Stream | None, state: _State, resources: pikepdf.Object | None, depth: int
    ) -> None:
        if drawn is None:
            self.content.missing = True
            self.refuse("an image or form is missing")
            return
        if "/OC" in drawn:
            self.refuse("optional content")
        kind = drawn.get("/Subtype")
        if kind == pikepdf.Name.Form:
            self._draw_form(drawn, state, resources, depth)
        elif kind == pikepdf.Name.Image:
            self._draw_image(Placed(drawn, state.ctm), state)
        else:
            self.content.marks = True
            self.refuse("an XObject of unknown type")

    def _draw_image(self, placed: Placed, state: _State) -> None:
        self.content.pictures.append(placed)
        image = placed.image
        if not self._covers(placed.matrix):
            self._paint("another image")
        elif state.clipped or state.blended:
            self.refuse("the image is clipped or blended")
        elif image.get("/ImageMask", False) or "/SMask" in image or "/Mask" in image:
            self.refuse("the image has a mask")
        elif not self._refused:
            self.content.one = placed

    def _draw_pattern(self, resources: pikepdf.Object | None, operands: Any, depth: int) -> None:
        """Pictures in a tiling pattern count as drawn, once; what is filled with it is a mark all the same."""
        if not len(operands) or not isinstance(operands[-1], pikepdf.Name):
            return
        pattern = _stream_of(resources, "/Pattern", operands[-1:])
        if pattern is None or pattern.objgen in self._patterns:
            return
        self._patterns.add(pattern.objgen)
        if depth >= _MAX_FORM_DEPTH:
            raise NotOneImageError("forms nested too deep")
        matrix = pattern.get("/Matrix")
        state = _State(_matrix(matrix) if matrix is not None else IDENTITY, clipped=True)
        self.run(self.instructions(pattern, pattern), pattern.get("/Resources"), state, depth + 1)

    def _draw_inline(self, inline: Any, state: _State, resources: pikepdf.Object | None) -> None:
        """A large one counts as an image: scanners write pages so. Small ones are letters and lines, by thousands."""
        a, b, c, d, _, _ = state.ctm
        left, bottom, right, top = self._box
        if abs(a * d - b * c) < _LEAST_INLINE_SHARE * (right - left) * (top - bottom):
            self._mark("an inline image")
        else:
            holder = pikepdf.new()
            self._draw_image(Placed(_as_stream(holder, inline, resources), state.ctm, holder), state)

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
        self.run(self.instructions(form, form), form.get("/Resources", resources), inner, depth + 1)


def _as_stream(holder: pikepdf.Pdf, inline: Any, resources: pikepdf.Object | None) -> pikepdf.Stream:
    """An inline image as the object that it abbreviates (ISO 32000-1, 8.9.7); names of its colours are looked up."""
    made = holder.make_stream(inline.read_raw_bytes())
    for key, value in inline.obj.items():
        made[key] = value
    space = made.get("/ColorSpace")
    spaces = resources.get("/ColorSpace") if isinstance(resources, pikepdf.Dictionary) else None
    if isinstance(space, pikepdf.Name) and isinstance(spaces, pikepdf.Dictionary) and str(space) in spaces:
        named = spaces[str(space)]
        made.ColorSpace = holder.copy_foreign(named) if named.is_indirect else named
    return made


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


def _stream_of(resources: pikepdf.Object | None, kind: str, operands: Any) -> pikepdf.Stream | None:
    """The stream that an operator names; None where it is missing, or something else."""
    try:
        found = _resource(resources, kind, operands)
    except NotOneImageError:
        return None
    return found if isinstance(found, pikepdf.Stream) else None


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
