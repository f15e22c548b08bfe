"""Reading a built corpus row by row beside what `save_to_disk` makes of the same rows, in one run.

    python -m vlm_assets_tests.benchmarks.bench_read CORPUS [--rows N] [--rounds N]

CORPUS is a corpus folder, such as one that `bench_corpus --keep` leaves. The copy is made beside it and removed. Rows
are read one at a time through `datasets` in Arrow's format, images included and not decoded: decoding would cost the
same on both sides and hide the rest. Each round reads the rows in order and in a random order, from either side in
turn, warm. Prints the microseconds a row and the median of the rounds' ratios: above 1 the corpus is the faster one.
"""

import argparse
import random
import shutil
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import datasets

_ORDERS: Final = ("in order", "at random")


def seconds_for(rows: Any, order: Sequence[int]) -> float:
    """Wall seconds to read these rows one by one with the bytes of their images."""
    start = time.perf_counter()
    for number in order:
        for image in rows[number]["images"][0]:
            image["bytes"].as_py()
    return time.perf_counter() - start


def measure(corpus: Path, copy: Path, limit: int, rounds: int) -> None:
    """All rounds, then the table."""
    datasets.disable_progress_bars()
    datasets.load_from_disk(str(corpus)).save_to_disk(str(copy))
    own, peer = (datasets.load_from_disk(str(path)).with_format("arrow") for path in (corpus, copy))
    numbers = list(range(min(len(own), limit)))
    chance = random.Random(1)
    took: dict[str, list[tuple[float, float]]] = {name: [] for name in _ORDERS}
    for number in range(rounds + 1):
        mixed = chance.sample(numbers, len(numbers))
        for name, order in zip(_ORDERS, (numbers, mixed), strict=True):
            sides = [(own, order), (peer, order)]
            first, second = (seconds_for(*side) for side in (sides if number % 2 else sides[::-1]))
            if number:  # the first round warms both
                took[name].append((first, second) if number % 2 else (second, first))
    for name, pairs in took.items():
        own_us, peer_us = (statistics.median(side) / len(numbers) * 1e6 for side in zip(*pairs, strict=True))
        ratio = statistics.median(second / first for first, second in pairs)
        print(
            f"{name:<10} {own_us:7.1f} µs a row, save_to_disk {peer_us:7.1f} µs: {ratio:.2f} x save_to_disk"
        )


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--rows", type=int, default=40_000)
    parser.add_argument("--rounds", type=int, default=6)
    arguments = parser.parse_args()
    copy = arguments.corpus.absolute().parent / ".bench_read_copy"
    try:
        measure(arguments.corpus.absolute(), copy, arguments.rows, arguments.rounds)
    finally:
        shutil.rmtree(copy, ignore_errors=True)


if __name__ == "__main__":
    main()
