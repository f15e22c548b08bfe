"""Files that are replaced after they were listed, or while they are read: not committed under the old identity."""

import io
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from vlm_assets.ingest.due import Due
from vlm_assets.ingest.slice import SliceOutcome, build_slice
from vlm_assets.installation.opening import Installation
from vlm_assets.sources import _folder_archives, hf_disk, pdf_folder
from vlm_assets.store.slices import data_file_names, read_rejects, read_rows
from vlm_assets.words.errors import RejectReason, SourceError
from vlm_assets.words.manifest import Listing
from vlm_assets_tests.pdf.builders import drawing
from vlm_assets_tests.workplace import STREET, expect_error, install, picture, relist

A, B, OTHER = picture(1), picture(2), picture(3)


def zipped(*members: bytes, suffix: str = "jpg") -> bytes:
    out = io.BytesIO()
    with ZipFile(out, "w") as archive:
        for number, data in enumerate(members):
            archive.writestr(f"{number}.{suffix}", data)
    return out.getvalue()


def parquet(*images: Any) -> bytes:
    out = io.BytesIO()
    pq.write_table(pa.table({"image": list(images)}), out)
    return out.getvalue()


def pdf(words: str) -> bytes:
    path = Path(f"{words}.pdf")
    drawing(path, size_pt=(50, 50 + len(words)))
    data = path.read_bytes()
    path.unlink()
    return data


def inline(data: bytes) -> dict[str, Any]:
    return {"bytes": data, "path": None}


def named(name: str) -> dict[str, Any]:
    return {"bytes": None, "path": name}


Files = dict[str, Callable[[], bytes]]
PAIR = b"file_name,other_file_name,text\na.jpg,b.jpg,two\n"
FOLDER: dict[str, Any] = {"kind": "client_folder"}
METADATA: dict[str, Any] = {"kind": "client_folder", "text": "metadata"}
PDFS: dict[str, Any] = {"kind": "pdf_folder", "dpi": 40}
DISK: dict[str, Any] = {"kind": "hf_disk"}
CASES: dict[str, tuple[dict[str, Any], Files, str, Callable[[], bytes]]] = {
    "an image": (FOLDER, {"a.jpg": lambda: A, "b.jpg": lambda: B}, "a.jpg", lambda: OTHER),
    "an image beside": (
        METADATA, {"a.jpg": lambda: A, "b.jpg": lambda: B, "metadata.csv": lambda: PAIR}, "b.jpg", lambda: OTHER,
    ),
    "an archive": (FOLDER, {"a.zip": lambda: zipped(A, B)}, "a.zip", lambda: zipped(A, OTHER)),
    "a table beside an archive": (
        {**METADATA, "text": "metadata"},
        {"a.zip": lambda: zipped(A), "metadata.csv": lambda: b"file_name,text\na.zip/0.jpg,one\n"},
        "metadata.csv", lambda: b"file_name,text\na.zip/0.jpg,two\n",
    ),
    "a document": (PDFS, {"a.pdf": lambda: pdf("a"), "b.pdf": lambda: pdf("b")}, "a.pdf", lambda: pdf("longer")),
    "an archive of documents": (
        PDFS, {"a.zip": lambda: zipped(pdf("a"), suffix="pdf")}, "a.zip", lambda: zipped(pdf("longer"), suffix="pdf"),
    ),
    "a file that rows name": (
        DISK,
        {"data.parquet": lambda: parquet(named("a.jpg"), inline(B)), "a.jpg": lambda: A}, "a.jpg", lambda: OTHER,
    ),
}  # fmt: skip


def listed(base: Path, keys: dict[str, Any], files: Files) -> tuple[Installation, Listing]:
    folder = base / "in"
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_bytes(content())
    installation = install(base, {**STREET, "path": folder, "reject_tolerance": 1, **keys})
    return installation, relist(installation)


def built(installation: Installation, listing: Listing) -> list[SliceOutcome]:
    spec = installation.catalog.source("street")
    return [build_slice(installation, spec, listing, key) for key in listing.slices]


def rejects(outcomes: list[SliceOutcome]) -> list[tuple[RejectReason, bool]]:
    return [(one.reason, one.transient) for outcome in outcomes for one in read_rejects(outcome.path)]


def digests(outcomes: list[SliceOutcome]) -> list[bytes]:
    return sorted(
        row["digest"]
        for outcome in outcomes
        for row in read_rows(outcome.path, data_file_names(outcome.manifest.files))
    )


