"""Pages whose documents lack their fonts: drawn with the product's, whatever the machine has, and told."""

import io
import os
import shutil
import subprocess
from pathlib import Path

import pikepdf
import pytest
from PIL import Image, ImageChops

from vlm_assets.pdf import fonts, pdfium_fonts
from vlm_assets.pdf.facts import PageFlag, PageImage, PageOptions
from vlm_assets.pdf.fonts import DIGESTS, FOLDER, Family, check_fonts, family_of, renderer_environment
from vlm_assets.pdf.glyph_names import has_glyph
from vlm_assets.pdf.page_fonts import FontNeeds, FontReader
from vlm_assets.pdf.pool import PagePool
from vlm_assets.words.errors import OperationError
from vlm_assets_tests.pdf.builders import Array, Dictionary, Name, add_page, build, standard_font

RENDERERS = ("poppler", "pdfium")
TURKISH = ("scedilla", "gbreve", "Idotaccent", "Scedilla", "Gbreve", "dotlessi", "ccedilla", "udieresis")
TRANSCRIPTION = ("uni1E25", "uni1E2B", "uni1E6D", "uni1E93", "amacron", "umacron", "uni02BF")
BASE_FONTS = {
    "Courier": "LiberationMono-Regular", "Courier-Bold": "LiberationMono-Bold",
    "Courier-Oblique": "LiberationMono-Italic", "Courier-BoldOblique": "LiberationMono-BoldItalic",
    "Helvetica": "LiberationSans-Regular", "Helvetica-Bold": "LiberationSans-Bold",
    "Helvetica-Oblique": "LiberationSans-Italic", "Helvetica-BoldOblique": "LiberationSans-BoldItalic",
    "Times-Roman": "LiberationSerif-Regular", "Times-Bold": "LiberationSerif-Bold",
    "Times-Italic": "LiberationSerif-Italic", "Times-BoldItalic": "LiberationSerif-BoldItalic",
}  # fmt: skip
OTHER_FONTS = {
    "ArialMT": "LiberationSans-Regular", "Arial,Bold": "LiberationSans-Bold",
    "TimesNewRomanPSMT": "LiberationSerif-Regular", "TimesNewRoman,BoldItalic": "LiberationSerif-BoldItalic",
    "CourierNewPSMT": "LiberationMono-Regular", "BookAntiqua": "LiberationSerif-Regular",
    "Garamond-Italic": "LiberationSerif-Italic", "MSSansSerif": "LiberationSans-Regular",
    "LucidaConsole": "LiberationMono-Regular", "CenturyGothic": "LiberationSans-Regular",
    "NobodyKnows": "LiberationSans-Regular", "Symbol": "DejaVuSans", "ZapfDingbats": "DejaVuSans",
}  # fmt: skip


def rendered(path: Path, folder: Path, renderer: str, dpi: int = 72) -> list[PageImage]:
    options = PageOptions(dpi=dpi, renderer=renderer, embedded="never")  # type: ignore[arg-type]
    pool = PagePool(options, 1, folder / "pages", folder / "slots")
    kept = []
    try:
        for page in pool.submit(path).pages():
            assert isinstance(page, PageImage), page
            shutil.copy(page.file, folder / f"{renderer}-{page.page}.jpg")
            kept.append(page)
    finally:
        pool.close()
    return kept


def text_page(pdf: pikepdf.Pdf, font: pikepdf.Object, text: str) -> None:
    content = f"BT /F1 20 Tf 10 20 Td ({text}) Tj ET"
    add_page(pdf, content, (240, 60), resources={"Font": Dictionary(F1=font)})


def embedded_font(pdf: pikepdf.Pdf, file: str = "LiberationSans-Regular.ttf") -> Dictionary:
    descriptor = Dictionary(
        Type=Name.FontDescriptor, FontName=Name.Own, Flags=32, FontBBox=Array([0, -300, 1000, 1000]),
        ItalicAngle=0, Ascent=900, Descent=-300, CapHeight=700, StemV=80,
        FontFile2=pdf.make_stream((FOLDER / file).read_bytes()),
    )  # fmt: skip
    return Dictionary(
        Type=Name.Font, Subtype=Name.TrueType, BaseFont=Name.Own, FirstChar=32, LastChar=126,
        Widths=Array([600] * 95), Encoding=Name.WinAnsiEncoding, FontDescriptor=pdf.make_indirect(descriptor),
    )  # fmt: skip


