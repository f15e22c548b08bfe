"""Renderers that are slow, spin, hang, are killed, or die: no clock decides what a page is, and one death nothing."""

import json
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from vlm_assets.allocation.step import allocate
from vlm_assets.corpus.build import build_corpus
from vlm_assets.corpus.manifest import CorpusManifest
from vlm_assets.ingest.due import Due
from vlm_assets.pdf.ends import process_end
from vlm_assets.pdf.facts import LARGE_PAGE_PIXELS, PageFault, PageFlag, PageImage, PageOptions
from vlm_assets.pdf.pool import PagePool
from vlm_assets.words.errors import RejectReason
from vlm_assets_tests.pdf.builders import drawing, scan
from vlm_assets_tests.workplace import ingest, install

Results = list[PageImage | PageFault]
BODIES = {
    "slow": 'sleep 2.5; exec {real} "$@"',
    "spins": "while :; do :; done",
    "hangs": "exec sleep 1000",
    "dies": "kill -s {signal} $$",
    "fails": "echo 'Syntax Error: Unknown operator' >&2; exit 1",
    "draws nothing": "exit 0",
    "has no memory": "echo 'Out of memory' >&2; exit 1",
    "cannot read": "echo \"I/O Error: Couldn't open file 'a.pdf': No error.\" >&2; exit 1",
    "stops short": '{real} "$@"; for f in {pages}; do truncate -s -100 "$f"; done; kill -s {signal} $$',
}
"""What Poppler does instead, in shell. Standard errors and output are pipes that close with it."""


