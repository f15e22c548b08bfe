"""Allocation at scale: committed index files of N rows, then the real plan with cold caches.

    python -m vlm_assets_tests.benchmarks.bench_allocation --rows 2e6 [--near-bits 4] [--filters] [--recount]
        [--keep DIR]

Writes indexes only (about 400 bytes a row; it says beforehand how much) into a folder that it removes afterwards,
or keeps and uses again with `--keep`. 100 sources of skewed sizes, a tenth of the rows duplicates of others, some
near ones, some labels without a map entry. Prints one table: time and memory of the plan, beside reading the
same columns with pyarrow alone. `--filters`: annotates the rows with made values (about 100 bytes a row more), and
plans a second time with three filters over three annotations. `--recount`: each plan's exclusions are counted again
as the audit does, and compared.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from fractions import Fraction
from itertools import product
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import numpy as np
import pyarrow as pa

from vlm_assets.allocation.columns import index_batches
from vlm_assets.allocation.plan import plan_allocation, read_plan, write_plan
from vlm_assets.allocation.supply import SliceValues, SupplySlice
from vlm_assets.annotate.files import Header, write_annotation
from vlm_assets.audit.evidence import Evidence, FoundSlice, UnjudgedError
from vlm_assets.audit.scan import scan_slices
from vlm_assets.audit.supply import SupplyReader
from vlm_assets.catalog.annotations import AnnotationSpec
from vlm_assets.catalog.filters import FilterSpec
from vlm_assets.catalog.labels import SubcategoryFrom
from vlm_assets.catalog.spec import Catalog, CorpusSpec, DedupSpec, QuotaNode, SourceSpec
from vlm_assets.operate.schema_1 import records_of
from vlm_assets.words.keys import Words, splitmix64_array
from vlm_assets.words.layout import DataRoot
from vlm_assets.words.schema import IMAGE_TYPE, INDEX_SCHEMA
from vlm_assets.words.tombstones import Tombstones

if TYPE_CHECKING:
    from vlm_assets.installation.opening import Installation

SOURCES = 100
BATCH_ROWS = 65_536
BYTES_A_ROW = 400
LABELS = ("0", "1", "2", "junk")
FILTERS = {
    "sharp": FilterSpec(keep="min(blur.laplacian) >= 30", missing="keep"),
    "rich": FilterSpec(keep="min(entropy.bits) > 0.5 and max(entropy.bits) <= 7.9", missing="drop"),
    "worded": FilterSpec(keep="5 <= length.characters <= 1900 or min_side_px >= 1024", missing="keep"),
}
ANNOTATED = {"blur": ("laplacian", 1000.0), "entropy": ("bits", 8.0), "length": ("characters", 2000)}

_HEX = np.frombuffer(b"".join(b"%02x%02x" % (n & 255, n >> 8) for n in range(65536)), dtype=np.uint32)
_DIGITS = np.frombuffer(b"".join(b"%04d" % n for n in range(10_000)), dtype=np.uint32)


def sizes(rows: int) -> list[list[int]]:
    """Rows of each slice of each source: sources fall off as 1/n, slices hold at most a hundredth of all."""
    weights = 1 / np.arange(1, SOURCES + 1)
    per_source = np.maximum(1, (rows * weights / weights.sum()).astype(int))
    per_source[0] += rows - per_source.sum()
    cap = max(1000, rows // 200)
    return [[len(part) for part in np.array_split(np.empty(n), -(-n // cap))] for n in per_source.tolist()]


def catalog(rows: int, near_bits: int, *, filtered: bool = False) -> Catalog:
    """Four categories, twenty subcategories, a third of the sources by label."""
    shares = {"photos": "0.4", "documents": "0.3", "charts": "0.2", "maps": "0.1"}
    quotas = {
        name: QuotaNode(
            share=Fraction(share),
            subcategories={f"s{n}": QuotaNode(share=Fraction(1, 5), min=n * 10) for n in range(5)},
        )
        for name, share in shares.items()
    }
    names = list(shares)
    rule = SubcategoryFrom(column="label", map={"0": "s0", "1": "s1", "2": "s2"})
    sources = tuple(
        SourceSpec(
            name=f"source{n:03d}",
            kind="client_folder",
            category=names[n % 4],
            subcategory=None if n % 3 == 0 else f"s{n % 5}",
            subcategory_from=rule if n % 3 == 0 else None,
            licence="CC0-1.0",
            max_samples=rows // 400 if n == 7 else None,
        )
        for n in range(SOURCES)
    )
    corpus = CorpusSpec(
        name="bench",
        seed=20260115,
        targets={"half": rows // 2},
        quotas=quotas,
        dedup=DedupSpec(exact="image", near_bits=near_bits, precedence=("source050", "source003")),
        min_side_px=64,
        annotations=tuple(AnnotationSpec(name=name) for name in ANNOTATED) if filtered else (),
        filters=FILTERS if filtered else {},
    )
    return Catalog(corpus=corpus, sources=sources, hash="0" * 64)


def generate(root: Path, rows: int) -> list[SupplySlice]:
    """Index files of `rows` rows under `root`, as the slice writer lays them out."""
    supply = []
    random = np.random.default_rng(1)
    begin = 0
    for number, slices in enumerate(sizes(rows)):
        for piece, count in enumerate(slices):
            name, source = f"{piece:04d}-of-{len(slices):04d}", f"source{number:03d}"
            path = root / source / name
            path.mkdir(parents=True)
            _write_index(path / "index.arrow", (source, name), (begin, count, rows), random)
            begin += count
            entry = SupplySlice(
                source,
                name,
                f"{begin:012x}",
                f"{begin:064x}",
                count,
                container=False,
                items_per_slice=count,
                path=path,
            )
            supply.append(entry)
    return supply


def annotate(root: Path, entry: SupplySlice) -> tuple[SliceValues, ...]:
    """Made values of three annotations: two of images, one of words; a hundredth of the records has none."""
    random = np.random.default_rng(entry.rows)
    ids = pa.chunked_array([batch.column(0) for batch in index_batches(entry.path, ["id"])], pa.string())
    found = []
    for name, (column, top) in ANNOTATED.items():
        lacking = random.random(entry.rows) < 0.01
        if name == "length":
            values = pa.array(random.integers(0, int(top), entry.rows), pa.int64(), mask=lacking)
        else:
            flat = pa.array((random.random(entry.rows) * top).astype(np.float32), mask=lacking)
            values = pa.ListArray.from_arrays(pa.array(np.arange(entry.rows + 1, dtype=np.int32)), flat)
        header = Header(
            annotator=name, version="1", source=entry.source, slice=entry.slice, content_hash=entry.content_hash,
            rows=0, values_hash="",
        )  # fmt: skip
        path = DataRoot(root).annotation(name, entry.source, entry.slice)
        written = write_annotation(path, header, pa.table({"id": ids, column: values}))
        found.append(SliceValues(name, written.values_hash, path))
    return tuple(found)


def supply_under(root: Path, *, filtered: bool) -> list[SupplySlice]:
    """What was generated there, with its values where they are wanted."""
    supply = []
    for entry in json.loads((root / "supply.json").read_text()):
        values = tuple(
            SliceValues(one["annotation"], one["values_hash"], Path(one["path"])) for one in entry["values"]
        )
        supply.append(
            SupplySlice(**{**entry, "path": Path(entry["path"]), "values": values if filtered else ()})
        )
    return supply


def _write_index(
    path: Path, names: tuple[str, str], span: tuple[int, int, int], random: np.random.Generator
) -> None:
    begin, count, rows = span
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, INDEX_SCHEMA) as writer:
        for first in range(0, count, BATCH_ROWS):
            numbers = np.arange(begin + first, begin + min(first + BATCH_ROWS, count), dtype=np.uint64)
            writer.write_batch(_batch(numbers, names, rows, random))
    descriptor = os.open(path, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)


def _batch(numbers: Words, names: tuple[str, str], rows: int, random: np.random.Generator) -> pa.RecordBatch:
    """Rows as numbers: the image of a row is another row's for a tenth of them, its picture nearly another's."""
    count = len(numbers)
    image = numbers.copy()
    copied = random.random(count) < 0.1
    image[copied] = random.integers(0, rows, int(copied.sum()), dtype=np.uint64)
    picture = np.where(image % np.uint64(33) == 0, image + np.uint64(1), image)
    flips = (image % np.uint64(33) == 0) * (np.uint64(1) << (image % np.uint64(64)))
    words = np.stack([splitmix64_array(image * np.uint64(4) + np.uint64(n)) for n in range(4)], axis=1)
    source, slice_name = names
    key = np.stack([_DIGITS[numbers // 10_000 % 10_000], _DIGITS[numbers % 10_000]], axis=1).view(np.uint8)
    side = random.integers(60, 2000, (2, count), dtype=np.int32)
    size_bytes = random.integers(300, 700, count)
    ones = np.ones(count, dtype=np.int32)
    columns = {
        "id": _strings(f"{source}/{slice_name}/".encode(), key, b".jpg"),
        "label": pa.DictionaryArray.from_arrays(
            pa.array(random.choice(4, count, p=[0.5, 0.3, 0.15, 0.05]).astype(np.int32)), list(LABELS)
        ).cast(pa.string()),
        "category": _constant("photos", count),
        "subcategory": _constant("s1", count),
        "source": _constant(source, count),
        "slice": _constant(slice_name, count),
        "origin": _strings(b"https://example.org/images/", key, b".jpg"),
        "licence": _constant("CC0-1.0", count),
        "image_sha256": _strings(b"", _HEX[words.view(np.uint16)].view(np.uint8), b""),
        "dhash": pa.array(splitmix64_array(picture ^ np.uint64(99)) ^ flips),
        "width_px": pa.array(side[0]),
        "height_px": pa.array(side[1]),
        "orientation": pa.nulls(count, pa.uint8()),
        "frames": pa.array(ones),
        "format": _constant("JPEG", count),
        "dpi": pa.nulls(count, pa.int32()),
        "size_bytes": pa.array(size_bytes),
        "row_bytes": pa.array(size_bytes + 300),
        "text_sha256": _digests(splitmix64_array(numbers), 1),
        "item_hash": pa.array(splitmix64_array(numbers)),
        "record": pa.array(np.zeros(count, dtype=np.int64)),
        "digest": _digests(splitmix64_array(numbers), 2),
    }
    without = {name: pa.nulls(count, pa.string()) for name in ("text", "extra")}
    image = pa.nulls(count, IMAGE_TYPE)
    made = records_of({**columns, **without, "image": image}, digests=False)
    return pa.RecordBatch.from_arrays([made[name] for name in INDEX_SCHEMA.names], schema=INDEX_SCHEMA)


def _strings(before: bytes, middle: np.ndarray, after: bytes) -> pa.Array:
    count, width = len(middle), len(before) + middle.shape[1] + len(after)
    data = np.empty((count, width), dtype=np.uint8)
    data[:, : len(before)] = np.frombuffer(before, dtype=np.uint8)
    data[:, len(before) : len(before) + middle.shape[1]] = middle
    data[:, width - len(after) :] = np.frombuffer(after, dtype=np.uint8)
    offsets = np.arange(count + 1, dtype=np.int32) * np.int32(width)
    return pa.StringArray.from_buffers(count, pa.py_buffer(offsets), pa.py_buffer(data))


def _constant(text: str, count: int) -> pa.Array:
    return _strings(text.encode(), np.empty((count, 0), dtype=np.uint8), b"")


def _digests(words: Words, salt: int) -> pa.Array:
    four = np.stack([words ^ np.uint64(salt + n) for n in range(4)], axis=1)
    return pa.FixedSizeBinaryArray.from_buffers(pa.binary(32), len(words), [None, pa.py_buffer(four)])


def drop_caches(supply: Sequence[SupplySlice]) -> None:
    """Asks the kernel to forget the index files; nobody else's pages."""
    for entry in supply:
        for path in (entry.path / "index.arrow", *(one.path for one in entry.values)):
            descriptor = os.open(path, os.O_RDONLY)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(descriptor)


