"""Many workers of one program: lent to whoever asks, used again, replaced when they are gone."""

import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self

from vlm_assets.workers.errors import WorkerClosedError, WorkerLostError, WorkerStartError
from vlm_assets.workers.process import Hear, Worker
from vlm_assets.workers.program import Program


class WorkerPool:
    """Up to `most` workers; any thread may ask. Each is started when it is first needed, or all `at_once`.

    A request whose worker dies or falls silent fails alone. Ends with its block: no worker outlives it, those at
    work included.
    """

    def __init__(self, program: Program, most: int, *, at_once: bool = False) -> None:
        self.most = most
        self._program = program
        self._free = threading.BoundedSemaphore(most)
        self._lock = threading.Lock()
        self._idle: list[Worker] = []
        self._all: set[Worker] = set()
        self._closed = False
        if at_once:
            self.warm(most)

    def warm(self, count: int) -> None:
        """Has at least so many workers started, up to `most`, so that they are ready when they are needed."""
        with self._lock:
            while len(self._all) < min(count, self.most):
                self._idle.insert(0, self._started())  # those that have worked are lent first

    def ask(self, request: Any, hear: Hear = lambda _message: None) -> Any:
        """The answer of a free worker, waited for; see `Worker.ask`.

        Raises:
            WorkerError: as `Worker.ask`; WorkerClosedError where the pool is closed, also while waiting.
        """
        with self.lent() as worker:
            return worker.ask(request, hear)

    def run(self, requests: Iterable[Any], hear: Hear = lambda _message: None) -> Iterator[tuple[int, Any]]:
        """(number of the request, its answer), as they are done; requests are begun in order.

        Raises:
            WorkerError: as `ask`; what was not begun is not begun any more.
        """
        threads = ThreadPoolExecutor(self.most, thread_name_prefix=self._program.name)
        numbers: dict[Future[Any], int] = {}
        try:
            for number, request in enumerate(requests):
                numbers[threads.submit(self.ask, request, hear)] = number
            for done in as_completed(numbers):
                yield numbers[done], done.result()
        finally:
            threads.shutdown(wait=False, cancel_futures=True)

    @contextmanager
    def lent(self) -> Iterator[Worker]:
        """A worker for a block, waited for where all are taken."""
        with self._free:
            worker = self._take()
            try:
                yield worker
            except (WorkerLostError, WorkerStartError):
                with self._lock:
                    closed = self._closed
                if closed:  # it was close() that ended the worker, not the request
                    raise WorkerClosedError(f"the {self._program.name} pool was closed") from None
                raise
            finally:
                self._give_back(worker)

    def pids(self) -> list[int]:
        """Process ids of the workers that live now."""
        with self._lock:
            return sorted(worker.pid for worker in self._all if worker.alive())

    def close(self) -> None:
        """Ends all workers; whoever waits for one at work gets WorkerClosedError. May be called twice."""
        with self._lock:
            self._closed = True
            workers, self._all = self._all, set()
            idle, self._idle = self._idle, []
        for worker in workers:
            worker.kill()
        for worker in idle:
            worker.dispose()

    def _take(self) -> Worker:
        """An idle worker that still lives, or a new one."""
        with self._lock:
            while self._idle:
                worker = self._idle.pop()
                if worker.usable():
                    return worker
                self._all.discard(worker)
                worker.dispose()
            return self._started()

    def _started(self) -> Worker:
        """One more; the lock is held, so that there are never more than `most`."""
        if self._closed:
            raise WorkerClosedError(f"the {self._program.name} pool is closed")
        worker = Worker(self._program)
        self._all.add(worker)
        return worker

    def _give_back(self, worker: Worker) -> None:
        with self._lock:
            if worker in self._all and worker.usable():
                self._idle.append(worker)
                return
            self._all.discard(worker)
        worker.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
