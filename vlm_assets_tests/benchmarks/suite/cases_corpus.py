"""Committed slices to a corpus, and its checking, beside `datasets`, `cp` and hashlib."""

import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Final

from vlm_assets.allocation.manifest import AllocatedShard
from vlm_assets.words.layout import DataRoot
from vlm_assets_tests.benchmarks import bench_audit, bench_corpus
from vlm_assets_tests.benchmarks.made_slices import CORPUS, TARGET, Shape, make_plan, make_slices
from vlm_assets_tests.benchmarks.suite.case import Bar, Case, Inputs, Size

_WORKERS: Final = 2
_SHARD_BYTES: Final = 500_000_000


def planned(
    image_bytes: int, rows: dict[Size, int], shard_bytes: int = _SHARD_BYTES
) -> Callable[[Path, Size], AbstractContextManager[Inputs]]:
    """Committed slices with a plan for half of their rows, the corpus that it gives, and a catalogue."""

    @contextmanager
    def inputs(folder: Path, size: Size) -> Iterator[Inputs]:
        shape = Shape(rows[size], image_bytes, sources=10, slices=40)
        root = DataRoot(folder)
        make_slices(root, shape)
        make_plan(root, shape, AllocatedShard(max_bytes=shard_bytes, block_rows=64, window_bytes=32_000_000))
        root.marker.touch()
        bench_corpus.write_catalog(folder / "catalog")
        bench_corpus.step_build(folder, _WORKERS)
        yield Inputs(folder, rows[size] // 2)

    return inputs


def corpus_of(inputs: Inputs) -> Path:
    """The sealed corpus among inputs that were `planned`."""
    return DataRoot(inputs.folder).corpus(CORPUS, TARGET).resolve()


@contextmanager
def audited(folder: Path, size: Size) -> Iterator[Inputs]:
    """A built corpus whose hashes are true; the unit is a row of it."""
    rows = {"tiny": 400, "small": 20_000, "large": 100_000}[size]
    bench_audit.step_generate(folder, Shape(rows, 60_000, sources=10, slices=40), near_bits=0)
    yield Inputs(folder, rows // 2)


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
    subprocess.run(["cp", "-r", "--reflink=never", str(corpus_of(inputs)), str(out / "copy")], check=True)


def _save(inputs: Inputs, out: Path) -> None:
    bench_corpus.step_datasets(_without_corpus(inputs, out), _SHARD_BYTES)


def _save_by_two(inputs: Inputs, out: Path) -> None:
    bench_corpus.step_datasets(_without_corpus(inputs, out), _SHARD_BYTES, processes=2)


_OURS, _LINE, _CP = "build_corpus", "a run of the command", "cp"
_SAVED, _SAVED_BY_TWO = "save_to_disk", "save_to_disk, 2 processes"
_WAYS: Final = {_OURS: _build, _LINE: _line, _CP: _copy, _SAVED: _save, _SAVED_BY_TWO: _save_by_two}
_SMALL_ROWS: Final = {name: way for name, way in _WAYS.items() if name != _LINE}


def _bars(of_saved: float, of_copy: float) -> tuple[Bar, ...]:
    return (Bar(_OURS, _SAVED, of_saved), Bar(_OURS, _SAVED_BY_TWO, of_saved), Bar(_OURS, _CP, of_copy))


CASES: Final = (
    Case(
        "corpus of 50 KB rows", "rows", planned(50_000, {"tiny": 800, "small": 30_000, "large": 200_000}), _WAYS,
        (*_bars(3.5, 0.9), Bar(_LINE, _CP, 0.9)), ("datasets",),
    ),
    Case(
        "corpus of 2 KB rows", "rows", planned(2_000, {"tiny": 4_000, "small": 200_000, "large": 4_000_000}),
        _SMALL_ROWS, _bars(7, 0.4), ("datasets",),
    ),
    Case(
        "corpus of 500 B rows", "rows", planned(500, {"tiny": 8_000, "small": 400_000, "large": 8_000_000}),
        _SMALL_ROWS, _bars(7, 0.4), ("datasets",),
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
