"""What a person sees of a long step: so many are over, of so many. Costs nothing where nobody looks.

Whoever works through many things says so (`moving`, `moved`); whoever has a terminal shows it (`shown_by`). Between
the two lies the context, as with log lines: threads that were given it count, others do not.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final, Protocol, TypeVar

T = TypeVar("T")
EVERY_S = 0.25
_OFTEN_S: Final = 1e-3
_STRIDE: Final = 15
Advance = Callable[[int], None]


class Shown(Protocol):
    """Where steps are shown. Called from any thread, for each step a few times a second at most."""

    def show(self, step: object, name: str, done: int, total: int | None) -> None:
        """So many of the step's things are over. Two steps may have one name."""

    def end(self, step: object) -> None:
        """The step is over, well or not."""


_shown: ContextVar["tuple[Shown, float] | None"] = ContextVar("shown", default=None)
_current: ContextVar[Advance | None] = ContextVar("moving", default=None)


@contextmanager
def shown_by(shown: Shown) -> Iterator[None]:
    """Shows the steps of this context there, each once in `EVERY_S` seconds at most."""
    token = _shown.set((shown, EVERY_S))
    try:
        yield
    finally:
        _shown.reset(token)


@contextmanager
def moving(name: str, total: int | None = None) -> Iterator[Advance]:
    """A step under way over `total` things (None: nobody knows). Gives a function for how many more are over."""
    told = _shown.get()
    if told is None:
        yield _nothing
        return
    step = _Step(name, total, *told)
    token = _current.set(step.advance)
    try:
        yield step.advance
    finally:
        _current.reset(token)
        step.end()


def moved(count: int = 1) -> None:
    """So many more are over in the step under way, if there is one and it is shown."""
    advance = _current.get()
    if advance is not None:
        advance(count)


def each_moved(things: Iterable[T]) -> Iterator[T]:
    """The things, each counted in the step under way."""
    for thing in things:
        moved()
        yield thing


def each_moving(name: str, things: Iterable[T], total: int | None = None) -> Iterator[T]:
    """The things, each over when the next is asked for. `moved` does not count here."""
    told = _shown.get()
    if told is None:
        yield from things
        return
    step = _Step(name, total, *told)
    try:
        for thing in things:
            yield thing
            step.advance(1)
    finally:
        step.end()


def _nothing(count: int) -> None:
    del count


class _Step:
    def __init__(self, name: str, total: int | None, shown: Shown, every_s: float) -> None:
        self._name, self._total = name, total
        self._shown, self._every_s = shown, every_s
        self._done = self._unseen = self._stride = 0
        self._looked = self._told = time.monotonic()
        shown.show(self, name, 0, total)

    def advance(self, count: int) -> None:
        """Looks at the clock the more seldom the faster it goes. Without a lock: it is for the eye."""
        self._done += count
        self._unseen += 1
        if self._unseen <= self._stride:
            return
        now = time.monotonic()
        self._stride = min(2 * self._stride + 1, _STRIDE) if now - self._looked < _OFTEN_S else 0
        self._unseen, self._looked = 0, now
        if now - self._told >= self._every_s:
            self._told = now
            self._shown.show(self, self._name, self._done, self._total)

    def end(self) -> None:
        self._shown.end(self)
