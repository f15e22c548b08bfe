"""What it costs to hold the words of rows against those of benchmarks.

    python -m vlm_assets_tests.benchmarks.bench_grams [--rows N] [--words N] [--held N]

Prints processor seconds for a million rows of Turkish words: hashing their grams, looking them up among those of
benchmarks (one row in a thousand shares some), and the same by the audit's own code; and what it takes in memory.
"""

import argparse
import random
import resource
import time
from collections.abc import Iterator

import numpy as np

from vlm_assets.allocation.grams import GramReader, GramSet
from vlm_assets.audit.grams import grams_in, held
from vlm_assets_tests.benchmarks.lines_of_languages import LINES

_BATCH = 1_000
"""Rows of a record batch."""


def made_texts(rows: int, words: int, seed: int) -> Iterator[str]:
    """Rows of words of the Turkish lines, in no order that repeats."""
    stock = [word for language, _, line in LINES if language == "tr" for word in line.split()]
    rng = random.Random(seed)
    for number in range(rows):
        yield " ".join([*rng.choices(stock, k=words - 1), str(number)])


def main() -> None:
    """Prints the lines."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--words", type=int, default=40)
    parser.add_argument("--held", type=int, default=1_000_000, help="grams of the benchmarks")
    asked = parser.parse_args()
    texts = list(made_texts(asked.rows, asked.words, 1))
    rng = np.random.default_rng(2)
    few = np.concatenate([one for one, _ in GramReader().read(texts[::1000], range(len(texts[::1000])))])
    grams = np.unique(np.concatenate((few, rng.integers(0, 2**64, asked.held, dtype=np.uint64))))
    every, found, clock = GramSet(grams), 0, time.process_time()
    for begin in range(0, len(texts), _BATCH):
        some = texts[begin : begin + _BATCH]
        for hashes, rows in GramReader().read(some, range(len(some))):
            found += len(np.unique(rows[every.places_of(hashes)]))
    ours = time.process_time() - clock
    clock = time.process_time()
    theirs = np.unique(grams_in([one] for one in texts[::1000])[0])
    again = 0
    for begin in range(0, len(texts), _BATCH):
        hashes, rows = grams_in([one] for one in texts[begin : begin + _BATCH])
        again += len(np.unique(rows[held(hashes, theirs)]))
    audit = time.process_time() - clock
    million = 1e6 / len(texts)
    print(
        f"{len(texts):,} rows of {asked.words} words, {len(grams):,} grams held; {found:,} and {again:,} rows found"
    )
    print(f"allocation {ours * million:6.1f} s a million rows")
    print(f"audit      {audit * million:6.1f} s a million rows")
    print(f"most memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:,.0f} MiB")


if __name__ == "__main__":
    main()
