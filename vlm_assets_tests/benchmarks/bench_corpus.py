"""Speed of the corpus writer beside `cp` of its output and beside `datasets`, interleaved, in one run.

    python -m vlm_assets_tests.benchmarks.bench_corpus --dir FOLDER [--rows N] [--image-bytes N] [--sources N]
        [--slices N] [--max-bytes N] [--workers N] [--rounds N] [--cold] [--datasets-rounds N]

Makes committed slices in FOLDER, selects half of their rows, then in each round: `build_corpus` (fsync included);
the steps of the asset `corpus` as `vlm-assets build` runs them, from the first one's start to the last one's end;
`cp --reflink=never` of the corpus and fsync; and `select` + `concatenate_datasets` + `save_to_disk` of the same rows
and fsync. Prints medians, ratios, CPU-seconds and the largest resident set of a process (mapped pages included).
Before each case free memory is filled with clean pages (see `page_cache`) and the files are read once, or with
`--cold` put out of the page cache. FOLDER is removed at the end unless `--keep`. Disk: about three times the output
beside the slices.
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import yaml

from vlm_assets.allocation.manifest import AllocatedShard
from vlm_assets.words.layout import DataRoot
from vlm_assets_tests.benchmarks.made_slices import (
    CORPUS,
    TARGET,
    Shape,
    add_shape_arguments,
    make_plan,
    make_slices,
)
from vlm_assets_tests.benchmarks.page_cache import Ballast, drop, warm


@dataclass(slots=True)
class Case:
    """What one way of writing the rows took, a round each."""

    name: str
    seconds: list[float] = field(default_factory=list)
    cpu_s: list[float] = field(default_factory=list)
    peak_bytes: int = 0

    def run(self, command: list[str]) -> None:
        """Runs a step in a process of its own; notes the seconds it says, and what the kernel says of it.

        Starting the interpreter and importing are not in the seconds; starting the worker processes is.
        """
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        said = process.stdout.read() if process.stdout is not None else ""
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = status
        if status:
            raise SystemExit(f"{command} ended with {status}")
        self.seconds.append(float(said.splitlines()[-1]))
        self.cpu_s.append(usage.ru_utime + usage.ru_stime)
        self.peak_bytes = max(self.peak_bytes, usage.ru_maxrss * 1024)

    def line(self, size_bytes: int, reference: float) -> str:
        """One line of the table."""
        median = statistics.median(self.seconds)
        return (
            f"{self.name:<34} {median:8.2f} s {size_bytes / median / 1e9:7.2f} GB/s {reference / median:6.2f} x cp "
            f"{statistics.median(self.cpu_s):8.1f} CPU-s {self.peak_bytes / 2**20:8.0f} MiB   "
            f"({', '.join(f'{s:.2f}' for s in self.seconds)})"
        )


def step_build(folder: Path, workers: int) -> None:
    """The project's own way."""
    from vlm_assets.corpus.build import build_corpus

    root = DataRoot(folder)
    plan_dir = root.allocation(CORPUS, TARGET).resolve()
    with timed():
        build_corpus(plan_dir, root, workers=workers)


def step_line(folder: Path, workers: int) -> None:
    """The steps of the asset, in a run of the command; its checks, which made hashes fail, are not in the seconds."""
    from vlm_assets.installation.opening import open_installation
    from vlm_assets.orchestration.command.run_here import RunHere
    from vlm_assets.orchestration.define import build_definitions
    from vlm_assets.orchestration.names import CORPUS_KEY
    from vlm_assets.orchestration.run.runs import RunWish
    from vlm_assets.settings import load_settings
    from vlm_assets_tests.orchestration.kit import instance_in

    catalog = write_catalog(folder / "catalog")
    settings = load_settings(None, catalog=catalog, data_root=folder, workers=workers)
    defs = build_definitions(open_installation(settings))
    with TemporaryDirectory() as home, instance_in(Path(home)) as instance:
        [outcome] = RunHere(instance, defs).run([RunWish(TARGET, assets=(CORPUS_KEY,), partition=TARGET)])
        stats = [
            one for one in instance.get_run_step_stats(outcome.run_id) if one.step_key.startswith("corpus.")
        ]
    if not DataRoot(folder).corpus(CORPUS, TARGET).exists():
        raise SystemExit(f"no corpus: {outcome.told}")
    print(max(one.end_time or 0.0 for one in stats) - min(one.start_time or 0.0 for one in stats))


def write_catalog(catalog: Path) -> Path:
    """What the line asks a catalogue for: the names of the corpus and of the target."""
    (catalog / "sources").mkdir(parents=True, exist_ok=True)
    quotas = {"bench": {"share": 1, "subcategories": {"all": {"share": 1}}}}
    corpus = {"name": CORPUS, "seed": 1, "targets": {TARGET: 1}, "quotas": quotas}
    source = {"name": "source0000", "kind": "client_folder", "path": "/nowhere", "category": "bench",
              "subcategory": "all", "licence": "CC0-1.0"}  # fmt: skip
    (catalog / "corpus.yaml").write_text(yaml.safe_dump(corpus), "utf-8")
    (catalog / "sources" / "one.yaml").write_text(yaml.safe_dump({"sources": [source]}), "utf-8")
    return catalog