def peak_mib() -> int:
    """Peak resident memory of this process alone (`ru_maxrss` would count the parent's after a spawn)."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) // 1024


class PlanAlone(Evidence):
    """A plan without a corpus: as much as the audit needs to count its supply again."""

    def __init__(self, root: Path, catalog: Catalog, supply: Sequence[SupplySlice]) -> None:
        """The plan that was written last."""
        self.root = DataRoot(root)
        self.installation = cast("Installation", SimpleNamespace(catalog=catalog, catalog_dir=root))
        self.plan_dir = root / "plan"
        places = {(one.source, one.slice): one.path for one in supply}
        claims = self.plan.slices
        self.slices = tuple(FoundSlice(one, places[one.source, one.slice], None) for one in claims)


def recount(root: Path, catalog: Catalog, supply: Sequence[SupplySlice]) -> int:
    """Rows of the supply that are excluded, counted as the audit does; as many for each reason as the plan says."""
    evidence = PlanAlone(root, catalog, supply)
    found = scan_slices(evidence, UnjudgedError("there is no corpus"), SupplyReader(evidence), 2).supply
    if isinstance(found, UnjudgedError):
        raise found
    counted = {name: int(np.count_nonzero(found.excluded(name))) for name in found.reasons}
    if counted != evidence.plan.excluded:
        raise SystemExit(f"counted {counted}, the plan says {evidence.plan.excluded}")
    return sum(counted.values())


def measure(root: Path, rows: int, near_bits: int, case: str) -> None:
    """One case in this process; prints one line of JSON."""
    filtered = case.startswith("filtered")
    supply = supply_under(root, filtered=filtered)
    began, began_cpu = time.perf_counter(), time.process_time()
    figures: dict[str, float] = {}
    if case == "columns":
        names = [
            "images_sha256",
            "row_bytes",
            "label",
            "min_side_px",
            *(["dhash"] if near_bits else []),
        ]
        figures["rows"] = sum(batch.num_rows for one in supply for batch in index_batches(one.path, names))
    elif case.endswith("recount"):
        figures["rows"] = recount(root, catalog(rows, near_bits, filtered=filtered), supply)
    else:
        plan = plan_allocation(
            catalog(rows, near_bits, filtered=filtered), "half", supply, Tombstones(), base_dir=None
        )
        figures["plan_s"] = time.perf_counter() - began
        out = root / "plan"
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir()
        manifest = write_plan(plan, out)
        (out / "metadata.json").write_bytes(manifest.to_bytes())
        figures["rows"] = sum(len(one.row) for one in read_plan(out).slices())
        figures["duplicates"] = sum(n for why, n in manifest.excluded.items() if why.startswith("duplicate"))
    figures |= {
        "s": time.perf_counter() - began,
        "cpu_s": time.process_time() - began_cpu,
        "peak_mib": peak_mib(),
    }
    print(json.dumps(figures))


def run(root: Path, rows: int, near_bits: int, *, filtered: bool, recounted: bool) -> None:
    """Generates what is missing, runs every case cold and warm in its own process, prints the table."""
    if not (root / "supply.json").exists():
        print(f"needs {rows * BYTES_A_ROW / 1e9:.1f} GB under {root}", flush=True)
        began = time.perf_counter()
        supply = generate(root, rows)
        if filtered:
            supply = [replace(one, values=annotate(root, one)) for one in supply]
        (root / "supply.json").write_text(json.dumps([asdict(one) for one in supply], default=str))
        print(
            f"generated {rows:,} rows in {time.perf_counter() - began:.0f} s, {len(supply)} slices",
            flush=True,
        )
    supply = supply_under(root, filtered=filtered)
    if filtered and not all(one.values for one in supply):
        raise SystemExit(f"{root} was generated without --filters; name another folder")
    cases = ["columns"]
    for case in ("plan", *(("filtered",) if filtered else ())):
        cases += [case, f"{case} recount"] if recounted else [case]
    print(f"{'case':24}{'seconds':>9}{'CPU s':>8}{'MiB':>7}{'rows':>12}{'duplicates':>12}{'ratio':>7}")
    reading = 0.0
    for cold, case in product((True, False), cases):
        if cold:
            drop_caches(supply)
        arguments = ["--rows", str(rows), "--near-bits", str(near_bits), "--keep", str(root), "--case", case]
        done = subprocess.run(
            [sys.executable, "-m", "vlm_assets_tests.benchmarks.bench_allocation", *arguments],
            check=True, capture_output=True, text=True,
        )  # fmt: skip
        got = json.loads(done.stdout)
        reading = got["s"] if case == "columns" else reading
        print(
            f"{case + (', cold' if cold else ', warm'):24}{got['s']:9.1f}{got['cpu_s']:8.1f}{got['peak_mib']:7.0f}"
            f"{got['rows']:12,.0f}{got.get('duplicates', 0):12,.0f}{got['s'] / reading:7.1f}",
            flush=True,
        )


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=lambda text: int(float(text)), default=2_000_000)
    parser.add_argument("--near-bits", type=int, default=0)
    parser.add_argument("--filters", action="store_true")
    parser.add_argument("--keep", type=Path)
    parser.add_argument("--recount", action="store_true")
    parser.add_argument("--case", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.case:
        measure(given.keep, given.rows, given.near_bits, given.case)
    elif given.keep:
        given.keep.mkdir(parents=True, exist_ok=True)
        run(given.keep, given.rows, given.near_bits, filtered=given.filters, recounted=given.recount)
    else:
        with tempfile.TemporaryDirectory(prefix="bench_allocation.") as folder:
            run(Path(folder), given.rows, given.near_bits, filtered=given.filters, recounted=given.recount)


if __name__ == "__main__":
    main()
