"""Bars on a terminal for what takes long, with its rate and the time left; nothing where nobody sees them."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from rich.console import Console

from vlm_assets.words import moving

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

REFRESHED_PER_S: Final = 4


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
    with Progress(*columns, console=errors, refresh_per_second=REFRESHED_PER_S) as bars:
        task = bars.add_task(what, total=None)
        yield lambda done, total: bars.update(task, completed=done, total=total)


@contextmanager
def shown_steps(what: str) -> Iterator[Callable[[str, int, int | None], None]]:
    """A bar of steps with their rate and the time left on a terminal; nothing elsewhere.

    Gives (name of the step, steps before it, steps or None) -> None. Rate and time begin anew where steps do. What
    moves within a step (`words.moving`) has a bar of its own below.
    """
    with _terminal_bars() as bars:
        if bars is None:
            yield lambda name, done, total: None  # noqa: ARG005 - does nothing
            return
        bars.start()
        with moving.shown_by(Moves(bars)):
            yield _Steps(bars, what).show


@contextmanager
def shown_moves() -> Iterator[None]:
    """A bar for each step that moves (`words.moving`) on a terminal; nothing elsewhere, nor where none does."""
    with _terminal_bars() as bars:
        if bars is None:
            yield
            return
        with moving.shown_by(Moves(bars)):
            yield


@contextmanager
def _terminal_bars() -> Iterator["Progress | None"]:
    """Not yet begun: an empty one leaves a blank line behind."""
    errors = Console(stderr=True)
    if not errors.is_terminal:
        yield None
        return
    from rich.progress import MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn  # noqa: PLC0415 - `--help` shows none

    columns = (
        *Progress.get_default_columns()[:2],
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    bars = Progress(*columns, console=errors, transient=True, refresh_per_second=REFRESHED_PER_S)
    try:
        yield bars
    finally:
        bars.stop()


class Moves:
    """Steps that move (`words.moving.Shown`), each a bar with its rate among others."""

    def __init__(self, bars: "Progress") -> None:
        self._bars = bars
        self._at_once = moving.EVERY_S == 0
        self._tasks: dict[object, tuple[TaskID, float]] = {}

    def show(self, step: object, name: str, done: int, total: int | None) -> None:
        """See `Shown`."""
        if step not in self._tasks:
            self._bars.start()
            task = self._bars.add_task(name.replace("[", r"\["), total=total, rate="")
            self._tasks[step] = task, time.monotonic()
        task, begun = self._tasks[step]
        self._bars.update(task, completed=done, total=total, rate=_rate(done, begun), refresh=self._at_once)

    def end(self, step: object) -> None:
        """See `Shown`."""
        self._bars.remove_task(self._tasks.pop(step)[0])


def _rate(done: int, begun: float) -> str:
    return f"{done / max(time.monotonic() - begun, 1e-3):,.1f}/s" if done else ""


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
        rate = _rate(done, self._begun)
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
