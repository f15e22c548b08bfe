"""Bars on a terminal for what takes long, with its rate and the time left; nothing where nobody sees them."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console

if TYPE_CHECKING:
    from rich.progress import Progress


@contextmanager
def shown_progress(what: str) -> Iterator[Callable[[int, int], None]]:
    """A bar of bytes on a terminal; nothing elsewhere (log lines are the caller's). Gives (done, total) -> None."""
    errors = Console(stderr=True)
    if not errors.is_terminal:
        yield lambda done, total: None  # noqa: ARG005 - does nothing
        return
    from rich.progress import DownloadColumn, Progress, TimeRemainingColumn, TransferSpeedColumn  # noqa: PLC0415 - `--help` shows none

    columns = (
        *Progress.get_default_columns()[:2],
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=errors) as bars:
        task = bars.add_task(what, total=None)
        yield lambda done, total: bars.update(task, completed=done, total=total)


@contextmanager
def shown_steps(what: str) -> Iterator[Callable[[str, int, int | None], None]]:
    """A bar of steps with their rate and the time left on a terminal; nothing elsewhere.

    Gives (name of the step, steps before it, steps or None) -> None. Rate and time begin anew where steps do.
    """
    errors = Console(stderr=True)
    if not errors.is_terminal:
        yield lambda name, done, total: None  # noqa: ARG005 - does nothing
        return
    from rich.progress import MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn  # noqa: PLC0415 - `--help` shows none

    columns = (
        *Progress.get_default_columns()[:2],
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=errors, transient=True) as bars:
        yield _Steps(bars, what).show


class _Steps:
    """A bar whose steps may begin anew: of another kind, or of another number."""

    def __init__(self, bars: "Progress", what: str) -> None:
        self._bars, self._what = bars, what
        self._task = bars.add_task(what, total=None, rate="")
        self._begun, self._before = time.monotonic(), 0

    def show(self, name: str, done: int, total: int | None) -> None:
        """So much is over."""
        if not done and self._before:
            self._bars.reset(self._task)
            self._begun = time.monotonic()
        self._before = done
        rate = f"{done / max(time.monotonic() - self._begun, 1e-3):,.1f}/s" if done else ""
        self._bars.update(
            self._task, description=f"{self._what}: {name}", completed=done, total=total, rate=rate
        )


class _TransferBar:
    """`TransferProgress` over a bar of bytes."""

    def __init__(self, advance: Callable[[int, int], None]) -> None:
        self._advance = advance
        self._lock = threading.Lock()
        self._done = self._total = 0

    def start(self, objects: int, size_bytes: int) -> None:
        """So much is to come."""
        del objects
        self._total = size_bytes
        self._advance(0, size_bytes)

    def advance(self, size_bytes: int) -> None:
        """So much more is over."""
        with self._lock:
            self._done += size_bytes
            self._advance(self._done, self._total)


@contextmanager
def shown_transfer(what: str) -> Iterator[_TransferBar]:
    """A bar for a backup or restore, as `shown_progress` shows it."""
    with shown_progress(what) as advance:
        yield _TransferBar(advance)
