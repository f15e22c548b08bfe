"""The processes that Dagster starts beside a step, to show its log, and Ctrl-C."""

import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Final

from dagster._core.execution import compute_logs

_START: Final = compute_logs.execute_posix_tail


def keep_ctrl_c_from_log_helpers() -> None:
    """From now on `tail` and its watcher do not see Ctrl-C, which a terminal sends to the whole group.

    They end with the step. The watcher, a Python of its own, ended by it with a traceback. Dagster has no argument
    for this, so the function that starts them is replaced, in this process.
    """
    compute_logs.execute_posix_tail = _without_ctrl_c


@contextmanager
def _without_ctrl_c(path: str, stream: Any) -> Iterator[Any]:
    with ExitStack() as stack:
        with ctrl_c_blocked():  # what is started here inherits it
            pids = stack.enter_context(_START(path, stream))
        yield pids


@contextmanager
def ctrl_c_blocked() -> Iterator[None]:
    """SIGINT waits, in this thread and in processes that it starts."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
