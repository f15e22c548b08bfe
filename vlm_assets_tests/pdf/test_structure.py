"""What is known of a page before it is drawn: every object read once, and no more pixels than its scan has."""

import zlib
from pathlib import Path
from typing import Any

import pikepdf
import pytest

from vlm_assets.pdf.decide import Refused, Taken, ToDraw, decide
from vlm_assets.pdf.document import open_document
from vlm_assets.pdf.facts import PageFlag, PageImage, PageOptions
from vlm_assets.pdf.operators import MAX_CONTENT_BYTES, operators_end
from vlm_assets.pdf.page_fonts import FontReader
from vlm_assets.pdf.pool import PagePool
from vlm_assets.pdf.resources import reached
from vlm_assets.pdf.structure import ImageFinder, PageLook, look_at
from vlm_assets.words.errors import RejectReason
from vlm_assets_tests.pdf.builders import (
    Array,
    Dictionary,
    Name,
    add_page,
    image_object,
    jpeg,
    picture,
    standard_font,
)


def form(pdf: pikepdf.Pdf, content: bytes, **resources: Any) -> pikepdf.Object:
    made = pdf.make_stream(content)
    made.Type, made.Subtype, made.BBox = Name.XObject, Name.Form, Array([0, 0, 216, 288])
    made.Resources = Dictionary(**resources)
    return pdf.make_indirect(made)


def ladder(pdf: pikepdf.Pdf, levels: int, last: dict[str, Any], content: bytes = b"") -> pikepdf.Object:
    """A form that leads to the next by two names, `levels` deep: 2^levels paths."""
    rung = form(pdf, b"", **last)
    for _ in range(levels):
        rung = form(pdf, content, XObject=Dictionary(A=rung, B=rung), Pattern=Dictionary(P=rung))
    return rung


def ring(pdf: pikepdf.Pdf) -> pikepdf.Object:
    """Two forms that lead to each other, and hold one indirect resource dictionary."""
    first, second = form(pdf, b""), form(pdf, b"")
    shared = pdf.make_indirect(Dictionary(XObject=Dictionary(A=first, B=second)))
    first.Resources = second.Resources = shared
    return first


@pytest.mark.parametrize("levels", [3, 60])
def test_every_dictionary_is_reached_once(levels: int) -> None:
    pdf = pikepdf.new()
    page = add_page(pdf, images={"Fm0": ladder(pdf, levels, {})})
    found = list(reached([page.resources]))
    assert len(found) == levels + 2
    assert sum(len(drawn) for _, drawn in found) == levels + 1


def test_what_leads_to_itself_ends() -> None:
    pdf = pikepdf.new()
    page = add_page(pdf, images={"Fm0": ring(pdf)})
    assert len(list(reached([page.resources, page.resources]))) == 3  # the page's own, being direct, twice


def test_images_and_fonts_are_found_at_the_end_of_any_ladder() -> None:
    pdf = pikepdf.new()
    image = picture()
    held = {
        "XObject": Dictionary(Im0=image_object(pdf, jpeg(image), image)),
        "Font": Dictionary(F1=standard_font("Arial")),
    }
    page = add_page(pdf, images={"Fm0": ladder(pdf, 60, held)})
    assert ImageFinder().has_images(page.resources)
    assert FontReader().needs(page).substituted
    bare = add_page(pdf, images={"Fm0": ladder(pdf, 60, {})})
    assert not ImageFinder().has_images(bare.resources)


def looked_at(pdf: pikepdf.Pdf, content: str, **images: pikepdf.Object) -> PageLook:
    image = picture()
    scan = image_object(pdf, jpeg(image), image)
    return look_at(add_page(pdf, content, images={"Im0": scan, **images}), ImageFinder())


