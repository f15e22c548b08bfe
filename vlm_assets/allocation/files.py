"""A plan on disk: `plan.arrow`, `grants.json`, and the manifest that tells them whole."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from vlm_assets.allocation.certificate import Certificate
from vlm_assets.allocation.examples import EXAMPLES_FILE, Examples, examples_bytes
from vlm_assets.allocation.inputs import ALGORITHM_VERSION
from vlm_assets.allocation.manifest import (
    AllocatedBenchmark,
    AllocatedCell,
    AllocatedShard,
    AllocatedSlice,
    AllocationManifest,
)
from vlm_assets.allocation.rows import Cell
from vlm_assets.allocation.supply import SupplySlice
from vlm_assets.catalog.spec import ShardSpec
from vlm_assets.store.arrays import array_of
from vlm_assets.store.arrow_files import ArrowFile, write_bytes
from vlm_assets.store.sound_files import IndexFile
from vlm_assets.store.versions import read_manifest
from vlm_assets.words.counts import so_many
from vlm_assets.words.errors import AllocationError

PLAN_FILE: Final = "plan.arrow"
GRANTS_FILE: Final = "grants.json"
INPUTS_FILE: Final = "inputs.json"
"""What the inputs hash is over: the catalogue's part of it stays known when the catalogue has moved on."""

PLAN_SCHEMA: Final = pa.schema(
    [
        pa.field("slice", pa.uint32(), nullable=False),  # number in the manifest's `slices`
        pa.field("row", pa.uint32(), nullable=False),  # row number in that slice's index
        pa.field("cell", pa.uint32(), nullable=False),  # number in the manifest's `cells`
        pa.field("key", pa.uint64(), nullable=False),  # first 8 bytes of the row key, little endian
    ]
)
"""Schema of `plan.arrow`: sorted by (source, slice, row), one record batch per slice with selected rows."""


@dataclass(frozen=True, slots=True)
class PlannedSlice:
    """The selected rows of one slice: row numbers in its index, ascending, with cell and key of each.

    `key` is the first 8 bytes of the row key, little endian: what churn is counted by.
    """

    supply: SupplySlice
    row: NDArray[np.uint32]
    cell: NDArray[np.uint32]
    key: NDArray[np.uint64]


@dataclass(frozen=True, slots=True)
class AllocationPlan:
    """What `write_plan` puts on disk."""

    corpus: str
    target: str
    target_rows: int
    seed: int
    inputs_hash: str
    shard: ShardSpec
    slices: tuple[PlannedSlice, ...]
    """The whole supply, sorted by (source, slice)."""
    cells: tuple[Cell, ...]
    grants: tuple[int, ...]
    """By cell."""
    excluded: Mapping[str, int]
    certificate: Certificate
    tombstones: tuple[str, ...]
    inputs: bytes
    """What `inputs_hash` is the sha256 of."""
    examples: Examples
    """Rows that each reason excludes, a few."""
    benchmarks: tuple[SupplySlice, ...] = ()
    """Slices that the supply was held against, sorted."""


def _batch(number: int, one: PlannedSlice) -> pa.RecordBatch:
    columns: tuple[NDArray[Any], ...] = (np.full(len(one.row), number, np.uint32), one.row, one.cell, one.key)
    arrays = [array_of(values, kind) for values, kind in zip(columns, PLAN_SCHEMA.types, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=PLAN_SCHEMA)


def write_plan(plan: AllocationPlan, directory: Path) -> AllocationManifest:
    """Writes and syncs the files of a plan into the staging folder `directory`; returns the manifest to commit.

    Equal plans give equal bytes.
    """
    with ArrowFile(directory / PLAN_FILE, PLAN_SCHEMA, form="file") as file:
        for number, one in enumerate(plan.slices):
            if len(one.row):
                file.write(_batch(number, one))
        entry = file.finish()
    grants = write_bytes(directory / GRANTS_FILE, plan.certificate.to_bytes())
    inputs = write_bytes(directory / INPUTS_FILE, plan.inputs)
    examples = write_bytes(directory / EXAMPLES_FILE, examples_bytes(plan.examples))
    return AllocationManifest(
        corpus=plan.corpus,
        target=plan.target,
        target_rows=plan.target_rows,
        granted_rows=sum(plan.grants),
        seed=plan.seed,
        algorithm_version=ALGORITHM_VERSION,
        inputs_hash=plan.inputs_hash,
        shard=AllocatedShard(**plan.shard.model_dump()),
        slices=tuple(
            AllocatedSlice(
                source=one.supply.source,
                slice=one.supply.slice,
                version=one.supply.version,
                content_hash=one.supply.content_hash,
                container=one.supply.container,
                items_per_slice=one.supply.items_per_slice,
                rows=one.supply.rows,
                selected=len(one.row),
            )
            for one in plan.slices
        ),
        benchmarks=tuple(
            AllocatedBenchmark(
                source=one.source, slice=one.slice, version=one.version, content_hash=one.content_hash
            )
            for one in plan.benchmarks
        ),
        cells=tuple(
            AllocatedCell(
                category=cell.category,
                subcategory=cell.subcategory,
                source=cell.source,
                licence=cell.licence,
                grant=grant,
            )
            for cell, grant in zip(plan.cells, plan.grants, strict=True)
        ),
        excluded=dict(plan.excluded),
        tombstones=plan.tombstones,
        files={PLAN_FILE: entry, GRANTS_FILE: grants, INPUTS_FILE: inputs, EXAMPLES_FILE: examples},
    )


@dataclass(frozen=True, slots=True)
class StoredRows:
    """The selected rows of one slice, ascending. Arrays are views of the mapped file."""

    ordinal: int
    """Number of the slice in the manifest."""
    row: NDArray[np.uint32]
    cell: NDArray[np.uint32]
    key: NDArray[np.uint64]


@dataclass(frozen=True, slots=True)
class StoredPlan:
    """A plan as it lies on disk."""

    manifest: AllocationManifest
    directory: Path

    def slices(self) -> Iterator[StoredRows]:
        """Selected rows, slice by slice in the manifest's order; slices without any are left out.

        Raises:
            AllocationError: the file and the manifest disagree.
        """
        reader = IndexFile(self.directory / PLAN_FILE)
        chosen = [number for number, entry in enumerate(self.manifest.slices) if entry.selected]
        if reader.num_record_batches != len(chosen):
            raise AllocationError(
                f"{self.directory / PLAN_FILE}: {so_many(reader.num_record_batches, 'batch', 'batches')}, the "
                f"manifest has {so_many(len(chosen), 'slice')}"
                " with selected rows; delete the plan and allocate again"
            )
        for place, number in enumerate(chosen):
            batch = reader.get_batch(place)
            if (
                batch.num_rows != self.manifest.slices[number].selected
                or batch.column(0)[0].as_py() != number
            ):
                raise AllocationError(
                    f"{self.directory / PLAN_FILE}: batch {place} is not slice {number} with "
                    f"{so_many(self.manifest.slices[number].selected, 'row')}; delete the plan and allocate again"
                )
            row, cell, key = (batch.column(name).to_numpy() for name in ("row", "cell", "key"))
            yield StoredRows(number, row, cell, key)

    def certificate(self) -> Certificate:
        """The grants of every node."""
        return Certificate.from_bytes((self.directory / GRANTS_FILE).read_bytes())


def read_plan(directory: Path) -> StoredPlan:
    """The committed plan in a version folder.

    Raises:
        StoreError: there is none.
    """
    return StoredPlan(read_manifest(directory, AllocationManifest), directory)
