"""Index files of many rows to the rows that a corpus gets, beside Polars and DuckDB computing the same rows."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from vlm_assets.allocation.columns import hash_words, index_batches
from vlm_assets.allocation.plan import AllocationPlan, plan_allocation, read_plan, write_plan
from vlm_assets.allocation.rows import precedence_order
from vlm_assets.allocation.supply import SupplySlice
from vlm_assets.catalog.spec import Catalog
from vlm_assets.words.keys import ranks_of
from vlm_assets.words.tombstones import Tombstones
from vlm_assets_tests.benchmarks import bench_allocation
from vlm_assets_tests.benchmarks.suite.case import Bar, Case, Inputs, Peer, Size

_TARGET: Final = "half"
_COLUMNS: Final = ("images_sha256", "label", "min_side_px")


@contextmanager
def index_files(folder: Path, size: Size) -> Iterator[Inputs]:
    """Committed indexes, and the same rows for the peers as Parquet, which they read the fastest.

    The peers are spared what is not the database's work: they get rows in the order of precedence with the keyed
    ranks worked out, the cell of each label, and how many rows each cell is granted.
    """
    rows = {"tiny": 20_000, "small": 1_500_000, "large": 20_000_000}[size]
    make_indexes(folder, rows)
    yield Inputs(folder, rows)


def make_indexes(folder: Path, rows: int) -> None:
    """See `index_files`."""
    supply = bench_allocation.generate(folder, rows)
    (folder / "supply.json").write_text(json.dumps([asdict(one) for one in supply], default=str))
    catalog = bench_allocation.catalog(rows, 0)
    ordered = precedence_order(catalog.corpus, supply)
    _write_rows(folder / "rows.parquet", catalog, ordered)
    plan = plan_allocation(catalog, _TARGET, supply, Tombstones(), base_dir=None)
    _write_cells(folder / "cells.parquet", catalog, plan)
    capped = {spec.name: spec.max_samples for spec in catalog.sources if spec.max_samples is not None}
    (folder / "rules.json").write_text(
        json.dumps({"min_side_px": catalog.corpus.min_side_px, "most": capped})
    )
    starts = np.cumsum([0, *(one.rows for one in ordered[:-1])]).tolist()
    names = [f"{one.source}/{one.slice}" for one in ordered]
    (folder / "starts.json").write_text(json.dumps(dict(zip(names, starts, strict=True))))


def _write_rows(path: Path, catalog: Catalog, ordered: tuple[SupplySlice, ...]) -> None:
    """`position`, `source`, `label`, `min_side_px`, and of the key its `rank` and its `second` word."""
    begin = 0
    words = pa.dictionary(pa.int32(), pa.string())
    schema = pa.schema({
        "position": pa.int64(), "source": words, "label": words, "min_side_px": pa.int32(), "rank": pa.uint64(),
        "second": pa.uint64(),
    })  # fmt: skip
    with pq.ParquetWriter(path, schema, use_dictionary=["source", "label"], compression="zstd") as writer:
        for entry in ordered:
            for batch in index_batches(entry.path, _COLUMNS):
                keys = hash_words(batch.column("images_sha256"))
                columns = [
                    pa.array(np.arange(begin, begin + batch.num_rows)),
                    pa.array([entry.source] * batch.num_rows).dictionary_encode(),
                    batch.column("label").dictionary_encode(), batch.column("min_side_px"),
                    pa.array(ranks_of(keys[:, 0], catalog.corpus.seed)), pa.array(keys[:, 1].copy()),
                ]  # fmt: skip
                writer.write_table(pa.Table.from_arrays(columns, schema=schema))
                begin += batch.num_rows


def _write_cells(path: Path, catalog: Catalog, plan: AllocationPlan) -> None:
    """Each label of each source with the number of its cell, and what the cell is granted."""
    cells = {(cell.source, cell.subcategory): number for number, cell in enumerate(plan.cells)}
    found = [
        {"source": spec.name, "label": label, "cell": cells[key], "granted": plan.grants[cells[key]]}
        for spec in catalog.sources
        for label in bench_allocation.LABELS
        if (key := (spec.name, spec.subcategory_of(label) or "")) in cells
    ]
    pq.write_table(pa.Table.from_pylist(found), path)


def _plan(inputs: Inputs, out: Path) -> None:
    supply = bench_allocation.supply_under(inputs.folder, filtered=False)
    catalog = bench_allocation.catalog(inputs.units, 0)
    plan = plan_allocation(catalog, _TARGET, supply, Tombstones(), base_dir=None)
    folder = out / "plan"
    folder.mkdir()
    (folder / "metadata.json").write_bytes(write_plan(plan, folder).to_bytes())


def granted_rows(inputs: Inputs, out: Path) -> str:
    """How many rows were granted, and a hash over which."""
    if (out / "plan").exists():
        plan = read_plan(out / "plan")
        starts = json.loads((inputs.folder / "starts.json").read_text())
        slices = plan.manifest.slices
        parts = [
            one.row.astype(np.int64) + starts[f"{slices[one.ordinal].source}/{slices[one.ordinal].slice}"]
            for one in plan.slices()
        ]
        positions = np.concatenate(parts)
    else:
        positions = pq.read_table(out / "granted.parquet")["position"].to_numpy()
    return f"{len(positions)} rows, {sha256(np.sort(positions).tobytes()).hexdigest()[:12]}"


_OURS, _POLARS, _DUCKDB = "plan", "Polars", "DuckDB"

CASES: Final = (
    Case(
        "deduplication and allocation", "rows", index_files,
        {_OURS: _plan, _POLARS: Peer("by_polars.py", ("polars",)), _DUCKDB: Peer("by_duckdb.py", ("duckdb",))},
        (Bar(_OURS, _POLARS, 1), Bar(_OURS, _DUCKDB, 1)), answer=granted_rows,
    ),
)  # fmt: skip