def composite_font(
    pdf: pikepdf.Pdf, encoding: str, ordering: str, *, embedded: bool = False
) -> pikepdf.Dictionary:
    descendant = Dictionary(
        Type=Name.Font, Subtype=Name.CIDFontType2, BaseFont=Name.Own, DW=600,
        CIDSystemInfo=Dictionary(Registry=pikepdf.String("Adobe"), Ordering=pikepdf.String(ordering), Supplement=0),
    )  # fmt: skip
    if embedded:
        descendant.FontDescriptor = embedded_font(pdf).FontDescriptor
        descendant.CIDToGIDMap = Name.Identity
    return Dictionary(
        Type=Name.Font, Subtype=Name.Type0, BaseFont=Name.Own, Encoding=Name(f"/{encoding}"),
        DescendantFonts=Array([pdf.make_indirect(descendant)]),
    )  # fmt: skip


def test_the_font_files_are_small_whole_and_licensed() -> None:
    check_fonts()
    assert {path.name for path in FOLDER.glob("*.ttf")} == set(DIGESTS)
    assert all((FOLDER / name).stat().st_size < 1_000_000 for name in DIGESTS)
    assert {path.name for path in FOLDER.glob("LICENCE*")} == {"LICENCE-DejaVu.txt", "LICENCE-Liberation.txt"}


