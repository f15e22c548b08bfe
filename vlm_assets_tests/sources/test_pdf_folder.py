"""PDF folders: identities, buckets, a record or a reject for every page, what it says about itself."""

import os
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import pikepdf
import pytest
from PIL import Image
from pydantic import ValidationError

from vlm_assets.demo.services.pictures import tar_of, zip_of
from vlm_assets.sources.pdf_folder import SOURCE, PdfFolderSpec
from vlm_assets.sources.registry import kinds
from vlm_assets.words.caption_counts import NO_TEXT_LAYER
from vlm_assets.words.errors import RejectReason, SourceError
from vlm_assets_tests.archives.made import cut
from vlm_assets_tests.pdf.builders import add_page, build, drawing, scan
from vlm_assets_tests.sources.kit import COMMON, Fetched, fetch_slice, identities, list_context, slices_of


def spec_of(path: Path, **keys: Any) -> PdfFolderSpec:
    return PdfFolderSpec(kind="pdf_folder", path=path, **{"dpi": 60, **COMMON, **keys})


def fetch(folder: Path, spec: PdfFolderSpec, **overrides: Any) -> Fetched:
    listed = SOURCE.list(spec, list_context(folder))
    return fetch_slice(SOURCE, spec, folder, listed, "0000-of-0001", **overrides)


@pytest.fixture
def pdfs(tmp_path: Path) -> Path:
    folder = tmp_path / "pdfs"
    (folder / "deep").mkdir(parents=True)
    return folder


def test_the_kind_is_found() -> None:
    assert "pdf_folder" in kinds()


def test_every_page_is_a_record_in_document_order(tmp_path: Path, pdfs: Path) -> None:
    drawing(pdfs / "b.pdf", pages=3)
    jpegs = scan(pdfs / "deep" / "A.PDF", pages=2)
    figures: dict[str, float] = {}
    fetched = fetch(
        tmp_path, spec_of(pdfs), measure=lambda k, v: figures.__setitem__(k, figures.get(k, 0) + v)
    )
    told = [(r.item, r.record, r.key, r.origin) for r in fetched.records]
    assert told == [
        *(("b.pdf", n, f"b.pdf#page={n + 1}", f"b.pdf#page={n + 1}") for n in range(3)),
        *(("deep/A.PDF", n, f"deep/A.PDF#page={n + 1}", f"deep/A.PDF#page={n + 1}") for n in range(2)),
    ]
    assert fetched.images[3:] == jpegs
    assert [record.images[0].dpi for record in fetched.records] == [60, 60, 60, 300, 300]
    extra = fetched.records[4].extra
    assert extra == {
        "document": "deep/A.PDF", "page": 2, "pages": 2, "page_image": "embedded",
        "page_width_pt": 216.0, "page_height_pt": 288.0,
    }  # fmt: skip
    assert (figures["documents"], figures["pages"], figures["pages_embedded"], figures["pages_rendered"]) == (
        2,
        5,
        2,
        3,
    )
    assert figures["pages_per_s"] > 0
    assert figures["document_s:b.pdf"] > 0
    assert not list((tmp_path / "cache" / "spool").rglob("*.*"))


def _encrypted(path: Path, user: str = "secret") -> None:
    pdf = pikepdf.new()
    add_page(pdf, "0 0 9 9 re f")
    pdf.save(path, encryption=pikepdf.Encryption(owner="owner", user=user))


