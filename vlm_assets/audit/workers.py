"""Worker processes for the reading of data files: fresh interpreters that import what they run and nothing else.

`multiprocessing` would have each import the caller's main module first: the command line's, or all of Dagster.
"""

import os
import pickle
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from types import TracebackType
from typing import Any, Final, Self, TypeVar

import vlm_assets

Task = TypeVar("Task")
Result = TypeVar("Result")

_ROOT: Final = str(Path(vlm_assets.__file__).parent.parent)
_PROGRAM: Final = (
    "import sys; sys.path.insert(0, sys.argv[1]); "
    "from importlib import import_module; import_module(sys.argv[2]); "
    "from vlm_assets.audit.workers import serve; serve()"
)
_ONE_THREAD: Final = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
"""A pool of threads in each worker costs more to start than all of numpy, and has nothing to do."""


class Workers:
    """So many processes, started at once and ended with the block. They end by themselves when this process dies."""

    def __init__(self, count: int, module: str) -> None:
        """Starts them; each imports `module`, which has the functions to run, before it is asked for anything."""
        self.count = count
        command = [sys.executable, "-P", "-c", _PROGRAM, _ROOT, module]
        self._processes = [
            subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env={**os.environ, **_ONE_THREAD},
                process_group=0,  # Ctrl-C is for the parent, which ends them
            )
            for _ in range(count)
        ]

    def run(self, function: Callable[[Task], Result], tasks: Sequence[Task]) -> Iterator[tuple[int, Result]]:
        """(number of the task, its result), as they are done; tasks are begun in order.

        Raises:
            RuntimeError: a worker ended, or the function raised; the message has the traceback.
        """
        waiting = deque(enumerate(tasks))
        done: SimpleQueue[tuple[int, Any, str]] = SimpleQueue()
        for process in self._processes:
            Thread(target=_drive, args=(process, function, waiting, done), daemon=True).start()
        for _ in tasks:
            number, result, trouble = done.get()
            if trouble:
                raise RuntimeError(trouble)
            yield number, result

    def close(self) -> None:
        """Ends all of them, also those at work: they only read."""
        for process in self._processes:
            process.kill()
        for process in self._processes:
            process.wait()
            for stream in (process.stdin, process.stdout):
                if stream is not None:
                    with suppress(OSError):  # a request that could not be delivered any more
                        stream.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _drive(
    process: subprocess.Popen[bytes],
    function: Callable[[Any], Any],
    waiting: "deque[tuple[int, Any]]",
    done: "SimpleQueue[tuple[int, Any, str]]",
) -> None:
    """Gives one worker tasks until there are no more."""
    if process.stdin is None or process.stdout is None:
        return
    while True:
        try:
            number, task = waiting.popleft()
        except IndexError:
            return
        try:
            process.stdin.write(pickle.dumps((function, task)))
            process.stdin.flush()
            result, trouble = pickle.load(process.stdout)  # noqa: S301 - of a process started here
        except (OSError, EOFError, ValueError, pickle.UnpicklingError) as error:
            waiting.clear()
            done.put((number, None, f"a worker process ended ({process.poll()}): {error}"))
            return
        done.put((number, result, trouble))


def serve() -> None:
    """Runs what is asked for on standard input, until it ends. Prints of libraries go to standard error."""
    import traceback

    requests, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    while True:
        try:
            function, task = pickle.load(requests)  # noqa: S301 - of the process that started this one
        except EOFError:
            return
        try:
            answer = (function(task), "")
        except Exception:  # noqa: BLE001 - boundary of a worker: raised again in the caller's process
            answer = (None, traceback.format_exc())
        pickle.dump(answer, answers)
        answers.flush()
