"""Which fonts a page asks for that its document does not carry, and whether the product's have their glyphs.

Reads dictionaries, no text: a font that stands in a page's resources counts as used.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import pikepdf

from vlm_assets.pdf.glyph_names import has_glyph
from vlm_assets.pdf.resources import Place, reached

_FONT_FILES: Final = ("/FontFile", "/FontFile2", "/FontFile3")
_EAST_ASIAN: Final = frozenset({"Japan1", "Japan2", "GB1", "CNS1", "Korea1", "KR"})
_OWN_GLYPHS: Final = ("Symbol", "ZapfDingbats")
"""Standard fonts whose glyph names are their own; both renderers have them whole."""


@dataclass(frozen=True, slots=True)
class FontNeeds:
    """What of a page's text depends on fonts from outside its document."""

    substituted: bool = False
    """Some font is not embedded: the product's stands in."""
    no_glyph: bool = False
    """Such a font names a glyph, or is of a kind, that the product's fonts lack."""
    character_maps: bool = False
    """Codes are mapped by a character map that stands outside the document (East Asian, mostly)."""

    def __or__(self, other: "FontNeeds") -> "FontNeeds":
        """What both together need."""
        return FontNeeds(
            self.substituted or other.substituted,
            self.no_glyph or other.no_glyph,
            self.character_maps or other.character_maps,
        )


class FontReader:
    """Reads the fonts of one document's pages; each font, and each resource dictionary, is looked at once."""

    def __init__(self) -> None:
        self._known: dict[Place, FontNeeds] = {}
        self._pages: dict[Place, FontNeeds] = {}

    def needs(self, page: pikepdf.Page) -> FontNeeds:
        """What the page needs, forms, patterns and visible annotations included; damaged fonts count for nothing."""
        found = self._of_resources(page.resources)
        for annotation in page.obj.get("/Annots") or ():
            shown = annotation.get("/AP") if isinstance(annotation, pikepdf.Dictionary) else None
            form = shown.get("/N") if isinstance(shown, pikepdf.Dictionary) else None
            if isinstance(form, pikepdf.Stream):
                found |= self._of_resources(form.get("/Resources"))
        return found

    def _of_resources(self, resources: pikepdf.Object | None) -> FontNeeds:
        if not isinstance(resources, pikepdf.Dictionary):
            return FontNeeds()
        place = resources.objgen
        if not resources.is_indirect or place not in self._pages:
            found = FontNeeds()
            for inside, _ in reached([resources]):
                fonts = inside.get("/Font")
                for font in dict(fonts).values() if isinstance(fonts, pikepdf.Dictionary) else ():
                    if isinstance(font, pikepdf.Dictionary):
                        found |= self._of(font)
            self._pages[place] = found
        return self._pages[place]

    def _of(self, font: pikepdf.Dictionary) -> FontNeeds:
        place = font.objgen
        if not font.is_indirect or place not in self._known:
            self._known[place] = _font_needs(font)
        return self._known[place]


def _font_needs(font: pikepdf.Dictionary) -> FontNeeds:
    kind = str(font.get("/Subtype", ""))
    if kind == "/Type3":
        return FontNeeds()
    if kind == "/Type0":
        return _composite_needs(font)
    if _is_embedded(font):
        return FontNeeds()
    name = str(font.get("/BaseFont", "/"))[1:]
    no_glyph = name not in _OWN_GLYPHS and not all(map(has_glyph, _named_glyphs(font)))
    return FontNeeds(substituted=True, no_glyph=no_glyph)


def _composite_needs(font: pikepdf.Dictionary) -> FontNeeds:
    inner = font.get("/DescendantFonts")
    descendant = inner[0] if isinstance(inner, pikepdf.Array) and len(inner) else pikepdf.Dictionary()
    encoding = font.get("/Encoding")
    named = isinstance(encoding, pikepdf.Name) and str(encoding) not in {"/Identity-H", "/Identity-V"}
    system = descendant.get("/CIDSystemInfo")
    ordering = str(system.get("/Ordering", "")) if isinstance(system, pikepdf.Dictionary) else ""
    if _is_embedded(descendant):
        # Poppler leaves a font out whose characters nothing tells, although it needs no more than their codes
        untold = ordering in _EAST_ASIAN and "/ToUnicode" not in font
        return FontNeeds(character_maps=named or untold)
    # Without its font, what a character is can only be told through a map from the outside, and often not at all
    return FontNeeds(substituted=True, no_glyph=True, character_maps=named or ordering != "Identity")


def _is_embedded(font: pikepdf.Object) -> bool:
    descriptor = font.get("/FontDescriptor")
    return isinstance(descriptor, pikepdf.Dictionary) and any(key in descriptor for key in _FONT_FILES)


def _named_glyphs(font: pikepdf.Dictionary) -> Iterator[str]:
    encoding = font.get("/Encoding")
    differences: Any = encoding.get("/Differences") if isinstance(encoding, pikepdf.Dictionary) else None
    for entry in differences if isinstance(differences, pikepdf.Array) else ():
        if isinstance(entry, pikepdf.Name):
            yield str(entry)[1:]
