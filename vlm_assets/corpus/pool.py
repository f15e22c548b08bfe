"""Workers of one build, which sort rows and write shards: processes that start while the caller plans, or threads."""

import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import (
    FIRST_COMPLETED,
    Executor,
    Future,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
    wait,
)
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.queues import SimpleQueue as ProcessQueue
from pathlib import Path
from queue import SimpleQueue
from threading import Event, local
from types import TracebackType
from typing import Final, Self

from vlm_assets.corpus.work import ShardPlan, ShardResult
from vlm_assets.corpus.writer import OnWindow, OpenSlices, ShardProgress, write_shard
from vlm_assets.words.errors import CorpusError

_POLL_S: Final = 0.5


class WorkerPool:
    """Workers that go on for one build. Ended with the `with` block; what they were at ends first.

    Threads are there at once, and as fast for large rows, whose reading, hashing and writing releases the GIL; small
    rows would wait for it. After an error threads stop at their next window.

    Raises:
        CorpusError: at the end of the block, where a worker died in it.
    """

    def __init__(self, workers: int, *, threads: bool = False) -> None:
        self.workers = workers
        self._stopped = Event()
        self._said: SimpleQueue[ShardProgress] | ProcessQueue[ShardProgress]
        self.executor: Executor
        if threads:
            self._said = SimpleQueue()
            self.executor = ThreadPoolExecutor(workers, initializer=_start_worker, initargs=(self._tell,))
        else:
            context = multiprocessing.get_context("spawn")  # Arrow's threads do not survive a fork
            self._said = context.SimpleQueue()
            self.executor = ProcessPoolExecutor(
                workers, mp_context=context, initializer=_start_worker, initargs=(self._said.put,)
            )
            self.executor.submit(_nothing)  # starts them all

    def _tell(self, progress: ShardProgress) -> None:
        if self._stopped.is_set():
            raise CorpusError(f"shard r{progress.bits}: the build was stopped")
        self._said.put(progress)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if value is not None:
            self._stopped.set()
        self.executor.shutdown(cancel_futures=True)
        if isinstance(value, BrokenProcessPool):
            raise CorpusError("a worker died (killed, or out of memory); run the build again") from value

    def write(
        self,
        staging_path: Path,
        shards: Sequence[ShardPlan],
        reserve_bytes: int,
        on_window: Callable[[ShardProgress], None],
    ) -> None:
        """Writes these shards, the largest first.

        Raises:
            CorpusError: see `write_shard`.
            DiskFullError: not enough room.
        """
        waiting: set[Future[ShardResult]] = {
            self.executor.submit(_write_in_worker, staging_path, shard.bits, reserve_bytes)
            for shard in sorted(shards, key=lambda shard: -shard.planned_bytes)
        }
        try:
            while waiting:
                done, waiting = wait(waiting, timeout=_POLL_S, return_when=FIRST_COMPLETED)
                while not self._said.empty():
                    on_window(self._said.get())
                for future in done:
                    future.result()
        finally:
            for future in waiting:
                future.cancel()


class _Worker(local):
    """What a worker keeps from shard to shard."""

    slices: OpenSlices
    tell: OnWindow


_worker = _Worker()


def _start_worker(tell: OnWindow) -> None:
    _worker.slices, _worker.tell = OpenSlices(), tell


def _nothing() -> None:
    """Makes the pool start."""


def _write_in_worker(staging_path: Path, bits: str, reserve_bytes: int) -> ShardResult:
    return write_shard(
        staging_path,
        bits,
        reserve_bytes=reserve_bytes,
        on_window=_worker.tell,
        keep_open=_worker.slices,
    )
