"""Annotators in child processes: what one that crashes, hangs, or takes too much costs is the values of one image."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Final, Self, TypeVar

from vlm_assets.annotators.protocol import Values
from vlm_assets.annotators.work import HANDLER
from vlm_assets.words.counts import so_many
from vlm_assets.words.errors import AnnotationError
from vlm_assets.workers.errors import TaskError, WorkerDiedError, WorkerLostError
from vlm_assets.workers.pool import WorkerPool
from vlm_assets.workers.program import ONE_THREAD, Limits, Program

_MEMORY_BYTES: Final = 3 * 2**30
"""Address space: an image of the largest size that is admitted, in colour, and a copy of it."""
_SILENT_S: Final = 1800.0
TIMEOUT: Final = "timeout"
CRASHED: Final = "crashed"

Asked = TypeVar("Asked")
Given = TypeVar("Given")


@dataclass(slots=True)
class Answer:
    """Values by annotator, in the order of what was asked for; of each that it broke on, by place, how."""

    values: dict[str, list[Values]]
    failed: dict[str, dict[int, str]] = field(default_factory=dict)

    def add(self, other: "Answer") -> None:
        """What follows: of the same annotators about the next ones, or of others about the same."""
        for name, values in other.values.items():
            here = self.values.setdefault(name, [])
            for place, how in other.failed.get(name, {}).items():
                self.failed.setdefault(name, {})[len(here) + place] = how
            here.extend(values)


class AnnotatorPool:
    """Worker processes that know these annotators; any thread may ask. Ends with its block."""

    def __init__(self, names: Sequence[str], workers: int, *, cpu_s: float) -> None:
        """`cpu_s`: processor time of one image, or of one record's words, at most."""
        limits = Limits(_MEMORY_BYTES, cpu_s, _SILENT_S)
        environment = {**os.environ, **ONE_THREAD}
        program = Program(
            "annotator", HANDLER, (tuple(names),), limits, answers="json", quiet=True, environment=environment
        )
        self._workers = WorkerPool(program, workers)

    def ask(self, names: Sequence[str], batch: Sequence[Any]) -> Answer:
        """Values that these annotators give; what one of them breaks on has none, and is counted.

        Raises:
            AnnotationError: an answer is no answer: the annotator is at fault, not what it was shown.
            OperationError: no child can be started, the pool is closed, or the machine has no memory left.
        """
        if not names or not batch:
            return Answer({name: [] for name in names})
        try:
            return self._asked(names, batch)
        except WorkerLostError as error:
            if len(batch) == len(names) == 1:
                return self._once_more(names, batch, error)
        half = len(batch) // 2
        parts = [(names, batch[:half]), (names, batch[half:])] if half else [([one], batch) for one in names]
        answer = Answer({})
        for part in parts:
            answer.add(self.ask(*part))
        return answer

    def _once_more(self, names: Sequence[str], batch: Sequence[Any], first: WorkerLostError) -> Answer:
        """One annotator and one image that a worker was lost over: time is the same each time, a crash may not be."""
        if not (isinstance(first, WorkerDiedError) and not first.used_up):
            return Answer({names[0]: [None]}, {names[0]: {0: TIMEOUT}})
        try:
            return self._asked(names, batch)
        except WorkerDiedError as death:
            if death.killed:  # no fault of the image: another time there may be memory
                raise
            how = TIMEOUT if death.used_up else CRASHED
        except WorkerLostError:
            how = TIMEOUT
        return Answer({names[0]: [None]}, {names[0]: {0: how}})

    def _asked(self, names: Sequence[str], batch: Sequence[Any]) -> Answer:
        try:
            told = self._workers.ask((tuple(names), list(batch)))
        except TaskError as error:
            last = str(error).strip().rpartition("\n")[2]
            raise AnnotationError(f"annotator {', '.join(names)}: {last[:300]}") from error
        answer = Answer({})
        for name in names:
            values, failed = told[name]
            if len(values) != len(batch):
                raise AnnotationError(
                    f"annotator {name}: gave {so_many(len(values), 'value')} for {len(batch)}"
                )
            answer.add(Answer({name: list(values)}, {name: dict(failed)}))
        return answer

    def in_order(self, work: Callable[[Asked], Given], requests: Iterable[Asked]) -> Iterator[Given]:
        """`work` of each request in order, as many at once as there are workers; few are read ahead."""
        threads = ThreadPoolExecutor(self._workers.most, thread_name_prefix="annotate")
        under_way: deque[Future[Given]] = deque()
        try:
            for request in requests:
                under_way.append(threads.submit(work, request))
                if len(under_way) > 2 * self._workers.most:
                    yield under_way.popleft().result()
            while under_way:
                yield under_way.popleft().result()
        finally:
            threads.shutdown(wait=False, cancel_futures=True)

    def pids(self) -> list[int]:
        """Process ids of the children that live now."""
        return self._workers.pids()

    def close(self) -> None:
        """Ends all children, also those at work. May be called twice."""
        self._workers.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
