"""Pictures whose data end early or are wrong: the page is a reject with the true reason, never white."""

import io
import random
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pikepdf
import pytest
from PIL import Image, ImageChops

from vlm_assets.pdf.damage import damage_of, jpeg2000_depth, jpeg2000_ends_early
from vlm_assets.pdf.decide import Refused, Taken, ToDraw, decide
from vlm_assets.pdf.document import open_document
from vlm_assets.pdf.facts import PageFault, PageFlag, PageImage, PageOptions
from vlm_assets.pdf.pictures import samples_of
from vlm_assets.pdf.pool import PagePool
from vlm_assets.words.errors import RejectReason
from vlm_assets_tests.pdf.builders import (
    Array,
    Dictionary,
    Name,
    add_page,
    group4,
    image_object,
    jpeg,
    picture,
)

Make = Callable[[pikepdf.Pdf], pikepdf.Stream]
TRUNCATED, CORRUPT = RejectReason.TRUNCATED, RejectReason.CORRUPT
GREY, BILEVEL, COLOUR = picture("L"), picture("1"), picture("RGB")
JPEG, PROGRESSIVE, CMYK = jpeg(GREY), jpeg(GREY, progressive=True), jpeg(COLOUR.convert("CMYK"))
FAX = group4(ImageChops.invert(BILEVEL))


def encoded(form: str, image: Image.Image, **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, form, **options)
    return out.getvalue()


JP2, CODESTREAM = encoded("JPEG2000", GREY), encoded("JPEG2000", GREY, no_jp2=True)


def of(data: bytes, name: Name, image: Image.Image = GREY, **keys: Any) -> Make:
    return lambda pdf: image_object(pdf, data, image, name, **keys)


def fax(data: bytes, **keys: Any) -> Make:
    parameters = Dictionary(K=-1, Columns=900, Rows=1200, BlackIs1=True, **keys)
    return of(data, Name.CCITTFaxDecode, BILEVEL, DecodeParms=parameters)


def jbig2(data: bytes, announced: int | None = None) -> Make:
    page = struct.pack(">IIIIBH", 900, 1200, 0, 0, 0, 0)
    region = struct.pack(">IIIIB", 900, 1200, 0, 0, 0) + b"\x01" + data
    head = struct.pack(">IBBBI", 0, 48, 0, 1, len(page)) + page
    size = len(region) if announced is None else announced
    whole = head + struct.pack(">IBBBI", 1, 38, 0, 1, size) + region
    return of(whole, Name.JBIG2Decode, BILEVEL)


def indexed(colours: int, last: int, *, stream: bool = False) -> Make:
    def make(pdf: pikepdf.Pdf) -> pikepdf.Stream:
        table = bytes(range(3 * colours))
        held: Any = pdf.make_stream(table) if stream else pikepdf.String(table)
        space = Array([Name.Indexed, Name.DeviceRGB, last, held])
        data = zlib.compress(bytes(900 * 1200))
        return image_object(pdf, data, GREY, Name.FlateDecode, ColorSpace=space)

    return make


def predicted(rows: int) -> Make:
    data = zlib.compress(b"".join(b"\0" + GREY.tobytes()[y * 900 : y * 900 + 900] for y in range(rows)))
    parameters = Dictionary(Predictor=15, Columns=900, Colors=1, BitsPerComponent=8)
    return of(data, Name.FlateDecode, DecodeParms=parameters)