@pytest.mark.parametrize("content", [b"/A Do /B Do", b"/A Do " * 100, b" " * 1000 + b"/A Do " * 50])
def test_forms_that_draw_forms_are_read_within_bounds(content: bytes) -> None:
    pdf = pikepdf.new()
    look = looked_at(pdf, "/Fm0 Do " * 200, Fm0=ladder(pdf, 20, {}, content))
    assert look.content is not None
    assert look.content.marks
    assert look.content.one is None


def test_packed_operators_are_counted_unpacked() -> None:
    pdf = pikepdf.new()
    look = looked_at(pdf, "q Q " * (MAX_CONTENT_BYTES // 4 + 1) + "q 216 0 0 288 0 0 cm /Im0 Do Q")
    assert look.content is not None
    assert look.content.refusal == "large content streams"


SCAN = jpeg(picture())
FILL = "q {0} 0 0 {1} 0 0 cm /Im0 Do Q"
LINES = " BT /F1 12 Tf 20 20 Td (stamp) Tj ET"


@pytest.mark.parametrize(
    ("size_pt", "rotate", "content", "rule", "dpi", "flags"),
    [
        ((900, 1200), 0, FILL, (1.0, 400.0), Taken, []),
        ((675, 900), 0, FILL, (1.0, 400.0), Taken, []),
        ((900, 1200), 0, FILL, (250.0, 400.0), 72, []),
        ((900, 1200), 0, FILL, "never", 72, []),
        ((900, 1200), 90, FILL, (1.0, 400.0), 72, []),
        ((675, 900), 90, FILL, (1.0, 400.0), 96, []),
        ((900, 1200), 0, FILL + " BT 3 Tr /F1 12 Tf 20 20 Td (hidden) Tj ET", "never", 72, []),
        ((900, 1200), 0, FILL + LINES, (1.0, 400.0), 300, [PageFlag.ENLARGED, PageFlag.SUBSTITUTED]),
        ((216, 288), 0, FILL + LINES, (1.0, 400.0), 300, [PageFlag.SUBSTITUTED]),
        ((108, 144), 0, FILL, (1.0, 400.0), 300, []),
        ((900, 600), 0, FILL, (1.0, 400.0), 144, [PageFlag.ENLARGED]),
        ((900, 1200), 0, "q 90 0 0 120 0 0 cm /Im0 Do Q" + LINES, (1.0, 400.0), 300, [PageFlag.SUBSTITUTED]),
        ((900, 1200), 0, LINES, (1.0, 400.0), 300, [PageFlag.SUBSTITUTED]),
        ((900, 1200), 0, "q 0 1200 -900 0 900 0 cm /Im0 Do Q", (1.0, 400.0), 96, [PageFlag.ENLARGED]),
    ],
    ids=[
        "1 px is 1 pt", "96 dpi", "outside the range", "never taken", "rotated", "rotated, 96 dpi", "hidden text",
        "text over it", "text over a fine one", "finer than wanted", "fax pixels", "a small picture beside text",
        "no picture", "turned by its matrix",
    ],
)  # fmt: skip
def test_a_page_has_no_more_pixels_than_its_scan_without_a_flag(
    size_pt: tuple[int, int],
    rotate: int,
    content: str,
    rule: Any,
    dpi: Any,
    flags: list[PageFlag],
    tmp_path: Path,
) -> None:
    pdf, image = pikepdf.new(), picture()
    scan = image_object(pdf, jpeg(image), image)
    text = content.replace("{0}", str(size_pt[0])).replace("{1}", str(size_pt[1]))
    add_page(pdf, text, size_pt, {"Im0": scan}, {"Rotate": rotate} if rotate else {})
    pdf.save(tmp_path / "a.pdf")
    outcome = decide(open_document(tmp_path / "a.pdf"), 0, PageOptions(embedded=rule))
    if dpi is Taken:
        assert isinstance(outcome, Taken)
        assert (outcome.image.width_px, outcome.image.height_px) == image.size
    else:
        assert isinstance(outcome, ToDraw)
        assert outcome.dpi == pytest.approx(dpi)
        assert outcome.flags == flags


def inline(keys: str, data: bytes, matrix: str = "90 0 0 120 0 0") -> bytes:
    return f"q {matrix} cm BI {keys} ID ".encode() + data + b"\nEI Q"


INLINE = jpeg(picture("L").resize((180, 240)))
JPEG_KEYS = "/W 180 /H 240 /BPC 8 /CS /G /F /DCT"
RAW_KEYS = "/Width 180 /Height 240 /BitsPerComponent 8 /ColorSpace /Cs1"


@pytest.mark.parametrize(
    ("content", "outcome"),
    [
        (inline(JPEG_KEYS, INLINE), Taken),
        (inline(RAW_KEYS, picture("L").resize((180, 240)).tobytes()), Taken),
        (inline(JPEG_KEYS, INLINE[:2000]), Refused),
        (inline(JPEG_KEYS, INLINE) + b" 0 0 9 9 re f", [PageFlag.ENLARGED]),
        (inline(JPEG_KEYS, INLINE, "0 120 -90 0 90 0"), [PageFlag.ENLARGED]),
        (inline(JPEG_KEYS, INLINE, "9 0 0 12 0 0"), []),
        (b"".join(inline("/W 8 /H 8 /IM true", bytes(8), f"1 0 0 1 {n} 0") for n in range(99)), []),
    ],
    ids=["the page", "by named colours", "cut", "with a line over it", "turned", "small", "letters"],
)
def test_a_scan_may_stand_in_the_operators(content: bytes, outcome: Any, tmp_path: Path) -> None:
    pdf = pikepdf.new()
    page = add_page(pdf, "", (90, 120), resources={"ColorSpace": Dictionary(Cs1=Name.DeviceGray)})
    page.obj.Contents = pdf.make_stream(content)
    pdf.save(tmp_path / "a.pdf")
    found = decide(open_document(tmp_path / "a.pdf"), 0, PageOptions())
    if isinstance(outcome, list):
        assert isinstance(found, ToDraw)
        assert found.flags == outcome
    else:
        assert isinstance(found, outcome)
    if isinstance(found, Taken):
        assert (found.image.width_px, found.image.height_px, found.dpi) == (180, 240, 144)


LINES_AT_RANDOM = " ".join(f"{n * n % 997} {n * 7919 % 991} 9 9 re f" for n in range(300))
OPERATORS = zlib.compress(LINES_AT_RANDOM.encode())


@pytest.mark.parametrize(
    ("data", "whole"),
    [
        (OPERATORS, True), (OPERATORS[:-4], True), (OPERATORS[:-4] + b"none", True), (OPERATORS + b"\r\n", True),
        (b"", True), (b"\n", True), (zlib.compress(b""), True), (b"plain operators", True),
        (OPERATORS[: len(OPERATORS) // 2], False), (OPERATORS[:3], False),
        (OPERATORS[:2] + b"\xff" + OPERATORS[3:], False),
    ],
    ids=[
        "whole", "no checksum", "another checksum", "a line end behind", "nothing", "a line end", "packed nothing",
        "not packed", "half", "a header", "damaged",
    ],
)  # fmt: skip
@pytest.mark.parametrize("encrypted", [False, True])
def test_operators_that_end_early_are_half_a_page(
    data: bytes,
    whole: bool,  # noqa: FBT001 - table
    encrypted: bool,  # noqa: FBT001 - table
    tmp_path: Path,
) -> None:
    pdf = pikepdf.new()
    page = add_page(pdf, "")
    page.obj.Contents = pdf.make_stream(data, {"/Filter": Name.FlateDecode})
    how: dict[str, Any] = {"stream_decode_level": pikepdf.StreamDecodeLevel.none}
    if encrypted:
        how = {"encryption": pikepdf.Encryption(owner="o", user="")}
    pdf.save(tmp_path / "a.pdf", compress_streams=False, **how)
    document = open_document(tmp_path / "a.pdf")
    assert document.structure is not None
    assert operators_end(document.structure.pages[0]) is whole
    found = decide(document, 0, PageOptions())
    assert isinstance(found, ToDraw if whole else Refused)
    if isinstance(found, Refused):
        assert found.reason is RejectReason.TRUNCATED


@pytest.mark.parametrize("more", ["", " BT /F1 12 Tf (words) Tj ET"], ids=["alone", "beside text"])
def test_a_picture_that_is_missing_is_noticed(more: str, tmp_path: Path) -> None:
    pdf = pikepdf.new()
    add_page(pdf, FILL.format(216, 288) + more)
    pdf.save(tmp_path / "a.pdf")
    found = decide(open_document(tmp_path / "a.pdf"), 0, PageOptions())
    assert isinstance(found, ToDraw)
    assert found.pictures
    assert found.damage is not None
    assert (found.damage.reason, found.damage.certain) == (RejectReason.CORRUPT, False)


def test_of_several_layers_the_finest_counts(tmp_path: Path) -> None:
    """A coarse background under a fine mask of the letters: as scanners pack a page."""
    pdf, coarse, fine = pikepdf.new(), picture("RGB").resize((300, 400)), picture("1")
    mask = image_object(pdf, zlib.compress(fine.tobytes()), fine, Name.FlateDecode, ImageMask=True)
    del mask.ColorSpace
    layers = {"Im0": image_object(pdf, jpeg(coarse), coarse), "Im1": mask}
    place = FILL.format(216, 288)
    add_page(pdf, f"{place} 0 g {place.replace('Im0', 'Im1')}", images=layers)
    pdf.save(tmp_path / "a.pdf")
    found = decide(open_document(tmp_path / "a.pdf"), 0, PageOptions())
    assert isinstance(found, ToDraw)
    assert (found.dpi, found.flags) == (300, [])


@pytest.mark.parametrize(("data", "outcome"), [(SCAN, ToDraw), (SCAN[:9000], Refused)], ids=["whole", "cut"])
def test_a_scan_may_be_a_pattern(data: bytes, outcome: type, tmp_path: Path) -> None:
    pdf, image = pikepdf.new(), picture()
    pattern = form(
        pdf, FILL.format(900, 1200).encode(), XObject=Dictionary(Im0=image_object(pdf, data, image))
    )
    pattern.PatternType, pattern.PaintType, pattern.TilingType = 1, 1, 1
    pattern.BBox, pattern.XStep, pattern.YStep = Array([0, 0, 900, 1200]), 900, 1200
    fill = "/Pattern cs /P0 scn 0 0 900 1200 re f"
    add_page(pdf, fill, (900, 1200), resources={"Pattern": Dictionary(P0=pattern)})
    pdf.save(tmp_path / "a.pdf")
    found = decide(open_document(tmp_path / "a.pdf"), 0, PageOptions())
    assert isinstance(found, outcome)
    if isinstance(found, ToDraw):
        assert found.flags == [PageFlag.ENLARGED]


@pytest.mark.parametrize("renderer", ["poppler", "pdfium"])
def test_a_scan_that_must_be_drawn_has_its_own_pixels(renderer: Any, tmp_path: Path) -> None:
    pdf, image = pikepdf.new(), picture()
    scan = image_object(pdf, jpeg(image), image)
    for width, height in ((900, 1200), (675, 900), (333.33, 444.44)):
        add_page(pdf, FILL.format(width, height), (width, height), {"Im0": scan}, {"Rotate": 180})
    pdf.save(tmp_path / "a.pdf")
    pool = PagePool(PageOptions(renderer=renderer), 1, tmp_path / "pages", tmp_path / "slots")
    try:
        pages = list(pool.submit(tmp_path / "a.pdf").pages())
    finally:
        pool.close()
    assert all(isinstance(page, PageImage) for page in pages)
    assert [(page.width_px, page.height_px) for page in pages if isinstance(page, PageImage)] == [
        image.size
    ] * 3
    assert [page.dpi for page in pages if isinstance(page, PageImage)] == [72, 96, 194]
