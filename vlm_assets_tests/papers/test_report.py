"""The report: whole, of one file, without scripts, whatever labels and words say."""

import base64
import io
import os
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from typer.testing import CliRunner

from vlm_assets.allocation.step import allocate
from vlm_assets.cli import app
from vlm_assets.corpus.build import build_corpus
from vlm_assets.images.png import encode_image
from vlm_assets.papers import report, write
from vlm_assets.papers.charts import bar_chart
from vlm_assets.papers.report import contamination_table
from vlm_assets.papers.write import Written, write_papers
from vlm_assets.store.papers import DERIVED_FILES, read_papers
from vlm_assets_tests.audit.breaking import TARGET, good_once
from vlm_assets_tests.browser import Browser, available
from vlm_assets_tests.workplace import STREET, fill, ingest, install, picture

EVIL = "<script>alert(1)</script>"
LABEL = '<script>alert(1)<b x="y">\''
SECTIONS = [
    "composition", "quotas", "sources", "sizes", "samples", "left-out", "rules", "licences", "domains", "growth",
    "lineage", "hashes", "words",
]  # fmt: skip


class Page(HTMLParser):
    """Tags with their attributes, and all text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, Any]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, tag: str) -> list[dict[str, Any]]:
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    return good_once(tmp_path_factory)


@pytest.fixture(scope="module")
def page(good):
    return Page((good.root.corpus("good", TARGET) / "report.html").read_text("utf-8"))


def test_every_part_is_there(page):
    assert [one["id"] for one in page.all("section")] == SECTIONS
    assert [one["href"] for one in page.all("a")] == [f"#{name}" for name in SECTIONS]
    for told in ("photos/nature/day", "murky", "all rows excluded (licence 3)", "min_side", "truncated", "os_junk",
                 "CC-BY-4.0", "decontaminate", "scans/0001-of-0003/"):  # fmt: skip
        assert told in page.text


def test_every_picture_and_chart_has_words(page):
    assert len(page.all("img")) > 30
    assert [one for one in page.all("img") if not one.get("alt")] == []
    assert [one for one in page.all("svg") if not one.get("aria-label") or one["role"] != "img"] == []
    assert len(page.all("svg")) == len(page.all("figure")) > 10


def test_the_excluded_are_shown_under_their_reasons_and_what_is_taken_down_is_not(good, page):
    told = [one for one in page.text.splitlines() if one.endswith((" rows", " row"))]
    assert {one.split()[0] for one in told} >= {
        "decontaminate",
        "duplicate",
        "min_side",
        "licence",
        "max_samples",
    }
    papers = read_papers(good.root.corpus("good", TARGET))
    assert papers is not None
    assert papers.complete
    assert "wild/sun/sun/0102.jpeg" not in {one.id for one in papers.shown}  # taken down before the plan


def test_pictures_are_small_and_carry_nothing_else(page):
    for one in page.all("img"):
        with Image.open(io.BytesIO(base64.b64decode(one["src"].partition(",")[2]))) as image:
            assert max(image.size) <= 112
            assert not image.getexif()


def test_equal_evidence_gives_equal_papers(good):
    folder = good.root.corpus("good", TARGET)
    before = {name: (folder / name).read_bytes() for name in DERIVED_FILES}
    write_papers(good, TARGET)
    assert {name: (folder / name).read_bytes() for name in DERIVED_FILES} == before


@pytest.fixture(scope="module")
def hostile(tmp_path_factory) -> Written:
    base = tmp_path_factory.mktemp("hostile")
    folder = fill(base / "in" / LABEL, 3)
    (folder / "0000.txt").write_text(f"{EVIL} \x1b <img src=x onerror=alert(2)> ş", "utf-8")
    (folder / "no.jpg").write_bytes(b"none")
    (folder / "cut.jpg").write_bytes(picture(5, size=(640, 480))[:4000])
    source = {
        **STREET, "path": base / "in", "text": "sidecar", "licence": f"{EVIL}", "reject_tolerance": 0.9,
        "subcategory_from": {"folder": 1},
    }  # fmt: skip
    source.pop("subcategory")
    quotas = {"photos": {"share": 1, "subcategories": {LABEL.replace("/", ""): {"share": 1}}}}
    installation = install(
        base, source, corpus={"quotas": quotas, "shortfall": "report", "papers": {"controller": EVIL}}
    )
    ingest(installation)
    build_corpus(allocate(installation, "10").path, installation.root)
    return write_papers(installation, "10")


def test_rejects_have_names_faults_and_pictures(hostile):
    page = Page(hostile.report.read_text("utf-8"))
    assert [one["alt"] for one in page.all("img") if one["alt"] in {"truncated", "not_an_image"}] == [
        "truncated"
    ]
    assert f"{LABEL}/cut.jpg" in page.text
    assert f"{LABEL}/no.jpg" in page.text
    papers = read_papers(hostile.folder)
    assert papers is not None
    shown = {one.rejected: len(one.image_sha256) for one in papers.shown if one.rejected is not None}
    assert shown == {f"{LABEL}/cut.jpg": 1, f"{LABEL}/no.jpg": 0}


def test_nothing_that_comes_from_data_becomes_a_tag(hostile):
    text = hostile.report.read_text("utf-8")
    page = Page(text)
    assert hostile.figures["rows"] == 3
    assert EVIL in page.text
    assert page.all("script") == []
    assert {name for name, _ in page.tags} <= {
        "html", "head", "meta", "title", "style", "body", "header", "h1", "h2", "h3", "p", "code", "ul", "li", "b",
        "span", "nav", "a", "main", "section", "div", "figure", "figcaption", "svg", "g", "rect", "line", "text",
        "details", "summary", "table", "caption", "thead", "tbody", "tr", "th", "td", "img", "dl", "dt", "dd",
        "footer",
    }  # fmt: skip
    assert [name for _, attributes in page.tags for name in attributes if name.startswith("on")] == []
    (policy,) = [
        one["content"] for one in page.all("meta") if "content" in one and "default-src" in one["content"]
    ]
    assert policy == "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
    assert EVIL not in (hostile.folder / "README.md").read_text("utf-8").split("---\n", 2)[2]


def test_nothing_is_asked_for_from_elsewhere(hostile):
    page = Page(hostile.report.read_text("utf-8"))
    addresses = [one[key] for _, one in page.tags for key in ("src", "href") if key in one]
    assert [one for one in addresses if not one.startswith(("#", "data:image/jpeg;base64,"))] == []


@pytest.mark.parametrize(
    ("counts", "drawn"),
    [
        pytest.param({}, None, id="nothing"),
        pytest.param({"a": 0}, None, id="zeros"),
        pytest.param({"a": 3, "b": 0}, 2, id="a zero"),
        pytest.param({f"{'x' * 40}{n}": n + 1 for n in range(50)}, 20, id="many of alike names"),
        pytest.param({"": 1, "\x00\x0b": 2, "😀ğ": 10**15}, 3, id="odd names"),
    ],
)
def test_a_chart_of_whatever_there_is(counts, drawn):
    chart = bar_chart("T", counts)
    assert (chart and chart.drawn) == drawn
    if chart is not None:
        assert len(Page(chart.svg).all("rect")) == chart.drawn + 1  # the first is the ground
        assert len(chart.rows) == len(counts)


def test_a_page_of_many_pictures_stays_within_its_bytes(good, monkeypatch):
    monkeypatch.setattr(report, "_PICTURE_BYTES", 15_000)
    shown: list[str] = []

    def keep(path: Path, data: bytes) -> None:
        shown.extend([data.decode()] if path.suffix == ".html" else [])

    monkeypatch.setattr(write, "replace_file", keep)
    monkeypatch.setattr(write, "write_papers_file", lambda *_: None)
    write_papers(good, TARGET)
    page = Page(shown[0])
    assert 3 < len(page.all("img")) < 30
    assert len([one for one in page.all("div") if one.get("aria-label") == "no preview"]) > 10


def test_the_command_writes_and_copies(good, tmp_path, monkeypatch):
    monkeypatch.setenv("VLM_CATALOG", str(good.catalog_dir))
    monkeypatch.setenv("VLM_DATA_ROOT", str(good.root.path))
    result = CliRunner().invoke(app, ["report", TARGET, "--out", str(tmp_path)], catch_exceptions=False)
    assert result.exit_code == 0
    assert "a takedown writes this copy anew" in result.output
    copied = (tmp_path / "report.html").read_bytes()
    assert copied == (good.root.corpus("good", TARGET) / "report.html").read_bytes()
    sheet = tmp_path / "sheet.png"
    result = CliRunner().invoke(
        app, ["show", "--sheet", str(sheet), "--target", TARGET], catch_exceptions=False
    )
    assert result.exit_code == 0, result.output
    with Image.open(sheet) as image:
        assert image.width > 1_400
        assert image.height > 8 * 140


SAID = "Soru 7: Aşağıdaki görselde görülen tarihî yapının adı nedir ve hangi şehirde, kim tarafından yaptırılmıştır?"
ARCHIVE = "cumhuriyet_gazetesi_arsivi"
EXAMS = ("yuksek_ogretim_sinavi_2019", "mmbench_tr")


@pytest.fixture(scope="module")
def held(tmp_path_factory) -> Path:
    """The page of a corpus whose two sources have images, pictures and words in common with two benchmarks."""
    base = tmp_path_factory.mktemp("held")
    sources = [
        {**STREET, "path": fill(base / "street", 12), "text": "sidecar"},
        {**STREET, "name": ARCHIVE, "path": fill(base / "archive", 12, start=50)},
    ]
    (base / "street" / "0003.txt").write_text(SAID, "utf-8")
    benchmarks = [
        {"name": name, "kind": "client_folder", "path": fill(base / name, 2, start=start), "text": "sidecar"}
        for name, start in zip(EXAMS, (4, 55), strict=True)
    ]
    with Image.open(io.BytesIO(picture(7))) as image:
        (base / EXAMS[0] / "again.png").write_bytes(encode_image(image.convert("RGB")))
    (base / EXAMS[1] / "asked.jpg").write_bytes(picture(900))
    (base / EXAMS[1] / "asked.txt").write_text(SAID.upper(), "utf-8")
    installation = install(base, *sources, benchmarks=benchmarks)
    for spec in installation.catalog.fetched:
        ingest(installation, spec.name)
    build_corpus(allocate(installation, "10").path, installation.root)
    return write_papers(installation, "10").report


_OF_MATRIX = """const table = [...document.querySelectorAll('table')].find(
    one => one.caption && one.caption.innerText.startsWith('Rows of each source that match a benchmark'));