@pytest.mark.parametrize(("keys", "files", "name", "other"), CASES.values(), ids=CASES)
def test_what_was_replaced_since_it_was_listed_is_due_again(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    keys: Any,
    files: Files,
    name: str,
    other: Callable[[], bytes],
):
    monkeypatch.chdir(tmp_path)
    installation, listing = listed(tmp_path, keys, files)
    (tmp_path / "in" / name).write_bytes(other())
    held = built(installation, listing)
    assert rejects(held) == [(RejectReason.CHANGED, True)]
    assert sum(one.manifest.transient_rejects for one in held) == 1

    again = built(installation, relist(installation))
    assert Due.CHANGED in {one.due for one in again}
    assert rejects(again) == []

    for path, content in files.items():
        (tmp_path / "in" / path).write_bytes(content())
    before = built(installation, relist(installation))
    assert digests(before) != digests(again)
    assert len(digests(before)) == len(digests(again))


def same_size(path: Path) -> None:
    """Other bytes in place, under the same size and date, as a copy that keeps dates leaves them."""
    before = path.stat()
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    with path.open("r+b") as file:
        file.write(data)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def gone(path: Path) -> None:
    path.unlink()


@pytest.mark.parametrize(
    ("change", "reason"),
    [(same_size, RejectReason.CHANGED), (gone, RejectReason.NOT_FOUND)],
    ids=lambda one: one.__name__ if callable(one) else "",
)
@pytest.mark.parametrize("case", CASES)
def test_nothing_else_is_committed_under_the_identity_that_was_listed(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    case: str,
    change: Callable[[Path], None],
    reason: RejectReason,
):
    """Of a file that is another or gone; it may be back tomorrow, so its item stays due."""
    monkeypatch.chdir(tmp_path)
    keys, files, name, _ = CASES[case]
    installation, listing = listed(tmp_path, keys, files)
    change(tmp_path / "in" / name)
    held = built(installation, listing)
    assert rejects(held) == [(reason, True)]
    assert sum(one.manifest.transient_rejects for one in held) == 1


@pytest.mark.parametrize("change", [same_size, gone])
def test_a_data_file_that_is_another_or_gone_commits_nothing(tmp_path: Path, change: Callable[[Path], None]):
    files: Files = {"data.parquet": lambda: parquet(inline(A), inline(B))}
    installation, listing = listed(tmp_path, DISK, files)
    change(tmp_path / "in" / "data.parquet")
    assert "data.parquet is unreadable or not the file" in expect_error(lambda: built(installation, listing))
    assert not list(installation.root.path.glob("datasets/street/*/metadata.json"))


DURING: dict[str, tuple[str, Any, str]] = {
    "an archive": ("an archive", _folder_archives, "member_events"),
    "a document": ("a document", pdf_folder, "page_records"),
    "a file that rows name": ("a file that rows name", hf_disk, "read_data_file"),
}


@pytest.mark.parametrize(("case", "module", "function"), DURING.values(), ids=DURING)
def test_what_is_replaced_while_it_is_read_commits_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str, module: Any, function: str
):
    monkeypatch.chdir(tmp_path)
    keys, files, name, other = CASES[case]
    installation, listing = listed(tmp_path, keys, files)
    where = {"page_records": "vlm_assets.pdf.records", "read_data_file": "vlm_assets.hub.readers"}.get(
        function
    )
    read = getattr(__import__(where, fromlist=[function]) if where else module, function)

    def and_replace(*args: Any, **options: Any) -> Iterator[Any]:
        yield from read(*args, **options)
        (tmp_path / "in" / name).write_bytes(other())

    monkeypatch.setattr(f"{where or module.__name__}.{function}", and_replace)
    told = expect_error(lambda: built(installation, listing), SourceError)
    assert f"{name} changed while it was read; nothing was committed" in told
    assert not list(installation.root.path.glob("datasets/street/*/metadata.json"))


def test_a_list_of_urls_that_changes_while_it_is_read_is_not_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    path = tmp_path / "urls.txt"
    path.write_text("http://127.0.0.1/a.jpg\n", "utf-8")
    keys = {"kind": "image_urls", "urls": path}
    installation = install(tmp_path, {**STREET, **keys})
    from vlm_assets.sources._url_spill import UrlSpill

    filled = UrlSpill.fill

    def and_grow(*args: Any) -> None:
        filled(*args)
        path.write_text("http://127.0.0.1/a.jpg\nhttp://127.0.0.1/b.jpg\n", "utf-8")

    monkeypatch.setattr(UrlSpill, "fill", and_grow)
    assert "urls.txt changed while it was read" in expect_error(lambda: relist(installation))
    assert not installation.root.listing("street").exists()
    monkeypatch.setattr(UrlSpill, "fill", filled)
    assert relist(installation).items == 2


def test_a_touch_is_no_change(tmp_path: Path):
    installation, listing = listed(tmp_path, FOLDER, {"a.zip": lambda: zipped(A)})
    (tmp_path / "in" / "a.zip").write_bytes(zipped(A))
    (outcome,) = built(installation, listing)
    assert (outcome.manifest.rows, outcome.manifest.rejects) == (1, {})
