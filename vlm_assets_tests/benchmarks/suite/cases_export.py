"""A corpus to Parquet and to tars, beside `Dataset.to_parquet` and WebDataset's writer in as many processes."""

import json
import multiprocessing
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pyarrow.parquet as pq

from vlm_assets.exports.formats import Format
from vlm_assets.exports.run import export_corpus
from vlm_assets.installation.opening import open_installation
from vlm_assets.settings import load_settings
from vlm_assets_tests.benchmarks.made_slices import TARGET
from vlm_assets_tests.benchmarks.suite.case import Bar, Case, Inputs, Size
from vlm_assets_tests.benchmarks.suite.cases_corpus import corpus_of, planned

_WORKERS: Final = 2
_FILE_BYTES: Final = 100_000_000
_ROWS: Final[dict[Size, int]] = {"tiny": 400, "small": 16_000, "large": 160_000}


def _export(inputs: Inputs, out: Path, form: Format) -> None:
    settings = load_settings(None, catalog=inputs.folder / "catalog", data_root=inputs.folder)
    export_corpus(open_installation(settings), TARGET, form, out / "export", workers=_WORKERS)


def _by_processes(inputs: Inputs, out: Path, work: Callable[[Path, Path, int], None]) -> None:
    """A part of the rows each; forked, as `datasets` does it itself, so that nothing is imported anew."""
    context = multiprocessing.get_context("fork")
    parts = [context.Process(target=work, args=(corpus_of(inputs), out, part)) for part in range(_WORKERS)]
    for part in parts:
        part.start()
    for part in parts:
        part.join()
    if any(part.exitcode for part in parts):
        raise SystemExit("a part failed")


def _rows_of(corpus: Path, part: int) -> Any:
    import datasets

    datasets.disable_progress_bars()
    return datasets.load_from_disk(str(corpus)).shard(_WORKERS, part, contiguous=True)


def _to_parquet(corpus: Path, out: Path, part: int) -> None:
    _rows_of(corpus, part).to_parquet(str(out / f"{part}.parquet"))


def _to_tars(corpus: Path, out: Path, part: int) -> None:
    """Each row as an image and its other columns in JSON."""
    import datasets
    import webdataset

    rows = _rows_of(corpus, part)
    rows = rows.cast_column("images", datasets.List(datasets.Image(decode=False)))
    with webdataset.ShardWriter(str(out / f"{part}-%05d.tar"), maxsize=_FILE_BYTES, verbose=0) as writer:
        for number, row in enumerate(rows):
            [image] = row.pop("images")
            writer.write(
                {"__key__": f"{part}-{number:07d}", "jpg": image["bytes"], "json": json.dumps(row).encode()}
            )


def exported_rows(_: Inputs, out: Path) -> str:
    """How many rows the files have."""
    files = pq.ParquetFile
    rows = sum(files(path).metadata.num_rows for path in out.rglob("*.parquet"))
    return f"{rows + sum(_rows_of_tar(path) for path in out.rglob('*.tar'))} rows"


def _rows_of_tar(path: Path) -> int:
    with tarfile.open(path) as tar:
        return sum(name.endswith(".json") for name in tar.getnames())


def _way(form: Format) -> Callable[[Inputs, Path], None]:
    return lambda inputs, out: _export(inputs, out, form)


def _peer(work: Callable[[Path, Path, int], None]) -> Callable[[Inputs, Path], None]:
    return lambda inputs, out: _by_processes(inputs, out, work)


_PARQUET, _TARS = "export to Parquet", "export to WebDataset"
_TO_PARQUET, _SHARD_WRITER = "Dataset.to_parquet, 2 processes", "webdataset.ShardWriter, 2 processes"

CASES: Final = (
    Case(
        "export", "rows", planned(50_000, _ROWS, _FILE_BYTES),
        {
            _PARQUET: _way(Format.PARQUET), _TO_PARQUET: _peer(_to_parquet),
            _TARS: _way(Format.WEBDATASET), _SHARD_WRITER: _peer(_to_tars),
        },
        (Bar(_PARQUET, _TO_PARQUET, 1.5), Bar(_TARS, _SHARD_WRITER, 1.5)),
        ("datasets", "webdataset"), answer=exported_rows,
    ),
)  # fmt: skip
