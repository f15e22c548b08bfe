"""Runs core calls in daemon threads so that a cancelled run ends within seconds. Knows no Dagster.

The main thread stays free to be interrupted, to log and to report events: Dagster raises its interrupts there. A
thread that does not stop in time is left behind and dies with the process, which the store survives at any moment.
"""

import contextvars
import queue
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import TypeVar

T = TypeVar("T")

_POLL_S = 0.5
_GRACE_S = 5.0


def run_all(
    calls: Mapping[str, Callable[[], T]],
    *,
    workers: int,
    cancelled: threading.Event,
    idle: Callable[[], None] = lambda: None,
) -> Iterator[tuple[str, T | Exception]]:
    """Yields (name, result or exception) as the calls end; `idle` is called in between, in the caller's thread.

    When the caller is interrupted or stops early, `cancelled` is set and running calls get some seconds to end.
    """
    todo: queue.SimpleQueue[str] = queue.SimpleQueue()
    for name in calls:
        todo.put(name)
    done: queue.SimpleQueue[tuple[str, T | Exception]] = queue.SimpleQueue()

    def work() -> None:
        while not cancelled.is_set():
            try:
                name = todo.get_nowait()
            except queue.Empty:
                return
            try:
                result: T | Exception = calls[name]()
            except Exception as error:  # noqa: BLE001 - the worker boundary: handed to the caller
                result = error
            done.put((name, result))

    # Each thread sees the caller's context: run id and slice stand in every log line.
    threads = [
        threading.Thread(target=contextvars.copy_context().run, args=(work,), daemon=True)
        for _ in range(min(workers, len(calls)))
    ]
    for thread in threads:
        thread.start()
    try:
        left = len(calls)
        while left:
            idle()
            try:
                result = done.get(timeout=_POLL_S)
            except queue.Empty:
                continue
            left -= 1
            yield result
    finally:
        cancelled.set()
        for thread in threads:
            thread.join(_GRACE_S / len(threads))