def step_copy(folder: Path) -> None:
    """`cp` of the corpus, synced."""
    target = folder / "copy"
    version = DataRoot(folder).corpus(CORPUS, TARGET).resolve()
    with timed():
        subprocess.run(["cp", "-r", "--reflink=never", str(version), str(target)], check=True)
        sync_files(target)


def step_datasets(folder: Path, max_bytes: int, *, processes: int | None = None) -> None:
    """`select` + `concatenate_datasets` + `save_to_disk` of the planned rows, synced."""
    import datasets

    from vlm_assets.allocation.files import read_plan

    datasets.disable_progress_bars()
    root = DataRoot(folder)
    plan = read_plan(root.allocation(CORPUS, TARGET).resolve())
    target = folder / "datasets_copy"
    with timed():
        parts = []
        for stored in plan.slices():
            entry = plan.manifest.slices[stored.ordinal]
            opened = datasets.load_from_disk(str(root.slice(entry.source, entry.slice)))
            parts.append(opened.select(stored.row))
        rows = datasets.concatenate_datasets(parts)
        rows.save_to_disk(str(target), max_shard_size=max_bytes, num_proc=processes)
        sync_files(target)


@contextmanager
def timed() -> Iterator[None]:
    """Prints the seconds of its block."""
    start = time.perf_counter()
    yield
    print(time.perf_counter() - start)


def sync_files(folder: Path) -> None:
    """Every file of a folder on disk."""
    for path in folder.iterdir():
        descriptor = os.open(path, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)


def measure(arguments: argparse.Namespace, folder: Path) -> None:
    """All rounds, then the table."""
    own, line, copy, peer = (
        Case(f"vlm_assets, {arguments.workers} workers"),
        Case("the same as steps of the line"),
        Case("cp --reflink=never + fsync"),
        Case("datasets"),
    )
    ballast = Ballast(folder)

    def before() -> None:
        """The same state of memory before each case."""
        drop(path for path in folder.rglob("*.arrow") if not path.is_symlink())
        ballast.fill()
        if not arguments.cold:
            warm(path for path in (folder / "datasets").rglob("*.arrow"))
            warm(path for path in (folder / "corpora").rglob("*.arrow"))

    module = [sys.executable, "-m", "vlm_assets_tests.benchmarks.bench_corpus"]
    common = [
        "--dir",
        str(folder),
        "--workers",
        str(arguments.workers),
        "--max-bytes",
        str(arguments.max_bytes),
    ]
    for number in range(arguments.rounds):
        shutil.rmtree(folder / "corpora", ignore_errors=True)
        before()
        own.run([*module, "--step", "build", *common])
        shutil.rmtree(folder / "corpora")
        before()
        line.run([*module, "--step", "line", *common])
        before()
        copy.run([*module, "--step", "copy", *common])
        shutil.rmtree(folder / "copy")
        if number < arguments.datasets_rounds:
            before()
            peer.run([*module, "--step", "datasets", *common])
            shutil.rmtree(folder / "datasets_copy")
    ballast.close()
    version = DataRoot(folder).corpus(CORPUS, TARGET).resolve()
    size = sum(path.stat().st_size for path in version.iterdir())
    reference = statistics.median(copy.seconds)
    pairs = [c / o for o, c in zip(own.seconds, copy.seconds, strict=True)]
    print(
        f"output {size / 1e9:.2f} GB; {arguments.rounds} interleaved rounds, {'cold' if arguments.cold else 'warm'}"
    )
    for case in (own, line, copy, peer):
        if case.seconds:
            print(case.line(size, reference))
    print(f"median of the pairs: {statistics.median(pairs):.2f} x cp", end="")
    print(
        f"; {statistics.median(peer.seconds) / statistics.median(own.seconds):.1f} x datasets"
        if peer.seconds
        else ""
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dir", type=Path, required=True)
    add_shape_arguments(parser)
    parser.add_argument("--max-bytes", type=int, default=2_000_000_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--datasets-rounds", type=int, default=1)
    parser.add_argument("--cold", action="store_true")
    parser.add_argument("--keep", action="store_true")
    parser.add_argument("--step", choices=["build", "line", "copy", "datasets"], help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    folder = arguments.dir.absolute()
    if arguments.step == "build":
        step_build(folder, arguments.workers)
    elif arguments.step == "line":
        step_line(folder, arguments.workers)
    elif arguments.step == "copy":
        step_copy(folder)
    elif arguments.step == "datasets":
        step_datasets(folder, arguments.max_bytes)
    else:
        run_all(arguments, folder)


def run_all(arguments: argparse.Namespace, folder: Path) -> None:
    """Makes what is to be measured, measures, cleans up."""
    shape = Shape(arguments.rows, arguments.image_bytes, arguments.sources, arguments.slices)
    row = shape.image_bytes + 700
    print(f"needs about {shape.rows * row * 2.5 / 1e9:.1f} GB of disk under {folder}")
    root = DataRoot(folder)
    if not root.marker.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        start = time.perf_counter()
        make_slices(root, shape)
        shard = AllocatedShard(max_bytes=arguments.max_bytes, block_rows=64, window_bytes=32_000_000)
        make_plan(root, shape, shard)
        root.marker.touch()
        print(f"{shape.rows} rows in {shape.slices} slices made in {time.perf_counter() - start:.1f} s")
    try:
        measure(arguments, folder)
    finally:
        if not arguments.keep:
            shutil.rmtree(folder)


if __name__ == "__main__":
    main()
