"""Pages per second of the PDF pipeline beside pdf2image and pdfium, on the same documents, in one run.

    python -m vlm_assets_tests.benchmarks.bench_pdf [--documents N] [--repeats N] [--processes N]

Scans (one grey JPEG of 3300 x 4700 a page): taken as they are, with and without the verifying decode of every image,
beside pdf2image writing JPEGs (paths only, once a document) and pdfium rendering in as many processes; and drawn by
Poppler all the same (`embedded: never`), where each picture is decoded before. Drawings
(text and lines, 300 DPI; documents of 16 pages, and of 1 to 5): through Poppler, beside pdf2image once a document
with as many threads. Starting the workers is in every figure. Then memory: the
peak of the reader and of all its processes, for a document and for one ten times as long. Medians; the cases take
turns, so that a busy machine slows all alike.
"""

import argparse
import os
import random
import shutil
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from typing import Self

import pikepdf
import psutil
from pikepdf import Dictionary, Name
from PIL import Image, ImageDraw, ImageFont

from vlm_assets.images.probe import FORMATS, ImageFacts, ImageProber, ProbePolicy
from vlm_assets.pdf.facts import JPEG_QUALITY, PageFault, PageOptions
from vlm_assets.pdf.pool import PagePool
from vlm_assets_tests.pdf.builders import image_object, jpeg

PAGES = 16
SCAN_PX = (3300, 4700)
WORDS = ["gazete", "haber", "istanbul", "ankara", "tarih", "vatan", "devlet", "millet", "sanat", "deniz"]


def make_scans(path: Path, pages: int = PAGES) -> None:
    """Newspaper-like scans at 300 DPI: six columns of text on noisy grey paper, a little turned on every page."""
    rng = random.Random(1)
    noise = Image.effect_noise(SCAN_PX, 8).point(lambda level: min(255, level + 85))
    draw, font = ImageDraw.Draw(noise), ImageFont.load_default(36)
    for column in range(6):
        for line in range(110):
            words = " ".join(rng.choice(WORDS) for _ in range(4))
            draw.text((60 + column * 540, 60 + line * 41), words, fill=40, font=font)
    pdf = pikepdf.new()
    for number in range(pages):
        image = noise.rotate(0.05 * number, fillcolor=213)
        pdf.add_blank_page(page_size=(792, 1128))
        page = pdf.pages[-1]
        page.obj.Contents = pdf.make_stream(b"q 792 0 0 1128 0 0 cm /Im0 Do Q")
        page.obj.Resources = Dictionary(XObject=Dictionary(Im0=image_object(pdf, jpeg(image), image)))
    pdf.save(path)


def make_drawings(path: Path, pages: int = PAGES) -> None:
    """A4 pages of text in four columns, with coloured rules."""
    rng = random.Random(2)
    pdf = pikepdf.new()
    font = pdf.make_indirect(Dictionary(Type=Name.Font, Subtype=Name.Type1, BaseFont=Name("/Times-Roman")))
    for _ in range(pages):
        parts = []
        for column in range(4):
            for line in range(90):
                words = " ".join(rng.choice(WORDS) for _ in range(5))
                parts.append(f"BT /F1 8 Tf {30 + column * 140} {800 - line * 8.6:.1f} Td ({words}) Tj ET")
        for _ in range(40):
            colour = " ".join(f"{rng.random():.2f}" for _ in range(3))
            parts.append(f"{colour} rg {rng.randint(20, 500)} {rng.randint(20, 700)} 60 2 re f")
        pdf.add_blank_page(page_size=(595, 842))
        pdf.pages[-1].obj.Contents = pdf.make_stream("\n".join(parts).encode())
        pdf.pages[-1].obj.Resources = Dictionary(Font=Dictionary(F1=font))
    pdf.save(path)


@contextmanager
def scratch() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="bench_pdf_"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def ours(
    documents: list[Path], processes: int, options: PageOptions, prober: ImageProber | None = None
) -> int:
    """Pages through the pool, each file read and removed as the sources do; verified in threads with a prober."""
    pages = 0
    with scratch() as folder, ThreadPoolExecutor(processes) as threads:
        pool = PagePool(options, processes, folder / "pages", folder / "slots")
        try:
            probes = []
            for document in [pool.submit(path) for path in documents]:
                for page in document.pages():
                    if isinstance(page, PageFault):
                        raise TypeError(f"the benchmark's own page failed: {page}")
                    data = page.file.read_bytes()
                    page.file.unlink()
                    pages += 1
                    if prober is not None:
                        probes.append(threads.submit(prober.probe, data))
                        if len(probes) > 4 * processes:
                            _check(probes.pop(0).result())
            for probe in probes:
                _check(probe.result())
        finally:
            pool.close()
    return pages


def _check(facts: object) -> None:
    if not isinstance(facts, ImageFacts):
        raise TypeError(f"the benchmark's own image was rejected: {facts}")


def by_pdf2image(documents: list[Path], processes: int) -> int:
    """Once a document, with threads (a Poppler process each), JPEG files, paths only; read and removed."""
    import pdf2image

    pages = 0
    for path in documents:
        with scratch() as folder:
            options = {"quality": JPEG_QUALITY, "progressive": False, "optimize": False}
            made = pdf2image.convert_from_path(
                path, dpi=300, fmt="jpeg", jpegopt=options, output_folder=folder, paths_only=True,
                thread_count=processes,
            )  # fmt: skip
            pages += sum(bool(Path(name).read_bytes()) for name in made)
    return pages


