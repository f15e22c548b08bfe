"""Plan of the shards: which rows stand in which file, in which order, and which files exist already.

Reads an allocation, index columns of its slices and the manifests of earlier corpora; writes the staging folder's
plan. No row data is touched.
"""

import hashlib
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
from blake3 import blake3
from numpy.typing import NDArray

from vlm_assets.allocation.manifest import AllocationManifest
from vlm_assets.corpus.manifest import cell_digest
from vlm_assets.corpus.order import (
    ORDER_VERSION,
    Leaf,
    planned_bytes,
    trie_leaves,
    window_ends,
    window_order,
)
from vlm_assets.corpus.planned_rows import PlannedRows, find_slices, read_planned_rows
from vlm_assets.corpus.reuse import existing_shards, take_over
from vlm_assets.corpus.slice_files import by_slice
from vlm_assets.corpus.staging import WINDOW_SCHEMA, CorpusPlan, PlanSlice, ShardPlan, Staging
from vlm_assets.store.arrays import array_of
from vlm_assets.store.arrow_files import ArrowFile
from vlm_assets.store.versions import read_manifest
from vlm_assets.words.disk import named_disk_errors, remove_tree
from vlm_assets.words.layout import DataRoot
from vlm_assets.words.schema import INDEX_SCHEMA, SAMPLE_SCHEMA
from vlm_assets.words.tombstones import Tombstones

WRITER_VERSION: Final = 2
"""Raised by hand when equal inputs give other bytes: no shard of an older version is taken over then."""

_HASH_ROWS: Final = 262_144
"""Rows whose digests are in memory at once."""
_THREADS: Final = 2
"""Shards that are planned at once: each takes some 100 bytes of memory a row."""
_INDEX_MARGIN: Final = 1.1


@named_disk_errors
def plan_shards(
    plan_dir: Path, data_root: DataRoot, tombstones: Tombstones | None = None
) -> tuple[Path, CorpusPlan]:
    """Plans the corpus of an allocation in its staging folder; returns the folder and what it says.

    `tombstones` are all takedowns in force; those the allocation does not know become holes. Shards that an
    earlier version or an earlier attempt holds are taken over at once. The caller holds the corpus lock.

    Raises:
        CorpusError: plan and slices disagree, or a row is over the cap.
    """
    plan_dir = plan_dir.resolve()
    allocation = read_manifest(plan_dir, AllocationManifest)
    tombstones = tombstones or Tombstones()
    staging = Staging.of(
        data_root, allocation.corpus, allocation.target, staging_key(allocation.version, tombstones)
    )
    staging.create()
    files = find_slices(data_root, allocation)
    planned = read_planned_rows(plan_dir, allocation, files, tombstones)
    with ThreadPoolExecutor(_THREADS) as threads:
        planner = _Planner(staging, allocation, planned)
        leaves = trie_leaves(planned.blocks.ordered(), allocation.shard)
        shards = tuple(threads.map(planner.plan, leaves))
    plan = _corpus_plan(data_root, allocation, tombstones, planned, shards)
    staging.write_plan(plan)
    return staging.path, plan


def staging_key(allocation_version: str, tombstones: Tombstones) -> str:
    """Name of the staging folder, without the target: the plan's version and what is taken down."""
    covered = [*sorted(tombstones.hashes), "", *sorted(tombstones.image_sha256), "", *sorted(tombstones.ids)]
    return f"{allocation_version}-{sha256(chr(0).join(covered).encode()).hexdigest()[:12]}"


def _corpus_plan(
    data_root: DataRoot,
    allocation: AllocationManifest,
    tombstones: Tombstones,
    planned: PlannedRows,
    shards: tuple[ShardPlan, ...],
) -> CorpusPlan:
    present = np.bincount(planned.cell[~planned.hole], minlength=len(allocation.cells))
    sources: Counter[str] = Counter()
    categories: dict[str, Counter[str]] = {}
    for cell, rows in zip(allocation.cells, present.tolist(), strict=True):
        sources[cell.source] += rows
        categories.setdefault(cell.category, Counter())[cell.subcategory] += rows
    return CorpusPlan(
        data_root=str(data_root.path),
        corpus=allocation.corpus,
        target=allocation.target,
        target_rows=allocation.target_rows,
        seed=allocation.seed,
        inputs_hash=allocation.inputs_hash,
        algorithm_version=allocation.algorithm_version,
        allocation_version=allocation.version,
        shard=allocation.shard,
        tombstones=tuple(sorted(set(tombstones.hashes) - set(allocation.tombstones))),
        slices=tuple(
            PlanSlice(
                source=entry.source,
                slice=entry.slice,
                directory=str(planned.files[number].directory) if number in planned.files else "",
                data_files=planned.files[number].data_files if number in planned.files else (),
                rows=entry.rows,
                objects=planned.files[number].objects if number in planned.files else (),
            )
            for number, entry in enumerate(allocation.slices)
        ),
        cells=allocation.cells,
        shards=shards,
        sources={name: rows for name, rows in sorted(sources.items()) if rows},
        categories={
            category: {name: rows for name, rows in sorted(counts.items()) if rows}
            for category, counts in sorted(categories.items())
            if counts.total()
        },
    )


@dataclass(frozen=True, slots=True)
class _Window:
    """One record batch to be: present rows in block order, and for each written row its place among them."""

    rows: NDArray[np.int64]
    place: NDArray[np.int64]


