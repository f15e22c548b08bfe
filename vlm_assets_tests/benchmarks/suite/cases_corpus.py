"""Committed slices to a corpus, and what is done with one, beside `datasets`, `cp` and hashlib."""

import random
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Final

from vlm_assets.allocation.manifest import AllocatedShard
from vlm_assets.words.layout import DataRoot
from vlm_assets_tests.benchmarks import bench_audit, bench_corpus
from vlm_assets_tests.benchmarks.bench_read import seconds_for
from vlm_assets_tests.benchmarks.made_slices import CORPUS, TARGET, Shape, make_plan, make_slices
from vlm_assets_tests.benchmarks.suite.case import Bar, Case, Inputs, Size

_WORKERS: Final = 2
_SHARD_BYTES: Final = 500_000_000


def planned(
    image_bytes: int, rows: dict[Size, int]
) -> Callable[[Path, Size], AbstractContextManager[Inputs]]:
    """Committed slices with a plan for half of their rows, and the corpus that it gives."""

    @contextmanager
    def inputs(folder: Path, size: Size) -> Iterator[Inputs]:
        shape = Shape(rows[size], image_bytes, sources=10, slices=40)
        root = DataRoot(folder)
        make_slices(root, shape)
        make_plan(root, shape, AllocatedShard(max_bytes=_SHARD_BYTES, block_rows=64, window_bytes=32_000_000))
        root.marker.touch()
        bench_corpus.step_build(folder, _WORKERS)
        yield Inputs(folder, rows[size] // 2)

    return inputs


@contextmanager
def corpus_and_copy(folder: Path, size: Size) -> Iterator[Inputs]:
    """A corpus beside what `save_to_disk` makes of its rows."""
    import datasets

    datasets.disable_progress_bars()
    with planned(50_000, {"small": 20_000, "large": 80_000})(folder, size) as made:
        datasets.load_from_disk(str(_corpus(folder))).save_to_disk(str(folder / "saved"))
        yield made


@contextmanager
def audited(folder: Path, size: Size) -> Iterator[Inputs]:
    """A built corpus whose hashes are true; the unit is a row of it."""
    rows = {"small": 20_000, "large": 100_000}[size]
    bench_audit.step_generate(folder, Shape(rows, 60_000, sources=10, slices=40), near_bits=0)
    yield Inputs(folder, rows // 2)


def _corpus(folder: Path) -> Path:
    return DataRoot(folder).corpus(CORPUS, TARGET).resolve()


def _without_corpus(inputs: Inputs, out: Path) -> Path:
    """The installation in `out`, as hard links, without its corpus."""
    place = out / "root"
    subprocess.run(["cp", "-al", str(inputs.folder), str(place)], check=True)
    shutil.rmtree(place / "corpora")
    return place


def _build(inputs: Inputs, out: Path) -> None:
    bench_corpus.step_build(_without_corpus(inputs, out), _WORKERS)


def _line(inputs: Inputs, out: Path) -> None:
    bench_corpus.step_line(_without_corpus(inputs, out), _WORKERS)


def _copy(inputs: Inputs, out: Path) -> None:
    subprocess.run(
        ["cp", "-r", "--reflink=never", str(_corpus(inputs.folder)), str(out / "copy")], check=True
    )


def _save(inputs: Inputs, out: Path) -> None:
    place = _without_corpus(inputs, out)
    bench_corpus.step_datasets(place, _SHARD_BYTES)


def _read(folder: Path, units: int, *, mixed: bool) -> None:
    import datasets

    rows: Any = datasets.load_from_disk(str(folder)).with_format("arrow")
    order: Sequence[int] = range(units)
    seconds_for(rows, random.Random(1).sample(order, units) if mixed else order)


_OURS, _LINE, _CP, _SAVED = "build_corpus", "a run of the command", "cp", "save_to_disk"
_IN_ORDER, _AT_RANDOM = "corpus, in order", "corpus, at random"
_SAVED_IN_ORDER, _SAVED_AT_RANDOM = "save_to_disk, in order", "save_to_disk, at random"
_WAYS: Final = {_OURS: _build, _LINE: _line, _CP: _copy, _SAVED: _save}

CASES: Final = (
    Case(
        "corpus of 50 KB rows", "rows", planned(50_000, {"small": 40_000, "large": 200_000}), _WAYS,
        (Bar(_OURS, _SAVED, 3.5), Bar(_OURS, _CP, 0.9), Bar(_LINE, _CP, 0.9)), ("datasets",),
    ),
    Case(
        "corpus of 2 KB rows", "rows", planned(2_000, {"small": 200_000, "large": 4_000_000}), _WAYS,
        (Bar(_OURS, _SAVED, 7), Bar(_OURS, _CP, 0.4)), ("datasets",),
    ),
    Case(
        "an epoch", "rows", corpus_and_copy,
        {
            _IN_ORDER: lambda inputs, _: _read(_corpus(inputs.folder), inputs.units, mixed=False),
            _SAVED_IN_ORDER: lambda inputs, _: _read(inputs.folder / "saved", inputs.units, mixed=False),
            _AT_RANDOM: lambda inputs, _: _read(_corpus(inputs.folder), inputs.units, mixed=True),
            _SAVED_AT_RANDOM: lambda inputs, _: _read(inputs.folder / "saved", inputs.units, mixed=True),
        },
        (Bar(_IN_ORDER, _SAVED_IN_ORDER, 0.95), Bar(_AT_RANDOM, _SAVED_AT_RANDOM, 0.95)), ("datasets",),
    ),
    Case(
        "verify and audit", "rows", audited,
        {
            "verify": lambda inputs, _: bench_audit.step_verify(inputs.folder),
            "hashlib over the files": lambda inputs, _: bench_audit.step_hashlib(inputs.folder, files=True),
            "audit --full": lambda inputs, _: bench_audit.step_audit(inputs.folder, full=True),
            "hashlib over the images": lambda inputs, _: bench_audit.step_hashlib(inputs.folder, files=False),
        },
        (Bar("verify", "hashlib over the files", 2), Bar("audit --full", "hashlib over the images", 0.7)),
        ("datasets",),
    ),
)  # fmt: skip