table.scrollIntoView();
"""


@pytest.mark.slow  # short: audit/test_benchmarks has the matrix in the page's text
@pytest.mark.parametrize(
    ("width", "dark"), [(390, False), (1280, True), (1440, False)], ids=["phone", "dark", "wide"]
)
def test_the_matrix_of_sources_and_benchmarks_is_seen_whole(held: Path, *, width: int, dark: bool):
    assert available(), "chromium and chromium-driver are needed"
    with Browser() as browser:
        browser.look(width, dark=dark)
        browser.open(held.resolve().as_uri(), "Composition")
        assert browser.run("return document.documentElement.scrollWidth") <= width
        lines = browser.run(
            f"{_OF_MATRIX} return [...table.rows].map(row => [...row.cells].slice(0, 6).map(one => one.textContent))"
        )
        assert lines == [
            ["source", "benchmark", "exact", "near", "text", "excluded rows"],
            [ARCHIVE, EXAMS[1], "2", "0", "0", "2"],
            ["street", EXAMS[1], "0", "0", "1", "1"],
            ["street", EXAMS[0], "2", "1", "0", "3"],
        ]
        areas = browser.run("""return [...document.querySelectorAll('#rules .fit .scroll')].map(
            one => [one.scrollWidth, one.clientWidth])""")
        assert [len(areas), *(one for one in areas if one[0] > one[1])] == [2]
        named = browser.run(
            f"{_OF_MATRIX} return [...table.rows[1].cells].map(one => getComputedStyle(one, '::before').content)"
        )
        heads = [f'"{name.removeprefix("#")}"' for name in contamination_table({"contamination": []}).columns]
        assert named == (heads if width < 480 else ["none"] * len(heads))
        ground = browser.run("return getComputedStyle(document.body).backgroundColor")
        assert ground == ("rgb(18, 22, 29)" if dark else "rgb(246, 247, 249)")


@pytest.mark.slow
@pytest.mark.parametrize("width", [390, 1440])
def test_the_page_fits_into_a_window(good, width):
    """No sideways scrolling of the page; nothing runs."""
    assert available(), "chromium and chromium-driver are needed"
    with Browser() as browser:
        browser.look(width)
        browser.open((good.root.corpus("good", TARGET).resolve() / "report.html").as_uri(), "Composition")
        assert browser.run("return document.documentElement.scrollWidth") <= width
        assert browser.run("return document.scripts.length") == 0


def test_the_page_is_made_without_a_network_client():
    code = (
        "import sys, vlm_assets.papers.report; print({'requests', 'altair', 'matplotlib'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=dict(os.environ)
    )
    assert done.stdout == "set()\n"


def test_where_a_copy_cannot_go_is_named(good, tmp_path):
    from vlm_assets.words.errors import StoreError

    with pytest.raises(StoreError, match="there is no folder"):
        write.copy_page(good, TARGET, tmp_path / "no" / "r.html")
