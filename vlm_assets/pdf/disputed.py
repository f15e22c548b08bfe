"""What Poppler's releases draw otherwise than each other. Such pages are pdfium's, whose version pip locks.

Found by drawing a page of each feature by 22.12, 25.03 and 26.07: blend modes of hue and saturation differ between
the first two, knockout groups, tiling patterns and calibrated grey between the last two. What was looked at besides
came out the same, but for forms that end before their clip is set and single pixels along thin lines and some slanted
edges: for those the renderer identity speaks.
"""

from collections.abc import Iterator
from typing import Any, Final

import pikepdf

from vlm_assets.pdf.resources import Place, reached

_HUES: Final = frozenset({"/Hue", "/Saturation", "/Color", "/Luminosity"})
"""Blend modes that are no function of one colour component (ISO 32000-1, 11.3.5.3)."""
_TILING: Final = 1
_SPACES_OF_SPACES: Final = frozenset({"/Indexed", "/Pattern"})


class DisputeReader:
    """Whether pages of one document show such a thing; resources that pages share are read once.

    Reads dictionaries, no operators: what stands in a page's resources counts as used.
    """

    def __init__(self) -> None:
        self._known: dict[Place, bool] = {}

    def disputed(self, page: pikepdf.Page) -> bool:
        """Whether releases of Poppler draw the page differently, forms and visible annotations included."""
        return any(self._in_resources(found) for found in _roots(page))

    def _in_resources(self, resources: pikepdf.Dictionary) -> bool:
        place = resources.objgen
        if not resources.is_indirect or place not in self._known:
            self._known[place] = any(
                _is_disputed(inside) or any(map(_is_disputed_stream, drawn))
                for inside, drawn in reached([resources])
            )
        return self._known[place]


def _roots(page: pikepdf.Page) -> Iterator[pikepdf.Dictionary]:
    """Resources of the page and of its annotations; the form that one shows counts as drawn."""
    yield page.resources
    for annotation in page.obj.get("/Annots") or ():
        shown = annotation.get("/AP") if isinstance(annotation, pikepdf.Dictionary) else None
        form = shown.get("/N") if isinstance(shown, pikepdf.Dictionary) else None
        if isinstance(form, pikepdf.Stream):
            yield pikepdf.Dictionary(XObject=pikepdf.Dictionary(N=form))


def _is_disputed(resources: pikepdf.Dictionary) -> bool:
    return any(map(_blends_hues, _values(resources, "/ExtGState"))) or any(
        map(_is_calibrated_grey, _values(resources, "/ColorSpace"))
    )


def _is_disputed_stream(drawn: pikepdf.Stream) -> bool:
    """Of an XObject or a tiling pattern."""
    if drawn.get("/PatternType") == _TILING or _is_calibrated_grey(drawn.get("/ColorSpace")):
        return True
    group = drawn.get("/Group")
    return isinstance(group, pikepdf.Dictionary) and bool(group.get("/K", False))


def _blends_hues(state: Any) -> bool:
    mode = state.get("/BM") if isinstance(state, pikepdf.Dictionary) else None
    modes = mode if isinstance(mode, pikepdf.Array) else [mode]
    return any(str(one) in _HUES for one in modes)


def _is_calibrated_grey(space: Any) -> bool:
    if not isinstance(space, pikepdf.Array) or not len(space):
        return False
    kind = str(space[0])
    return kind == "/CalGray" or (
        kind in _SPACES_OF_SPACES and len(space) > 1 and _is_calibrated_grey(space[1])
    )


def _values(resources: pikepdf.Dictionary, kind: str) -> list[Any]:
    named = resources.get(kind)
    return list(dict(named).values()) if isinstance(named, pikepdf.Dictionary) else []