def pdfium_pages(path: str, start: int, stop: int) -> int:
    """In a process: renders pages with pypdfium2, encodes them as JPEG."""
    import io

    import pypdfium2 as pdfium

    document = pdfium.PdfDocument(path)
    for number in range(start, stop):
        document[number].render(scale=300 / 72).to_pil().convert("RGB").save(
            io.BytesIO(), "JPEG", quality=JPEG_QUALITY
        )
    document.close()
    return stop - start


def by_pdfium(documents: list[Path], processes: int, pool: ProcessPoolExecutor) -> int:
    share = PAGES // processes
    parts = [(str(path), n * share, (n + 1) * share) for path in documents for n in range(processes)]
    return sum(pool.map(pdfium_pages, *zip(*parts, strict=True)))


class PeakMemory:
    """Peak resident memory of this process and of all its descendants together, sampled."""

    def __init__(self) -> None:
        self.own_mb = self.all_mb = 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        process = psutil.Process()
        while not self._stop.wait(0.02):
            own = process.memory_info().rss
            total = own
            for child in process.children(recursive=True):
                try:
                    total += child.memory_info().rss
                except psutil.NoSuchProcess:
                    continue
            self.own_mb, self.all_mb = max(self.own_mb, own / 2**20), max(self.all_mb, total / 2**20)


def cpu_s() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--documents", type=int, default=6)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--processes", type=int, default=len(os.sched_getaffinity(0)))
    arguments = parser.parse_args()
    count = arguments.processes
    with scratch() as folder, ImageProber(ProbePolicy(frozenset(FORMATS))) as prober:
        make_scans(folder / "scan.pdf")
        make_drawings(folder / "drawing.pdf")
        scans = [folder / "scan.pdf"] * arguments.documents
        drawings = [folder / "drawing.pdf"] * (3 * arguments.documents)
        mixed = []
        for pages in (1, 3, 2, 5, 4):
            make_drawings(folder / f"short{pages}.pdf", pages)
            mixed += [folder / f"short{pages}.pdf"] * (2 * arguments.documents)
        pdfium = ProcessPoolExecutor(count, get_context("spawn"))
        taken, rendered = PageOptions(), PageOptions(embedded="never")
        few, many = scans[:1], scans * 4  # a fast way needs more pages for its start not to count
        cases: dict[str, Callable[[], int]] = {
            "scans: pdf2image, JPEG files": lambda: by_pdf2image(few, count),
            "scans: pypdfium2, JPEG": lambda: by_pdfium(few, count, pdfium),
            "scans: ours, taken": lambda: ours(many, count, taken),
            "scans: ours, taken and verified": lambda: ours(many, count, taken, prober),
            "scans: ours, rendered by Poppler": lambda: ours(few, count, rendered),
            "drawings: pdf2image, JPEG files": lambda: by_pdf2image(drawings, count),
            "drawings: ours, Poppler": lambda: ours(drawings, count, rendered),
            "short drawings: pdf2image": lambda: by_pdf2image(mixed, count),
            "short drawings: ours, Poppler": lambda: ours(mixed, count, rendered),
            "drawings: ours, pdfium": lambda: ours(drawings, count, PageOptions(renderer="pdfium")),
        }
        by_pdfium(few, count, pdfium)  # starts its processes
        rates: dict[str, list[float]] = {name: [] for name in cases}
        spent: dict[str, list[float]] = {name: [] for name in cases}
        for _ in range(arguments.repeats):
            for name, case in cases.items():
                started, cpu = time.perf_counter(), cpu_s()
                pages = case()
                rates[name].append(pages / (time.perf_counter() - started))
                spent[name].append((cpu_s() - cpu) / pages)
        pdfium.shutdown()
        print(
            f"{count} processes, {arguments.documents} documents of {PAGES} pages, {arguments.repeats} repeats"
        )
        for name, values in rates.items():
            cpu = statistics.median(spent[name])
            print(f"{name:36s} {statistics.median(values):8.1f} pages/s  {cpu:7.3f} CPU-s/page")
        for mine, peer in (
            ("scans: ours, taken", "scans: pdf2image, JPEG files"),
            ("scans: ours, taken and verified", "scans: pdf2image, JPEG files"),
            ("scans: ours, taken", "scans: pypdfium2, JPEG"),
            ("scans: ours, rendered by Poppler", "scans: pdf2image, JPEG files"),
            ("drawings: ours, Poppler", "drawings: pdf2image, JPEG files"),
            ("short drawings: ours, Poppler", "short drawings: pdf2image"),
        ):
            ratio = statistics.median(a / b for a, b in zip(rates[mine], rates[peer], strict=True))
            print(f"{mine} / {peer}: {ratio:.2f}")
        for pages in (PAGES, 10 * PAGES):
            make_drawings(folder / "long.pdf", pages)
            with PeakMemory() as peak:
                ours([folder / "long.pdf"], count, PageOptions(dpi=100))
            print(
                f"memory, {pages} pages: reader {peak.own_mb:.0f} MB, with its processes {peak.all_mb:.0f} MB"
            )


if __name__ == "__main__":
    main()
