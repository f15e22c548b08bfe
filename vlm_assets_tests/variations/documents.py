"""PDFs of what machines draw or encode: text without its font, pictures placed on a page, scans in every coding.

Left out is what releases of Poppler draw differently and nothing in a page foretells: single pixels along thin lines
and some slanted edges, and forms that end before their clip is set. For these the renderer identity speaks.
"""

import zlib
from pathlib import Path
from typing import Final

import pikepdf
from pikepdf import Array, Dictionary, Name

from vlm_assets_tests.images.pictures import encoded
from vlm_assets_tests.pdf.builders import (
    add_page,
    build,
    group4,
    image_object,
    jbig2_data,
    jpeg,
    picture,
    scan,
    standard_font,
)

_STANDARD: Final = (
    "Helvetica", "Helvetica-Bold", "Helvetica-Oblique", "Times-Roman", "Times-BoldItalic", "Courier",
    "Courier-BoldOblique", "Symbol", "ZapfDingbats",
)  # fmt: skip
_TURKISH: Final = (
    "scedilla",
    "gbreve",
    "Idotaccent",
    "Scedilla",
    "Gbreve",
    "dotlessi",
    "ccedilla",
    "udieresis",
)
_PALETTE: Final = bytes(part for place in range(256) for part in (place, 255 - place, place // 2))
_LETTERS: Final = "\\200\\201\\202\\203\\204\\205\\206\\207 Istanbul \\(1935\\) \\366\\374\\347"


def write_documents(folder: Path) -> None:
    """Every document, as files of this folder."""
    folder.mkdir(parents=True, exist_ok=True)
    build(folder / "ölçünlü.pdf", _standard_text)
    build(folder / "türkçe.pdf", _turkish_text)
    build(folder / "yabancı.pdf", _foreign_fonts)
    build(folder / "çizgi.pdf", _shapes)
    write_scans(folder / "taramalar.pdf")
    build(folder / "yerleşik.pdf", _placed)
    scan(folder / "jpeg.pdf", 2)


def write_scans(path: Path) -> None:
    """A page of each coding."""
    build(path, _scans)


def _text(pdf: pikepdf.Pdf, fonts: list[Dictionary], text: str) -> None:
    lines = [f"BT /F{n} 13 Tf 8 {265 - 27 * n} Td ({text}) Tj ET" for n in range(len(fonts))]
    add_page(
        pdf,
        "\n".join(lines),
        resources={"Font": Dictionary({f"/F{n}": pdf.make_indirect(font) for n, font in enumerate(fonts)})},
    )


def _standard_text(pdf: pikepdf.Pdf) -> None:
    for text in ("Hamburgefonstiv 0123", "The quick brown fox"):
        _text(pdf, [standard_font(name) for name in _STANDARD], text)


def _turkish_text(pdf: pikepdf.Pdf) -> None:
    _text(pdf, [standard_font(name, _TURKISH) for name in _STANDARD[:-2]], _LETTERS)


def _foreign_fonts(pdf: pikepdf.Pdf) -> None:
    """Names that a machine may have a font for, and one that none has."""
    names = ("ArialMT", "TimesNewRomanPSMT", "CourierNewPSMT", "Verdana-Bold", "DejaVuSans", "NobodyKnows")
    fonts = []
    for name in names:
        descriptor = Dictionary(
            Type=Name.FontDescriptor, FontName=Name(f"/{name}"), Flags=32, FontBBox=Array([0, -200, 1000, 900]),
            ItalicAngle=0, Ascent=900, Descent=-200, CapHeight=700, StemV=80,
        )  # fmt: skip
        fonts.append(Dictionary(
            Type=Name.Font, Subtype=Name.TrueType, BaseFont=Name(f"/{name}"), Encoding=Name.WinAnsiEncoding,
            FirstChar=32, LastChar=126, Widths=Array([440 + 3 * (code % 60) for code in range(95)]),
            FontDescriptor=pdf.make_indirect(descriptor),
        ))  # fmt: skip
    _text(pdf, fonts, "Hamburgefonstiv 0123")


def _shapes(pdf: pikepdf.Pdf) -> None:
    """Filled curves, a shading, blending of the modes that all releases agree about."""
    ramp = Dictionary(
        FunctionType=2, Domain=Array([0, 1]), C0=Array([0.9, 0.2, 0.1]), C1=Array([0.1, 0.3, 0.8]), N=1.7
    )  # fmt: skip
    axial = Dictionary(
        ShadingType=2, ColorSpace=Name.DeviceRGB, Coords=Array([0, 0, 150, 90]), Function=ramp,
        Extend=Array([True, True]),
    )  # fmt: skip
    state = Dictionary(Type=Name.ExtGState, BM=Name.Multiply, ca=0.6)
    content = (
        "q 10 10 190 90 re W n /A sh Q 0.3 0.6 0.2 rg 60 120 m 80 250 140 250 150 130 c h f* "
        "0.1 0.2 0.5 RG 6 w 20 210 m 200 260 20 280 190 215 c S q /G gs 0.8 0.1 0.3 rg 40 60 120 120 re f Q"
    )
    add_page(pdf, content, resources={"Shading": Dictionary(A=axial), "ExtGState": Dictionary(G=state)})


def _images(pdf: pikepdf.Pdf) -> list[pikepdf.Stream]:
    """One of each coding: Flate in colour, in grey and with a palette, CCITT, JBIG2, JPEG 2000, JPEG."""
    colour, grey, bilevel = picture("RGB", 1), picture("L", 2), picture("1", 3)
    palette = Array([Name.Indexed, Name.DeviceRGB, 255, pikepdf.String(_PALETTE)])
    fax = Dictionary(K=-1, Columns=bilevel.width, Rows=bilevel.height, BlackIs1=False)
    return [
        image_object(pdf, zlib.compress(colour.tobytes()), colour, Name.FlateDecode),
        image_object(pdf, zlib.compress(grey.tobytes()), grey, Name.FlateDecode),
        image_object(pdf, zlib.compress(grey.tobytes()), grey, Name.FlateDecode, ColorSpace=palette),
        image_object(pdf, group4(bilevel), bilevel, Name.CCITTFaxDecode, DecodeParms=fax),
        image_object(pdf, jbig2_data(bilevel), bilevel, Name.JBIG2Decode),
        image_object(pdf, encoded(colour, "JPEG2000", quality_layers=[20]), colour, Name.JPXDecode),
        image_object(pdf, jpeg(colour), colour),
    ]


def _scans(pdf: pikepdf.Pdf) -> None:
    for image in _images(pdf):
        add_page(pdf, images={"Im0": image})


def _placed(pdf: pikepdf.Pdf) -> None:
    """The same under a line of words, so that the page is drawn."""
    words = " BT /F1 14 Tf 10 6 Td (Resmi Gazete) Tj ET"
    for image in _images(pdf):
        add_page(pdf, f"q 200 0 0 250 8 30 cm /Im0 Do Q{words}", images={"Im0": image})
