"""Plan, write and seal in a row, with workers over the shards: for the command line and the benchmark.

Dagster runs the same three parts as steps of its own.
"""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from vlm_assets.allocation.manifest import AllocationManifest
from vlm_assets.corpus.manifest import CorpusManifest
from vlm_assets.corpus.planned_rows import find_slice
from vlm_assets.corpus.pool import WorkerPool
from vlm_assets.corpus.seal import seal
from vlm_assets.corpus.shards import plan_shards
from vlm_assets.corpus.space import RESERVE_BYTES, check_space
from vlm_assets.corpus.work import ShardPlan, Staging
from vlm_assets.corpus.writer import OpenSlices, ShardProgress, write_shard
from vlm_assets.store.locks import hold_lock
from vlm_assets.store.versions import read_manifest
from vlm_assets.words.layout import DataRoot
from vlm_assets.words.tombstones import Tombstones

_BYTES_A_WORKER: Final = 500_000_000
"""A worker process takes most of a second to start, in which one process writes about this much."""
_THREADS_FROM_BYTES: Final = 16_384
"""Mean size of rows from which on threads write as fast as processes (50 KB: 3.9 s and 4.2 s for 5 GB)."""
_LOOKED_AT: Final = 8
"""Slices out of which the size of rows is guessed."""


@dataclass(slots=True)
class BuildProgress:
    """Rows and bytes of the shards that this build writes: done, and to do in all."""

    rows: int = 0
    size_bytes: int = 0
    total_rows: int = 0
    total_bytes: int = 0
    started_s: float = field(default_factory=time.monotonic)
    shards: dict[str, ShardProgress] = field(default_factory=dict)

    def take(self, progress: ShardProgress) -> None:
        """Enters what a worker said."""
        before = self.shards.get(progress.bits, ShardProgress(progress.bits, 0, 0))
        self.rows += progress.rows - before.rows
        self.size_bytes += progress.size_bytes - before.size_bytes
        self.shards[progress.bits] = progress

    @property
    def rows_per_s(self) -> float:
        """Mean rate so far."""
        return self.rows / max(time.monotonic() - self.started_s, 1e-9)

    @property
    def left_s(self) -> float | None:
        """Seconds to the end at the mean rate; None before the first window."""
        return (self.total_rows - self.rows) / self.rows_per_s if self.rows else None


OnProgress = Callable[[BuildProgress], None]


def corpus_lock(data_root: DataRoot, corpus: str, target: str) -> Path:
    """The lock whoever plans or seals this target holds."""
    return data_root.locks / f"corpus.{corpus}.{target}"


def pending_shards(staging_path: Path) -> tuple[ShardPlan, ...]:
    """The shards that are not complete yet, in order."""
    staging = Staging(staging_path)
    return tuple(shard for shard in staging.read_plan().shards if staging.result(shard) is None)


def build_corpus(
    plan_dir: Path,
    data_root: DataRoot,
    tombstones: Tombstones | None = None,
    *,
    workers: int = 1,
    keep_versions: int = 2,
    reserve_bytes: int = RESERVE_BYTES,
    lock_wait_s: float = 0.0,
    on_progress: OnProgress | None = None,
) -> CorpusManifest:
    """The target's corpus of an allocation, sealed. Run again after any end, it goes on where it was.

    Raises:
        CorpusError: see `plan_shards`, `write_shard`, `seal`; or a worker died.
        DiskFullError: not enough room for what is still to be written.
        LockHeldError: another process builds this target, for longer than `lock_wait_s`.
    """
    allocation = read_manifest(plan_dir.resolve(), AllocationManifest)
    lock = corpus_lock(data_root, allocation.corpus, allocation.target)
    with (
        hold_lock(lock, f"building corpus {allocation.corpus}/{allocation.target}", wait_s=lock_wait_s),
        _pool(workers, _guessed_bytes(allocation, data_root), allocation.granted_rows) as pool,
    ):
        staging_path, _ = plan_shards(plan_dir, data_root, tombstones)
        write_pending(
            staging_path, workers=workers, reserve_bytes=reserve_bytes, on_progress=on_progress, pool=pool
        )
        return seal(staging_path, keep_versions=keep_versions)


def _pool(workers: int, size_bytes: int, rows: int) -> AbstractContextManager[WorkerPool | None]:
    useful = _useful(workers, size_bytes)
    threads = size_bytes >= _THREADS_FROM_BYTES * rows
    return WorkerPool(useful, threads=threads) if useful > 1 else nullcontext()


def _useful(workers: int, size_bytes: int) -> int:
    """How many of the workers are worth their start for so much to write."""
    return min(workers, size_bytes // _BYTES_A_WORKER if _BYTES_A_WORKER else workers)


def _guessed_bytes(allocation: AllocationManifest, data_root: DataRoot) -> int:
    """About what the corpus takes, going by the slices of which most is selected."""
    largest = sorted(allocation.slices, key=lambda one: -one.selected)[:_LOOKED_AT]
    found = [find_slice(data_root, one) for one in largest if one.selected]
    size = sum((one.directory / name).stat().st_size for one in found for name in one.data_files)
    return allocation.granted_rows * size // max(sum(one.rows for one in found), 1)


def write_pending(
    staging_path: Path,
    *,
    workers: int = 1,
    reserve_bytes: int = RESERVE_BYTES,
    on_progress: OnProgress | None = None,
    pool: WorkerPool | None = None,
) -> int:
    """Writes every shard that is not complete yet; how many these were. `pool` lends workers started before.

    Raises:
        CorpusError: see `write_shard`; or a worker died.
        DiskFullError: not enough room for all of them.
    """
    pending = pending_shards(staging_path)
    if not pending:
        return 0
    _check_space(staging_path, pending, reserve_bytes)
    progress = BuildProgress(
        total_rows=sum(shard.rows for shard in pending),
        total_bytes=sum(shard.planned_bytes + shard.index_bytes for shard in pending),
    )
    told = on_progress or (lambda _: None)

    def on_window(done: ShardProgress) -> None:
        progress.take(done)
        told(progress)

    workers = min(len(pending), _useful(workers, progress.total_bytes))
    made = (
        nullcontext(pool) if pool is not None else _pool(workers, progress.total_bytes, progress.total_rows)
    )
    with made as useful:
        if useful is None or workers < 2:
            slices = OpenSlices()
            for shard in pending:
                write_shard(
                    staging_path,
                    shard.bits,
                    reserve_bytes=reserve_bytes,
                    on_window=on_window,
                    keep_open=slices,
                )
        else:
            useful.write(staging_path, pending, reserve_bytes, on_window)
    return len(pending)


def prepare_pending(staging_path: Path, pending: tuple[ShardPlan, ...]) -> None:
    """What comes before shards that are written one by one: they fit.

    Raises:
        DiskFullError: there is not enough room for all of them.
    """
    _check_space(staging_path, pending, RESERVE_BYTES)


def _check_space(staging_path: Path, pending: tuple[ShardPlan, ...], reserve_bytes: int) -> None:
    needed = sum(shard.planned_bytes + shard.index_bytes for shard in pending)
    if pending:
        check_space(staging_path, needed, reserve_bytes, f"the corpus ({len(pending)} shards to write)")