@pytest.mark.parametrize("damage", ["missing", "changed"])
def test_a_damaged_font_file_is_named_before_anything_is_drawn(
    damage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tmp_path / "files"
    shutil.copytree(FOLDER, copy)
    victim = copy / "LiberationSerif-Bold.ttf"
    victim.unlink()
    if damage == "changed":
        victim.write_bytes((FOLDER / "LiberationSerif-Italic.ttf").read_bytes())
    monkeypatch.setattr(fonts, "FOLDER", copy)
    check_fonts.cache_clear()
    try:
        with pytest.raises(OperationError, match=r"LiberationSerif-Bold\.ttf.*install"):
            PagePool(PageOptions(), 1, tmp_path / "pages", tmp_path / "slots")
    finally:
        check_fonts.cache_clear()


@pytest.mark.parametrize(
    ("name", "family"),
    [
        ("Times-Roman", Family.SERIF), ("MS Sans Serif", Family.SANS), ("DejaVu Sans Mono", Family.MONO),
        ("CenturySchoolbook", Family.SERIF), ("CenturyGothic", Family.SANS), ("Wingdings", Family.SYMBOLS),
        ("ABCDEF+GEORGIA", Family.SERIF), ("NobodyKnows", None), ("", None),
    ],
)  # fmt: skip
def test_a_name_tells_the_family(name: str, family: Family | None) -> None:
    assert family_of(name) is family


def test_no_word_stands_in_the_family_of_an_earlier_line() -> None:
    families = [family for family, _ in fonts._WORDS]
    for place, (_, words) in enumerate(fonts._WORDS):
        earlier = " ".join(families[:place]).lower()
        assert [word for word in words if word in earlier] == []


@pytest.mark.parametrize(("name", "file"), [*BASE_FONTS.items(), *OTHER_FONTS.items()])
def test_poppler_finds_the_product_s_file_and_no_other(name: str, file: str, tmp_path: Path) -> None:
    path = build(tmp_path / "a.pdf", lambda pdf: text_page(pdf, standard_font(name), "a"))
    told = subprocess.run(
        ["pdffonts", "-subst", path], env=renderer_environment(tmp_path / "fonts"),
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert told.rstrip().splitlines()[-1].endswith(f"{FOLDER}/{file}.ttf")


@pytest.mark.parametrize(("name", "file"), BASE_FONTS.items())
def test_pdfium_gets_the_file_that_poppler_gets(name: str, file: str) -> None:
    bold, italic = "Bold" in file, "Italic" in file
    weight = 700 if bold else 400
    assert pdfium_fonts.font_file(name, weight=weight, italic=italic, charset=0, pitch=0) == f"{file}.ttf"


@pytest.mark.parametrize(
    ("name", "charset", "pitch", "file"),
    [
        ("NobodyKnows", 0, 0, "LiberationSans-Regular.ttf"), ("NobodyKnows", 0, 1, "LiberationMono-Regular.ttf"),
        ("NobodyKnows", 0, 16, "LiberationSerif-Regular.ttf"), ("Times-Roman", 178, 16, "DejaVuSans.ttf"),
        ("MS-Mincho", 128, 0, None), ("Wingdings", 2, 0, None), ("Arial", 162, 0, "LiberationSans-Regular.ttf"),
    ],
)  # fmt: skip
def test_what_pdfium_describes_is_mapped(name: str, charset: int, pitch: int, file: str | None) -> None:
    assert pdfium_fonts.font_file(name, weight=400, italic=False, charset=charset, pitch=pitch) == file


@pytest.mark.parametrize("renderer", RENDERERS)
def test_every_letter_of_turkish_and_of_transcription_is_drawn(renderer: str, tmp_path: Path) -> None:
    letters = (*TURKISH, *TRANSCRIPTION)

    def make(pdf: pikepdf.Pdf) -> None:
        for name in BASE_FONTS:
            font = pdf.make_indirect(standard_font(name, letters))
            for place in range(len(letters)):
                content = f"BT /F1 60 Tf 10 20 Td (\\{128 + place:o}) Tj ET"
                add_page(pdf, content, (70, 80), resources={"Font": Dictionary(F1=font)})

    path = build(tmp_path / "a.pdf", make)
    pages = rendered(path, tmp_path, renderer)
    blank = [
        (list(BASE_FONTS)[page.page // len(letters)], letters[page.page % len(letters)])
        for page in pages
        if PageFlag.BLANK in page.flags
    ]
    assert blank == []
    assert all(PageFlag.SUBSTITUTED in page.flags and PageFlag.NO_GLYPH not in page.flags for page in pages)


@pytest.mark.parametrize("renderer", RENDERERS)
def test_an_unembedded_font_looks_as_if_it_were_embedded(renderer: str, tmp_path: Path) -> None:
    def make(pdf: pikepdf.Pdf) -> None:
        own = embedded_font(pdf)
        own.Widths = Array([556] * 95)
        text_page(pdf, own, "aaeeuu")
        text_page(pdf, standard_font("Helvetica"), "aaeeuu")

    rendered(build(tmp_path / "a.pdf", make), tmp_path, renderer)
    first, second = (Image.open(tmp_path / f"{renderer}-{page}.jpg").convert("L") for page in (0, 1))
    with first, second:
        assert ImageChops.difference(first, second).getextrema()[1] < 128  # type: ignore[operator]
        assert first.getextrema()[0] < 64  # type: ignore[operator]


@pytest.mark.parametrize("renderer", RENDERERS)
def test_nothing_of_the_system_decides_the_pixels(
    renderer: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def make(pdf: pikepdf.Pdf) -> None:
        for name in (*BASE_FONTS, *OTHER_FONTS):
            text_page(pdf, standard_font(name, TURKISH), "abc \\200\\201\\202")

    path = build(tmp_path / "a.pdf", make)
    plain = [page.digest for page in rendered(path, tmp_path, renderer)]
    home = tmp_path / "home"
    (home / ".fonts").mkdir(parents=True)
    for number, file in enumerate(FOLDER.glob("*Bold*.ttf")):
        shutil.copy(file, home / ".fonts" / f"{number}.ttf")
    (home / "fonts.conf").write_text(f"<fontconfig><dir>{home}/.fonts</dir></fontconfig>")
    hostile = {
        "HOME": str(home), "XDG_CONFIG_HOME": str(home), "FONTCONFIG_FILE": str(home / "fonts.conf"),
        "FONTCONFIG_PATH": str(home), "FC_LANG": "ja", "LC_ALL": "tr_TR.UTF-8", "LANG": "ja_JP.UTF-8",
        "FREETYPE_PROPERTIES": "truetype:interpreter-version=35",
    }  # fmt: skip
    for name, value in hostile.items():
        monkeypatch.setenv(name, value)
    assert [page.digest for page in rendered(path, tmp_path, renderer)] == plain
    assert os.environ["FC_LANG"] == "ja"


@pytest.mark.parametrize(
    ("encoding", "ordering", "embedded", "renderer"),
    [
        ("Identity-H", "Identity", True, "poppler"), ("Identity-V", "Identity", True, "poppler"),
        ("UniJIS-UCS2-H", "Japan1", True, "pdfium"), ("GBK-EUC-H", "GB1", True, "pdfium"),
        ("Identity-H", "Japan1", False, "pdfium"), ("Identity-H", "Identity", False, "poppler"),
        ("Identity-H", "Japan1", True, "pdfium"), ("Identity-V", "Korea1", True, "pdfium"),
    ],
)  # fmt: skip
def test_character_maps_that_a_machine_may_lack_are_pdfium_s(
    encoding: str,
    ordering: str,
    embedded: bool,  # noqa: FBT001 - table
    renderer: str,
    tmp_path: Path,
) -> None:
    def make(pdf: pikepdf.Pdf) -> None:
        text_page(pdf, standard_font("Helvetica"), "before")
        text_page(pdf, composite_font(pdf, encoding, ordering, embedded=embedded), "\\000\\044\\000\\045")
        text_page(pdf, standard_font("Helvetica"), "after")

    pages = rendered(build(tmp_path / "a.pdf", make), tmp_path, "poppler")
    assert [page.method for page in pages] == [
        "rendered by poppler", f"rendered by {renderer}", "rendered by poppler"
    ]  # fmt: skip
    assert (PageFlag.NO_GLYPH in pages[1].flags) is not embedded


def type3_font(pdf: pikepdf.Pdf) -> Dictionary:
    return Dictionary(
        Type=Name.Font, Subtype=Name.Type3, FontBBox=Array([0, 0, 9, 9]), FontMatrix=Array([1, 0, 0, 1, 0, 0]),
        CharProcs=Dictionary(a=pdf.make_stream(b"0 0 5 5 re f")), FirstChar=97, LastChar=97, Widths=Array([9]),
        Encoding=Dictionary(Type=Name.Encoding, Differences=Array([97, Name.a])),
    )  # fmt: skip


NEEDS = {
    "standard": (lambda _: standard_font("Helvetica"), FontNeeds(substituted=True)),
    "turkish": (lambda _: standard_font("Times-Roman", TURKISH), FontNeeds(substituted=True)),
    "unknown glyph": (
        lambda _: standard_font("Helvetica", ["a", "ThaiCharacterKoKai"]),
        FontNeeds(substituted=True, no_glyph=True),
    ),
    "dingbats": (lambda _: standard_font("ZapfDingbats", ["a12", "a13"]), FontNeeds(substituted=True)),
    "embedded": (embedded_font, FontNeeds()),
    "type 3": (type3_font, FontNeeds()),
    "no descendant": (
        lambda _: Dictionary(Type=Name.Font, Subtype=Name.Type0, Encoding=Name("/Identity-H")),
        FontNeeds(substituted=True, no_glyph=True, character_maps=True),
    ),
    "no font": (lambda _: Array([1]), FontNeeds()),
}


@pytest.mark.parametrize("case", NEEDS)
@pytest.mark.parametrize("place", ["page", "form", "pattern", "annotation"])
def test_what_a_page_needs_is_found_wherever_the_font_stands(case: str, place: str) -> None:
    make, expected = NEEDS[case]
    pdf = pikepdf.new()
    holder = Dictionary(Font=Dictionary(F1=pdf.make_indirect(make(pdf))))
    form = pdf.make_stream(b"", {"/Subtype": Name.Form, "/Resources": holder})
    page = add_page(pdf, "")
    if place == "page":
        page.obj.Resources = holder
    elif place == "annotation":
        page.obj.Annots = Array([Dictionary(Subtype=Name.Stamp, AP=Dictionary(N=form))])
    else:
        kind = {"form": "/XObject", "pattern": "/Pattern"}[place]
        page.obj.Resources[kind] = Dictionary({"/X": form})
    assert FontReader().needs(page) == expected


def test_forms_that_hold_themselves_end() -> None:
    pdf = pikepdf.new()
    form = pdf.make_stream(b"", {"/Subtype": Name.Form})
    form.Resources = Dictionary(
        XObject=Dictionary(X=form), Font=Dictionary(F1=standard_font("Helvetica"))
    )  # fmt: skip
    page = add_page(pdf, "", images={"X": form})
    assert FontReader().needs(page) == FontNeeds(substituted=True)


@pytest.mark.parametrize(
    ("name", "there"),
    [
        *[(name, True) for name in (*TURKISH, *TRANSCRIPTION)],
        ("A", True), ("Idot", True), ("fi", True), ("a.alt", True), (".notdef", True), ("u0131", True),
        ("Alpha", True), ("uni4E00", False), ("kokai", False), ("g12", False), ("", False),
    ],
)  # fmt: skip
def test_the_glyphs_of_the_fonts_are_known_by_name(name: str, there: bool) -> None:  # noqa: FBT001 - table
    assert has_glyph(name) is there


def test_the_tables_of_every_file_can_be_read() -> None:
    from PIL import ImageFont

    for name in DIGESTS:
        family, style = ImageFont.truetype(io.BytesIO(fonts.font_bytes(name)), 10).getname()
        assert f"{family} {style}".replace(" Book", "").replace(" ", "") in {
            name.removesuffix(".ttf").replace("-", ""), name.removesuffix(".ttf").replace("-Regular", "Regular")
        }  # fmt: skip
        assert fonts.font_table(name, "cmap")[:2] == b"\0\0"
        assert fonts.font_table(name, "none") == b""
