"""Audit and verify beside a bare hashlib loop in two processes over the same bytes, in one run.

    python -m vlm_assets_tests.benchmarks.bench_audit --dir FOLDER [--rows N] [--image-bytes N] [--sources N]
        [--slices N] [--rounds N] [--near-bits N] [--keep]

Makes committed slices whose hashes and digests are true, allocates and builds a corpus of half their rows, then in
each round: the quick audit; `audit --full`; `verify`; sha256 of every image by hashlib in two processes, each over
half of the shards' record batches; sha256 of every file of the corpus in two processes. Prints seconds, GB/s, ratios
to the hashlib loops, CPU-seconds and the largest resident set of a process. FOLDER is removed unless `--keep`.
Starting, and loading `datasets` for the finding `loadable`, take some 2 CPU-seconds whatever the size: rates mean
something from about 3 GB of corpus on (`--rows 200000 --image-bytes 60000`: 6 GB, and 18 GB of disk).
"""

import argparse
import multiprocessing
import os
import resource
import shutil
import statistics
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from hashlib import sha256
from pathlib import Path

import numpy as np
import orjson
import pyarrow as pa
import yaml

from vlm_assets.installation.opening import Installation
from vlm_assets.operate.schema_1 import records_of
from vlm_assets.store.arrow_files import ArrowFile, dataset_state, write_bytes
from vlm_assets.store.slices import (
    INDEX_FILE,
    ITEMS_FILE,
    REJECTS_FILE,
    RUN_FILE,
    ItemEntry,
    rejects_bytes,
    write_items_ledger,
)
from vlm_assets.store.versions import commit_version
from vlm_assets.words.layout import MANIFEST, STAGING, key_hash
from vlm_assets.words.manifest import RunRecord, SliceManifest
from vlm_assets.words.schema import INDEX_SCHEMA, SAMPLE_SCHEMA
from vlm_assets_tests.benchmarks import made_slices
from vlm_assets_tests.benchmarks.made_installation import image_hashes, opened
from vlm_assets_tests.benchmarks.made_slices import Shape, add_shape_arguments, slice_names

TARGET = "t"


