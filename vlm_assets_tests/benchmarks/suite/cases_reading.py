"""A corpus read row by row, in order and at random, beside the same rows as others keep them."""

import random
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from vlm_assets_tests.benchmarks.suite.case import Bar, Case, Inputs, Peer, Size
from vlm_assets_tests.benchmarks.suite.cases_corpus import corpus_of, planned

_EPOCHS: Final = 3
_TAR_BYTES: Final = 100_000_000
_ROWS: Final[dict[Size, int]] = {"tiny": 400, "small": 12_000, "large": 80_000}


@contextmanager
def corpus_and_copies(folder: Path, size: Size) -> Iterator[Inputs]:
    """A corpus, what `save_to_disk` makes of its rows, and its images as tars; the slices are removed."""
    import datasets

    datasets.disable_progress_bars()
    with planned(50_000, _ROWS)(folder, size) as made:
        rows = datasets.load_from_disk(str(corpus_of(made)))
        rows.save_to_disk(str(folder / "saved"))
        _write_tars(rows.with_format("arrow"), folder / "tars")
        shutil.rmtree(folder / "datasets")
        yield Inputs(folder, made.units * _EPOCHS)


def _write_tars(rows: Any, folder: Path) -> None:
    import webdataset

    folder.mkdir()
    with webdataset.ShardWriter(str(folder / "%05d.tar"), maxsize=_TAR_BYTES, verbose=0) as writer:
        for number in range(len(rows)):
            [image] = rows[number]["images"][0]
            writer.write({"__key__": f"{number:07d}", "jpg": image["bytes"].as_py()})


def _read(folder: Path, out: Path, *, mixed: bool) -> None:
    """Rows one by one with the bytes of their images, in Arrow's format: nothing is decoded on any side."""
    import datasets

    rows: Any = datasets.load_from_disk(str(folder)).with_format("arrow")
    chance, total, seen = random.Random(1), 0, 0
    for _ in range(_EPOCHS):
        order: Sequence[int] = range(len(rows))
        for number in chance.sample(order, len(rows)) if mixed else order:
            for image in rows[number]["images"][0]:
                total += len(image["bytes"].as_py())
                seen += 1
    (out / "answer").write_text(f"{seen} images, {total} bytes")


def _read_tars(folder: Path, out: Path, *, mixed: bool) -> None:
    """At random: shards in a random order, and rows through a buffer of 1,000, as its manual has it."""
    import webdataset

    paths = sorted(str(path) for path in folder.glob("*.tar"))
    shuffled = len(paths) if mixed else False
    total = seen = 0
    for epoch in range(_EPOCHS):
        rows: Any = webdataset.WebDataset(paths, shardshuffle=shuffled, seed=epoch)
        for row in rows.shuffle(1_000) if mixed else rows:
            total += len(row["jpg"])
            seen += 1
    (out / "answer").write_text(f"{seen} images, {total} bytes")


def told_images(_: Inputs, out: Path) -> str:
    """How many images a way says that it saw, and how many bytes."""
    return (out / "answer").read_text("utf-8")


def _streaming(*arguments: str) -> Peer:
    return Peer(
        "by_streaming.py", ("numpy", "pyarrow", "pillow", "pyyaml", "requests", "tqdm", "xxhash", "zstd",
                            "brotli", "python-snappy", "catalogue", "filelock", "typing_extensions"),
        (str(_EPOCHS), *arguments), alone=("mosaicml-streaming",),
    )  # fmt: skip


def _ways(mixed: bool) -> dict[str, Any]:  # noqa: FBT001 - one of two tables
    order = _ORDERS[mixed]
    return {
        f"corpus, {order}": lambda inputs, out: _read(corpus_of(inputs), out, mixed=mixed),
        f"save_to_disk, {order}": lambda inputs, out: _read(inputs.folder / "saved", out, mixed=mixed),
        f"MosaicML Streaming, {order}": _streaming("shuffled" if mixed else "in-order"),
        f"WebDataset, {order}": lambda inputs, out: _read_tars(inputs.folder / "tars", out, mixed=mixed),
    }


_ORDERS: Final = {False: "in order", True: "at random"}
_MUST: Final = {"save_to_disk": 0.95, "MosaicML Streaming": 1, "WebDataset": 1}

CASES: Final = (
    Case(
        "an epoch", "rows", corpus_and_copies, {**_ways(mixed=False), **_ways(mixed=True)},
        tuple(
            Bar(f"corpus, {order}", f"{peer}, {order}", must)
            for order in _ORDERS.values()
            for peer, must in _MUST.items()
        ),
        ("datasets", "webdataset"), answer=told_images, prepared_by=(_streaming("write"),),
    ),
)  # fmt: skip