@pytest.fixture
def poppler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Puts another Poppler in place: `body` for the first `times` pages asked for, then the real one."""
    real = shutil.which("pdftoppm")
    assert real is not None

    def become(body: str, *, times: int = 1000, deadly: str = "SEGV") -> None:
        folder = tmp_path / "bin"
        folder.mkdir(exist_ok=True)
        script = BODIES[body].format(real=real, signal=deadly, pages=tmp_path / "*" / "*" / "poppler*.jpg")
        counted = (
            f'n=$(cat {folder}/n 2>/dev/null || echo 0); echo $((n + 1)) >{folder}/n; [ "$n" -ge {times} ]'
        )
        (folder / "pdftoppm").write_text(f'#!/bin/sh\nif {counted}; then exec {real} "$@"; fi\n{script}\n')
        (folder / "pdftoppm").chmod(0o755)
        (folder / "n").unlink(missing_ok=True)
        monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")

    return become


def pages_of(tmp_path: Path, options: PageOptions, pages: int = 1) -> Results:
    drawing(tmp_path / "a.pdf", pages=pages, size_pt=(60, 60))
    pool = PagePool(options, 1, tmp_path / "pages", tmp_path / "slots")
    try:
        return list(pool.submit(tmp_path / "a.pdf").pages())
    finally:
        pool.close()


def digests(results: Results) -> list[str]:
    assert all(isinstance(page, PageImage) for page in results), results
    return [page.digest for page in results if isinstance(page, PageImage)]


SPINNING = PageOptions(dpi=60, page_cpu_s=1)
HANGING = PageOptions(dpi=60, hang_s=2)


@pytest.mark.parametrize("body", ["slow", "spins", "dies", "stops short"])
@pytest.mark.parametrize("pages", [pytest.param(1, marks=pytest.mark.slow), 3])
def test_what_happens_once_changes_no_page(
    body: str, pages: int, tmp_path: Path, poppler: Callable[..., None]
) -> None:
    options = PageOptions(dpi=60, page_cpu_s=1)
    expected = digests(pages_of(tmp_path, options, pages))
    poppler(body, times=1)
    assert digests(pages_of(tmp_path, options, pages)) == expected


@pytest.mark.parametrize(
    ("body", "deadly", "detail", "transient"),
    [
        ("spins", "", "processor time", True), ("hangs", "", "silent for 2 s", True),
        ("dies", "KILL", "SIGKILL", True), ("dies", "BUS", "SIGBUS", True),
        ("has no memory", "", "ran out of memory", False), ("cannot read", "", "Couldn't open file", True),
    ],
)  # fmt: skip
@pytest.mark.parametrize("pages", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_a_last_word_is_transient_where_it_speaks_of_the_machine(
    body: str,
    deadly: str,
    detail: str,
    *,
    transient: bool,
    pages: int,
    tmp_path: Path,
    poppler: Callable[..., None],
) -> None:
    poppler(body, deadly=deadly)
    results = pages_of(tmp_path, HANGING if body == "hangs" else SPINNING, pages)
    assert [page.page for page in results] == list(range(pages))
    for fault in results:
        assert isinstance(fault, PageFault)
        assert (fault.reason, fault.transient) == (RejectReason.RENDER_FAILED, transient)
        assert detail in fault.detail


@pytest.mark.parametrize(
    ("body", "deadly"), [("dies", "SEGV"), ("dies", "ABRT"), ("fails", ""), ("draws nothing", "")]
)
@pytest.mark.parametrize("pages", [1, 2])
def test_a_page_that_a_renderer_fails_over_twice_is_drawn_by_the_other(
    body: str, deadly: str, pages: int, tmp_path: Path, poppler: Callable[..., None]
) -> None:
    expected = digests(pages_of(tmp_path, PageOptions(dpi=60, renderer="pdfium"), pages))
    poppler(body, deadly=deadly)
    results = pages_of(tmp_path, PageOptions(dpi=60), pages)
    assert digests(results) == expected
    for page in results:
        assert isinstance(page, PageImage)
        assert page.method == "rendered by pdfium"
        assert PageFlag.OTHER_RENDERER in page.flags


def test_a_slice_whose_pages_all_failed_once_becomes_the_one_it_would_have_been(
    tmp_path: Path, poppler: Callable[..., None]
) -> None:
    for name in ("a", "b"):
        (tmp_path / "in").mkdir(exist_ok=True)
        drawing(tmp_path / "in" / f"{name}.pdf", pages=2, size_pt=(60, 80))
    source = {
        "name": "papers", "kind": "pdf_folder", "category": "photos", "subcategory": "street",
        "licence": "CC0-1.0", "path": tmp_path / "in", "dpi": 60, "reject_tolerance": 1,
    }  # fmt: skip
    (quiet,) = ingest(install(tmp_path / "quiet", source), "papers").values()
    poppler("dies", deadly="KILL")
    busy = install(tmp_path / "busy", source)
    (first,) = ingest(busy, "papers").values()
    assert (first.manifest.rows, first.manifest.rejects) == (0, {"render_failed": 4})
    assert first.manifest.transient_rejects == 4
    poppler("dies", times=0)
    run = json.loads((first.path / "run.json").read_text())
    (first.path / "run.json").write_text(json.dumps(run | {"next_retry": 1}))
    (second,) = ingest(busy, "papers").values()
    assert second.due is Due.RETRY
    assert second.manifest.content_hash == quiet.manifest.content_hash
    assert second.manifest.version == quiet.manifest.version


POPPLER_ONCE = """#!/bin/sh
page=$(echo "$*" | sed 's/.*-f \\([0-9]*\\) .*/poppler-\\1/')
if mkdir "$PAGE_DEATHS/$page" 2>/dev/null; then kill -s XCPU $$; fi
exec {real} "$@"
"""
"""Dies by its limit of processor time when it is asked for a page first."""


def test_a_corpus_of_pages_that_all_ran_out_of_time_once_is_the_same_to_the_byte(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    drawing(folder / "a.pdf", pages=2, size_pt=(60, 80))
    scan(folder / "b.pdf")
    source = {
        "name": "papers", "kind": "pdf_folder", "category": "photos", "subcategory": "street",
        "licence": "CC0-1.0", "path": folder, "dpi": 60,
    }  # fmt: skip

    def corpus_in(base: Path) -> CorpusManifest:
        installation = install(base, source, corpus={"targets": {"3": 3}})
        outcomes = ingest(installation, "papers")
        assert [one.manifest.rejects for one in outcomes.values()] == [{}]
        return build_corpus(allocate(installation, "3").path, installation.root)

    quiet = corpus_in(tmp_path / "quiet")
    deaths, programs = tmp_path / "deaths", tmp_path / "bin"
    deaths.mkdir()
    programs.mkdir()
    (programs / "pdftoppm").write_text(POPPLER_ONCE.format(real=shutil.which("pdftoppm")))
    (programs / "pdftoppm").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    monkeypatch.setenv("PAGE_DEATHS", str(deaths))
    monkeypatch.setattr("vlm_assets.pdf.pool._HANDLER", "vlm_assets_tests.pdf.dying:once")
    busy = corpus_in(tmp_path / "busy")
    assert (busy.rows, busy.root_hash) == (3, quiet.root_hash)
    drawn = {"a.pdf-0", "a.pdf-1", "poppler-1", "poppler-2"}
    assert {path.name for path in deaths.iterdir()} == {*drawn, "b.pdf-0"}


@pytest.mark.parametrize(
    ("status", "told", "says"),
    [
        (None, "", (False, True, False)), (-signal.SIGXCPU, "", (True, True, False)),
        (-signal.SIGKILL, "", (True, True, False)), (-signal.SIGBUS, "", (True, True, False)),
        (-signal.SIGSEGV, "", (True, False, True)), (-99, "", (True, False, True)),
        (-signal.SIGABRT, "terminate called after throwing an instance of 'std::bad_alloc'", (True, False, False)),
        (0, "", (False, False, True)), (1, "Syntax Error: x", (False, False, True)),
        (1, "Out of memory", (False, False, False)), (1, "I/O Error: Couldn't open file 'a'", (False, True, False)),
    ],
)  # fmt: skip
def test_the_end_of_a_process_is_told(status: int | None, told: str, says: tuple[bool, bool, bool]) -> None:
    end = process_end("It", status, 60, 3600, told)
    assert (end.died, end.transient, end.repeats) == says
    assert end.detail.startswith("It ")


@pytest.mark.parametrize(
    ("pixels", "cpu_s"), [(0, 60), (LARGE_PAGE_PIXELS, 60), (3 * LARGE_PAGE_PIXELS, 180)]
)
def test_large_pages_have_more_time(pixels: int, cpu_s: float) -> None:
    assert PageOptions().cpu_s(pixels) == cpu_s