def install(folder: Path, shape: Shape, near_bits: int) -> Installation:
    """A catalogue over the made sources."""
    (folder / "data").mkdir(parents=True)
    (folder / "data" / ".vlm_root").touch()
    (folder / "catalog" / "sources").mkdir(parents=True)
    corpus = {
        "name": "bench", "seed": 1, "targets": {TARGET: shape.rows // 2}, "require_complete": False,
        "quotas": {"bench": {"share": 1, "subcategories": {"all": {"share": 1}}}},
        "dedup": {"exact": "image", "near_bits": near_bits}, "shard": {"max_bytes": "500MB"},
    }  # fmt: skip
    sources = [
        {"name": f"source{n:04d}", "kind": "client_folder", "path": "/nowhere", "category": "bench",
         "subcategory": "all", "licence": "CC0-1.0"}
        for n in range(shape.sources)
    ]  # fmt: skip
    (folder / "catalog" / "corpus.yaml").write_text(yaml.safe_dump(corpus), "utf-8")
    (folder / "catalog" / "sources" / "all.yaml").write_text(yaml.safe_dump({"sources": sources}), "utf-8")
    return opened(folder)


def make_slice(folder: Path, shape: Shape, number: int, source: str, name: str, rows: int) -> None:
    """One committed slice with true hashes."""
    root = opened(folder).root
    maker = made_slices._Maker(Shape(shape.rows, shape.image_bytes, shape.sources, shape.slices, number))
    staging = root.source(source) / STAGING / name
    staging.mkdir(parents=True)
    sizes = maker.sizes(rows)
    keys = [f"{number:04x}{row:020x}" for row in range(rows)]
    hashes = np.array([key_hash(key) for key in keys], np.uint64)
    content = sha256()
    with (
        ArrowFile(staging / "data-00000.arrow", SAMPLE_SCHEMA) as data,
        ArrowFile(staging / INDEX_FILE, INDEX_SCHEMA, form="file") as index,
    ):
        for start in range(0, rows, 1_000):
            here = slice(start, min(start + 1_000, rows))
            columns = true_columns(made_slices.flat_columns(maker, source, name, sizes[here], hashes[here]))
            for file, schema in ((data, SAMPLE_SCHEMA), (index, INDEX_SCHEMA)):
                file.write(pa.RecordBatch.from_arrays([columns[n] for n in schema.names], schema=schema))
            content.update(b"".join(columns["digest"].to_pylist()))
        files = {"data-00000.arrow": data.finish(), INDEX_FILE: index.finish()}
    for file_name, body in dataset_state(["data-00000.arrow"], content.hexdigest()[:16]).items():
        files[file_name] = write_bytes(staging / file_name, body)
    items = (ItemEntry(key, "", fetched=True, records=1, rows=1) for key in keys)
    files[ITEMS_FILE] = write_items_ledger(staging / ITEMS_FILE, items)
    write_bytes(staging / REJECTS_FILE, rejects_bytes([]))
    write_bytes(staging / RUN_FILE, RunRecord().model_dump_json().encode())
    manifest = SliceManifest(
        source=source, slice=name, kind="client_folder", kind_version=1, category="bench", licence="CC0-1.0",
        subcategories={"all": rows}, revision="", listing_fingerprint="", config_fingerprint="", formats=(),
        content_hash=content.hexdigest(), container=False, items_per_slice=max(rows, 1), items=rows,
        items_fetched=rows, items_rejected=0, records=rows, rows=rows, rejects={}, records_rejected=0,
        transient_rejects=0, data_bytes=files["data-00000.arrow"].size_bytes, image_bytes=int(sizes.sum()),
        images=rows, multi_image_rows=0, rows_with_text=0, rows_with_messages=0, remarks={}, files=files,
    )  # fmt: skip
    commit_version(staging, root.slice(source, name), manifest)


def true_columns(columns: dict[str, pa.Array]) -> dict[str, pa.Array]:
    """The made columns as records, with hashes and digests that are true."""
    true = {name: column for name, column in columns.items() if name not in ("text_sha256", "digest")}
    return records_of(
        {**true, "image_sha256": pa.array(image_hashes(columns["image"].field(0)), pa.string())}
    )


def step_generate(folder: Path, shape: Shape, near_bits: int) -> None:
    from vlm_assets.allocation.step import allocate
    from vlm_assets.corpus.build import build_corpus

    installation = install(folder, shape, near_bits)
    jobs = [(folder, shape, number, *one) for number, one in enumerate(slice_names(shape))]
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        for future in [pool.submit(make_slice, *job) for job in jobs]:
            future.result()
    build_corpus(allocate(installation, TARGET).path, installation.root, workers=2)


def step_audit(folder: Path, *, full: bool) -> None:
    from vlm_assets.audit.run import audit_corpus

    findings = audit_corpus(opened(folder), TARGET, full=full)
    failed = [
        (str(f.name), f.observed, list(f.examples)[:1])
        for f in findings
        if not f.passed and f.name != "rights"
    ]
    slow = sorted(findings, key=lambda f: -f.seconds)[:8]
    print("  ", ", ".join(f"{f.name} {f.seconds:.2f}" for f in slow), failed or "", file=sys.stderr)


def step_verify(folder: Path) -> None:
    from vlm_assets.operate.verify import verify

    report = verify(opened(folder), workers=2)
    print(f"   {report.size_bytes / 1e9:.2f} GB, problems {len(report.problems)}", file=sys.stderr)


def step_hashlib(folder: Path, *, files: bool) -> None:
    """The bare loop: images of the corpus, or whole files of everything that `verify` reads."""
    if files:
        paths = sorted((folder / "data").glob("*/*/.versions/*/*"), key=lambda p: -p.stat().st_size)
        paths = list({p.stat().st_ino: p for p in paths if p.is_file()}.values())
        work = [(path, 0) for path in paths]
        function = hash_file
    else:
        shards = sorted(opened(folder).root.corpus("bench", TARGET).resolve().glob("data-r*.arrow"))
        work = [(path, part) for path in shards for part in range(2)]
        function = hash_images
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        list(pool.map(function, *zip(*work, strict=True)))


def hash_images(path: Path, part: int) -> None:
    with pa.memory_map(str(path)) as mapped:
        for number, batch in enumerate(pa.ipc.open_stream(mapped)):
            if number % 2 == part:
                image_hashes(batch.column("images").flatten().field(0))


def hash_file(path: Path, part: int) -> None:
    del part
    digest = sha256()
    with path.open("rb", buffering=0) as file:
        while block := file.read(2**20):
            digest.update(block)


def run(step: str, folder: Path) -> tuple[float, float, int]:
    """Seconds, CPU-seconds and largest resident set of a step in a process of its own."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.perf_counter()
    subprocess.run([sys.executable, "-m", __spec__.name, "--dir", str(folder), "--step", step], check=True)
    seconds = time.perf_counter() - start
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, after.ru_maxrss


def measure(folder: Path, rounds: int) -> None:
    corpus = opened(folder).root.corpus("bench", TARGET).resolve()
    manifest = orjson.loads((corpus / MANIFEST).read_bytes())
    files = {
        p.stat().st_ino: p.stat().st_size for p in (folder / "data").glob("*/*/.versions/*/*") if p.is_file()
    }
    steps = ("quick", "full", "hashlib-images", "verify", "hashlib-files")
    sizes = dict.fromkeys(steps, manifest["data_bytes"]) | dict.fromkeys(steps[3:], sum(files.values()))
    found: dict[str, list[tuple[float, float, int]]] = {step: [] for step in steps}
    for _ in range(rounds):
        for step in steps:
            found[step].append(run(step, folder))
    bare = {step: statistics.median(one[0] for one in found[step]) for step in steps}
    print(f"{manifest['rows']} rows, {len(manifest['shards'])} shards, {manifest['data_bytes'] / 1e9:.2f} GB")
    for step in steps:
        peer = {"full": "hashlib-images", "verify": "hashlib-files"}.get(step, step)
        cpu = statistics.median(one[1] for one in found[step])
        peak = max(one[2] for one in found[step]) / 1024
        print(
            f"{step:<16} {bare[step]:8.2f} s {sizes[step] / bare[step] / 1e9:7.2f} GB/s "
            f"{bare[peer] / bare[step]:6.2f} x hashlib {cpu:8.1f} CPU-s {peak:8.0f} MiB"
        )


def main() -> None:
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("--dir", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--near-bits", type=int, default=0)
    parser.add_argument("--keep", action="store_true")
    parser.add_argument("--step", help=argparse.SUPPRESS)
    add_shape_arguments(parser)
    arguments = parser.parse_args()
    folder = arguments.dir.absolute()
    steps = {
        "quick": lambda: step_audit(folder, full=False),
        "full": lambda: step_audit(folder, full=True),
        "verify": lambda: step_verify(folder),
        "hashlib-images": lambda: step_hashlib(folder, files=False),
        "hashlib-files": lambda: step_hashlib(folder, files=True),
    }
    if arguments.step:
        steps[arguments.step]()
        return
    shape = Shape(arguments.rows, arguments.image_bytes, arguments.sources, arguments.slices)
    try:
        if not (folder / "data" / "corpora").exists():
            step_generate(folder, shape, arguments.near_bits)
            os.sync()
        measure(folder, arguments.rounds)
    finally:
        if not arguments.keep:
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
