"""A page taken as its embedded image and the same page rendered at its native DPI must look the same."""

import io
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pikepdf
import pytest
from PIL import Image, ImageChops, ImageCms

from vlm_assets.pdf.content import NotOneImageError
from vlm_assets.pdf.embedded import EmbeddedImage, embedded_image
from vlm_assets.pdf.facts import PageOptions
from vlm_assets.pdf.held import HeldFile
from vlm_assets.pdf.render import open_pdfium, render_pdfium, render_poppler
from vlm_assets.pdf.structure import ImageFinder, OneImagePage, look_at, one_image
from vlm_assets_tests.pdf.builders import (
    DPI,
    Array,
    Dictionary,
    Name,
    add_page,
    build,
    group4,
    image_object,
    jbig2_data,
    jpeg,
    picture,
)

_ALIKE = 16  # measured: up to 13, where a bilevel edge lies half a pixel off
Make = Callable[[pikepdf.Pdf], object]
FILL = "q 216 0 0 288 0 0 cm /Im0 Do Q"


def as_taken(page: pikepdf.Page, rule: Any) -> OneImagePage:
    return one_image(look_at(page, ImageFinder()), rule)


def scanned(
    content: str = FILL, *, mode: str = "L", page: dict[str, Any] | None = None, **options: Any
) -> Make:
    """A page with one JPEG, and whatever the case adds to page (`page`), resources and image."""
    resources = options.pop("resources", None)
    size_pt = options.pop("size_pt", (216, 288))

    def make(pdf: pikepdf.Pdf) -> None:
        image = picture(mode)
        keys = {key: value(pdf) if callable(value) else value for key, value in options.items()}
        made = image_object(pdf, jpeg(image), image, **keys)
        page_keys = {key: value(pdf) if callable(value) else value for key, value in (page or {}).items()}
        more = {key: value(pdf) if callable(value) else value for key, value in (resources or {}).items()}
        add_page(pdf, content, size_pt, {"Im0": made}, page_keys, more)

    return make


def encoded(mode: str, form: str, filter_name: Name, **options: Any) -> Make:
    def make(pdf: pikepdf.Pdf) -> None:
        image, out = picture(mode), io.BytesIO()
        image.save(out, form, **options)
        add_page(pdf, FILL, images={"Im0": image_object(pdf, out.getvalue(), image, filter_name)})

    return make


def flate(mode: str, **keys: Any) -> Make:
    def make(pdf: pikepdf.Pdf) -> None:
        image = picture(mode)
        made = image_object(pdf, zlib.compress(image.tobytes()), image, Name.FlateDecode, **keys)
        add_page(pdf, FILL, images={"Im0": made})

    return make


def predicted(pdf: pikepdf.Pdf) -> None:
    image = picture("L")
    rows = image.tobytes()
    data = b"".join(b"\0" + rows[y * 900 : y * 900 + 900] for y in range(1200))
    parameters = Dictionary(Predictor=15, Columns=900, Colors=1, BitsPerComponent=8)
    made = image_object(pdf, zlib.compress(data), image, Name.FlateDecode, DecodeParms=parameters)
    add_page(pdf, FILL, images={"Im0": made})


