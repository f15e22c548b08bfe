"""Reference pages: everything that one machine drew or encoded otherwise than another, small, made by code.

One document: pages 1 to 11 are drawn, the others are one image whose bytes are taken. A change here changes the
renderer identity of every machine, so of every slice that carries one: it is a new kind version.
"""

import base64
import io
import struct
import zlib
from collections.abc import Sequence
from typing import Final

import pikepdf
from pikepdf import Array, Dictionary, Name

from vlm_assets.pdf.fonts import font_bytes

DPI: Final = 72
_SIDE_PT: Final = 200
_FONTS: Final = (
    "Helvetica", "Helvetica-BoldOblique", "Times-Roman", "Times-Bold", "Times-Italic", "Courier", "Courier-Bold",
    "Symbol", "ZapfDingbats",
)  # fmt: skip
_TURKISH: Final = ("scedilla", "gbreve", "Idotaccent", "Scedilla", "Gbreve", "dotlessi", "uni1E25", "amacron")
_TRUE_TYPE: Final = ("ArialMT", "TimesNewRomanPS-BoldItalicMT", "CourierNewPSMT", "NobodyKnows")


PAGES: Final = (
    "standard text", "turkish text", "substituted text", "embedded text", "shading", "blending", "hues", "curves",
    "thin lines", "open clip", "placed images", "flate", "grey", "palette", "ccitt", "jbig2", "jpeg 2000", "jpeg",
)  # fmt: skip
"""What the pages are, in order."""


def reference_document() -> bytes:
    """The reference pages as a PDF. What counts are the pages: another qpdf may write the file otherwise."""
    pdf = pikepdf.new()
    for draw in (
        _standard_text, _turkish_text, _substituted_text, _embedded_text, _shadings, _blends, _hues, _curves,
        _thin_lines, _open_clip, _placed_images,
    ):  # fmt: skip
        draw(pdf)
    for image in _images(pdf):
        width_pt, height_pt = int(image.Width), int(image.Height)
        _page(
            pdf,
            f"{width_pt} 0 0 {height_pt} 0 0 cm /Im0 Do",
            (width_pt, height_pt),
            XObject=Dictionary(Im0=image),
        )
    out = io.BytesIO()
    pdf.save(out)
    return out.getvalue()


