"""What Poppler's releases draw differently is pdfium's: which features, and wherever they stand."""

from collections.abc import Callable
from pathlib import Path

import pikepdf
import pytest

from vlm_assets.pdf.decide import ToDraw, decide
from vlm_assets.pdf.disputed import DisputeReader
from vlm_assets.pdf.document import open_document
from vlm_assets.pdf.facts import PageOptions
from vlm_assets_tests.pdf.builders import Array, Dictionary, Name, add_page, build

GREY = [Name.CalGray, Dictionary(WhitePoint=Array([0.95, 1, 1.09]))]


def state(**keys: object) -> Dictionary:
    return Dictionary(ExtGState=Dictionary(G0=Dictionary({f"/{key}": value for key, value in keys.items()})))


def colours(*space: object) -> Dictionary:
    return Dictionary(ColorSpace=Dictionary(C0=Array(list(space))))


def form(pdf: pikepdf.Pdf, **group: object) -> Dictionary:
    keys = {f"/{key}": value for key, value in group.items()}
    drawn = {"/Subtype": Name.Form, "/Group": Dictionary({"/S": Name.Transparency, **keys})}
    return Dictionary(XObject=Dictionary(F0=pdf.make_stream(b"", drawn)))


def pattern(pdf: pikepdf.Pdf, kind: int) -> Dictionary:
    keys = {"/PatternType": kind, "/Resources": Dictionary()}
    return Dictionary(Pattern=Dictionary(P0=pdf.make_stream(b"", keys)))


FEATURES: dict[str, tuple[Callable[[pikepdf.Pdf], Dictionary], bool]] = {
    "nothing": (lambda _: Dictionary(), False),
    "multiply": (lambda _: state(BM=Name.Multiply, ca=0.5), False),
    "hue": (lambda _: state(BM=Name.Hue), True),
    "saturation": (lambda _: state(BM=Name.Saturation), True),
    "colour": (lambda _: state(BM=Name.Color), True),
    "luminosity": (lambda _: state(BM=Name.Luminosity), True),
    "one of several modes": (lambda _: state(BM=Array([Name.Unheard, Name.Hue])), True),
    "plain group": (lambda pdf: form(pdf, I=True), False),
    "no knockout": (lambda pdf: form(pdf, K=False), False),
    "knockout": (lambda pdf: form(pdf, K=True), True),
    "tiling": (lambda pdf: pattern(pdf, 1), True),
    "shading pattern": (lambda _: Dictionary(Pattern=Dictionary(P0=Dictionary(PatternType=2))), False),
    "calibrated grey": (lambda _: colours(*GREY), True),
    "calibrated colour": (lambda _: colours(Name.CalRGB, GREY[1]), False),
    "palette of calibrated grey": (
        lambda _: colours(Name.Indexed, Array(GREY), 1, pikepdf.String(b"\0\xff")), True,
    ),
    "palette": (lambda _: colours(Name.Indexed, Name.DeviceGray, 1, pikepdf.String(b"\0\xff")), False),
    "image of calibrated grey": (
        lambda pdf: Dictionary(
            XObject=Dictionary(
                I0=pdf.make_stream(b"", {"/Subtype": Name.Image, "/ColorSpace": Array(GREY)})
            )
        ),
        True,
    ),
    "no dictionary": (lambda _: Dictionary(ExtGState=Array([1]), ColorSpace=Dictionary(C0=Array([]))), False),
}  # fmt: skip


@pytest.mark.parametrize("place", ["page", "form", "annotation"])
@pytest.mark.parametrize("feature", FEATURES)
def test_a_feature_is_found_wherever_it_stands(feature: str, place: str) -> None:
    make, disputed = FEATURES[feature]
    pdf = pikepdf.new()
    page = add_page(pdf, "")
    holder = make(pdf)
    inside = pdf.make_stream(b"", {"/Subtype": Name.Form, "/Resources": holder})
    if place == "page":
        page.obj.Resources = holder
    elif place == "form":
        page.obj.Resources = Dictionary(XObject=Dictionary(F9=inside))
    else:
        page.obj.Annots = Array([Dictionary(Subtype=Name.Stamp, AP=Dictionary(N=inside))])
    assert DisputeReader().disputed(page) is disputed


def test_a_knockout_form_may_be_the_annotation_itself() -> None:
    pdf = pikepdf.new()
    page = add_page(pdf, "")
    drawn = form(pdf, K=True).XObject.F0
    page.obj.Annots = Array([Dictionary(Subtype=Name.Stamp, AP=Dictionary(N=drawn))])
    assert DisputeReader().disputed(page)


def test_only_such_pages_are_pdfium_s(tmp_path: Path) -> None:
    def make(pdf: pikepdf.Pdf) -> None:
        shared = pdf.make_indirect(state(BM=Name.Hue))
        for resources in (Dictionary(), shared, shared, state(BM=Name.Multiply)):
            page = add_page(pdf, "0.5 g 10 10 50 50 re f")
            page.obj.Resources = resources

    document = open_document(build(tmp_path / "a.pdf", make))
    decided = [decide(document, page, PageOptions()) for page in range(4)]
    assert [isinstance(one, ToDraw) and one.by_pdfium for one in decided] == [False, True, True, False]
    document.close()
