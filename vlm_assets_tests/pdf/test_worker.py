"""A fault of the machine while a page is made is told as one: never another picture, nor a page less."""

import errno
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pikepdf
import pytest
from PIL import Image

from vlm_assets.pdf import checks, decide, draw
from vlm_assets.pdf.facts import PageFlag, PageOptions
from vlm_assets.pdf.pool import PagePool
from vlm_assets.pdf.render import PopplerRun
from vlm_assets.words.errors import DiskFullError, RejectReason
from vlm_assets_tests.pdf.answers import answers_of
from vlm_assets_tests.pdf.builders import add_page, build, drawing, scan

pytestmark = pytest.mark.usefixtures("unbounded")


def fails(number: int, path: str = "/x/y") -> Callable[..., Any]:
    def fail(*_: object, **__: object) -> Any:
        raise OSError(number, os.strerror(number), path)

    return fail


PLACES: dict[str, tuple[Any, str, str]] = {
    "an image's bytes are written": (Path, "write_bytes", "scan"),
    "an image is read back": (Image, "open", "blank"),
    "a picture is decoded": (decide, "embedded_image", "scan"),
    "a picture is checked": (decide, "damage_of", "rotated"),
    "a page is drawn": (draw, "render_pdfium", "drawing"),
    "a page is put into its place": (Path, "rename", "drawing"),
}


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC, errno.EACCES], ids=errno.errorcode.get)
@pytest.mark.parametrize("place", PLACES)
def test_a_failed_read_or_write_is_an_error_and_no_page(
    place: str, number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner, name, what = PLACES[place]
    path = tmp_path / "a.pdf"
    if what in {"scan", "rotated"}:
        scan(path)
    else:
        drawing(path, size_pt=(60, 60))
    if what == "blank":
        monkeypatch.setattr(checks, "_BLANK_BITS_PER_PIXEL", 1000)
    monkeypatch.setattr(owner, name, fails(number))
    never = "never" if what == "rotated" else (1.0, 400.0)
    said = answers_of(tmp_path, path, renderer="pdfium", embedded=never)
    assert said[0] == {"pages": 1}
    (error,) = said[1:]
    assert error["full"] is (number == errno.ENOSPC)
    assert os.strerror(number) in error["error"]


def test_a_document_that_cannot_be_read_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawing(tmp_path / "a.pdf")
    monkeypatch.setattr(pikepdf, "open", fails(errno.EIO))
    (fault,) = answers_of(tmp_path, tmp_path / "a.pdf")
    assert fault["fault"][0] is RejectReason.UNREADABLE
    assert fault["fault"][2]


@pytest.mark.parametrize(
    "told", ["Output file write error --- out of disk space?", "I/O Error: Error opening output file x.jpg"]
)
def test_what_poppler_cannot_write_is_an_error(
    told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawing(tmp_path / "a.pdf")
    monkeypatch.setattr(draw, "render_poppler", lambda *_, **__: PopplerRun({}, 1, told))
    error = answers_of(tmp_path, tmp_path / "a.pdf")[-1]
    assert "cannot be written" in error["error"]
    assert told in error["error"]


@pytest.mark.parametrize(
    ("content", "method", "flags"),
    [
        ("0 0 30 30 re f", "rendered by pdfium", {PageFlag.OTHER_RENDERER}),
        ("", "rendered by poppler", {PageFlag.BLANK}),
    ],
    ids=["something was left out", "an empty page"],
)
def test_an_empty_page_is_believed_when_both_say_so(
    content: str, method: str, flags: set[PageFlag], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def white(_document: Path, first: int, _last: int, folder: Path, **_: object) -> PopplerRun:
        file = folder / "poppler-1.jpg"
        Image.new("L", (50, 50), 255).save(file)
        return PopplerRun({first: file}, 0, "Syntax Error: Unknown font tag 'F1'")

    build(tmp_path / "a.pdf", lambda pdf: add_page(pdf, content, (60, 60)))
    monkeypatch.setattr(draw, "render_poppler", white)
    _, page = answers_of(tmp_path, tmp_path / "a.pdf")
    assert (page["method"], set(page["flags"])) == (method, flags)


ENDS: dict[str, tuple[PopplerRun, bool]] = {
    "out of processor time": (PopplerRun({}, -signal.SIGXCPU), True),
    "killed": (PopplerRun({}, -signal.SIGKILL), True),
    "silent for too long": (PopplerRun({}, None), True),
    "out of memory": (PopplerRun({}, 1, "Out of memory"), True),
    "it refuses the page": (PopplerRun({}, 1, "Syntax Error: x"), False),
}


@pytest.fixture
def white_scan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A document whose picture pdfium leaves out."""

    def white(_document: Any, _page: int, file: Path, *, dpi: float) -> None:
        Image.new("L", (int(dpi), int(dpi)), 255).save(file, "JPEG")

    scan(tmp_path / "a.pdf")
    monkeypatch.setattr(draw, "render_pdfium", white)
    return tmp_path / "a.pdf"


@pytest.mark.parametrize("end", ENDS)
def test_an_empty_page_waits_for_a_renderer_that_the_machine_kept_from_it(
    end: str, white_scan: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, waits = ENDS[end]
    monkeypatch.setattr(draw, "render_poppler", lambda *_, **__: run)
    _, page = answers_of(tmp_path, white_scan, renderer="pdfium", embedded="never")
    assert ("fault" in page) is waits
    assert not waits or (page["fault"][0], page["fault"][2]) == (RejectReason.RENDER_FAILED, True)


def test_an_empty_page_waits_for_a_renderer_that_is_not_installed(
    white_scan: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    _, page = answers_of(tmp_path, white_scan, renderer="pdfium", embedded="never")
    assert "not installed" in page["fault"][1]
    assert page["fault"][2]


def test_lack_of_memory_while_objects_are_read_is_no_other_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_memory(*_: object) -> Any:
        raise MemoryError

    scan(tmp_path / "a.pdf")
    monkeypatch.setattr(decide, "embedded_image", no_memory)
    _, page = answers_of(tmp_path, tmp_path / "a.pdf")
    assert page["fault"][0] is RejectReason.RENDER_FAILED
    assert "memory" in page["fault"][1]


def test_an_error_of_a_worker_ends_the_reading_and_rejects_no_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawing(tmp_path / "a.pdf")
    monkeypatch.setattr("vlm_assets.pdf.pool._HANDLER", "vlm_assets_tests.pdf.dying:unable")
    pool = PagePool(PageOptions(dpi=60), 1, tmp_path / "pages", tmp_path / "slots")
    document = pool.submit(tmp_path / "a.pdf")
    try:
        with pytest.raises(DiskFullError, match="/x: cannot be written"):
            list(document.pages())
    finally:
        pool.close()
    assert not document.ready
