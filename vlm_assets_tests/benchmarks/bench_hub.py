"""HF Parquet to a committed slice, beside `load_dataset` + `save_to_disk` on the same snapshot, in one run.

    python -m vlm_assets_tests.benchmarks.bench_hub [--images N] [--repeats N] [--ways A,B]

Each way runs in a process of its own, interleaved, sync included. The snapshot is on disk and verified before the
clock starts; ours hashes and probes every image, the peer checks nothing. Bytes written are the kernel's count of the
process. Verification on is set beside a bare two-thread loop of draft decodes over the same bytes in memory.
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
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from vlm_assets_tests.benchmarks.bench_folder import bare, rss_anon
from vlm_assets_tests.benchmarks.bench_probe import make_jpegs

WAYS = ("peer", "verify_off", "verify_on", "bare_draft")
ROWS_PER_FILE = 2000


def make_snapshot(folder: Path, images: int) -> None:
    """Parquet files as `push_to_hub` writes them: row groups of 100, images and captions, features in the schema."""
    features = {"image": {"_type": "Image"}, "text": {"dtype": "string", "_type": "Value"}}
    made = make_jpegs(min(images, 300))
    count = -(-images // ROWS_PER_FILE)
    for number in range(count):
        rows = range(number * ROWS_PER_FILE, min((number + 1) * ROWS_PER_FILE, images))
        table = pa.table({
            "image": [{"bytes": made[r % 300] + r.to_bytes(4, "big"), "path": f"{r}.jpg"} for r in rows],
            "text": [f"caption {r}" for r in rows],
        })  # fmt: skip
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
        pq.write_table(table, folder / f"train-{number:05d}-of-{count:05d}.parquet", row_group_size=100)


def ours(folder: Path, base: Path, verify: str) -> float:
    """Seconds to build the slice; listing and verifying the snapshot come before."""
    from vlm_assets.ingest.slice import build_slice
    from vlm_assets_tests.workplace import STREET, install, relist

    source = {**STREET, "kind": "hf_disk", "path": folder, "verify": verify, "slice_bytes": "1TB"}
    installation = install(base, source)
    listing = relist(installation)
    clock = time.perf_counter()
    for key in listing.slices:
        build_slice(installation, installation.catalog.source("street"), listing, key)
    return time.perf_counter() - clock


def peer(folder: Path, base: Path) -> float:
    import datasets

    clock = time.perf_counter()
    dataset = datasets.load_dataset(str(folder), split="train", cache_dir=str(base / "cache"))
    dataset.save_to_disk(str(base / "saved"))
    os.sync()
    return time.perf_counter() - clock


def bare_loop(folder: Path, base: Path) -> float:
    loose = base / "loose"
    loose.mkdir()
    number = 0
    for path in sorted(folder.glob("*.parquet")):
        for cell in pq.read_table(path, columns=["image"])["image"].to_pylist():
            (loose / f"{number}.jpg").write_bytes(cell["bytes"])
            number += 1
    return bare(loose)


def written_bytes() -> int:
    told = Path("/proc/self/io").read_text().splitlines()
    return int(next(line.split()[1] for line in told if line.startswith("write_bytes")))


def child(way: str, folder: Path, base: Path) -> dict[str, Any]:
    import datasets  # noqa: F401  # imported before the clock for all alike

    import vlm_assets_tests.workplace  # noqa: F401

    peak, done = 0, threading.Event()

    def watch() -> None:
        nonlocal peak
        while not done.wait(0.05):
            peak = max(peak, rss_anon())

    watcher = threading.Thread(target=watch)
    watcher.start()
    before, wrote = resource.getrusage(resource.RUSAGE_SELF), written_bytes()
    seconds = {
        "peer": lambda: peer(folder, base), "bare_draft": lambda: bare_loop(folder, base),
        "verify_off": lambda: ours(folder, base, "header"), "verify_on": lambda: ours(folder, base, "decode"),
    }[way]()  # fmt: skip
    after = resource.getrusage(resource.RUSAGE_SELF)
    done.set()
    watcher.join()
    kept = {"peer": base / "saved"}.get(way, base / "data" / "datasets")
    size = sum(p.stat().st_size for p in kept.rglob("*") if p.is_file() and not p.is_symlink())
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"seconds": seconds, "cpu": cpu, "anon": peak, "written": written_bytes() - wrote, "size": size}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--ways", default=",".join(WAYS))
    parser.add_argument("--child", nargs=3, metavar=("WAY", "FOLDER", "BASE"))
    options = parser.parse_args()
    if options.child:
        way, folder, base = options.child
        print(json.dumps(child(way, Path(folder), Path(base))))
        return
    ways = options.ways.split(",")
    with tempfile.TemporaryDirectory(prefix="bench-hub-") as temporary:
        folder = Path(temporary, "snapshot")
        folder.mkdir()
        make_snapshot(folder, options.images)
        results: dict[str, list[dict[str, Any]]] = {way: [] for way in ways}
        for _ in range(options.repeats):
            for way in ways:
                base = Path(temporary, "work")
                base.mkdir()
                os.sync()
                command = [sys.executable, "-m", __spec__.name, "--child", way, str(folder), str(base)]
                told = subprocess.run(command, check=True, capture_output=True, text=True)
                results[way].append(json.loads(told.stdout.splitlines()[-1]))
                shutil.rmtree(base)
        report(results, options.images)


def report(results: dict[str, list[dict[str, Any]]], images: int) -> None:
    """Prints the table and the ratios."""
    rate = {way: images / statistics.median(r["seconds"] for r in runs) for way, runs in results.items()}
    print(f"{images} images of 107 kB in Parquet, medians of {len(next(iter(results.values())))}")
    for way, runs in results.items():
        cpu = statistics.median(r["cpu"] for r in runs)
        anon = max(r["anon"] for r in runs) / 2**20
        print(
            f"  {way:12} {rate[way]:8.0f} images/s  {images / cpu:8.0f} per CPU-second  {anon:7.0f} MiB anon",
            end="",
        )
        print(
            ""
            if way == "bare_draft"
            else f"  wrote {max(r['written'] / r['size'] for r in runs):.2f}x its size"
        )
    if {"peer", "verify_off"} <= rate.keys():
        print(f"verification off / load_dataset + save_to_disk: {rate['verify_off'] / rate['peer']:.2f}x")
    if {"bare_draft", "verify_on"} <= rate.keys():
        print(f"verification on / bare draft decoding: {rate['verify_on'] / rate['bare_draft']:.2f}x")


if __name__ == "__main__":
    main()
