"""The text layer of a page becomes its text, and its absence is counted."""

from pathlib import Path

import pikepdf
import pytest

from vlm_assets.pdf.document import open_document
from vlm_assets.pdf.facts import PageFlag, PageImage, PageOptions
from vlm_assets.pdf.pool import PagePool
from vlm_assets.pdf.text_layer import clean_text, page_text
from vlm_assets_tests.pdf.builders import Dictionary, add_page, image_object, jpeg, picture, standard_font

TURKISH = standard_font("Helvetica", ["scedilla", "gbreve", "dotlessi", "Idotaccent"])


def text_page(pdf: pikepdf.Pdf, content: str, **keys: int) -> None:
    image = picture()
    scan = image_object(pdf, jpeg(image), image)
    fill = "q 216 0 0 288 0 0 cm /Im0 Do Q "
    add_page(
        pdf,
        fill + content,
        images={"Im0": scan},
        page_keys=dict(keys),
        resources={"Font": Dictionary(F2=TURKISH)},
    )


def lines(*words: str) -> str:
    return "BT 3 Tr /F2 12 Tf 14 TL 20 200 Td " + " ".join(f"({word}) Tj T*" for word in words) + " ET"


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (lines("First line", "second line"), "First line\nsecond line"),
        (lines("ya\\200l\\202 da\\201"), "yaşlı dağ"),
        (lines("\\203stanbul"), "İstanbul"),
        (lines(" "), None),
        ("", None),
    ],
    ids=["lines", "Turkish by names", "dotted capital", "blanks alone", "nothing"],
)
def test_the_hidden_text_of_a_scan_is_read(content: str, text: str | None, tmp_path: Path) -> None:
    pdf = pikepdf.new()
    text_page(pdf, content)
    pdf.save(tmp_path / "a.pdf")
    assert page_text(open_document(tmp_path / "a.pdf"), 0) == text


@pytest.mark.parametrize(
    ("told", "text"),
    [
        ("a\r\nb\rc\n", "a\nb\nc"), ("gaze\ufffe\r\nteler", "gaze-\nteler"),
        ("trailing  \r\nblanks\t", "trailing\nblanks"),
        ("nul\0 bell\x07 half\ud800", "nul bell half"), ("\ufffe", None), (" \r\n ", None), ("a\tb", "a\tb"),
    ],
)  # fmt: skip
def test_marks_that_no_text_has_are_left_out(told: str, text: str | None) -> None:
    assert clean_text(told) == text


def test_text_comes_with_taken_and_drawn_pages_where_it_is_asked_for(tmp_path: Path) -> None:
    pdf = pikepdf.new()
    text_page(pdf, lines("taken"))
    text_page(pdf, lines("drawn"), Rotate=90)
    text_page(pdf, "")
    pdf.save(tmp_path / "a.pdf")
    for wanted, texts in (("layer", ["taken", "drawn", None]), ("none", [None] * 3)):
        options = PageOptions(dpi=60, text=wanted)  # type: ignore[arg-type]  # a literal
        pool = PagePool(options, 1, tmp_path / "pages", tmp_path / "slots")
        try:
            pages = [page for page in pool.submit(tmp_path / "a.pdf").pages() if isinstance(page, PageImage)]
        finally:
            pool.close()
        assert [page.text for page in pages] == texts
        assert [PageFlag.NO_TEXT in page.flags for page in pages] == [
            wanted == "layer" and not t for t in texts
        ]
