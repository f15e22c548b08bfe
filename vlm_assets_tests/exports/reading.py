"""Exports read back by the libraries of their formats."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from webdataset.tariterators import group_by_keys, tar_file_expander

from vlm_assets.exports.formats import Format


def parquet_rows(out: Path) -> list[dict[str, Any]]:
    return [row for path in sorted((out / "data").iterdir()) for row in pq.read_table(path).to_pylist()]


def webdataset_rows(out: Path) -> list[dict[str, Any]]:
    rows = []
    for path in sorted((out / "data").iterdir()):
        with path.open("rb") as stream:  # the library's own opener leaves files open
            samples = list(group_by_keys(tar_file_expander([{"url": path.name, "stream": stream}])))
        for sample in samples:
            row = json.loads(sample["json"])
            row["images"] = [{"bytes": sample[suffix], "path": None} for suffix in row["images"]]
            assert sample.get("txt", b"").decode() == (row["text"] or "")
            rows.append(row)
    return rows


ROWS: dict[Format, Callable[[Path], list[dict[str, Any]]]] = {
    Format.PARQUET: parquet_rows,
    Format.WEBDATASET: webdataset_rows,
}


def contents(out: Path) -> dict[str, str]:
    files = (path for path in out.rglob("*") if path.is_file() and path.name != ".lock")
    return {path.relative_to(out).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
