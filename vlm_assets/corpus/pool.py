"""Worker processes of one build: they sort rows and write shards, and start while the caller still plans."""

import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.queues import SimpleQueue
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from vlm_assets.corpus.work import ShardPlan, ShardResult
from vlm_assets.corpus.writer import OpenSlices, ShardProgress, write_shard
from vlm_assets.errors import CorpusError

_POLL_S: Final = 0.5


class WorkerPool:
    """Processes that go on working for one build. Ended with the `with` block; what they were at ends first.

    Raises:
        CorpusError: at the end of the block, where a worker died in it.
    """

    def __init__(self, workers: int) -> None:
        context = multiprocessing.get_context("spawn")  # Arrow's threads do not survive a fork
        self._said: SimpleQueue[ShardProgress] = context.SimpleQueue()
        self.executor = ProcessPoolExecutor(
            workers, mp_context=context, initializer=_start_worker, initargs=(self._said,)
        )
        self.executor.submit(_nothing)  # starts them all

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
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


_slices: OpenSlices | None = None
_said: "SimpleQueue[ShardProgress] | None" = None


def _start_worker(said: "SimpleQueue[ShardProgress]") -> None:
    global _slices, _said
    _slices, _said = OpenSlices(), said


def _nothing() -> None:
    """Makes the pool start."""


def _write_in_worker(staging_path: Path, bits: str, reserve_bytes: int) -> ShardResult:
    on_window = _said.put if _said is not None else None
    return write_shard(
        staging_path, bits, reserve_bytes=reserve_bytes, on_window=on_window, keep_open=_slices
    )
