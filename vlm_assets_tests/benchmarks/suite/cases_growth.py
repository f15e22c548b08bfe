"""What nobody else has beside it: a run that finds nothing to do, and the whole line over ten and a hundred times."""

import multiprocessing
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from vlm_assets.allocation.step import allocate
from vlm_assets.audit.findings import Severity
from vlm_assets.audit.run import audit_corpus
from vlm_assets.corpus.build import build_corpus
from vlm_assets.ingest.slice import build_slice
from vlm_assets.installation.opening import open_installation
from vlm_assets.settings import load_settings
from vlm_assets.store.listings import read_listing
from vlm_assets_tests.benchmarks.bench_backfill import fill_folders
from vlm_assets_tests.benchmarks.suite.case import Bar, Case, Inputs, Limit, Size
from vlm_assets_tests.workplace import STREET, ingest, install, picture, relist

_WORKERS: Final = 2
_TIMES: Final = {"1×": 1, "10×": 10, "100×": 100}
_SIDES_PX: Final = (256, 192)
_DISTINCT: Final = 200


@contextmanager
def built_slices(folder: Path, size: Size) -> Iterator[Inputs]:
    """Slices of a picture each, a small corpus of them, and a home of Dagster's that knows it all."""
    slices = {"tiny": 10, "small": 2_000, "large": 20_000}[size]
    fill_folders(folder / "pictures", slices)
    source = {**STREET, "path": folder / "pictures", "verify": "header"}
    installation = install(folder, source, corpus={"targets": {"5": 5}})
    keys = list(relist(installation).slices)
    with ProcessPoolExecutor(_WORKERS, mp_context=multiprocessing.get_context("spawn")) as pool:
        for future in [pool.submit(_build_slices, folder, keys[part::_WORKERS]) for part in range(_WORKERS)]:
            future.result()
    _command(folder)
    yield Inputs(folder, slices)


def _build_slices(folder: Path, keys: list[str]) -> None:
    installation = open_installation(
        load_settings(None, catalog=folder / "catalog", data_root=folder / "data")
    )
    spec = installation.catalog.source("street")
    listing = read_listing(installation.root, "street")
    assert listing is not None
    for key in keys:
        build_slice(installation, spec, listing, key)


def _command(folder: Path) -> str:
    """What the command says that builds whatever is due."""
    home = folder / "home"
    home.mkdir(exist_ok=True)
    places = {"VLM_CATALOG": folder / "catalog", "VLM_DATA_ROOT": folder / "data", "DAGSTER_HOME": home}
    done = subprocess.run(
        [sys.executable, "-m", "vlm_assets.cli", "build"], capture_output=True, text=True, check=False, cwd=home,
        env={**os.environ, **{name: str(path) for name, path in places.items()}},
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(f"build ended with {done.returncode}: {done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done.stdout


def _nothing_to_do(inputs: Inputs, _: Path) -> None:
    told = _command(inputs.folder)
    if not ("Every slice is up to date" in told and "5 is up to date" in told):
        raise SystemExit(f"it did something: {told[-2000:]}")


@contextmanager
def growing_sources(folder: Path, size: Size) -> Iterator[Inputs]:
    """Parquet of small JPEGs, three times, ten times as many each."""
    rows = {"tiny": 30, "small": 400, "large": 4_000}[size]
    made = [picture(number, size=_SIDES_PX) for number in range(_DISTINCT)]
    for factor in _TIMES.values():
        place = folder / str(factor)
        place.mkdir()
        schema = pa.schema(
            {"image": pa.struct({"bytes": pa.binary(), "path": pa.string()}), "text": pa.string()}
        )
        with pq.ParquetWriter(place / "train-00000-of-00001.parquet", schema) as writer:
            for begin in range(0, rows * factor, rows):
                numbers = range(begin, begin + rows)
                images = [
                    {"bytes": made[n % _DISTINCT] + n.to_bytes(4, "big"), "path": None} for n in numbers
                ]
                texts = [f"caption {n}" for n in numbers]
                writer.write_table(pa.table({"image": images, "text": texts}, schema=schema))
    yield Inputs(folder, rows)


def _line(factor: int) -> Callable[[Inputs, Path], None]:
    """Source to slices, allocation, corpus, quick audit; all rows are granted."""

    def line(inputs: Inputs, out: Path) -> None:
        rows = inputs.units * factor
        source: dict[str, Any] = {**STREET, "kind": "hf_disk", "path": inputs.folder / str(factor)}
        installation = install(out, source, corpus={"targets": {"all": rows}})
        ingest(installation)
        plan = allocate(installation, "all")
        manifest = build_corpus(plan.path, installation.root, workers=_WORKERS)
        findings = audit_corpus(installation, "all")
        failed = [one.name for one in findings if one.failed and one.severity is Severity.ERROR]
        if manifest.rows != rows or failed:
            raise SystemExit(f"{manifest.rows} rows of {rows}; findings: {failed}")

    return line


_QUIET: Final = "build, nothing to do"

CASES: Final = (
    Case(
        "no change", "slices", built_slices, {_QUIET: _nothing_to_do}, limits=(Limit(_QUIET, 5),),
    ),
    Case(
        "growth", "rows", growing_sources, {name: _line(factor) for name, factor in _TIMES.items()},
        (
            Bar("10×", "1×", 1), Bar("100×", "10×", 1),
            Bar("10×", "1×", 0.8, "memory"), Bar("100×", "10×", 0.8, "memory"),
        ),
        ("datasets", "vlm_assets_tests.workplace"), times=_TIMES,
    ),
)  # fmt: skip