def indexed(pdf: pikepdf.Pdf) -> None:
    image = picture("RGB").quantize(200)
    palette = bytes(image.getpalette() or [])[:600]
    space = Array([Name.Indexed, Name.DeviceRGB, len(palette) // 3 - 1, pikepdf.String(palette)])
    stand_in = Image.new("L", image.size)
    made = image_object(pdf, zlib.compress(image.tobytes()), stand_in, Name.FlateDecode, ColorSpace=space)
    add_page(pdf, FILL, images={"Im0": made})


def fax(*, inverted: bool = False) -> Make:
    def make(pdf: pikepdf.Pdf) -> None:
        image = picture("1")
        data = group4(ImageChops.invert(image) if inverted else image)
        parameters = Dictionary(K=-1, Columns=900, Rows=1200, BlackIs1=not inverted)
        made = image_object(pdf, data, image, Name.CCITTFaxDecode, DecodeParms=parameters)
        add_page(pdf, FILL, images={"Im0": made})

    return make


def jbig2(pdf: pikepdf.Pdf) -> None:
    image = picture("1")
    add_page(pdf, FILL, images={"Im0": image_object(pdf, jbig2_data(image), image, Name.JBIG2Decode)})


def with_form(content: str, form: str, **keys: Any) -> Make:
    def make(pdf: pikepdf.Pdf) -> None:
        image = picture()
        made = pdf.make_indirect(image_object(pdf, jpeg(image), image))
        stream = pdf.make_stream(form.encode())
        stream.Type, stream.Subtype = Name.XObject, Name.Form
        stream.BBox = Array([0, 0, 216, 288])
        stream.Resources = Dictionary(XObject=Dictionary(Im0=made))
        for key, value in keys.items():
            stream[f"/{key}"] = value
        add_page(pdf, content, images={"Im0": made, "Fm0": stream})

    return make


def two_images(content: str, second: str = "L") -> Make:
    def make(pdf: pikepdf.Pdf) -> None:
        first, other = picture(), picture(second, seed=9)
        images = {"Im0": image_object(pdf, jpeg(first), first), "Im1": image_object(pdf, jpeg(other), other)}
        add_page(pdf, content, images=images)

    return make


def profile(name: str) -> Callable[[pikepdf.Pdf], Any]:
    def make(pdf: pikepdf.Pdf) -> Any:
        data = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
        if name == "swapped":  # the red and green primaries
            red, green = data.index(b"rXYZ"), data.index(b"gXYZ")
            data[red : red + 4], data[green : green + 4] = b"gXYZ", b"rXYZ"
        stream = pdf.make_stream(bytes(data))
        stream.N = 3
        return Array([Name.ICCBased, stream])

    return make


def mask(pdf: pikepdf.Pdf) -> pikepdf.Stream:
    soft = Image.linear_gradient("L").resize((900, 1200))
    return image_object(pdf, jpeg(soft), soft)


HIDDEN_TEXT = "BT 3 Tr /F1 12 Tf 20 200 Td (a layer of text) Tj ET"
SEEN_TEXT = "BT /F1 12 Tf 20 200 Td (a stamp) Tj ET"
UNIT = Array([0, 0, 1, 1])
GS = {
    "ExtGState": Dictionary(
        G0=Dictionary(ca=0.5), G1=Dictionary(BM=Name.Multiply), G2=Dictionary(ca=1, BM=Name.Normal)
    )
}
LINK = Dictionary(Type=Name.Annot, Subtype=Name.Link, Rect=Array([20, 20, 90, 60]), Border=Array([0, 0, 0]))
SQUARE = Dictionary(Type=Name.Annot, Subtype=Name.Square, Rect=Array([20, 20, 90, 60]), C=Array([1, 0, 0]))

TAKEN: dict[str, Make] = {
    "grey": scanned(),
    "colour": scanned(mode="RGB"),
    "no_save_restore": scanned("216 0 0 288 0 0 cm /Im0 Do"),
    "two_matrices": scanned("q 2 0 0 2 0 0 cm 108 0 0 144 0 0 cm /Im0 Do Q"),
    "hidden_text_after": scanned(FILL + " " + HIDDEN_TEXT),
    "text_behind": scanned(SEEN_TEXT + " " + FILL),
    "white_behind": scanned("1 g 0 0 216 288 re f " + FILL),
    "clip_to_page": scanned("q 0 0 216 288 re W n 216 0 0 288 0 0 cm /Im0 Do Q"),
    "opaque_state": scanned("/G2 gs " + FILL, resources=GS),
    "inner_clip_restored": scanned("q 9 9 20 20 re W n Q " + FILL),
    "rounded_box": scanned(size_pt=(216.3, 287.8)),
    "origin_elsewhere": scanned(
        "q 216 0 0 288 50 -20 cm /Im0 Do Q", page={"MediaBox": Array([50, -20, 266, 268])}
    ),
    "crop_is_media": scanned(page={"CropBox": Array([0, 0, 216, 288])}),
    "link": scanned(page={"Annots": Array([LINK])}),
    "plain_decode": scanned(Decode=Array([0, 1])),
    "srgb_profile": scanned(mode="RGB", ColorSpace=profile("srgb")),
    "in_a_form": with_form("/Fm0 Do", FILL),
    "in_a_scaled_form": with_form("/Fm0 Do", "/Im0 Do", Matrix=Array([216, 0, 0, 288, 0, 0]), BBox=UNIT),
    "covered_by_another": two_images("q 216 0 0 288 0 0 cm /Im1 Do Q " + FILL),
    "jpeg2000": encoded("RGB", "JPEG2000", Name.JPXDecode),
    "jpeg2000_grey": encoded("L", "JPEG2000", Name.JPXDecode),
    "flate_grey": flate("L"),
    "flate_colour": flate("RGB"),
    "flate_bilevel": flate("1"),
    "flate_predictor": predicted,
    "indexed": indexed,
    "ccitt_g4": fax(),
    "ccitt_black_is_0": fax(inverted=True),
    "jbig2": jbig2,
}  # fmt: skip

RENDERED: dict[str, Make] = {
    "rotated_90": scanned(page={"Rotate": 90}),
    "rotated_180": scanned(page={"Rotate": 180}),
    "turned_by_matrix": scanned("q 0 288 -216 0 216 0 cm /Im0 Do Q"),
    "upside_down": scanned("q 216 0 0 -288 0 288 cm /Im0 Do Q"),
    "mirrored": scanned("q -216 0 0 288 216 0 cm /Im0 Do Q"),
    "skewed": scanned("q 216 3 0 288 0 0 cm /Im0 Do Q"),
    "cropped": scanned(page={"CropBox": Array([20, 30, 200, 250])}),
    "image_beyond_page": scanned("q 232 0 0 308 -8 -10 cm /Im0 Do Q"),
    "image_with_margin": scanned("q 200 0 0 267 8 10 cm /Im0 Do Q"),
    "soft_mask": scanned(SMask=mask),
    "colour_key_mask": scanned(Mask=Array([0, 60])),
    "stencil": flate("1", ImageMask=True),
    "inverting_decode": scanned(Decode=Array([1, 0])),
    "inverting_decode_bilevel": flate("1", Decode=Array([1, 0])),
    "two_halves": two_images("q 216 0 0 144 0 144 cm /Im0 Do Q q 216 0 0 144 0 0 cm /Im1 Do Q"),
    "picture_on_scan": two_images(FILL + " q 100 0 0 50 9 9 cm /Im1 Do Q"),
    "text_over": scanned(FILL + " " + SEEN_TEXT),
    "line_over": scanned(FILL + " 4 w 20 20 m 190 250 l S"),
    "clipped": scanned("q 20 20 100 100 re W n 216 0 0 288 0 0 cm /Im0 Do Q"),
    "clipped_by_a_curve": scanned("q 0 0 m 216 0 l 100 288 l h W n 216 0 0 288 0 0 cm /Im0 Do Q"),
    "clipped_by_a_form": with_form("/Fm0 Do", FILL, BBox=Array([0, 0, 100, 288])),
    "half_opaque": scanned("/G0 gs " + FILL, resources=GS),
    "multiplied": scanned("1 0.5 0.5 rg 0 0 216 288 re f /G1 gs " + FILL, resources=GS),
    "annotation": scanned(page={"Annots": Array([SQUARE])}),
    "cmyk": scanned(mode="CMYK"),
    "foreign_profile": scanned(mode="RGB", ColorSpace=profile("swapped")),
    "optional_content": scanned("/OC /MC0 BDC " + FILL + " EMC"),
    "user_unit": scanned(page={"UserUnit": 2}),
    "text_as_clip": scanned("BT 7 Tr /F1 90 Tf 20 100 Td (clip) Tj ET " + FILL),
    "grey_in_colour_space": scanned(mode="RGB", ColorSpace=Name.DeviceGray),
    "wrong_size": scanned(Width=800),
}  # fmt: skip


def _taken(path: Path) -> EmbeddedImage:
    with pikepdf.open(path) as pdf:
        found = as_taken(pdf.pages[0], (250, 400))
        assert found.dpi in range(DPI - 1, DPI + 2)
        return embedded_image(found.image, 10**7)


def _rendered(path: Path, folder: Path, renderer: str) -> Image.Image:
    options = PageOptions(dpi=DPI, renderer="poppler")
    if renderer == "poppler":
        return Image.open(
            render_poppler(HeldFile.of(path), 0, 0, folder, dpi=options.dpi, cpu_s=60, hang_s=600).files[0]
        )
    document = open_pdfium(HeldFile.of(path))
    render_pdfium(document, 0, folder / "page.jpg", dpi=options.dpi)
    document.close()
    return Image.open(folder / "page.jpg")


def _difference(one: Image.Image, other: Image.Image) -> float:
    """Largest difference of levels, of 255, between averages over 20 x 20 pixels, over the common size.

    A thing that is missing shows; two JPEG generations and half a pixel of placement hardly do.
    """
    size = (min(one.width, other.width) // 20 * 20, min(one.height, other.height) // 20 * 20)
    small = [
        np.asarray(image.convert("RGB").crop((0, 0, *size)).reduce(20), dtype=np.int16)
        for image in (one, other)
    ]
    return float(np.abs(small[0] - small[1]).max())


@pytest.mark.parametrize("renderer", ["poppler", "pdfium"])
@pytest.mark.parametrize("name", TAKEN)
def test_what_is_taken_is_the_page_as_rendered(name: str, renderer: str, tmp_path: Path) -> None:
    path = build(tmp_path / "a.pdf", TAKEN[name])
    taken = _taken(path)
    with Image.open(io.BytesIO(taken.data)) as image, _rendered(path, tmp_path, renderer) as page:
        assert image.size == (taken.width_px, taken.height_px)
        slack = 2 if name == "rounded_box" else 0
        assert abs(image.width - page.width) <= slack
        assert abs(image.height - page.height) <= slack
        assert _difference(image, page) < _ALIKE


@pytest.mark.parametrize("name", RENDERED)
def test_what_is_not_the_page_as_seen_is_rendered(name: str, tmp_path: Path) -> None:
    path = build(tmp_path / "a.pdf", RENDERED[name])
    with pytest.raises(NotOneImageError), pikepdf.open(path) as pdf:
        embedded_image(as_taken(pdf.pages[0], (250, 400)).image, 10**7)


def test_the_rendered_cases_would_look_wrong_if_they_were_taken(tmp_path: Path) -> None:
    """The measure of the tests above tells them apart: the bare image of these pages is far from the page."""
    telling = set(RENDERED) - {
        "optional_content",
        "user_unit",
        "wrong_size",
        "grey_in_colour_space",
        "stencil",
    }
    near = []
    for name in sorted(telling - {"inverting_decode_bilevel", "cmyk"}):
        path = build(tmp_path / "a.pdf", RENDERED[name])
        with pikepdf.open(path) as pdf:
            data = pdf.pages[0].Resources.XObject.Im0.read_raw_bytes() if "form" not in name else b""
        if not data:
            continue
        with Image.open(io.BytesIO(data)) as image, _rendered(path, tmp_path, "poppler") as page:
            if image.size == page.size and _difference(image, page) < 2 * _ALIKE:
                near.append(name)
    assert near == []


def test_jpeg_bytes_are_the_embedded_ones(tmp_path: Path) -> None:
    image = picture("RGB")
    data = jpeg(image)
    path = build(tmp_path / "a.pdf", scanned(mode="RGB"))
    assert _taken(path).data == data


def test_a_jpeg_behind_flate_is_unwrapped(tmp_path: Path) -> None:
    image = picture("L")
    data = jpeg(image)

    def make(pdf: pikepdf.Pdf) -> None:
        filters = Array([Name.FlateDecode, Name.DCTDecode])
        add_page(pdf, FILL, images={"Im0": image_object(pdf, zlib.compress(data), image, filters)})  # type: ignore[arg-type]

    assert _taken(build(tmp_path / "a.pdf", make)).data == data


@pytest.mark.parametrize(
    ("rule", "taken"),
    [
        pytest.param((250, 400), True, id="in_range"),
        pytest.param((300, 300), True, id="exactly"),
        pytest.param((310, 400), False, id="too_coarse"),
        pytest.param((100, 200), False, id="too_fine"),
        pytest.param("always", True, id="always"),
        pytest.param("never", False, id="never"),
    ],
)
def test_the_rule_decides_by_native_dpi(rule: Any, taken: bool, tmp_path: Path) -> None:  # noqa: FBT001 - a table
    path = build(tmp_path / "a.pdf", scanned())
    with pikepdf.open(path) as pdf:
        if taken:
            assert as_taken(pdf.pages[0], rule).dpi == DPI
        else:
            with pytest.raises(NotOneImageError):
                as_taken(pdf.pages[0], rule)


def test_stretched_pixels_are_rendered_even_with_always(tmp_path: Path) -> None:
    path = build(tmp_path / "a.pdf", scanned("q 432 0 0 288 0 0 cm /Im0 Do Q", size_pt=(432, 288)))
    with pikepdf.open(path) as pdf, pytest.raises(NotOneImageError):
        as_taken(pdf.pages[0], "always")
