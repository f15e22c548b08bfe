"""A small newspaper archive on loopback, laid out page for page as that of Istanbul University, with made-up issues.

Odd as the real one: three encodings, double spaces, old month names, file names with spaces, an issue under two
titles; and four issues that are no whole PDF.
"""

import io
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from html import escape
from typing import Final
from urllib.parse import quote

import pikepdf
from pikepdf import Dictionary, Name
from PIL import Image, ImageDraw, ImageFont

from vlm_assets.demo.services.base import Reply, Request, Service

BASE_PATH: Final = "/ekos/GAZETE/"
PAGE_PX: Final = (620, 880)
DPI: Final = 300
_WORDS: Final = (  # the font that comes with Pillow has no Turkish letters
    "haber", "liman", "deniz", "okul", "tren", "kale", "meydan", "orman", "sanat", "tarih", "gazete", "vapur",
    "kitap", "nehir", "yelken", "bulut",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class DemoIssue:
    """One row of a title page. `file` is the path below the archive, `content` what is served there."""

    year: int
    date_printed: str
    file: str
    content: str = "scan"
    """scan, drawing, web_page, empty, cut, encrypted or missing."""
    pages: int = 2


@dataclass(frozen=True, slots=True)
class DemoTitle:
    """One newspaper. `encoding` of its page; `declared` where: header, meta, or nowhere."""

    slug: str
    title: str
    issues: tuple[DemoIssue, ...]
    encoding: str = "utf-8"
    declared: str = "header"


def _plain(slug: str, year: int, month: str, day: int, folder: str) -> str:
    return f"{slug}/{slug}_{year}/{slug}_{year}_{folder}_/{slug}_{year}_{month}_{day}_.pdf"


TITLES: Final = (
    DemoTitle(
        "anadolu", "Anadolu",
        (
            DemoIssue(1935, "10 mart  1935", "anadolu/anadolu_1935/anadolu_1935_mart_/anadolu_1935__mart_10_.pdf"),
            DemoIssue(1935, "11 mart  1935", _plain("anadolu", 1935, "mart", 11, "mart")),
            DemoIssue(1935, "3 İkinci Kanun 1935", "anadolu/anadolu_1935/ikinci kanun_/anadolu 1935 3.pdf"),
            DemoIssue(1936, "1 birinci teşrin 1936", _plain("anadolu", 1936, "b_tesrin", 1, "b_tesrin"), pages=3),
            DemoIssue(1936, "2 birinci teşrin 1936", _plain("anadolu", 1936, "b_tesrin", 2, "b_tesrin"), "drawing"),
        ),
        encoding="cp1254",
    ),
    DemoTitle(
        "vatan", "Vatan",
        (
            DemoIssue(1940, "04 Ağustos 1940", _plain("vatan", 1940, "agustos", 4, "agustos")),
            DemoIssue(1940, "05 AĞUSTOS 1940", _plain("vatan", 1940, "agustos", 5, "agustos"), "web_page"),
            DemoIssue(1940, "06 Ağustos 1940", _plain("vatan", 1940, "agustos", 6, "agustos"), "cut"),
            DemoIssue(1940, "Ağustos sayısı", _plain("vatan", 1940, "agustos", 0, "agustos")),
            DemoIssue(1941, "19 Kasım 1941", _plain("vatan", 1941, "kasim", 19, "kasim"), "encrypted"),
            DemoIssue(1941, "20 Kasım 1941", _plain("vatan", 1941, "kasim", 20, "kasim"), "empty"),
            DemoIssue(1941, "21 Kasım 1941", _plain("vatan", 1941, "kasim", 21, "kasim")),
        ),
        encoding="iso-8859-9", declared="meta",
    ),
    DemoTitle(
        "yeni_isik", "Yeni Işık",
        (
            DemoIssue(1929, "5 Kanunu Sani 1929", _plain("yeni_isik", 1929, "kanunusani", 5, "kanunusani")),
            DemoIssue(1929, "7 Teşrin-i Evvel 1929", _plain("yeni_isik", 1929, "tesrinievvel", 7, "tesrinievvel")),
            DemoIssue(1935, "10 mart 1935", "anadolu/anadolu_1935/anadolu_1935_mart_/anadolu_1935__mart_10_.pdf"),
            DemoIssue(1935, "12 Mart 1935", _plain("yeni_isik", 1935, "mart", 12, "mart"), "missing"),
        ),
    ),
)  # fmt: skip


class NewspaperSite(Service):
    """Serves `/ekos/GAZETE/`: index, title pages, PDFs, and a robots.txt. `base_url` is what a catalogue names.

    `latency_s` is how long a page takes. `most_at_once` counts requests in flight. `overrides` replaces what a path
    (below the archive, with its query) answers.
    """

    def __init__(
        self, titles: tuple[DemoTitle, ...] = TITLES, *, port: int = 0, latency_s: float = 0.0
    ) -> None:
        super().__init__(port)
        self.titles = titles
        self.latency_s = latency_s
        self.overrides: dict[str, Reply] = {}
        self.robots = b"User-agent: *\nDisallow: /ekos/yonetim/\n"
        self.most_at_once = 0
        self._at_once = 0

    @property
    def base_url(self) -> str:
        """The index."""
        return self.url + BASE_PATH

    def answer(self, request: Request) -> Reply:
        """A page or a PDF."""
        with self._lock:
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
        try:
            time.sleep(self.latency_s)
            return self._answer(request)
        finally:
            with self._lock:
                self._at_once -= 1

    def _answer(self, request: Request) -> Reply:
        if request.path == "/robots.txt":
            return self.overrides.get("/robots.txt") or Reply(
                200, self.robots, {"Content-Type": "text/plain"}
            )
        path = request.path.removeprefix(BASE_PATH)
        slug = request.query.get("gazete")
        override = self.overrides.get(path if slug is None else f"{path}?gazete={slug}")
        if override is not None:
            return override
        if path == "":
            return _html(self._index(), "utf-8", "header")
        if path == "gazete.php":
            found = next((title for title in self.titles if title.slug == slug), None)
            return Reply(404) if found is None else _html(self._title(found), found.encoding, found.declared)
        for title in self.titles:
            for issue in title.issues:
                if issue.file == path:
                    return _file(issue)
        return Reply(404, b"Not Found")

    def _index(self) -> str:
        cells = "\n".join(
            f'<div class="col-6 col-sm-6 col-md-4 mb-4 mb-lg-0 col-lg-2">\n'
            f'<a href="gazete.php?gazete={title.slug}" class="popular-category h-40">\n'
            f'<span class="caption mb-2 d-block">{escape(title.title)}</span>\n</a>\n</div>'
            for title in self.titles
        )
        return f"<title>Gazeteden Tarihe Bakış</title>\n<div class='row'>\n{cells}\n</div>"

    def _title(self, title: DemoTitle) -> str:
        parts = [f"<title>{escape(title.title)}</title>"]
        for year in sorted({issue.year for issue in title.issues}):
            parts.append(
                f'<button type="button" class="collapsible">{year}</button>\n<div class="content">\n<table>'
            )
            parts.append("<tr><th>Tarih</th><th>Bağlantı</th></tr>")
            for issue in title.issues:
                if issue.year == year:
                    url = f"{self.url}{BASE_PATH}{issue.file}"
                    parts.append(
                        f'<tr><td class="column100 column1-left">{escape(issue.date_printed)}</td>'
                        f'<td class="column100 column2"><a href="{escape(url)}">Tıklayınız</a></td></tr>'
                    )
            parts.append("</table>\n</div>")
        return "\n".join(parts)

    def wire_url(self, issue: DemoIssue) -> str:
        """The URL of an issue as it goes over the wire."""
        return self.base_url + quote(issue.file)


def _html(body: str, encoding: str, declared: str) -> Reply:
    meta = f'<meta charset="{encoding}">' if declared == "meta" else ""
    page = f'<!DOCTYPE html>\n<html lang="tr"><head>{meta}</head><body>\n{body}\n</body></html>\n'
    kind = f"text/html; charset={encoding}" if declared == "header" else "text/html"
    return Reply(200, page.encode(encoding), {"Content-Type": kind})


def _file(issue: DemoIssue) -> Reply:
    headers = {"Content-Type": "application/pdf", "Accept-Ranges": "bytes"}
    if issue.content == "missing":
        return Reply(404, b"Not Found")
    if issue.content == "web_page":
        page = "<!DOCTYPE html><html><body>Aradığınız sayfa bulunamadı</body></html>"
        return Reply(200, page.encode(), {"Content-Type": "text/html; charset=utf-8"})
    if issue.content == "empty":
        return Reply(200, b"", headers)
    data = pdf_of(issue.file, issue.pages, issue.content)
    return Reply(200, data[: len(data) * 2 // 3] if issue.content == "cut" else data, headers)


@cache
def pdf_of(name: str, pages: int, content: str = "scan") -> bytes:
    """A made-up newspaper issue: scans of 300 DPI, or a drawing; always the same bytes for one name."""
    pdf = pikepdf.new()
    size_pt = (PAGE_PX[0] * 72 / DPI, PAGE_PX[1] * 72 / DPI)
    for number in range(pages):
        pdf.add_blank_page(page_size=size_pt)
        page = pdf.pages[-1]
        if content == "drawing":
            font = Dictionary(Type=Name.Font, Subtype=Name.Type1, BaseFont=Name("/Times-Roman"))
            page.obj.Resources = Dictionary(Font=Dictionary(F1=font))
            page.obj.Contents = pdf.make_stream("\n".join(_drawing(name, number, size_pt)).encode())
            continue
        out = io.BytesIO()
        page_picture(f"{name}#{number}").save(out, "JPEG", quality=70)
        image = pdf.make_stream(out.getvalue())
        image.Type, image.Subtype, image.Filter = Name.XObject, Name.Image, Name.DCTDecode
        image.Width, image.Height, image.BitsPerComponent = *PAGE_PX, 8
        image.ColorSpace = Name.DeviceGray
        page.obj.Resources = Dictionary(XObject=Dictionary(Im0=image))
        page.obj.Contents = pdf.make_stream(f"q {size_pt[0]} 0 0 {size_pt[1]} 0 0 cm /Im0 Do Q".encode())
    out = io.BytesIO()
    encryption = pikepdf.Encryption(owner="demo", user="demo") if content == "encrypted" else False
    pdf.save(out, encryption=encryption, deterministic_id=content != "encrypted")
    return out.getvalue()


def page_picture(key: str) -> Image.Image:
    """A grey page with a headline, columns of text and a picture, like an old newspaper."""
    chance = random.Random(f"newspaper:{key}")
    image = Image.new("L", PAGE_PX, 224)
    draw = ImageDraw.Draw(image)
    draw.text((30, 20), " ".join(chance.sample(_WORDS, 2)).upper(), fill=30, font=ImageFont.load_default(54))
    draw.line((30, 95, PAGE_PX[0] - 30, 95), fill=60, width=3)
    font = ImageFont.load_default(13)
    for column in range(3):
        for line in range(46):
            text = " ".join(chance.choice(_WORDS) for _ in range(4))
            draw.text((30 + column * 190, 110 + line * 16), text, fill=chance.randrange(30, 80), font=font)
    x, y = 30 + 190 * chance.randrange(2), 110 + 16 * chance.randrange(20)
    photo = Image.radial_gradient("L").resize((180, 130)).rotate(chance.randrange(360), fillcolor=224)
    image.paste(photo, (x, y))
    return image


def _drawing(name: str, number: int, size_pt: tuple[float, float]) -> Iterator[str]:
    chance = random.Random(f"drawing:{name}#{number}")
    yield f"0.1 0.2 0.5 rg 10 {size_pt[1] - 30:.1f} 90 18 re f 0 g"
    for line in range(24):
        words = " ".join(
            chance.choice(["haber", "deniz", "okul", "tren", "sanat", "tarih"]) for _ in range(5)
        )
        yield f"BT /F1 6 Tf 10 {size_pt[1] - 40 - line * 7:.1f} Td ({words}) Tj ET"
