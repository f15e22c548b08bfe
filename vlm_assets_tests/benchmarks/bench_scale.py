"""The whole way at full size: real allocation, corpus and audit over made slices, beside `cp`, caches dropped.

    python -m vlm_assets_tests.benchmarks.bench_scale --dir FOLDER [--rows 20e6] [--image-bytes 480]
        [--near-bits 0] [--workers 2] [--rounds 1] [--keep]

Commits slices of N rows in 100 sources (see `made_installation`), then in processes of their own: the allocation of a
target of half of them; the corpus, by worker processes, synced; `cp --reflink=never` of it, synced; the quick audit.
Before each, the files are put out of the page cache and free memory is filled with clean pages. Then the corpus is
opened with `datasets`, and rows out of its middle and its end are read. Prints one table with ratios, CPU-seconds,
and the largest resident set of any process. FOLDER is removed unless `--keep`; kept, it is used again.
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from vlm_assets_tests.benchmarks.made_installation import (
    BYTES_A_ROW,
    INDEX_ROW_BYTES,
    Made,
    install,
    make_slices,
    opened,
)
from vlm_assets_tests.benchmarks.page_cache import Ballast, drop

TARGET = "half"
CASES = ("allocation", "corpus", "cp + fsync", "quick audit")


@dataclass(slots=True)
class Case:
    """What one step took, a round each."""

    seconds: list[float] = field(default_factory=list)
    cpu_s: list[float] = field(default_factory=list)
    peak_mib: float = 0.0
    said: str = ""


def step_allocation(folder: Path) -> str:
    from vlm_assets.allocation.step import allocate

    manifest = allocate(opened(folder), TARGET).manifest
    excluded = ", ".join(f"{reason} {count}" for reason, count in manifest.excluded.items() if count)
    return f"{manifest.granted_rows} of {manifest.target_rows} rows; excluded: {excluded}"


def step_corpus(folder: Path, workers: int) -> str:
    from vlm_assets.corpus.build import build_corpus

    installation = opened(folder)
    plan = installation.root.allocation("bench", TARGET).resolve()
    manifest = build_corpus(plan, installation.root, workers=workers)
    shards = f"{len(manifest.shards)} shards, mean fill {manifest.mean_fill:.0%}"
    return f"{manifest.rows} rows, {shards}, root {manifest.root_hash[:12]}"


def step_copy(folder: Path) -> str:
    target = folder / "copy"
    version = opened(folder).root.corpus("bench", TARGET).resolve()
    subprocess.run(["cp", "-r", "--reflink=never", str(version), str(target)], check=True)
    for path in target.iterdir():
        descriptor = os.open(path, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)
    return ""


def step_audit(folder: Path) -> str:
    from vlm_assets.audit.run import audit_corpus

    findings = audit_corpus(opened(folder), TARGET)
    failed = ", ".join(f"{one.name} ({one.observed[:40]})" for one in findings if one.failed)
    return f"{len(findings)} findings, failed: {failed or 'none'}"


def step_open(folder: Path, rows: int) -> None:
    """Opens the corpus as a user does and reads rows of it."""
    import datasets

    version = opened(folder).root.corpus("bench", TARGET)
    start = time.perf_counter()
    opened_corpus = datasets.load_from_disk(str(version)).with_format("arrow")
    loaded = time.perf_counter()
    for place in (0, rows // 2, rows - 1):
        opened_corpus[place]
    read = time.perf_counter()
    print(
        f"load_from_disk {loaded - start:.2f} s, {len(opened_corpus)} rows; rows 0, {rows // 2}, {rows - 1}: "
        f"{1000 * (read - loaded):.0f} ms; last id {opened_corpus[rows - 1].column('id')[0]}"
    )


def run_step(arguments: argparse.Namespace, folder: Path, name: str, case: Case) -> None:
    """A step in a process of its own; seconds are those of the step, without imports of the interpreter."""
    command = [sys.executable, "-m", __spec__.name, "--dir", str(folder), "--workers", str(arguments.workers)]
    process = subprocess.Popen([*command, "--step", name], stdout=subprocess.PIPE, text=True)
    said = process.stdout.read().splitlines() if process.stdout is not None else []
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = status
    if status:
        raise SystemExit(f"{name} ended with {status}")
    case.seconds.append(float(said[-1]))
    case.cpu_s.append(usage.ru_utime + usage.ru_stime)
    case.peak_mib = max(case.peak_mib, usage.ru_maxrss / 1024)
    case.said = said[-2] if len(said) > 1 else ""


def measure(arguments: argparse.Namespace, folder: Path) -> None:
    cases = {name: Case() for name in CASES}
    ballast = Ballast(folder)
    for _ in range(arguments.rounds):
        shutil.rmtree(folder / "data" / "corpora", ignore_errors=True)
        shutil.rmtree(folder / "data" / "allocations", ignore_errors=True)
        for name, case in cases.items():
            drop(path for path in folder.rglob("*.arrow") if not path.is_symlink())
            ballast.fill()
            run_step(arguments, folder, name, case)
            print(f"  {name}: {case.seconds[-1]:.1f} s", flush=True)
            shutil.rmtree(folder / "copy", ignore_errors=True)
    ballast.close()
    report(folder, cases)
    subprocess.run([sys.executable, "-m", __spec__.name, "--dir", str(folder), "--step", "open"], check=True)


def report(folder: Path, cases: dict[str, Case]) -> None:
    version = opened(folder).root.corpus("bench", TARGET).resolve()
    size = sum(path.stat().st_size for path in version.iterdir())
    reference = statistics.median(cases["cp + fsync"].seconds)
    print(f"corpus of {size / 1e9:.2f} GB; median of {len(cases['corpus'].seconds)}")
    print(f"{'case':<14}{'seconds':>9}{'GB/s':>7}{'x cp':>7}{'CPU-s':>8}{'MiB':>7}")
    for name, case in cases.items():
        seconds = statistics.median(case.seconds)
        rate = f"{size / seconds / 1e9:7.2f}{reference / seconds:7.2f}" if name[0] == "c" else " " * 14
        cpu = statistics.median(case.cpu_s)
        print(f"{name:<14}{seconds:9.1f}{rate}{cpu:8.1f}{case.peak_mib:7.0f}  {case.said}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dir", type=Path, required=True)
    parser.add_argument("--rows", type=lambda text: int(float(text)), default=20_000_000)
    parser.add_argument(
        "--image-bytes", type=int, default=480, help="mean; sizes vary from half to 1.5 times"
    )
    parser.add_argument("--near-bits", type=int, default=0)
    parser.add_argument("--max-bytes", default="2GB")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--keep", action="store_true")
    parser.add_argument("--step", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    folder = arguments.dir.absolute()
    if arguments.step:
        run_here(arguments, folder)
        return
    try:
        prepare(arguments, folder)
        measure(arguments, folder)
    finally:
        if not arguments.keep:
            shutil.rmtree(folder, ignore_errors=True)


def run_here(arguments: argparse.Namespace, folder: Path) -> None:
    if arguments.step == "open":
        step_open(folder, opened(folder).catalog.corpus.targets[TARGET])
        return
    steps = {
        "allocation": lambda: step_allocation(folder),
        "corpus": lambda: step_corpus(folder, arguments.workers),
        "cp + fsync": lambda: step_copy(folder),
        "quick audit": lambda: step_audit(folder),
    }
    start = time.perf_counter()
    print(steps[arguments.step]())
    print(time.perf_counter() - start)


def prepare(arguments: argparse.Namespace, folder: Path) -> None:
    """Says what it needs, and makes the slices."""
    made = Made(arguments.rows, arguments.image_bytes)
    slices = made.rows * (BYTES_A_ROW + made.image_bytes - 60)
    output = made.rows // 2 * (BYTES_A_ROW + made.image_bytes - 80)
    print(
        f"needs {(slices + 2 * output) / 1e9:.1f} GB under {folder}: slices {slices / 1e9:.1f} (index "
        f"{made.rows * INDEX_ROW_BYTES / 1e9:.1f}), corpus and its copy {output / 1e9:.1f} each",
        flush=True,
    )
    if not (folder / "complete").is_file():
        install(
            folder, {TARGET: made.rows // 2}, max_bytes=arguments.max_bytes, near_bits=arguments.near_bits
        )
        start = time.perf_counter()
        count = make_slices(folder, made)
        os.sync()
        (folder / "complete").touch()
        print(f"{made.rows} rows in {count} slices made in {time.perf_counter() - start:.0f} s", flush=True)


if __name__ == "__main__":
    main()
