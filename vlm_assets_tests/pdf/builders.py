"""One-line builders of PDFs for tests: scan pages, drawings, and pages that are nearly a scan."""

import io
import random
import struct
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pikepdf
from pikepdf import Array, Dictionary, Name
from PIL import Image, ImageChops, ImageDraw, ImageFilter

WIDTH_PX, HEIGHT_PX = 900, 1200
DPI = 300
WIDTH_PT, HEIGHT_PT = WIDTH_PX * 72 / DPI, HEIGHT_PX * 72 / DPI  # 216 x 288


def picture(mode: str = "L", seed: int = 0) -> Image.Image:
    """A page-like picture without symmetry: a rotated, mirrored or cut copy differs a lot."""
    rng = random.Random(seed)
    image = Image.new("RGB", (WIDTH_PX, HEIGHT_PX), (245, 240, 230))
    draw = ImageDraw.Draw(image)
    for _ in range(60):
        x, y = rng.randrange(WIDTH_PX), rng.randrange(HEIGHT_PX)
        colour = tuple(rng.randrange(200) for _ in range(3))
        draw.rectangle((x, y, x + rng.randrange(20, 200), y + rng.randrange(10, 60)), fill=colour)
    draw.rectangle((0, 0, 200, 100), fill=(0, 0, 0))
    if mode == "1":
        return image.convert("L").point(lambda level: 255 if level > 128 else 0).convert("1")
    return image.filter(ImageFilter.GaussianBlur(2)).convert(mode)


def jpeg(image: Image.Image, **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, "JPEG", quality=90, **options)
    return out.getvalue()


SPACES = {"L": Name.DeviceGray, "RGB": Name.DeviceRGB, "CMYK": Name.DeviceCMYK, "1": Name.DeviceGray}


def image_object(
    pdf: pikepdf.Pdf, data: bytes, image: Image.Image, filter_name: Name | None = Name.DCTDecode, **extra: Any
) -> pikepdf.Stream:
    """An image XObject; `extra` overrides or adds keys."""
    made = pdf.make_stream(data)
    made.Type, made.Subtype = Name.XObject, Name.Image
    made.Width, made.Height = image.size
    made.BitsPerComponent = 1 if image.mode == "1" else 8
    made.ColorSpace = SPACES[image.mode]
    if filter_name is not None:
        made.Filter = filter_name
    for key, value in extra.items():
        made[f"/{key}"] = value
    return made


def add_page(
    pdf: pikepdf.Pdf,
    content: str = "q 216 0 0 288 0 0 cm /Im0 Do Q",
    size_pt: tuple[float, float] = (WIDTH_PT, HEIGHT_PT),
    images: Mapping[str, pikepdf.Object] | None = None,
    page_keys: dict[str, Any] | None = None,
    resources: dict[str, Any] | None = None,
) -> pikepdf.Page:
    pdf.add_blank_page(page_size=size_pt)
    page = pdf.pages[-1]
    page.obj.Contents = pdf.make_stream(content.encode())
    fonts = {"Font": Dictionary(F1=standard_font("Helvetica"))} if "/F1" in content else {}
    page.obj.Resources = Dictionary(
        XObject=Dictionary({f"/{name}": pdf.make_indirect(x) for name, x in (images or {}).items()}),
        **{**fonts, **(resources or {})},
    )
    for key, value in (page_keys or {}).items():
        page.obj[f"/{key}"] = value
    return page


def standard_font(name: str, glyphs: Sequence[str] = ()) -> Dictionary:
    """A font that is not embedded; `glyphs` stand at the codes from 128."""
    font = Dictionary(Type=Name.Font, Subtype=Name.Type1, BaseFont=Name(f"/{name}"))
    if glyphs:
        font.Encoding = Dictionary(
            Type=Name.Encoding, BaseEncoding=Name.WinAnsiEncoding,
            Differences=Array([128, *(Name(f"/{glyph}") for glyph in glyphs)]),
        )  # fmt: skip
    return font


def group4(image: Image.Image) -> bytes:
    """CCITT G4 of a bilevel image, in one strip. libtiff codes set bits as black runs, and 1 is white in Pillow."""
    out = io.BytesIO()
    image.save(out, "TIFF", compression="group4", tiffinfo={278: image.height})
    with Image.open(out) as tiff:
        tags = tiff.tag_v2  # type: ignore[attr-defined]  # a TIFF has tags
        assert len(tags[273]) == 1
        assert tags[262] == 1
        return out.getvalue()[tags[273][0] : tags[273][0] + tags[279][0]]


def jbig2_data(image: Image.Image) -> bytes:
    """A JBIG2 page of one generic region coded with MMR (ITU-T T.88, 7.4.6): what CCITT G4 gives, wrapped."""
    mmr = group4(ImageChops.invert(image))
    page = struct.pack(">IIIIBH", *image.size, 0, 0, 0, 0)
    region = struct.pack(">IIIIB", *image.size, 0, 0, 0) + b"\x01" + mmr
    data = struct.pack(">IBBBI", 0, 48, 0, 1, len(page)) + page
    return data + struct.pack(">IBBBI", 1, 38, 0, 1, len(region)) + region


def scan(path: Path, pages: int = 1, mode: str = "L") -> list[bytes]:
    """A document of scans, one JPEG a page; gives the JPEGs."""
    pdf = pikepdf.new()
    made = []
    for number in range(pages):
        image = picture(mode, seed=number)
        made.append(jpeg(image))
        add_page(pdf, images={"Im0": image_object(pdf, made[-1], image)})
    pdf.save(path)
    return made


def drawing(path: Path, pages: int = 1, size_pt: tuple[float, float] = (200, 260)) -> None:
    """A document without images: text and rectangles, another on each page."""
    pdf = pikepdf.new()
    for number in range(pages):
        text = (
            f"0.2 0.4 0.7 rg 20 {20 + 5 * number} 80 30 re f BT /F1 12 Tf 20 200 Td (Page {number + 1}) Tj ET"
        )
        add_page(pdf, text, size_pt)
    pdf.save(path)


def build(path: Path, make: Callable[[pikepdf.Pdf], object]) -> Path:
    """Saves what `make` adds to a new document."""
    pdf = pikepdf.new()
    make(pdf)
    pdf.save(path)
    return path


__all__ = [
    "DPI", "HEIGHT_PT", "HEIGHT_PX", "WIDTH_PT", "WIDTH_PX", "Array", "Dictionary", "Name", "add_page", "build",
    "drawing", "group4", "image_object", "jbig2_data", "jpeg", "picture", "scan", "standard_font",
]  # fmt: skip
