"""Folder of JPEGs to a committed slice, beside `load_dataset("imagefolder")` + `save_to_disk`, in one run.

    python -m vlm_assets_tests.benchmarks.bench_folder [--images N] [--repeats N] [--folder DIR]

Each way runs in a process of its own, interleaved, sync included. Ours lists, hashes every file twice (identity at
listing, content at fetch), probes, writes data, index and ledgers, and commits. Verification on is set beside a bare
two-thread loop of draft decodes over the same bytes in memory. Prints medians, ratios, CPU-seconds and peak memory.
"""

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from vlm_assets_tests.benchmarks.bench_probe import bare_draft, make_jpegs

WAYS = ("peer", "verify_off", "verify_on", "bare_draft")


def rss_anon() -> int:
    """Anonymous memory of this process in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon"):
            return int(line.split()[1]) * 1024
    return 0


def ours(folder: Path, base: Path, verify: str) -> None:
    from vlm_assets_tests.workplace import STREET, ingest, install

    ingest(install(base, {**STREET, "path": folder, "verify": verify, "buckets": 1}))


def peer(folder: Path, base: Path) -> None:
    import datasets

    dataset = datasets.load_dataset(
        "imagefolder", data_dir=str(folder), split="train", cache_dir=str(base / "cache")
    )
    dataset.save_to_disk(str(base / "saved"))
    os.sync()


def _draft_all(chunk: list[bytes]) -> None:
    for data in chunk:
        bare_draft(data)


def bare(folder: Path) -> float:
    images = [path.read_bytes() for path in sorted(folder.iterdir())]
    chunks = [images[i : i + 32] for i in range(0, len(images), 32)]
    clock = time.perf_counter()
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(_draft_all, chunks))
    return time.perf_counter() - clock


def child(way: str, folder: Path, base: Path) -> dict[str, Any]:
    """Runs one way here; seconds without imports, CPU-seconds, peak anonymous memory."""
    import datasets  # noqa: F401 - imported before the clock for all alike

    import vlm_assets_tests.workplace  # noqa: F401

    peak = 0
    done = threading.Event()

    def watch() -> None:
        nonlocal peak
        while not done.wait(0.05):
            peak = max(peak, rss_anon())

    watcher = threading.Thread(target=watch)
    watcher.start()
    before = resource.getrusage(resource.RUSAGE_SELF)
    clock = time.perf_counter()
    seconds = 0.0
    if way == "bare_draft":
        seconds = bare(folder)
    elif way == "peer":
        peer(folder, base)
    else:
        ours(folder, base, "header" if way == "verify_off" else "decode")
    seconds = seconds or time.perf_counter() - clock
    after = resource.getrusage(resource.RUSAGE_SELF)
    done.set()
    watcher.join()
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"seconds": seconds, "cpu": cpu, "anon": peak}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=3000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--ways", default=",".join(WAYS))
    parser.add_argument("--child", nargs=3, metavar=("WAY", "FOLDER", "BASE"))
    options = parser.parse_args()
    if options.child:
        way, folder, base = options.child
        print(json.dumps(child(way, Path(folder), Path(base))))
        return
    ways = options.ways.split(",")
    with tempfile.TemporaryDirectory(prefix="bench-folder-") as temporary:
        folder = Path(temporary, "images")
        folder.mkdir()
        for number, data in enumerate(make_jpegs(min(options.images, 300))):
            for copy in range(number, options.images, 300):
                (folder / f"{copy:06d}.jpg").write_bytes(data + copy.to_bytes(4, "big"))
        results: dict[str, list[dict[str, Any]]] = {way: [] for way in ways}
        for _ in range(options.repeats):
            for way in ways:
                base = Path(temporary, "work")
                base.mkdir()
                command = [sys.executable, "-m", __spec__.name, "--child", way, str(folder), str(base)]
                told = subprocess.run(command, check=True, capture_output=True, text=True)
                results[way].append(json.loads(told.stdout.splitlines()[-1]))
                shutil.rmtree(base)
        report(results, options.images)


def report(results: dict[str, list[dict[str, Any]]], images: int) -> None:
    """Prints the table and the two ratios."""
    rate = {way: images / statistics.median(r["seconds"] for r in runs) for way, runs in results.items()}
    print(f"{images} JPEGs of 107 kB, medians of {len(next(iter(results.values())))}")
    for way, runs in results.items():
        cpu = statistics.median(r["cpu"] for r in runs)
        anon = max(r["anon"] for r in runs) / 2**20
        print(
            f"  {way:12} {rate[way]:8.0f} images/s  {images / cpu:8.0f} per CPU-second  {anon:7.0f} MiB anon"
        )
    if {"peer", "verify_off"} <= rate.keys():
        print(f"verification off / imagefolder + save_to_disk: {rate['verify_off'] / rate['peer']:.2f}x")
    if {"bare_draft", "verify_on"} <= rate.keys():
        print(f"verification on / bare draft decoding: {rate['verify_on'] / rate['bare_draft']:.2f}x")


if __name__ == "__main__":
    main()