def damaged_document() -> bytes:
    """A page whose JPEG ends in its middle, with an end mark. A renderer that tells of it gives no page."""
    pdf = pikepdf.new()
    data = base64.b64decode(_JPEG)
    cut = data[: len(data) - (len(data) - data.index(b"\xff\xda")) // 2] + b"\xff\xd9"
    image = _image(pdf, cut, Name.DCTDecode, (48, 32), ColorSpace=Name.DeviceRGB)
    _page(pdf, "48 3 -3 32 3 0 cm /Im0 Do", (60, 40), XObject=Dictionary(Im0=image))
    out = io.BytesIO()
    pdf.save(out)
    return out.getvalue()


def _page(
    pdf: pikepdf.Pdf,
    content: str,
    size_pt: tuple[int, int] = (_SIDE_PT, _SIDE_PT),
    **resources: pikepdf.Object,
) -> None:
    pdf.add_blank_page(page_size=size_pt)
    page = pdf.pages[-1].obj
    page.Contents = pdf.make_stream(content.encode())
    page.Resources = Dictionary({f"/{kind}": named for kind, named in resources.items()})


def _text_page(pdf: pikepdf.Pdf, fonts: Sequence[pikepdf.Object], text: str) -> None:
    lines = [
        f"BT /F{place} {11 + place % 3} Tf 6 {185 - 19 * place} Td ({text}) Tj ET"
        for place in range(len(fonts))
    ]
    named: dict[str, pikepdf.Object] = {f"/F{place}": font for place, font in enumerate(fonts)}
    _page(pdf, "\n".join(lines), Font=Dictionary(named))


def _standard_text(pdf: pikepdf.Pdf) -> None:
    fonts = [Dictionary(Type=Name.Font, Subtype=Name.Type1, BaseFont=Name(f"/{name}")) for name in _FONTS]
    _text_page(pdf, fonts, "Hamburgefonstiv 0123 \\(abc\\)")


def _turkish_text(pdf: pikepdf.Pdf) -> None:
    encoding = Dictionary(
        Type=Name.Encoding, BaseEncoding=Name.WinAnsiEncoding,
        Differences=Array([128, *(Name(f"/{glyph}") for glyph in _TURKISH)]),
    )  # fmt: skip
    fonts = [
        Dictionary(Type=Name.Font, Subtype=Name.Type1, BaseFont=Name(f"/{name}"), Encoding=encoding)
        for name in _FONTS[:-2]
    ]
    _text_page(pdf, fonts, "\\200\\201\\202\\203\\204\\205\\206\\207 \\374\\366\\347")


def _substituted_text(pdf: pikepdf.Pdf) -> None:
    """Fonts of no standard name, with widths that differ from those of what stands in."""
    fonts = []
    for place, name in enumerate(_TRUE_TYPE):
        descriptor = Dictionary(
            Type=Name.FontDescriptor, FontName=Name(f"/{name}"), Flags=32 | 2 * (place == 1) | (place == 2),
            FontBBox=Array([0, -200, 1000, 900]), ItalicAngle=0, Ascent=900, Descent=-200, CapHeight=700, StemV=80,
        )  # fmt: skip
        fonts.append(Dictionary(
            Type=Name.Font, Subtype=Name.TrueType, BaseFont=Name(f"/{name}"), Encoding=Name.WinAnsiEncoding,
            FirstChar=32, LastChar=126, Widths=Array([430 + 3 * (code % 60) for code in range(95)]),
            FontDescriptor=pdf.make_indirect(descriptor),
        ))  # fmt: skip
    _text_page(pdf, fonts, "Hamburgefonstiv 0123")


def _embedded_text(pdf: pikepdf.Pdf) -> None:
    """A font of the document's own: FreeType's outlines and hinting without any substitution."""
    descriptor = Dictionary(
        Type=Name.FontDescriptor, FontName=Name.Own, Flags=32, FontBBox=Array([0, -300, 1000, 1000]), ItalicAngle=0,
        Ascent=900, Descent=-300, CapHeight=700, StemV=80,
        FontFile2=pdf.make_stream(font_bytes("LiberationMono-Italic.ttf")),
    )  # fmt: skip
    font = Dictionary(
        Type=Name.Font, Subtype=Name.TrueType, BaseFont=Name.Own, Encoding=Name.WinAnsiEncoding, FirstChar=32,
        LastChar=126, Widths=Array([600] * 95), FontDescriptor=pdf.make_indirect(descriptor),
    )  # fmt: skip
    _text_page(pdf, [font] * 6, "Hamburgefonstiv 0123")


def _shadings(pdf: pikepdf.Pdf) -> None:
    ramp = Dictionary(
        FunctionType=2, Domain=Array([0, 1]), C0=Array([0.9, 0.2, 0.1]), C1=Array([0.1, 0.3, 0.8]), N=1.7
    )  # fmt: skip
    axial = Dictionary(
        ShadingType=2, ColorSpace=Name.DeviceRGB, Coords=Array([0, 0, 150, 90]), Function=ramp,
        Extend=Array([True, False]),
    )  # fmt: skip
    radial = Dictionary(
        ShadingType=3, ColorSpace=Name.DeviceRGB, Coords=Array([90, 140, 5, 110, 130, 60]), Function=ramp
    )  # fmt: skip
    content = (
        "q 10 10 180 80 re W n /A sh Q q 20 95 160 100 re W n /R sh Q 0.4 0.1 0.7 0.2 k 150 150 40 40 re f"
    )
    _page(pdf, content, Shading=Dictionary(A=axial, R=radial))


def _blends(pdf: pikepdf.Pdf) -> None:
    _blended(pdf, ("Multiply", "Screen", "Overlay", "SoftLight", "Difference", "Normal"))


def _hues(pdf: pikepdf.Pdf) -> None:
    """Blend modes that Poppler's releases draw differently, so pdfium's whatever the renderer."""
    _blended(pdf, ("Hue", "Saturation", "Color", "Luminosity"))


def _blended(pdf: pikepdf.Pdf, modes: Sequence[str]) -> None:
    states = {
        f"/G{place}": Dictionary(Type=Name.ExtGState, BM=Name(f"/{mode}"), ca=0.35 + 0.1 * place, CA=0.7)
        for place, mode in enumerate(modes)
    }
    parts = ["0.9 0.7 0.2 rg 0 60 200 60 re f 0.2 0.5 0.9 rg 40 0 50 200 re f"]
    parts += [
        f"q /G{place} gs 0.8 0.1 0.{place} rg {8 + 30 * place} {20 + 22 * place} 60 50 re b Q"
        for place in range(len(modes))
    ]
    _page(pdf, "\n".join(parts), ExtGState=Dictionary(states))


def _curves(pdf: pikepdf.Pdf) -> None:
    parts = ["0.1 0.2 0.3 RG 0.3 0.6 0.2 rg 1 j 1 J"]
    for place in range(9):
        parts.append(f"{0.2 + place * 0.7} w [{place} {2 + place % 3}] {place} d")
        parts.append(
            f"{5 + 9 * place} 10 m {200 - 17 * place} 60 {20 * place} 150 190 {195 - 12 * place} c S"
        )
    parts.append("[] 0 d 60 60 m 140 70 l 75 130 l 100 40 l 130 125 l h f* 0 w 3 3 m 197 11 l S")
    _page(pdf, "\n".join(parts))


def _thin_lines(pdf: pikepdf.Pdf) -> None:
    """So many that what releases and compilers round otherwise shows in some pixel; the first is known to do so."""
    parts = ["0.05 w 20 5 m 38 190 l S"]
    for place in range(400):
        x, y = 800 + place * 73 % 1199, place * 1187 % 2003
        parts.append(
            f"0.{5 + place % 40:02d} w {x / 10} {y / 10} m {(x + place * 37 % 211 - 105) / 10} "
            f"{(y + place * 59 % 307 - 150) / 10} l S"
        )
    _page(pdf, "\n".join(parts))


def _open_clip(pdf: pikepdf.Pdf) -> None:
    """A form that ends before its clip is set: releases disagree whether that goes on after it."""
    form = pdf.make_stream(
        b"20 20 60 60 re W",
        {"/Type": Name.XObject, "/Subtype": Name.Form, "/BBox": Array([0, 0, 200, 200])},
    )
    _page(pdf, "q /Fm Do Q 0.2 0.5 0.1 rg 10 10 150 90 re f 90 90 100 100 re f", XObject=Dictionary(Fm=form))


def _placed_images(pdf: pikepdf.Pdf) -> None:
    """The images scaled and turned, so that they must be decoded and resampled."""
    images = _images(pdf)
    parts = [
        f"q {58 - 3 * place} {place} {-2 * place} 55 {6 + 64 * column} {8 + 64 * row} cm /Im{place} Do Q"
        for place in range(len(images))
        for row, column in [divmod(place, 3)]
    ]
    _page(
        pdf,
        "\n".join(parts),
        XObject=Dictionary({f"/Im{place}": image for place, image in enumerate(images)}),
    )


def _images(pdf: pikepdf.Pdf) -> list[pikepdf.Object]:
    """One of each coding: Flate in colour, grey of 2 bits, a palette of 4, CCITT, JBIG2, JPEG 2000, JPEG."""
    colour = bytes(
        (x * 5 + y * 3 + 40 * band) % 256 for y in range(60) for x in range(60) for band in range(3)
    )
    grey = bytes((x * y) % 256 for y in range(60) for x in range(15))
    places = bytes((x + 3 * y) % 256 for y in range(60) for x in range(30))
    palette = bytes((37 * entry) % 256 for entry in range(3 * 16))
    indexed = Array([Name.Indexed, Name.DeviceRGB, 15, pikepdf.String(palette)])
    fax = Dictionary(K=-1, Columns=64, Rows=48, BlackIs1=True)
    return [
        _image(
            pdf,
            zlib.compress(colour),
            Name.FlateDecode,
            (60, 60),
            ColorSpace=Name.DeviceRGB,
            Interpolate=True,
        ),
        _image(pdf, zlib.compress(grey), Name.FlateDecode, (60, 60), bits=2),
        _image(pdf, zlib.compress(places), Name.FlateDecode, (60, 60), bits=4, ColorSpace=indexed),
        _image(pdf, base64.b64decode(_GROUP4), Name.CCITTFaxDecode, (64, 48), bits=1, DecodeParms=fax),
        _image(pdf, _jbig2(base64.b64decode(_GROUP4)), Name.JBIG2Decode, (64, 48), bits=1),
        _image(pdf, base64.b64decode(_JPEG2000), Name.JPXDecode, (48, 32), ColorSpace=Name.DeviceRGB),
        _image(pdf, base64.b64decode(_JPEG), Name.DCTDecode, (48, 32), ColorSpace=Name.DeviceRGB),
    ]


def _image(
    pdf: pikepdf.Pdf, data: bytes, coding: Name, size: tuple[int, int], *, bits: int = 8, **keys: object
) -> pikepdf.Object:
    made = pdf.make_stream(data, {"/Type": Name.XObject, "/Subtype": Name.Image, "/Filter": coding})
    made.Width, made.Height = size
    made.BitsPerComponent, made.ColorSpace = bits, Name.DeviceGray
    for key, value in keys.items():
        made[f"/{key}"] = value
    return made


def _jbig2(group4: bytes) -> bytes:
    """One generic region coded with MMR (ITU-T T.88, 7.4.6): what CCITT G4 gives, wrapped."""
    page = struct.pack(">IIIIBH", 64, 48, 0, 0, 0, 0)
    region = struct.pack(">IIIIB", 64, 48, 0, 0, 0) + b"\x01" + group4
    parts = ((0, 48, page), (1, 38, region))
    return b"".join(
        struct.pack(">IBBBI", number, kind, 0, 1, len(data)) + data for number, kind, data in parts
    )


# Encoded once, since what is looked at is how they are decoded. 64 x 48 and 48 x 32 pixels.
_GROUP4: Final = """
4SphKRgiChBhKEGgoRH4YSoEDaCoINpUmwlSbQWnCVJtBfCVJtBfSrFaYXC8g0vwix/ir8IIofwglrahAmO4QQXojroLj7YSEGh6C7YSS2gl
tpJWwklYhBKwwSoQoRcBUEGFSGEqChKgoSwoAIAI
"""
_JPEG2000: Final = """
/0//UQAvAAAAAAAwAAAAIAAAAAAAAAAAAAAAMAAAACAAAAAAAAAAAAADBwEBBwEBBwEB/1IADAAAAAEABQQEAAD/XAAjQncgdvB28HbAbwBv
AG7gZ1BnUGdoUAVQBVBHV9NX01di/2QAJQABQ3JlYXRlZCBieSBPcGVuSlBFRyB2ZXJzaW9uIDIuNS40/5AACgAAAAABtwAB/5PHzAwG3UDD
6QYI+ZHHzAwG/iWgfkBgBFF2ofSDAAGRAsD8gKH0g4D7AIAAbgM6lgAXweEgYcHwCAtIs4sM7uEMPttjwOEh8YSBGAtEWrsPe7BSDB/UwRQ+
MLB4QAtsDaS03V0NcVIowSQY0EQHC5TxIiK0JgkYLHXBFDxILRAiScH1KjXuulzD4CYcPD4DABju2AqHej5Fihur3uYGl+gfWuYvJH2A3NAr
iNLOixxsSoMFMcWqJg581FvPbHwjxiWgjB52OAHxp0iJgFL9RnHLPJc7HnZSGtDwxJOnx1Vc4zgVTM+EtmHKT+c1WTyMFvWZPwANqhHoyEVl
Zd9/+4JGIrTgadiJz4DIroqgiI/yonumsCbMu2pJOIl3eQROB+qy4Te4Cp5r1CYgRlpEoN8wxPPgViqAiI9BDhtYY0Jf68AiT1FgIwDwAPkz
v0b1nLWMYmvmzFuX19IQyi7FXPgq51GIgCGwgccW4jcGk8AMmI1nHWGfep54OJA9m5K8KIqY9hdRj2qaIT8TGmDMlYxPyL0d4PxSnaa7Lwdt
FVy7YhNJCiDRtNH+ov/Z
"""
_JPEG: Final = """
/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAA0JCgsKCA0LCgsODg0PEyAVExISEyccHhcgLikxMC4pLSwzOko+MzZGNywtQFdBRkxOUlNSMj5a
YVpQYEpRUk//2wBDAQ4ODhMREyYVFSZPNS01T09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT0//wAAR
CAAgADADASIAAhEBAxEB/8QAHwAAAQUBAQEBAQEAAAAAAAAAAAECAwQFBgcICQoL/8QAtRAAAgEDAwIEAwUFBAQAAAF9AQIDAAQRBRIhMUEG
E1FhByJxFDKBkaEII0KxwRVS0fAkM2JyggkKFhcYGRolJicoKSo0NTY3ODk6Q0RFRkdISUpTVFVWV1hZWmNkZWZnaGlqc3R1dnd4eXqDhIWG
h4iJipKTlJWWl5iZmqKjpKWmp6ipqrKztLW2t7i5usLDxMXGx8jJytLT1NXW19jZ2uHi4+Tl5ufo6erx8vP09fb3+Pn6/8QAHwEAAwEBAQEB
AQEBAQAAAAAAAAECAwQFBgcICQoL/8QAtREAAgECBAQDBAcFBAQAAQJ3AAECAxEEBSExBhJBUQdhcRMiMoEIFEKRobHBCSMzUvAVYnLRChYk
NOEl8RcYGRomJygpKjU2Nzg5OkNERUZHSElKU1RVVldYWVpjZGVmZ2hpanN0dXZ3eHl6goOEhYaHiImKkpOUlZaXmJmaoqOkpaanqKmqsrO0
tba3uLm6wsPExcbHyMnK0tPU1dbX2Nna4uPk5ebn6Onq8vP09fb3+Pn6/9oADAMBAAIRAxEAPwDz+O19qvWmmTXL7IIi5A3Njoo9SegHueKu
w2vtWxcWvkkWcYwkePMHdpMfNk98EkDtjp1JMUr1Gox3ZFLEW1MuPSLOPi5vct/dt4vM2nuCSVH4qSD+WbKaTYvxDeOp9Z4Nq/8AjpY5/D8a
siBYzjbk+lRx+ddcWZUp/wA9uqfQYOW/l15yMVtOjSg+Vybl2SX+X+bPSo4l9yvc6f8AYtnnqMyZ8sKwbzMddpBwcZ55474pI9PEpBuCAp5E
a9v94jr9On161uafYw2rbJmJjmI80sSxPuPTGTjHHJ4wSDP9kMbsnlfMpIOT0NY88Yy5ZxSfzf4I9SjXcviZm29r04rQ1NkilEwVnkuTuVUX
JLcbvoATjJ4GRk80lsst3hbIbYjw1wwI/wC+AR83Hf7vIPzcitGysVtpJNih2kx5ruAWkI7k/icYxgHAwOK5qVWVOkpR+J6ffv8Al/XT8/o1
knaRkQaU9wN18EKf88B80f1JIBY/p04yM1opAzHEYwPXvWr9njdtgDJjrjkGp0t41+RQzH1HGP51m8UoLkjdJfe32T2/E9SjW63M23soxIFc
HA5bHYVLKjbZbiT5V5chfzrTEG0BFRQfQDgVDqMPlWEhJzIwCgfU8j8s1lGo+az06WXTyb3b8keg8X7OnKp2TZ//2Q==
"""
