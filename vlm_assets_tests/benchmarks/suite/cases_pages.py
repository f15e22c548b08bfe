"""PDFs to page images, beside pdf2image in as many processes."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from vlm_assets.images.probe import FORMATS, ImageProber, ProbePolicy
from vlm_assets.pdf.facts import PageOptions
from vlm_assets_tests.benchmarks import bench_pdf
from vlm_assets_tests.benchmarks.suite.case import Bar, Case, Inputs, Size

_CPUS: Final = len(os.sched_getaffinity(0))
_SHORT_PAGES: Final = (1, 3, 2, 5, 4)


@contextmanager
def scans(folder: Path, size: Size) -> Iterator[Inputs]:
    """Documents of 16 grey JPEGs of a newspaper's size."""
    documents = {"tiny": 1, "small": 2, "large": 16}[size]
    for number in range(documents):
        bench_pdf.make_scans(folder / f"{number}.pdf")
    yield Inputs(folder, documents * bench_pdf.PAGES)


@contextmanager
def drawings(folder: Path, size: Size) -> Iterator[Inputs]:
    """Documents of 16 pages of text and lines."""
    documents = {"tiny": 1, "small": 2, "large": 24}[size]
    for number in range(documents):
        bench_pdf.make_drawings(folder / f"{number}.pdf")
    yield Inputs(folder, documents * bench_pdf.PAGES)


@contextmanager
def short_drawings(folder: Path, size: Size) -> Iterator[Inputs]:
    """Documents of one to five pages."""
    times = {"tiny": 1, "small": 2, "large": 24}[size]
    for number in range(times):
        for pages in _SHORT_PAGES:
            bench_pdf.make_drawings(folder / f"{number}-{pages}.pdf", pages)
    yield Inputs(folder, times * sum(_SHORT_PAGES))


def _ours(inputs: Inputs, options: PageOptions, prober: ImageProber | None = None) -> None:
    pages = bench_pdf.ours(_documents(inputs), _CPUS, options, prober)
    if pages != inputs.units:
        raise SystemExit(f"{pages} pages of {inputs.units}")


def _verified(inputs: Inputs, _: Path) -> None:
    with ImageProber(ProbePolicy(frozenset(FORMATS))) as prober:
        _ours(inputs, PageOptions(), prober)


def _by_pdf2image(inputs: Inputs, _: Path) -> None:
    bench_pdf.by_pdf2image(_documents(inputs), _CPUS)


def _documents(inputs: Inputs) -> list[Path]:
    return sorted(inputs.folder.glob("*.pdf"))


_TAKEN, _VERIFIED, _DRAWN, _PDF2IMAGE = "taken", "taken and verified", "drawn by Poppler", "pdf2image"


def _drawn(inputs: Inputs, _: Path) -> None:
    _ours(inputs, PageOptions(embedded="never"))


CASES: Final = (
    Case(
        "scanned PDFs to pages", "pages", scans,
        {_TAKEN: lambda inputs, _: _ours(inputs, PageOptions()), _VERIFIED: _verified, _PDF2IMAGE: _by_pdf2image},
        (Bar(_TAKEN, _PDF2IMAGE, 20), Bar(_VERIFIED, _PDF2IMAGE, 8)),
    ),
    Case(
        "scanned PDFs, drawn", "pages", scans, {_DRAWN: _drawn, _PDF2IMAGE: _by_pdf2image},
        (Bar(_DRAWN, _PDF2IMAGE, 0.8),),
    ),
    Case(
        "drawn PDFs to pages", "pages", drawings, {_DRAWN: _drawn, _PDF2IMAGE: _by_pdf2image},
        (Bar(_DRAWN, _PDF2IMAGE, 1.1),),
    ),
    Case(
        "short drawn PDFs to pages", "pages", short_drawings, {_DRAWN: _drawn, _PDF2IMAGE: _by_pdf2image},
        (Bar(_DRAWN, _PDF2IMAGE, 1.3),),
    ),
)  # fmt: skip