class _Planner:
    """Turns leaves of the trie into shard plans and windows."""

    def __init__(self, staging: Staging, allocation: AllocationManifest, planned: PlannedRows) -> None:
        self._staging = staging
        self._spec = allocation.shard
        self._planned = planned
        cells = [cell_digest(c.category, c.subcategory, c.licence) for c in allocation.cells]
        self._cell_digests = np.frombuffer(b"".join(cells), "V32")
        remove_tree(staging.path / "windows")
        staging.create()

    @cached_property
    def _existing(self) -> dict[str, Any]:
        return existing_shards(self._staging.path.parent.parent)

    @cached_property
    def _index_row_bytes(self) -> float:
        """Mean index bytes of a row."""
        indexes = self._planned.indexes
        rows = sum(self._planned.files[number].rows for number in indexes)
        return _INDEX_MARGIN * sum(index.size_bytes for index in indexes.values()) / max(rows, 1)

    def plan(self, leaf: Leaf) -> ShardPlan:
        """One shard: planned, and taken over or laid out for its writer."""
        windows = list(self._windows(leaf))
        inputs_digest, rows_hash = self._digests(windows)
        present = sum(len(window.rows) for window in windows)
        shard = ShardPlan(
            bits=leaf.bits,
            rows=present,
            holes=len(leaf.rows) - present,
            windows=len(windows),
            planned_bytes=planned_bytes(leaf.row_bytes, self._spec.window_bytes),
            index_bytes=int(present * self._index_row_bytes) + 2**16,
            inputs_digest=inputs_digest,
            rows_hash=rows_hash,
        )
        if self._staging.result(shard) is None and not self._take_over(shard):
            self._staging.done(shard.bits).unlink(missing_ok=True)
            self._write_windows(shard.bits, windows)
        for index in self._planned.indexes.values():
            index.release_pages()
        return shard

    def _take_over(self, shard: ShardPlan) -> bool:
        existing = self._existing.get(shard.inputs_digest)
        return existing is not None and take_over(self._staging, shard, existing) is not None

    def _windows(self, leaf: Leaf) -> Iterator[_Window]:
        """Windows of the planned rows, holes left out; one that holds nothing else is left out too."""
        blocks, hole = self._planned.blocks, self._planned.hole
        start = 0
        for end in window_ends(blocks.row_size[leaf.rows], self._spec.window_bytes).tolist():
            rows = leaf.rows[start:end]
            rows = rows[~hole[rows]]
            if len(rows):
                yield _Window(rows, window_order(blocks.row_hash[rows]))
            start = end

    def _digests(self, windows: list[_Window]) -> tuple[str, str]:
        """(inputs digest, rows hash) of a shard.

        The inputs digest is blake3 over the format's constants, then for each window: its row count; digest and
        digest of the assigned values of each row in written order; row hash and planned bytes of each. Row digest and
        row hash stand for the row's content and for (seed, source, slice, item, record); the version that the slice
        has, and where the row stands in it, do not enter.
        """
        inputs, rows_hash = blake3(_constants(self._spec.window_bytes)), hashlib.sha256()
        for group in _grouped(windows):
            rows = np.concatenate([window.rows[window.place] for window in group])
            content = np.empty((len(rows), 2), "V32")
            content[:, 0] = self._row_digests(rows)
            content[:, 1] = self._cell_digests[self._planned.cell[rows]]
            numbers = np.empty((len(rows), 2), "<u8")
            numbers[:, 0] = self._planned.blocks.row_hash[rows]
            numbers[:, 1] = self._planned.blocks.row_size[rows]
            start = 0
            for window in group:
                end = start + len(window.rows)
                inputs.update(len(window.rows).to_bytes(8, "little"))
                inputs.update(content[start:end].tobytes())
                inputs.update(numbers[start:end].tobytes())
                start = end
            rows_hash.update(content.tobytes())
        return inputs.hexdigest(), rows_hash.hexdigest()

    def _row_digests(self, rows: NDArray[np.int64]) -> NDArray[Any]:
        """Row digests, read slice by slice."""
        numbers, source_rows = self._planned.slice[rows], self._planned.row[rows]
        out = np.empty(len(rows), "V32")
        for number, here in by_slice(numbers):
            out[here] = self._planned.indexes[number].take(("digest",), source_rows[here])[0]
        return out

    def _write_windows(self, bits: str, windows: list[_Window]) -> None:
        path = self._staging.windows(bits)
        with ArrowFile(path, WINDOW_SCHEMA, form="file") as file:
            for window in windows:
                columns = (self._planned.slice, self._planned.row, self._planned.cell)
                slices, rows, cells = (column[window.rows] for column in columns)
                values = [slices, rows, cells, window.place.astype(np.uint32)]
                arrays = [array_of(one, pa.uint32()) for one in values]
                file.write(pa.RecordBatch.from_arrays(arrays, schema=WINDOW_SCHEMA))
            file.finish()


def _constants(window_bytes: int) -> bytes:
    """What decides bytes beside the rows: the versions, the schemas, the library that writes."""
    said = (WRITER_VERSION, ORDER_VERSION, pa.__version__, window_bytes)
    schemas = bytes(SAMPLE_SCHEMA.serialize()) + bytes(INDEX_SCHEMA.serialize())
    return repr(said).encode() + blake3(schemas).digest()


def _grouped(windows: list[_Window]) -> Iterator[list[_Window]]:
    """Runs of windows with about `_HASH_ROWS` rows."""
    group: list[_Window] = []
    rows = 0
    for window in windows:
        group.append(window)
        rows += len(window.rows)
        if rows >= _HASH_ROWS:
            yield group
            group, rows = [], 0
    if group:
        yield group
