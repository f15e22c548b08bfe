"""A corpus from plan to seal. The three parts stand alone too: Dagster runs each as a step of its own."""

import time
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from queue import SimpleQueue
from typing import Final

from vlm_assets.allocation.manifest import AllocationManifest
from vlm_assets.corpus.manifest import CorpusManifest
from vlm_assets.corpus.ranges import RangedObjects
from vlm_assets.corpus.seal import seal
from vlm_assets.corpus.shards import plan_shards
from vlm_assets.corpus.staging import ShardPlan, ShardResult, Staging
from vlm_assets.corpus.writer import RESERVE_BYTES, ShardProgress, ShardWriter, check_space
from vlm_assets.locks import hold_lock
from vlm_assets.store.versions import read_manifest
from vlm_assets.words.counts import so_many
from vlm_assets.words.disk import named_disk_errors
from vlm_assets.words.layout import DataRoot
from vlm_assets.words.tombstones import Tombstones

_TOLD_EVERY_S: Final = 0.5


@dataclass(slots=True)
class BuildProgress:
    """Rows and bytes of the shards that are written: done, and to do in all."""

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


@named_disk_errors
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
    objects: RangedObjects | None = None,
) -> CorpusManifest:
    """The target's corpus of an allocation, sealed. Run again after any end, it goes on where it was.

    Raises:
        CorpusError: see `plan_shards`, `write_shards`, `seal`.
        DiskFullError: not enough room for what is still to be written.
        LockHeldError: another process builds this target, for longer than `lock_wait_s`.
    """
    allocation = read_manifest(plan_dir.resolve(), AllocationManifest)
    lock = corpus_lock(data_root, allocation.corpus, allocation.target)
    with hold_lock(lock, f"building corpus {allocation.corpus}/{allocation.target}", wait_s=lock_wait_s):
        staging_path, _ = plan_shards(plan_dir, data_root, tombstones)
        write_shards(
            staging_path,
            workers=workers,
            reserve_bytes=reserve_bytes,
            on_progress=on_progress,
            objects=objects,
        )
        return seal(staging_path, keep_versions=keep_versions)


@named_disk_errors
def write_shards(
    staging_path: Path,
    bits: Collection[str] | None = None,
    *,
    workers: int = 1,
    reserve_bytes: int = RESERVE_BYTES,
    on_progress: OnProgress | None = None,
    on_shard: Callable[[str], None] | None = None,
    objects: RangedObjects | None = None,
    shards_leave: bool = False,
) -> int:
    """Writes every shard, or those of these bits, that is not complete yet; how many these were.

    `workers` shards at a time, each by a thread: reading, hashing and writing release the GIL. After an error the
    others stop at their next window. In the calling thread, while the others go on, `on_progress` is called now and
    then, and `on_shard` with the bits of every shard that is complete, were it before. With `shards_leave` a shard is
    off this disk once `on_shard` has returned: the thread that wrote it calls it before it writes another, and there
    has to be room for `workers` of them alone. `objects` has the slices' data files that do not lie here.

    Raises:
        CorpusError: see `ShardWriter`.
        RemoteError: see `RowPlaces.read`.
        DiskFullError: not enough room for all of them, or as many as lie here at once.
    """
    staging, complete = Staging(staging_path), on_shard or (lambda _: None)
    plan, pending = staging.read_plan(), list[ShardPlan]()
    for shard in plan.shards if bits is None else (plan.find(one) for one in bits):
        if staging.result(shard) is None:
            pending.append(shard)
        else:
            complete(shard.bits)
    if not pending:
        return 0
    progress = BuildProgress(
        total_rows=sum(shard.rows for shard in pending),
        total_bytes=sum(shard.planned_bytes + shard.index_bytes for shard in pending),
    )
    at_once = workers if shards_leave else len(pending)
    purpose = (
        f"the corpus ({so_many(len(pending), 'shard')} to write, {min(at_once, len(pending))} here at once)"
    )
    sizes = sorted((shard.planned_bytes + shard.index_bytes for shard in pending), reverse=True)
    check_space(staging.files, sum(sizes[:at_once]), reserve_bytes, purpose)
    said: SimpleQueue[ShardProgress] = SimpleQueue()
    writer = ShardWriter(staging, plan, reserve_bytes, said.put, objects)

    def write(shard: ShardPlan) -> ShardResult:
        result = writer.write(shard)
        if shards_leave:
            complete(shard.bits)
        return result

    for written in _written(writer, write, pending, workers):
        while not said.empty():
            progress.take(said.get())
        if on_progress is not None:
            on_progress(progress)
        for result in () if shards_leave else written:
            complete(result.bits)
    return len(pending)


def _written(
    writer: ShardWriter,
    write: Callable[[ShardPlan], ShardResult],
    shards: Sequence[ShardPlan],
    workers: int,
) -> Iterator[Sequence[ShardResult]]:
    """Writes the shards, the largest first; gives what has become complete, at least twice a second."""
    with ThreadPoolExecutor(workers) as threads:
        largest_first = sorted(shards, key=lambda shard: -shard.planned_bytes)
        waiting = {threads.submit(write, shard) for shard in largest_first}
        try:
            while waiting:
                done, waiting = wait(waiting, timeout=_TOLD_EVERY_S, return_when=FIRST_COMPLETED)
                yield [future.result() for future in done]
        finally:
            writer.stop()
            threads.shutdown(wait=False, cancel_futures=True)
