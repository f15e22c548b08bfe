"""Plan, write and seal in a row, with worker processes over the shards: for the command line and the benchmark.

Dagster runs the same three parts as steps of its own.
"""

import multiprocessing
import time
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from multiprocessing.queues import SimpleQueue
from pathlib import Path

from vlm_assets.allocation.manifest import AllocationManifest
from vlm_assets.corpus.manifest import CorpusManifest
from vlm_assets.corpus.seal import seal
from vlm_assets.corpus.shards import plan_shards
from vlm_assets.corpus.space import RESERVE_BYTES, check_space
from vlm_assets.corpus.spill import spill
from vlm_assets.corpus.work import ShardPlan, ShardResult, Staging
from vlm_assets.corpus.writer import OpenSlices, ShardProgress, write_shard
from vlm_assets.errors import CorpusError
from vlm_assets.layout import DataRoot
from vlm_assets.store.locks import hold_lock
from vlm_assets.store.versions import read_manifest
from vlm_assets.tombstones import Tombstones

_POLL_S = 0.5
_BYTES_A_WORKER = 500_000_000
"""A worker process takes 1 to 2 s to start, in which one process writes about this much."""


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
    with hold_lock(lock, f"building corpus {allocation.corpus}/{allocation.target}", wait_s=lock_wait_s):
        staging_path, _ = plan_shards(plan_dir, data_root, tombstones)
        write_pending(staging_path, workers=workers, reserve_bytes=reserve_bytes, on_progress=on_progress)
        return seal(staging_path, keep_versions=keep_versions)


def write_pending(
    staging_path: Path,
    *,
    workers: int = 1,
    reserve_bytes: int = RESERVE_BYTES,
    on_progress: OnProgress | None = None,
) -> int:
    """Writes every shard that is not complete yet; how many these were.

    Raises:
        CorpusError: see `write_shard`; or a worker died.
        DiskFullError: not enough room for all of them.
    """
    pending = pending_shards(staging_path)
    if pending:
        check_pending_space(staging_path, pending, reserve_bytes)
        spill(Staging(staging_path), workers)
        _write_all(staging_path, pending, workers, reserve_bytes, on_progress)
    return len(pending)


def check_pending_space(
    staging_path: Path, pending: tuple[ShardPlan, ...], reserve_bytes: int = RESERVE_BYTES
) -> None:
    """Returns where all shards still to be written fit.

    Raises:
        DiskFullError: they do not.
    """
    needed = sum(shard.planned_bytes + shard.index_bytes for shard in pending)
    if pending:
        needed *= 2 if Staging(staging_path).read_plan().spill else 1
        check_space(staging_path, needed, reserve_bytes, f"the corpus ({len(pending)} shards to write)")


def _write_all(
    staging_path: Path,
    pending: tuple[ShardPlan, ...],
    workers: int,
    reserve_bytes: int,
    on_progress: OnProgress | None,
) -> None:
    progress = BuildProgress(
        total_rows=sum(shard.rows for shard in pending),
        total_bytes=sum(shard.planned_bytes + shard.index_bytes for shard in pending),
    )
    told = on_progress or (lambda _: None)
    worth = progress.total_bytes // _BYTES_A_WORKER if _BYTES_A_WORKER else workers
    workers = min(workers, len(pending), worth)
    if workers < 2:
        _write_here(staging_path, pending, reserve_bytes, progress, told)
    else:
        _write_in_pool(staging_path, pending, workers, reserve_bytes, progress, told)


def _write_here(
    staging_path: Path,
    pending: tuple[ShardPlan, ...],
    reserve_bytes: int,
    progress: BuildProgress,
    told: OnProgress,
) -> None:
    slices = OpenSlices()

    def on_window(done: ShardProgress) -> None:
        progress.take(done)
        told(progress)

    for shard in pending:
        write_shard(
            staging_path, shard.bits, reserve_bytes=reserve_bytes, on_window=on_window, keep_open=slices
        )


_slices: OpenSlices | None = None
_said: "SimpleQueue[ShardProgress] | None" = None


def _start_worker(said: "SimpleQueue[ShardProgress]") -> None:
    global _slices, _said
    _slices, _said = OpenSlices(), said


def _write_in_worker(staging_path: Path, bits: str, reserve_bytes: int) -> ShardResult:
    on_window = _said.put if _said is not None else None
    return write_shard(
        staging_path, bits, reserve_bytes=reserve_bytes, on_window=on_window, keep_open=_slices
    )


def _write_in_pool(
    staging_path: Path,
    pending: tuple[ShardPlan, ...],
    workers: int,
    reserve_bytes: int,
    progress: BuildProgress,
    told: OnProgress,
) -> None:
    context = multiprocessing.get_context("spawn")  # Arrow's threads do not survive a fork
    said: SimpleQueue[ShardProgress] = context.SimpleQueue()
    with ProcessPoolExecutor(
        workers, mp_context=context, initializer=_start_worker, initargs=(said,)
    ) as pool:
        waiting: set[Future[ShardResult]] = {
            pool.submit(_write_in_worker, staging_path, shard.bits, reserve_bytes)
            for shard in sorted(pending, key=lambda shard: -shard.planned_bytes)
        }
        try:
            while waiting:
                done, waiting = wait(waiting, timeout=_POLL_S, return_when=FIRST_COMPLETED)
                while not said.empty():
                    progress.take(said.get())
                    told(progress)
                for future in done:
                    future.result()
        except BrokenProcessPool as error:
            raise CorpusError(
                "a shard writer died (killed, or out of memory); run the build again"
            ) from error
        finally:
            for future in waiting:
                future.cancel()
