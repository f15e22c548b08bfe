"""Progress of a build in this process: bars on a terminal, lines now and then elsewhere."""

import threading
import time
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Final, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from vlm_assets.operate.bars import REFRESHED_PER_S, Moves
from vlm_assets.orchestration.run.resources import ProgressSink
from vlm_assets.words.counts import so_many
from vlm_assets.words.moving import shown_by

_LINE_EVERY_S: Final = 30.0


class Bars:
    """A bar for each slice or shard under way, and for each other step that moves."""

    def __init__(self, console: Console) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(), console=console, transient=True,
            refresh_per_second=REFRESHED_PER_S,
        )  # fmt: skip
        self._moves = shown_by(Moves(self._progress))
        self._tasks: dict[str, TaskID] = {}
        self._bytes: dict[str, int] = {}
        self._begun: dict[str, float] = {}

    def start(self, name: str, items: int) -> None:
        """See `ProgressSink`."""
        self._tasks[name] = self._progress.add_task(name, total=items, rate="")
        self._bytes[name] = 0
        self._begun[name] = time.monotonic()

    def advance(self, name: str, items: int, size_bytes: int) -> None:
        """See `ProgressSink`."""
        self._bytes[name] += size_bytes
        rate = self._bytes[name] / 1e6 / max(time.monotonic() - self._begun[name], 1e-3)
        told = f"{self._bytes[name] / 1e6:,.1f} MB, {rate:,.1f} MB/s"
        self._progress.update(self._tasks[name], advance=items, rate=told)

    def finish(self, name: str) -> None:
        """See `ProgressSink`."""
        self._progress.remove_task(self._tasks.pop(name))

    def __enter__(self) -> Self:
        self._progress.start()
        self._moves.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._moves.__exit__(kind, value, trace)
        self._progress.stop()


class Lines:
    """One line every 30 s at most: what is done, and what is under way."""

    def __init__(self, console: Console, *, every_s: float = _LINE_EVERY_S) -> None:
        self._console = console
        self._every_s = every_s
        self._lock = threading.Lock()
        self._told = time.monotonic()
        self._done = self._items = self._bytes = 0

    def start(self, name: str, items: int) -> None:
        """See `ProgressSink`."""

    def advance(self, name: str, items: int, size_bytes: int) -> None:
        """See `ProgressSink`."""
        with self._lock:
            self._items += items
            self._bytes += size_bytes
            now = time.monotonic()
            if now - self._told < self._every_s:
                return
            self._told = now
        self._console.print(
            f"  {name}: {self._done:,} done before it; {so_many(self._items, 'item')}, {self._bytes / 1e6:,.0f} "
            f"MB in all",
            markup=False, soft_wrap=True,
        )  # fmt: skip

    def finish(self, name: str) -> None:
        """See `ProgressSink`."""
        del name
        with self._lock:
            self._done += 1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing to end."""


def progress_on(console: Console) -> AbstractContextManager[ProgressSink]:
    """Bars on a terminal, lines elsewhere. A context manager."""
    return Bars(console) if console.is_terminal else Lines(console)