def _cut(path: Path) -> None:
    scan(path, pages=3)
    os.truncate(path, path.stat().st_size * 2 // 3)


def _without_pages(path: Path) -> None:
    pikepdf.new().save(path)


FAULTY: dict[str, tuple[Callable[[Path], object], RejectReason]] = {
    "empty": (lambda path: path.write_bytes(b""), RejectReason.EMPTY),
    "web_page": (
        lambda path: path.write_bytes(b"\n<!DOCTYPE html><html>404</html>"),
        RejectReason.UNREADABLE,
    ),
    "noise": (lambda path: path.write_bytes(bytes(range(256)) * 9), RejectReason.UNREADABLE),
    "header_alone": (lambda path: path.write_bytes(b"%PDF-1.4\n"), RejectReason.TRUNCATED),
    "cut": (_cut, RejectReason.TRUNCATED),
    "encrypted": (_encrypted, RejectReason.ENCRYPTED),
    "no_pages": (_without_pages, RejectReason.EMPTY),
    "dangling_link": (lambda path: path.symlink_to("nowhere"), RejectReason.NOT_FOUND),
}


@pytest.mark.parametrize("name", FAULTY)
def test_a_document_that_cannot_be_opened_is_one_reject(name: str, tmp_path: Path, pdfs: Path) -> None:
    make, reason = FAULTY[name]
    make(pdfs / "bad.pdf")
    drawing(pdfs / "good.pdf")
    fetched = fetch(tmp_path, spec_of(pdfs))
    assert [(r.item, r.record, r.reason, r.transient) for r in fetched.rejects] == [
        ("bad.pdf", None, reason, False)
    ]
    assert [record.item for record in fetched.records] == ["good.pdf"]
    assert str(tmp_path) not in fetched.rejects[0].detail


def test_a_document_with_an_owner_password_only_is_read(tmp_path: Path, pdfs: Path) -> None:
    _encrypted(pdfs / "a.pdf", user="")
    assert len(fetch(tmp_path, spec_of(pdfs)).records) == 1


def test_a_page_that_is_refused_is_a_reject_in_its_place(tmp_path: Path, pdfs: Path) -> None:
    def make(pdf: pikepdf.Pdf) -> None:
        add_page(pdf, "0 0 9 9 re f", (100, 100))
        add_page(pdf, "0 0 9 9 re f", (14_000, 14_000))
        add_page(pdf, "0 0 9 9 re f", (100, 100))

    build(pdfs / "a.pdf", make)
    fetched = fetch(tmp_path, spec_of(pdfs, dpi=300))
    assert [event.record for event in fetched.events] == [0, 1, 2]
    assert [(r.record, r.reason) for r in fetched.rejects] == [(1, RejectReason.PAGE_TOO_LARGE)]
    assert [record.key for record in fetched.records] == ["a.pdf#page=1", "a.pdf#page=3"]


def test_flags_stand_in_extra(tmp_path: Path, pdfs: Path) -> None:
    def make(pdf: pikepdf.Pdf) -> None:
        for content in ("9 9 50 50 re f", "", "9 9 50 50 re f"):
            add_page(pdf, content, (100, 100))

    build(pdfs / "a.pdf", make)
    extras = [record.extra or {} for record in fetch(tmp_path, spec_of(pdfs)).records]
    assert [extra.get("flags") for extra in extras] == [None, ["blank"], ["repeated"]]
    assert extras[2]["repeats_page"] == 1


def test_the_text_layer_is_the_text_where_it_is_asked_for(tmp_path: Path, pdfs: Path) -> None:
    drawing(pdfs / "a.pdf", pages=1)
    scan(pdfs / "b.pdf")
    figures: dict[str, float] = {}
    fetched = fetch(tmp_path, spec_of(pdfs, text="layer"), measure=figures.__setitem__)
    assert [record.text for record in fetched.records] == ["Page 1", None]
    assert figures["pages_no_text"] == 1
    assert [dict(record.remarks) for record in fetched.records] == [{}, {NO_TEXT_LAYER: 1}]
    assert [record.text for record in fetch(tmp_path, spec_of(pdfs)).records] == [None, None]


def test_page_selection_keeps_page_numbers(tmp_path: Path, pdfs: Path) -> None:
    drawing(pdfs / "a.pdf", pages=5)
    drawing(pdfs / "short.pdf", pages=1)
    fetched = fetch(tmp_path, spec_of(pdfs, pages="2,4-"))
    assert [record.record for record in fetched.records] == [1, 3, 4]
    assert [(r.item, r.reason) for r in fetched.rejects] == [("short.pdf", RejectReason.EMPTY)]


def test_two_fetches_give_the_same_bytes_whatever_the_workers(tmp_path: Path, pdfs: Path) -> None:
    from vlm_assets_tests.sources.kit import settings_of

    drawing(pdfs / "a.pdf", pages=9)
    scan(pdfs / "b.pdf", pages=3)
    runs = [
        fetch(tmp_path, spec_of(pdfs), settings=settings_of(tmp_path, workers=n)).content() for n in (1, 3)
    ]
    assert runs[0] == runs[1]
    assert len(runs[0]) == 12


def test_one_changed_document_changes_one_identity_and_one_slice(tmp_path: Path, pdfs: Path) -> None:
    for number in range(12):
        drawing(pdfs / f"{number}.pdf", pages=1 + number % 2)
    spec = spec_of(pdfs, documents_per_slice=4)
    before = SOURCE.list(spec, list_context(tmp_path))
    assert len(slices_of(before)) == 3
    assert all(one.container for one in before.slices)
    drawing(pdfs / "3.pdf", pages=5)
    drawing(pdfs / "new.pdf")
    after = SOURCE.list(spec, list_context(tmp_path, previous_buckets=before.buckets))
    old = {k: v for one in identities(before).values() for k, v in one.items()}
    new = {k: v for one in identities(after).values() for k, v in one.items()}
    assert {key for key in new if new[key] != old.get(key)} == {"3.pdf", "new.pdf"}
    assert set(identities(before)) == set(identities(after))


def test_documents_are_known_by_name_or_content_and_hidden_ones_left_out(tmp_path: Path, pdfs: Path) -> None:
    for name in ("a.pdf", ".b.pdf", "c.txt", "deep/d.Pdf"):
        drawing(pdfs / name)
    (pdfs / "e.txt").write_text("no document", "utf-8")
    listed = SOURCE.list(spec_of(pdfs), list_context(tmp_path))
    assert {item.key for one in listed.slices for item in one.items} == {"a.pdf", "c.txt", "deep/d.Pdf"}
    assert [(one.key, str(one.reason)) for one in listed.left_out] == [
        (".b.pdf", "hidden"),
        ("e.txt", "unknown_type"),
    ]
    assert listed.upstream == 5


@pytest.mark.parametrize("make", [lambda p: p.rmdir(), lambda _p: None], ids=["missing", "without_pdfs"])
def test_a_folder_without_documents_is_an_error(make: Any, tmp_path: Path) -> None:
    folder = tmp_path / "pdfs"
    folder.mkdir()
    make(folder)
    with pytest.raises(SourceError, match="pdfs"):
        SOURCE.list(spec_of(folder), list_context(tmp_path))


@pytest.mark.parametrize(
    "keys",
    [{"pages": "0"}, {"pages": "4-2"}, {"pages": "x"}, {"pages": ""}, {"embedded": "sometimes"},
     {"embedded": {"native_dpi": [400, 250]}}, {"renderer": "cairo"}, {"dpi": 5}, {"text": "ocr"}],
    ids=str,
)  # fmt: skip
def test_keys_are_checked_at_load(keys: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(ValidationError):
        spec_of(tmp_path, **keys)


def test_the_keys_that_change_bytes_are_in_the_byte_configuration(tmp_path: Path) -> None:
    plain = spec_of(tmp_path).byte_config()
    for keys in (
        {"dpi": 200},
        {"embedded": "never"},
        {"renderer": "pdfium"},
        {"pages": "1"},
        {"text": "layer"},
    ):
        assert spec_of(tmp_path, **keys).byte_config() != plain
    assert spec_of(tmp_path, documents_per_slice=9).byte_config() == plain


def test_a_rendered_page_is_a_jpeg_of_its_dpi(tmp_path: Path, pdfs: Path) -> None:
    drawing(pdfs / "a.pdf", size_pt=(72, 72))
    for renderer in ("poppler", "pdfium"):
        fetched = fetch(tmp_path, spec_of(pdfs, renderer=renderer))
        with Image.open(BytesIO(fetched.image(0))) as image:
            assert (image.format, image.size, image.info["dpi"]) == ("JPEG", (60, 60), (60, 60))


def packed(folder: Path, *names: str) -> list[tuple[str, bytes]]:
    return [(name, (folder / name).read_bytes()) for name in names]


def test_pdfs_in_archives_are_read(tmp_path: Path, pdfs: Path) -> None:
    drawing(pdfs / "a.pdf", pages=2)
    (tmp_path / "b").mkdir()
    jpegs = scan(tmp_path / "b/s.pdf", pages=2)
    drawing(tmp_path / "b/plain", pages=1)
    (tmp_path / "b/bad.pdf").write_bytes(b"%PDF-1.7 nothing")
    inner = zip_of([("deep/plain", (tmp_path / "b/plain").read_bytes())])
    content = zip_of([*packed(tmp_path / "b", "s.pdf", "bad.pdf"), ("cover.jpg", jpegs[0]), ("in.zip", inner),
                      ("Thumbs.db", b"")])  # fmt: skip
    (pdfs / "arşiv.zip").write_bytes(content)
    for number, part in enumerate(cut(tar_of(packed(tmp_path / "b", "s.pdf"), "w:gz"), 2000), 1):
        (pdfs / f"deep/x.tar.gz.{number:03}").write_bytes(part)
    (pdfs / "y.zip.002").write_bytes(b"x")
    listed = SOURCE.list(spec_of(pdfs), list_context(tmp_path))
    assert {name: [item.key for item in one.items] for name, one in slices_of(listed).items()} == {
        "0000-of-0001": ["a.pdf"], "arşiv.zip": ["arşiv.zip"], "deep/x.tar.gz": ["deep/x.tar.gz"],
    }  # fmt: skip
    assert [(one.key, str(one.reason)) for one in listed.left_out] == [
        ("y.zip.002", "split_archive_incomplete")
    ]
    assert (listed.upstream, listed.companions) == (5, 1)
    fetched = fetch_slice(SOURCE, spec_of(pdfs), tmp_path, listed, "arşiv.zip")
    assert [(one.key, one.record, one.origin) for one in fetched.records] == [
        ("arşiv.zip/s.pdf#page=1", 0, "arşiv.zip!s.pdf#page=1"),
        ("arşiv.zip/s.pdf#page=2", 1, "arşiv.zip!s.pdf#page=2"),
        ("arşiv.zip/in.zip/deep/plain#page=1", 3, "arşiv.zip!in.zip/deep/plain#page=1"),
    ]  # fmt: skip
    assert fetched.images[:2] == jpegs
    [reject] = fetched.rejects
    assert (reject.item, reject.record, reject.reason) == ("arşiv.zip", 2, RejectReason.TRUNCATED)
    assert reject.detail.startswith("bad.pdf: ")
    assert [(one.key, str(one.reason)) for one in fetched.left_out] == [
        ("arşiv.zip/cover.jpg", "unknown_type"), ("arşiv.zip/Thumbs.db", "os_junk"),
    ]  # fmt: skip
    assert fetch_slice(SOURCE, spec_of(pdfs), tmp_path, listed, "deep/x.tar.gz").images == jpegs
    assert not list((tmp_path / "cache/spool").rglob("members/*.pdf"))


def test_an_archive_without_pdfs_is_told(tmp_path: Path, pdfs: Path) -> None:
    (pdfs / "a.zip").write_bytes(zip_of([("a.jpg", b"\xff\xd8\xff\xe0")]))
    listed = SOURCE.list(spec_of(pdfs), list_context(tmp_path))
    fetched = fetch_slice(SOURCE, spec_of(pdfs), tmp_path, listed, "a.zip")
    assert [(one.item, one.reason) for one in fetched.rejects] == [("a.zip", RejectReason.EMPTY)]
    assert [one.key for one in fetched.left_out] == ["a.zip/a.jpg"]