FILL = "q 216 0 0 288 0 0 cm /Im0 Do Q"
FLATE = zlib.compress(GREY.tobytes())
NOISE = random.Random(1).randbytes(2000)
CASES: dict[str, tuple[Make, RejectReason | None]] = {
    "jpeg whole": (of(JPEG, Name.DCTDecode), None),
    "jpeg whole, no end mark": (of(JPEG[:-2], Name.DCTDecode), None),
    "jpeg whole, junk before": (of(b"\r\n" + JPEG, Name.DCTDecode), None),
    "jpeg whole, line feed behind": (of(JPEG + b"\n", Name.DCTDecode), None),
    "jpeg empty": (of(b"", Name.DCTDecode), TRUNCATED),
    "jpeg header alone": (of(JPEG[:200], Name.DCTDecode), TRUNCATED),
    "jpeg half": (of(JPEG[: len(JPEG) // 2], Name.DCTDecode), TRUNCATED),
    "jpeg half, end mark put on": (of(JPEG[: len(JPEG) // 2] + b"\xff\xd9", Name.DCTDecode), TRUNCATED),
    "jpeg half, zeros behind": (of(JPEG[:9000] + bytes(9000), Name.DCTDecode), TRUNCATED),
    "jpeg half, by its short name": (of(JPEG[:9000], Name.DCT), TRUNCATED),
    "jpeg half, behind flate": (of(zlib.compress(JPEG[:9000]), Name.DCTDecode,
                                   Filter=Array([Name.FlateDecode, Name.DCTDecode])), TRUNCATED),
    "jpeg half, progressive": (of(PROGRESSIVE[: len(PROGRESSIVE) // 2], Name.DCTDecode), TRUNCATED),
    "jpeg half, cmyk": (of(CMYK[: len(CMYK) // 2], Name.DCTDecode, ColorSpace=Name.DeviceCMYK), TRUNCATED),
    "jpeg that is something else": (of(NOISE, Name.DCTDecode), TRUNCATED),
    "jpeg, grey in a colour space of three": (of(JPEG, Name.DCTDecode, ColorSpace=Name.DeviceRGB), CORRUPT),
    "jpeg, three colours in grey": (of(jpeg(COLOUR), Name.DCTDecode), CORRUPT),
    "jpx whole": (of(JP2, Name.JPXDecode), None),
    "jpx whole, line feed behind": (of(JP2 + b"\r\n", Name.JPXDecode), None),
    "jpx codestream whole": (of(CODESTREAM, Name.JPXDecode), None),
    "jpx empty": (of(b"", Name.JPXDecode), TRUNCATED),
    "jpx half": (of(JP2[: len(JP2) // 2], Name.JPXDecode), TRUNCATED),
    "jpx codestream half": (of(CODESTREAM[: len(CODESTREAM) // 2], Name.JPXDecode), TRUNCATED),
    "flate whole": (of(FLATE, Name.FlateDecode), None),
    "flate whole, no checksum": (of(FLATE[:-4], Name.FlateDecode), None),
    "flate empty": (of(b"", Name.FlateDecode), TRUNCATED),
    "flate half": (of(FLATE[: len(FLATE) // 2], Name.FlateDecode), TRUNCATED),
    "flate of half the rows": (of(zlib.compress(GREY.tobytes()[: 900 * 600]), Name.FlateDecode), TRUNCATED),
    "flate of half the rows, predicted": (predicted(600), TRUNCATED),
    "flate predicted, whole": (predicted(1200), None),
    "flate of a row less, but one": (of(zlib.compress(GREY.tobytes()[:-100]), Name.FlateDecode), None),
    "flate of a mask, half": (
        of(zlib.compress(bytes(113 * 600)), Name.FlateDecode, BILEVEL, ImageMask=True), TRUNCATED
    ),
    "raw half": (of(GREY.tobytes()[: 900 * 600], None), TRUNCATED),  # type: ignore[arg-type]  # no filter
    "flate that is something else": (of(NOISE, Name.FlateDecode), CORRUPT),
    "samples of 7 bits": (of(FLATE, Name.FlateDecode, BitsPerComponent=7), CORRUPT),
    "fax whole": (fax(FAX), None),
    "fax whole, no end mark": (fax(FAX[:-3]), None),
    "fax empty": (fax(b""), TRUNCATED),
    "fax half": (fax(FAX[: len(FAX) // 2]), TRUNCATED),
    "fax without its last tenth": (fax(FAX[: len(FAX) * 9 // 10]), TRUNCATED),
    "jbig2 whole": (jbig2(FAX), None),
    "jbig2 empty": (of(b"", Name.JBIG2Decode, BILEVEL), TRUNCATED),
    "jbig2 half": (jbig2(FAX[: len(FAX) // 2], announced=len(FAX) + 18), TRUNCATED),
    "palette whole": (indexed(4, 3), None),
    "palette in a stream, whole": (indexed(4, 3, stream=True), None),
    "palette short": (indexed(4, 255), CORRUPT),
    "palette in a stream, short": (indexed(4, 255, stream=True), CORRUPT),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_what_is_wrong_with_a_picture_is_found(case: str) -> None:
    make, reason = CASES[case]
    pdf = pikepdf.new()
    damage = damage_of(pdf.make_indirect(make(pdf)), 10**7)
    assert (damage.reason if damage else None) == reason
    assert damage is None or damage.certain


def without(key: str) -> Make:
    def make(pdf: pikepdf.Pdf) -> pikepdf.Stream:
        made = of(JPEG, Name.DCTDecode)(pdf)
        del made[key]
        return made

    return make


@pytest.mark.parametrize(
    "make",
    [
        without("/Width"),
        of(JPEG, Name.FooDecode),
        of(encoded("PNG", GREY), Name.DCTDecode),
        of(b"\x80\x0b" * 99, Name.LZWDecode),
    ],
    ids=["no width", "a filter that nobody knows", "another format", "broken codes"],
)
def test_what_one_decoder_cannot_read_is_not_certain(make: Make, tmp_path: Path) -> None:
    """Such a page is drawn, and believed unless nothing of the picture shows."""
    pdf = pikepdf.new()
    add_page(pdf, images={"Im0": make(pdf)})
    pdf.save(tmp_path / "a.pdf")
    found = decide(open_document(tmp_path / "a.pdf"), 0, PageOptions())
    assert isinstance(found, ToDraw)
    assert found.pictures
    assert found.damage is not None
    assert (found.damage.reason, found.damage.certain) == (CORRUPT, False)
    assert str(tmp_path) not in found.damage.detail
    assert PageFlag.DAMAGED in found.flags


@pytest.mark.parametrize("renderer", ["poppler", "pdfium"])
def test_a_page_that_shows_nothing_of_its_picture_is_none(renderer: Any, tmp_path: Path) -> None:
    pdf = pikepdf.new()
    white = Image.new("L", (90, 120), 255)
    for make, more in (
        (without("/Width"), ""), (of(jpeg(white), Name.DCTDecode, white), ""), (without("/Width"), " 9 9 90 90 re f"),
    ):  # fmt: skip
        add_page(pdf, FILL + more, images={"Im0": make(pdf)}, page_keys={"Rotate": 90})
    pdf.save(tmp_path / "a.pdf")
    pool = PagePool(PageOptions(dpi=60, renderer=renderer), 1, tmp_path / "pages", tmp_path / "slots")
    try:
        first, blank, shown = pool.submit(tmp_path / "a.pdf").pages()
    finally:
        pool.close()
    assert isinstance(first, PageFault)
    assert (first.reason, first.detail) == (
        CORRUPT,
        "nothing of its picture shows: a picture of 0 x 1200 pixels",
    )
    assert isinstance(blank, PageImage)
    assert blank.flags == (PageFlag.BLANK,)
    assert isinstance(shown, PageImage)
    assert PageFlag.DAMAGED in shown.flags


@pytest.mark.parametrize("levels", [1, 2])
def test_no_more_is_unpacked_than_a_picture_has(levels: int) -> None:
    data, names = bytes(900 * 1200 + 10**7), [Name.FlateDecode] * levels
    for _ in names:
        data = zlib.compress(data)
    pdf = pikepdf.new()
    image = pdf.make_indirect(of(data, Name.FlateDecode, Filter=Array(names))(pdf))
    assert len(samples_of(image)) == 900 * 1200
    assert damage_of(image, 10**7) is None


def test_a_blank_margin_is_no_damage() -> None:
    """Rows that are there cost a bit each, rows that a decoder makes up none: no end mark is needed to tell."""
    image = BILEVEL.copy()
    image.paste(1, (0, 700, 900, 1200))
    data = group4(ImageChops.invert(image))
    pdf = pikepdf.new()
    for kept, reason in ((len(data), None), (len(data) - 3, None), (len(data) - 30, TRUNCATED)):
        damage = damage_of(pdf.make_indirect(fax(data[:kept])(pdf)), 10**7)
        assert (damage.reason if damage else None) == reason, kept


SMALL = "BT /F1 12 Tf 20 200 Td (words) Tj ET q 20 0 0 20 9 9 cm /Im0 Do Q"


@pytest.mark.parametrize(
    ("content", "page", "rule", "outcome"),
    [
        (FILL, {}, (1, 400), Refused), (FILL, {}, "never", Refused), (FILL, {"Rotate": 90}, (1, 400), Refused),
        ("q 216 0 0 144 0 0 cm /Im0 Do Q q 216 0 0 144 0 144 cm /Im0 Do Q", {}, (1, 400), Refused),
        (SMALL, {}, (1, 400), ToDraw),
    ],
    ids=["fills the page", "never taken", "rotated", "halves", "small beside text"],
)  # fmt: skip
def test_a_damaged_picture_costs_the_page_unless_it_is_small(
    content: str, page: dict[str, Any], rule: Any, outcome: type, tmp_path: Path
) -> None:
    pdf = pikepdf.new()
    add_page(pdf, content, images={"Im0": of(JPEG[:9000], Name.DCTDecode)(pdf)}, page_keys=page)
    pdf.save(tmp_path / "a.pdf")
    found = decide(open_document(tmp_path / "a.pdf"), 0, PageOptions(embedded=rule))
    assert isinstance(found, outcome)
    if isinstance(found, Refused):
        assert found.reason is TRUNCATED
    if isinstance(found, ToDraw):
        assert PageFlag.DAMAGED in found.flags


def test_a_damaged_picture_under_the_scan_or_on_another_page_costs_nothing(tmp_path: Path) -> None:
    pdf = pikepdf.new()
    images = {"Im0": of(JPEG[:9000], Name.DCTDecode)(pdf), "Im1": of(JPEG, Name.DCTDecode)(pdf)}
    for content in (f"{FILL} {FILL.replace('Im0', 'Im1')}", FILL.replace("Im0", "Im1"), "0 0 9 9 re f"):
        add_page(pdf, content, images=images)
    pdf.save(tmp_path / "a.pdf")
    document = open_document(tmp_path / "a.pdf")
    found = [decide(document, page, PageOptions()) for page in range(3)]
    assert [type(outcome) for outcome in found] == [Taken, Taken, ToDraw]
    assert PageFlag.DAMAGED not in found[2].flags  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("mode", "depth"), [("L", 8), ("RGB", 8), ("I;16", 16)], ids=["grey", "colour", "16 bits"]
)
def test_the_depth_of_jpeg_2000_is_read(mode: str, depth: int) -> None:
    image = Image.new("I;16", (40, 30), 70) if mode == "I;16" else COLOUR.convert(mode).resize((40, 30))
    data = encoded("JPEG2000", image)
    assert jpeg2000_depth(data) == depth
    assert not jpeg2000_ends_early(data)


@pytest.mark.parametrize(
    ("mode", "space", "bare", "keys", "by_pdfium"),
    [
        ("RGBA", Name.DeviceRGB, True, {}, True), ("LA", Name.DeviceGray, True, {}, True),
        ("RGB", Name.DeviceRGB, True, {}, False), ("RGBA", Name.DeviceRGB, False, {}, False),
        ("RGBA", Name.DeviceRGB, False, {"SMaskInData": 1}, True),
    ],
    ids=["colour and alpha", "grey and alpha", "colour", "in its container", "alpha is the mask"],
)  # fmt: skip
def test_alpha_in_jpeg_2000_is_pdfium_s(
    mode: str,
    space: Name,
    bare: bool,  # noqa: FBT001 - table
    keys: dict[str, Any],
    by_pdfium: bool,  # noqa: FBT001 - table
    tmp_path: Path,
) -> None:
    image = COLOUR.convert(mode)
    data = encoded("JPEG2000", image, no_jp2=bare)
    pdf = pikepdf.new()
    add_page(
        pdf,
        images={"Im0": of(data, Name.JPXDecode, GREY, ColorSpace=space, **keys)(pdf)},
        page_keys={"Rotate": 180},
    )
    pdf.save(tmp_path / "a.pdf")
    found = decide(open_document(tmp_path / "a.pdf"), 0, PageOptions())
    assert isinstance(found, ToDraw)
    assert found.by_pdfium is by_pdfium


@pytest.mark.parametrize(
    ("width_px", "by_pdfium"), [(900, False), (800, True)], ids=["its own size", "another size"]
)
def test_a_jpeg_of_another_size_than_it_says_is_pdfium_s(
    width_px: int,
    by_pdfium: bool,  # noqa: FBT001 - table
    tmp_path: Path,
) -> None:
    pdf = pikepdf.new()
    scanned = of(JPEG, Name.DCTDecode, Width=width_px)(pdf)
    add_page(pdf, images={"Im0": scanned}, page_keys={"Rotate": 180})
    pdf.save(tmp_path / "a.pdf")
    found = decide(open_document(tmp_path / "a.pdf"), 0, PageOptions())
    assert isinstance(found, ToDraw)
    assert found.by_pdfium is by_pdfium


def test_16_bit_jpeg_2000_is_rendered(tmp_path: Path) -> None:
    image = Image.new("I;16", GREY.size, 70)
    pdf = pikepdf.new()
    add_page(pdf, images={"Im0": of(encoded("JPEG2000", image), Name.JPXDecode)(pdf)})
    pdf.save(tmp_path / "a.pdf")
    assert isinstance(decide(open_document(tmp_path / "a.pdf"), 0, PageOptions()), ToDraw)
