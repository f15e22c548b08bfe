"""Workers over documents: order, figures, and pages that hang, crash, or ask for too much."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pikepdf
import psutil
import pytest
from PIL import Image

from vlm_assets.pdf.facts import PageFault, PageFlag, PageImage, PageOptions
from vlm_assets.pdf.pool import PagePool
from vlm_assets.pdf.slots import CpuSlots
from vlm_assets.words.errors import OperationError, RejectReason
from vlm_assets_tests.pdf.builders import (
    Array,
    Dictionary,
    Name,
    add_page,
    build,
    drawing,
    image_object,
    jpeg,
    scan,
)
from vlm_assets_tests.waiting import HANG_S, until


@contextmanager
def pool_of(folder: Path, options: PageOptions | None = None, workers: int = 2) -> Iterator[PagePool]:
    pool = PagePool(options or PageOptions(dpi=60), workers, folder / "pages", folder / "slots")
    try:
        yield pool
    finally:
        pool.close()


def pages_of(folder: Path, path: Path, options: PageOptions | None = None) -> list[PageImage | PageFault]:
    with pool_of(folder, options) as pool:
        return list(pool.submit(path).pages())


def endless_form(pdf: pikepdf.Pdf) -> pikepdf.Object:
    """A form that draws a form ten times, ten levels deep: ten billion rectangles in 1 KB."""
    inner = pdf.make_stream(b"0 0 5 5 re f")
    inner.Type, inner.Subtype, inner.BBox = Name.XObject, Name.Form, Array([0, 0, 9, 9])
    for _ in range(10):
        outer = pdf.make_stream(b"/F Do " * 10)
        outer.Type, outer.Subtype, outer.BBox = Name.XObject, Name.Form, Array([0, 0, 9, 9])
        outer.Resources = Dictionary(XObject=Dictionary(F=pdf.make_indirect(inner)))
        inner = outer
    return inner


def hanging(path: Path, page: int = 1, pages: int = 4) -> Path:
    def make(pdf: pikepdf.Pdf) -> None:
        for number in range(pages):
            if number == page:
                add_page(pdf, "/Fm0 Do", images={"Fm0": endless_form(pdf)})
            else:
                add_page(pdf, f"0 0 {50 + number} 40 re f")

    return build(path, make)


def test_pages_come_in_order_each_once_over_many_documents(tmp_path: Path) -> None:
    paths = []
    for number in range(5):
        paths.append(tmp_path / f"{number}.pdf")
        drawing(paths[-1], pages=number * 9 + 1, size_pt=(40, 50))
    with pool_of(tmp_path, workers=3) as pool:
        submitted = [pool.submit(path) for path in paths]
        for number, document in enumerate(submitted):
            results = list(document.pages())
            assert [page.page for page in results] == list(range(number * 9 + 1))
            assert all(isinstance(page, PageImage) and page.file.exists() for page in results)
            assert document.summary.pages == document.summary.images == number * 9 + 1
            assert document.summary.seconds > 0
    assert not (tmp_path / "pages").exists()


def test_a_scan_gives_the_embedded_bytes_and_its_resolution(tmp_path: Path) -> None:
    made = scan(tmp_path / "a.pdf", pages=6)
    with pool_of(tmp_path) as pool:
        document = pool.submit(tmp_path / "a.pdf")
        for number, page in enumerate(document.pages()):
            assert isinstance(page, PageImage)
            assert page.file.read_bytes() == made[number]
            assert (page.method, page.dpi, page.width_px, page.height_px) == ("embedded", 300, 900, 1200)
            assert page.box_pt == (216, 288)
        assert document.summary.embedded == 6


def test_a_rendered_page_says_by_what_and_in_what_size(tmp_path: Path) -> None:
    drawing(tmp_path / "a.pdf", size_pt=(72, 144))
    for renderer in ("poppler", "pdfium"):
        (page,) = pages_of(tmp_path, tmp_path / "a.pdf", PageOptions(dpi=100, renderer=renderer))
        assert isinstance(page, PageImage)
        assert page.method == f"rendered by {renderer}"
        with Image.open(page.file) if page.file.exists() else Image.new("L", (100, 200)) as image:
            assert image.size == (100, 200)
        assert (page.width_px, page.height_px, page.dpi) == (100, 200, 100)


def test_the_crop_box_is_what_is_seen(tmp_path: Path) -> None:
    keys = {"CropBox": Array([10, 20, 82, 164])}
    path = build(tmp_path / "a.pdf", lambda pdf: add_page(pdf, "0 0 9 9 re f", page_keys=keys))
    for renderer in ("poppler", "pdfium"):
        (page,) = pages_of(tmp_path, path, PageOptions(dpi=100, renderer=renderer))
        assert isinstance(page, PageImage)
        assert (page.width_px, page.height_px) == (100, 200)


@pytest.mark.parametrize(
    ("pages", "expected"),
    [
        pytest.param(((0, 2),), [0, 1], id="first_two"),
        pytest.param(((1, 2), (38, None)), [1, 38, 39], id="second_and_last"),
        pytest.param(((70, None),), [], id="behind_the_end"),
    ],
)
def test_only_wanted_pages_are_made(
    pages: tuple[tuple[int, int | None], ...], expected: list[int], tmp_path: Path
) -> None:
    drawing(tmp_path / "a.pdf", pages=40, size_pt=(40, 40))
    with pool_of(tmp_path, PageOptions(dpi=30, pages=pages)) as pool:
        document = pool.submit(tmp_path / "a.pdf")
        assert [page.page for page in document.pages()] == expected
        summary = document.summary
    assert (summary.pages, summary.skipped, summary.images) == (40, 40 - len(expected), len(expected))


def test_blank_tiny_and_repeated_pages_are_flagged(tmp_path: Path) -> None:
    def make(pdf: pikepdf.Pdf) -> None:
        add_page(pdf, "10 10 50 50 re f", (100, 100))
        add_page(pdf, "", (100, 100))
        add_page(pdf, "10 10 50 50 re f", (100, 100))
        add_page(pdf, "0.5 g 0 0 99 99 re f", page_keys={"MediaBox": Array([0, 0, 0.5, 0.5])})
        add_page(pdf, "0 0 3 3 re f", (100, 100))
        white = Image.new("L", (300, 300), 250)
        add_page(pdf, "72 0 0 72 0 0 cm /Im0 Do", (72, 72), {"Im0": image_object(pdf, jpeg(white), white)})

    results = pages_of(tmp_path, build(tmp_path / "a.pdf", make), PageOptions(dpi=72))
    flags = [page.flags for page in results if isinstance(page, PageImage)]
    assert flags[0] == ()
    assert flags[1] == (PageFlag.BLANK,)
    assert flags[2] == (PageFlag.REPEATED,)
    assert isinstance(results[2], PageImage)
    assert results[2].repeats == 0
    assert flags[3] == (PageFlag.BLANK, PageFlag.TINY)
    assert flags[4] == ()
    assert flags[5] == (PageFlag.BLANK,)


@pytest.mark.parametrize("renderer", ["poppler", "pdfium"])
def test_a_page_that_uses_up_its_time_costs_one_transient_fault(renderer: str, tmp_path: Path) -> None:
    options = PageOptions(dpi=60, renderer=renderer, page_cpu_s=1)  # type: ignore[arg-type]
    results = pages_of(tmp_path, hanging(tmp_path / "a.pdf"), options)
    assert [page.page for page in results] == [0, 1, 2, 3]
    assert [isinstance(page, PageFault) for page in results] == [False, True, False, False]
    assert isinstance(results[1], PageFault)
    assert (results[1].reason, results[1].transient) == (RejectReason.RENDER_FAILED, True)
    assert "processor time" in results[1].detail


@pytest.mark.parametrize("renderer", ["poppler", "pdfium"])
def test_a_page_that_needs_too_much_memory_costs_one_fault(renderer: str, tmp_path: Path) -> None:
    def make(pdf: pikepdf.Pdf) -> None:
        for size_pt in (50, 2880, 51):
            add_page(pdf, "0 0 50 40 re f", (size_pt, size_pt))

    path = build(tmp_path / "a.pdf", make)
    results = pages_of(tmp_path, path, PageOptions(dpi=300, renderer=renderer, memory_bytes=400 * 2**20))  # type: ignore[arg-type]
    assert [page.page for page in results] == [0, 1, 2]
    assert [isinstance(page, PageFault) for page in results] == [False, True, False]


def test_a_page_of_too_many_pixels_is_refused_before_it_is_rendered(tmp_path: Path) -> None:
    path = build(tmp_path / "a.pdf", lambda pdf: add_page(pdf, "0 0 9 9 re f", (14_000, 14_000)))
    (fault,) = pages_of(tmp_path, path, PageOptions(dpi=300))
    assert isinstance(fault, PageFault)
    assert fault.reason is RejectReason.PAGE_TOO_LARGE
    assert "58333 x 58333" in fault.detail


def test_a_worker_killed_at_work_is_replaced_and_no_page_is_lost(tmp_path: Path) -> None:
    drawing(tmp_path / "a.pdf", pages=40, size_pt=(600, 800))
    with pool_of(tmp_path, PageOptions(dpi=150)) as pool:
        document = pool.submit(tmp_path / "a.pdf")
        results = []
        for page in document.pages():
            results.append(page)
            if page.page == 2:  # twice might be over the same page, which is blamed then
                os.kill(pool.pids()[0], signal.SIGKILL)
    assert [page.page for page in results] == list(range(40))
    assert all(isinstance(page, PageImage) for page in results)


@pytest.mark.parametrize("renderer", ["poppler", "pdfium"])
def test_a_page_that_workers_crash_over_is_drawn_apart(
    renderer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawing(tmp_path / "a.pdf", pages=3, size_pt=(60, 80))
    usual = pages_of(tmp_path, tmp_path / "a.pdf", PageOptions(dpi=60))
    monkeypatch.setattr("vlm_assets.pdf.pool._HANDLER", "vlm_assets_tests.pdf.dying:crashing")
    results = pages_of(tmp_path, tmp_path / "a.pdf", PageOptions(dpi=60, renderer=renderer, text="layer"))
    assert [page.page for page in results] == [0, 1, 2]
    apart, expected = results[1], usual[1]
    assert isinstance(apart, PageImage)
    assert isinstance(expected, PageImage)
    assert (apart.digest, apart.method) == (expected.digest, "rendered by poppler")
    assert apart.box_pt == pytest.approx((60, 80), abs=1)
    assert apart.dpi == 60
    assert {PageFlag.OTHER_RENDERER, PageFlag.NO_TEXT} <= {*apart.flags}


def test_a_page_that_workers_are_killed_over_is_tried_some_other_day(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawing(tmp_path / "a.pdf", pages=3, size_pt=(60, 80))
    monkeypatch.setattr("vlm_assets.pdf.pool._HANDLER", "vlm_assets_tests.pdf.dying:killed")
    results = pages_of(tmp_path, tmp_path / "a.pdf", PageOptions(dpi=60))
    assert [isinstance(page, PageFault) and page.transient for page in results] == [False, True, False]


def test_a_reader_that_stops_early_leaves_nothing_behind(tmp_path: Path) -> None:
    drawing(tmp_path / "a.pdf", pages=60, size_pt=(300, 400))
    with pool_of(tmp_path) as pool:
        next(iter(pool.submit(tmp_path / "a.pdf").pages()))
        workers = [psutil.Process(pid) for pid in pool.pids()]
    assert workers
    assert not any(worker.is_running() for worker in workers)
    assert not (tmp_path / "pages").exists()


def test_pages_ahead_of_the_reader_are_bounded(tmp_path: Path) -> None:
    drawing(tmp_path / "a.pdf", pages=300, size_pt=(20, 20))
    with pool_of(tmp_path, PageOptions(dpi=30), workers=1) as pool:
        document = pool.submit(tmp_path / "a.pdf")
        reader = document.pages()
        next(reader)
        until(lambda: document.under_way == 0 and len(document.ready) >= 32, "a worker that is ahead")
        assert pool._next_request() is None
        assert len(document.ready) <= 64
        assert len(list(reader)) == 299


def test_slots_are_shared_by_all_pools_on_the_machine(tmp_path: Path) -> None:
    drawing(tmp_path / "a.pdf", pages=10, size_pt=(300, 400))
    options = PageOptions(dpi=60)
    pools = [PagePool(options, 1, tmp_path / str(n), tmp_path / "slots") for n in range(2)]
    try:
        documents = [pool.submit(tmp_path / "a.pdf") for pool in pools]
        assert [len(list(document.pages())) for document in documents] == [10, 10]
    finally:
        for pool in pools:
            pool.close()


def test_slots_are_for_any_number_of_threads(tmp_path: Path) -> None:
    slots = CpuSlots(tmp_path, 2)

    def take_and_give(holder: int) -> None:
        for _ in range(300):
            slots.take(holder)
            slots.give_back(holder)

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(take_and_give, range(4)))
    assert [slots.take(holder) for holder in range(3)] == [True, True, False]


def test_a_closed_pool_says_so(tmp_path: Path) -> None:
    drawing(tmp_path / "a.pdf")
    with pool_of(tmp_path) as pool:
        document = pool.submit(tmp_path / "a.pdf")
    with pytest.raises(OperationError, match="closed"):
        list(document.pages())


def with_poppler(pid: int) -> list[psutil.Process]:
    """All descendants, once Poppler is among them."""
    found = psutil.Process(pid).children(recursive=True)
    names = []
    for child in found:
        with suppress(psutil.NoSuchProcess):
            names.append(child.name())
    return found if any("pdftoppm" in name for name in names) else []


def test_nothing_survives_the_death_of_the_caller(tmp_path: Path) -> None:
    hanging(tmp_path / "a.pdf", page=0, pages=1)
    program = (
        "import sys; from pathlib import Path; from vlm_assets.pdf.pool import PagePool; "
        "from vlm_assets.pdf.facts import PageOptions; base = Path(sys.argv[1]); "
        "pool = PagePool(PageOptions(), 1, base / 'pages', base / 'slots'); "
        "list(pool.submit(base / 'a.pdf').pages())"
    )
    caller = subprocess.Popen([sys.executable, "-c", program, str(tmp_path)])
    try:
        descendants = until(lambda: with_poppler(caller.pid), "a page at work")
    finally:
        caller.kill()
        caller.wait()
    _, alive = psutil.wait_procs(descendants, timeout=HANG_S)
    assert [process for process in alive if process.status() != psutil.STATUS_ZOMBIE] == []


@pytest.mark.parametrize("renderer", ["poppler", "pdfium"])
def test_another_document_in_the_place_of_one_is_read_anew(tmp_path: Path, renderer: Any) -> None:
    path, options = tmp_path / "a.pdf", PageOptions(dpi=60, renderer=renderer)
    with pool_of(tmp_path / "one", options, workers=1) as pool:
        scan(path)
        [before] = pool.submit(path).pages()
        drawing(path)
        [after] = pool.submit(path).pages()
    [alone] = pages_of(tmp_path / "other", path, options)
    assert isinstance(before, PageImage)
    assert isinstance(after, PageImage)
    assert isinstance(alone, PageImage)
    assert after.digest == alone.digest != before.digest
