"""pdfium's questions for system fonts, answered with the product's own. Runs in a worker process.

pdfium carries fonts for the standard names, without s-cedilla, g-breve, dotted I; what it asks for is mapped here
first, so that those letters are drawn, with the fonts that Poppler gets. Symbol and ZapfDingbats stay pdfium's.
"""

import ctypes
from functools import cache
from typing import Any, Final

import pypdfium2 as pdfium
from pypdfium2 import raw

from vlm_assets.pdf.fonts import Family, family_of, font_bytes, font_table

_BOLD_FROM: Final = 600
_FILES: Final = {
    (family, bold, italic): f"{family.replace(' ', '')}-{style}.ttf"
    for family in (Family.MONO, Family.SANS, Family.SERIF)
    for bold, italic, style in (
        (False, False, "Regular"), (True, False, "Bold"), (False, True, "Italic"), (True, True, "BoldItalic")
    )
}  # fmt: skip
_SYMBOL_FILES: Final = {False: "DejaVuSans.ttf", True: "DejaVuSans-Bold.ttf"}

_EAST_ASIAN: Final = frozenset({
    raw.FXFONT_SHIFTJIS_CHARSET, raw.FXFONT_HANGEUL_CHARSET, raw.FXFONT_GB2312_CHARSET,
    raw.FXFONT_CHINESEBIG5_CHARSET,
})  # fmt: skip
_BEYOND_LIBERATION: Final = frozenset({raw.FXFONT_ARABIC_CHARSET, raw.FXFONT_THAI_CHARSET})


def font_file(name: str, *, weight: int, italic: bool, charset: int, pitch: int) -> str | None:
    """The file that stands in for a font as pdfium describes it; None leaves it to pdfium's own."""
    if charset in _EAST_ASIAN or charset == raw.FXFONT_SYMBOL_CHARSET:
        return None
    bold = weight >= _BOLD_FROM
    family = family_of(name)
    if charset in _BEYOND_LIBERATION:
        family = Family.SYMBOLS
    if family is None:
        if pitch & raw.FXFONT_FF_FIXEDPITCH:
            family = Family.MONO
        else:
            family = Family.SERIF if pitch & raw.FXFONT_FF_ROMAN else Family.SANS
    return _SYMBOL_FILES[bold] if family is Family.SYMBOLS else _FILES[family, bold, italic]


@cache
def use_own_fonts() -> None:
    """From here on this process's pdfium sees the product's fonts and none of the system's."""
    _OwnFonts().setup()


class _OwnFonts(pdfium.PdfSysfontBase):  # type: ignore[misc]  # pypdfium2 has no types
    """The callbacks of `fpdf_sysfontinfo.h`. A handle is the place of a file in `_names`, counted from 1."""

    _names: Final = sorted({*_FILES.values(), *_SYMBOL_FILES.values()})

    def EnumFonts(self, _: Any, mapper: Any) -> None:  # noqa: N802 - pypdfium2's names
        """Nothing: pdfium shall match no names by itself."""

    def MapFont(  # noqa: N802
        self, _: Any, weight: int, italic: int, charset: int, pitch: int, face: Any, _exact: Any
    ) -> int | None:
        """The handle of the file for a description."""
        name = (ctypes.cast(face, ctypes.c_char_p).value or b"").decode("latin-1")
        file = font_file(name, weight=weight, italic=bool(italic), charset=charset, pitch=pitch)
        return None if file is None else self._names.index(file) + 1

    def GetFont(self, _: Any, face: Any) -> int | None:  # noqa: ARG002, N802
        """No font by a system's name."""
        return None

    def GetFontData(self, _: Any, handle: int, table: int, buffer: Any, size: int) -> int:  # noqa: N802
        """A table of the file, or with `table` 0 all of it; its size, copied where the buffer holds it."""
        return _fill(self._data(self._names[handle - 1], table), buffer, size)

    @staticmethod
    def _data(name: str, table: int) -> bytes:
        return font_table(name, table.to_bytes(4, "big").decode("latin-1")) if table else font_bytes(name)

    def GetFaceName(self, _: Any, handle: int, buffer: Any, size: int) -> int:  # noqa: N802
        """The file's name without its suffix, as a C string."""
        return _fill(self._names[handle - 1].removesuffix(".ttf").encode() + b"\0", buffer, size)

    def GetFontCharset(self, _: Any, handle: int) -> int:  # noqa: ARG002, N802
        """All files have the Latin letters."""
        return int(raw.FXFONT_ANSI_CHARSET)

    def DeleteFont(self, _: Any, handle: int) -> None:  # noqa: N802
        """Nothing: files stay loaded."""


def _fill(data: bytes, buffer: Any, size: int) -> int:
    if buffer and size >= len(data):
        ctypes.memmove(buffer, data, len(data))
    return len(data)
