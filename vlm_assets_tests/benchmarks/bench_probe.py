"""Speed of the image probe beside bare Pillow on the same bytes in memory, in one run.

    python -m vlm_assets_tests.benchmarks.bench_probe [--images N] [--repeats N] [--threads N]

Prints medians in images per second: the header probe; the verifying probe beside a loop of draft decodes (1/8
scale, nothing else done), on one thread and on several; what goes through the child process.
"""

import argparse
import io
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from PIL import Image

from vlm_assets.images.probe import FORMATS, ImageFacts, ImageProber, ProbePolicy

SIZE_PX = (800, 600)
JPEG_BYTES = 107_000


def make_jpegs(count: int) -> list[bytes]:
    """Different 800 x 600 JPEGs of about 107 kB: smooth shapes under fine noise, like a photograph's bytes."""
    quality = next(q for q in range(95, 40, -1) if len(_jpeg(0, q)) <= JPEG_BYTES)
    return [_jpeg(i, quality) for i in range(count)]


def _jpeg(number: int, quality: int) -> bytes:
    picture = Image.radial_gradient("L").rotate(number * 7).resize(SIZE_PX)
    noise = Image.effect_noise(SIZE_PX, 24)
    bands = [Image.blend(picture, noise, share) for share in (0.35, 0.4, 0.45)]
    out = io.BytesIO()
    Image.merge("RGB", bands).save(out, "JPEG", quality=quality)
    return out.getvalue()


def bare_draft(data: bytes) -> None:
    """What every decoder must at least do to read all of a JPEG's entropy-coded data."""
    image = Image.open(io.BytesIO(data), formats=("JPEG",))
    image.draft("L", (SIZE_PX[0] // 8, SIZE_PX[1] // 8))
    image.load()


def probing(prober: ImageProber) -> Callable[[bytes], None]:
    """`prober.probe` that stops the run at the first fault: a benchmark of rejects would be fast and worthless."""

    def probe(data: bytes) -> None:
        facts = prober.probe(data)
        if not isinstance(facts, ImageFacts):
            raise TypeError(f"the benchmark's own image was rejected: {facts}")

    return probe


def rate(work: Callable[[bytes], None], images: list[bytes], threads: int) -> float:
    """Images per second of one pass, in chunks over `threads`."""
    chunks = [images[i : i + 32] for i in range(0, len(images), 32)]

    def run(chunk: list[bytes]) -> None:
        for data in chunk:
            work(data)

    start = time.perf_counter()
    if threads == 1:
        run(images)
    else:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(run, chunks))
    return len(images) / (time.perf_counter() - start)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=400)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    jpegs = make_jpegs(options.images)
    gif = io.BytesIO()
    Image.open(io.BytesIO(jpegs[0])).resize((200, 150)).save(gif, "GIF")
    gifs = [gif.getvalue()] * options.images
    everything = frozenset(FORMATS)
    with (
        ImageProber(ProbePolicy(everything)) as verifier,
        ImageProber(ProbePolicy(everything, verify="header")) as reader,
    ):
        verifier.probe(gifs[0])  # starts the child
        decode, header = probing(verifier), probing(reader)
        many = options.threads
        cases: list[tuple[str, Callable[[bytes], None], list[bytes], int]] = [
            ("bare draft decode, 1 thread", bare_draft, jpegs, 1),
            ("probe, verify: decode, 1 thread", decode, jpegs, 1),
            (f"bare draft decode, {many} threads", bare_draft, jpegs, many),
            (f"probe, verify: decode, {many} threads", decode, jpegs, many),
            ("probe, verify: header, 1 thread", header, jpegs * 10, 1),
            ("probe of a 200x150 GIF in the child, 1 thread", decode, gifs, 1),
        ]
        rates: dict[str, list[float]] = {name: [] for name, *_ in cases}
        for _ in range(options.repeats):  # interleaved: a busy machine slows all alike
            for name, work, images, threads in cases:
                rates[name].append(rate(work, images, threads))
    print(f"{len(jpegs)} JPEGs {SIZE_PX[0]}x{SIZE_PX[1]}, {len(jpegs[0])} bytes; {options.repeats} repeats")
    for name, values in rates.items():
        print(f"{name:50s} {statistics.median(values):10,.0f} images/s")
    for threads in (1, many):
        plural = "thread" if threads == 1 else "threads"
        pairs = zip(
            rates[f"probe, verify: decode, {threads} {plural}"],
            rates[f"bare draft decode, {threads} {plural}"],
            strict=True,
        )
        print(f"ratio to bare, {threads} {plural}: {statistics.median(a / b for a, b in pairs):.3f}")


if __name__ == "__main__":
    main()
