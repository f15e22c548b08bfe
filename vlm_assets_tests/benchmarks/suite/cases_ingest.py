"""Sources to committed slices, beside what loads and saves the same images."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

from vlm_assets_tests.benchmarks import bench_folder, bench_hub, bench_image_urls
from vlm_assets_tests.benchmarks.bench_probe import make_jpegs
from vlm_assets_tests.benchmarks.suite.case import Bar, Case, Inputs, Peer, Size
from vlm_assets_tests.workplace import STREET, ingest, install

_DISTINCT: Final = 300
_IMPORTS: Final = ("datasets", "vlm_assets_tests.workplace")
_IMAGES_A_ROW: Final = 3


@contextmanager
def loose_jpegs(folder: Path, size: Size) -> Iterator[Inputs]:
    """JPEGs of 107 kB, all different."""
    count = {"tiny": 60, "small": 1_500, "large": 12_000}[size]
    made = make_jpegs(_DISTINCT)
    for number in range(count):
        (folder / f"{number:06d}.jpg").write_bytes(made[number % _DISTINCT] + number.to_bytes(4, "big"))
    yield Inputs(folder, count)


@contextmanager
def hub_parquet(folder: Path, size: Size) -> Iterator[Inputs]:
    """Parquet files as `push_to_hub` writes them."""
    count = {"tiny": 60, "small": 2_000, "large": 20_000}[size]
    bench_hub.make_snapshot(folder, count)
    yield Inputs(folder, count)


@contextmanager
def conversations(folder: Path, size: Size) -> Iterator[Inputs]:
    """Parquet of rows with three images and a conversation of four turns."""
    rows = {"tiny": 20, "small": 600, "large": 6_000}[size]
    made = make_jpegs(_DISTINCT)
    table = pa.table({
        "images": [
            [{"bytes": made[(row + n) % _DISTINCT] + (row * _IMAGES_A_ROW + n).to_bytes(4, "big"), "path": None}
             for n in range(_IMAGES_A_ROW)]
            for row in range(rows)
        ],
        "messages": [
            [{"role": role, "content": f"<image> soru {row} {turn}" if role == "user" else f"yanıt {turn}"}
             for turn, role in enumerate(("user", "assistant") * 2)]
            for row in range(rows)
        ],
    })  # fmt: skip
    pq.write_table(table, folder / "train-00000-of-00001.parquet", row_group_size=100)
    yield Inputs(folder, rows)


@contextmanager
def url_list(folder: Path, size: Size) -> Iterator[Inputs]:
    """A CSV of URLs that a server in a process of its own answers."""
    count = {"tiny": 100, "small": 2_000, "large": 20_000}[size]
    server = subprocess.Popen(
        [sys.executable, "-m", "vlm_assets_tests.benchmarks.bench_image_urls", "--serve"],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert server.stdout is not None
        address = f"http://127.0.0.1:{int(server.stdout.readline())}"
        lines = [f"{address}/{number}.jpg" for number in range(count)]
        (folder / "urls.csv").write_text("\n".join(["url", *lines, ""]))
        yield Inputs(folder, count, address)
    finally:
        server.kill()
        server.communicate()


def _folder_slice(inputs: Inputs, out: Path, verify: str) -> None:
    ingest(install(out, {**STREET, "path": inputs.folder, "verify": verify, "buckets": 1}))


def _hub_slices(inputs: Inputs, out: Path, verify: str) -> None:
    source = {**STREET, "kind": "hf_disk", "path": inputs.folder, "verify": verify, "slice_bytes": "1TB"}
    outcomes = ingest(install(out, source)).values()
    rows = sum(outcome.manifest.rows for outcome in outcomes)
    if rows != inputs.units:
        raise SystemExit(f"{rows} rows of {inputs.units}")


def _url_slice(inputs: Inputs, out: Path, verify: str) -> None:
    source = {
        "name": "web", "kind": "image_urls", "category": "photos", "subcategory": "street", "licence": "CC0-1.0",
        "urls": inputs.folder / "urls.csv", "verify": verify,
    }  # fmt: skip
    outcomes = ingest(install(out, source, allow_private_hosts="127.0.0.1"), "web").values()
    rows = sum(outcome.manifest.rows for outcome in outcomes)
    if rows != inputs.units:
        raise SystemExit(f"{rows} rows of {inputs.units} URLs")


def _load_and_save(inputs: Inputs, out: Path) -> None:
    import datasets

    loaded = datasets.load_dataset(str(inputs.folder), split="train", cache_dir=str(out / "cache"))
    loaded.save_to_disk(str(out / "saved"))


def _bare_loop_over_parquet(inputs: Inputs, out: Path) -> None:
    bench_hub.bare_loop(inputs.folder, out)


_HEADER, _DECODE, _BARE = "verify: header", "verify: decode", "bare loop of draft decodes, two threads"
_SAVED = "load_dataset + save_to_disk"
_IMG2DATASET = "img2dataset, re-encoding disabled"

CASES: Final = (
    Case(
        "URL list to slices", "images", url_list,
        {
            _HEADER: lambda inputs, out: _url_slice(inputs, out, "header"),
            _DECODE: lambda inputs, out: _url_slice(inputs, out, "decode"),
            _IMG2DATASET: Peer("by_img2dataset.py", (bench_image_urls.PEER, "setuptools<81")),
        },
        (
            Bar(_DECODE, _IMG2DATASET, 2), Bar(_DECODE, _IMG2DATASET, 2, "cpu"),
            Bar(_HEADER, _IMG2DATASET, 2.5), Bar(_HEADER, _IMG2DATASET, 3.5, "cpu"),
        ),
        _IMPORTS,
    ),
    Case(
        "folder to slices", "images", loose_jpegs,
        {
            _HEADER: lambda inputs, out: _folder_slice(inputs, out, "header"),
            _DECODE: lambda inputs, out: _folder_slice(inputs, out, "decode"),
            _SAVED: lambda inputs, out: bench_folder.peer(inputs.folder, out),
            _BARE: lambda inputs, _: bench_folder.bare(inputs.folder),
        },
        (Bar(_HEADER, _SAVED, 3), Bar(_DECODE, _BARE, 0.75)),
        _IMPORTS,
    ),
    Case(
        "Hub Parquet to slices", "images", hub_parquet,
        {
            _HEADER: lambda inputs, out: _hub_slices(inputs, out, "header"),
            _DECODE: lambda inputs, out: _hub_slices(inputs, out, "decode"),
            _SAVED: _load_and_save,
            _BARE: _bare_loop_over_parquet,
        },
        (Bar(_HEADER, _SAVED, 2.5), Bar(_DECODE, _BARE, 0.8)),
        _IMPORTS,
    ),
    Case(
        "conversations of three images to slices", "rows", conversations,
        {_HEADER: lambda inputs, out: _hub_slices(inputs, out, "header"), _SAVED: _load_and_save},
        (Bar(_HEADER, _SAVED, 2),),
        _IMPORTS,
    ),
)  # fmt: skip
