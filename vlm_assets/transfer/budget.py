"""What a source may ask of its servers in one night: counted as it happens, over all processes, on disk.

A ledger is one small file a source and night. Every request and every piece of a body is added to it at once, so a
killed process forgets nothing. Whoever opens a connection asks `present_meter` when it is made; a kind of source
needs no line for it.
"""

import contextvars
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import orjson

from vlm_assets.locks import locked
from vlm_assets.words.counts import so_many
from vlm_assets.words.errors import VlmAssetsError

logger = logging.getLogger("vlm_assets.transfer")

_RECORD_BYTES: Final = 128
_KEPT_NIGHTS: Final = 14


class BudgetSpentError(VlmAssetsError):
    """The night's budget of a source is used up: what has arrived is kept, the rest waits for another night.

    No `OperationError`: nothing has failed, and nobody makes a reject of it.
    """


@dataclass(frozen=True, slots=True)
class Usage:
    """What was asked of the servers."""

    requests: int = 0
    size_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Budget:
    """What a source may ask for in one night (an ISO date). None: as much as it likes."""

    source: str
    night: str
    max_bytes: int | None = None
    max_requests: int | None = None

    def spent(self, used: Usage) -> bool:
        """Whether nothing more may be asked for."""
        return (self.max_bytes is not None and used.size_bytes >= self.max_bytes) or (
            self.max_requests is not None and used.requests >= self.max_requests
        )

    def told(self, used: Usage) -> str:
        """The state in words."""
        parts = []
        if self.max_requests is not None:
            parts.append(f"{used.requests:,} of {so_many(self.max_requests, 'request')}")
        if self.max_bytes is not None:
            parts.append(f"{used.size_bytes / 1e6:,.1f} of {self.max_bytes / 1e6:,.1f} MB")
        state = "is used up" if self.spent(used) else "is not used up"
        return f"the budget of {self.source} for the night of {self.night} {state} ({', '.join(parts)})"


class Meter:
    """Counts nothing and allows everything: what holds outside of a nightly run."""

    @property
    def spent(self) -> bool:
        """Whether nothing more may be asked for."""
        return False

    def request(self) -> None:
        """Counts a request that is about to be sent.

        Raises:
            BudgetSpentError: it may not be sent.
        """

    def received(self, size_bytes: int, *, cut: bool = False) -> None:
        """Counts bytes that have arrived.

        Raises:
            BudgetSpentError: with `cut`, when no more may follow. For bodies that can be continued another night.
        """


UNMETERED: Final = Meter()


class BudgetMeter(Meter):
    """Counts in the ledger of one source and night. For threads and processes."""

    def __init__(self, folder: Path, budget: Budget) -> None:
        """`folder`: where the ledgers lie; made where it is missing."""
        self.budget = budget
        self._path = _ledger(folder, budget.source, budget.night)
        self._remove_old()

    @property
    def used(self) -> Usage:
        """What is on record."""
        return read_usage(self._path.parent, self.budget)

    @property
    def spent(self) -> bool:
        """See `Meter`."""
        return self.budget.spent(self.used)

    def request(self) -> None:
        """See `Meter`."""
        if not self._add(1, 0, unless_spent=True):
            raise BudgetSpentError(self.budget.told(self.used))

    def received(self, size_bytes: int, *, cut: bool = False) -> None:
        """See `Meter`."""
        self._add(0, size_bytes)
        limit = self.budget.max_bytes
        if cut and limit is not None and self.used.size_bytes >= limit:
            raise BudgetSpentError(self.budget.told(self.used))

    def _add(self, requests: int, size_bytes: int, *, unless_spent: bool = False) -> bool:
        """Adds under the lock; False where nothing was added because the budget is used up."""
        with locked(self._path) as descriptor:
            used = _decode(os.pread(descriptor, _RECORD_BYTES, 0), self._path)
            if unless_spent and self.budget.spent(used):
                return False
            record = {"requests": used.requests + requests, "bytes": used.size_bytes + size_bytes}
            os.pwrite(descriptor, orjson.dumps(record).ljust(_RECORD_BYTES), 0)
        return True

    def _remove_old(self) -> None:
        nights = sorted(self._path.parent.glob(f"{self.budget.source}@*.json"))
        for path in nights[:-_KEPT_NIGHTS]:
            if path != self._path:  # nights of a clock that ran ahead are later
                path.unlink(missing_ok=True)


def read_usage(folder: Path, budget: Budget) -> Usage:
    """What the source has used in that night."""
    path = _ledger(folder, budget.source, budget.night)
    try:
        return _decode(path.read_bytes(), path)
    except FileNotFoundError:
        return Usage()


def _ledger(folder: Path, source: str, night: str) -> Path:
    return folder / f"{source}@{night}.json"


def _decode(data: bytes, path: Path) -> Usage:
    if not data.strip(b"\0 "):
        return Usage()
    try:
        record = orjson.loads(data)
        return Usage(record["requests"], record["bytes"])
    except (orjson.JSONDecodeError, KeyError, TypeError):
        logger.warning("%s is damaged; the night's budget is counted from nothing again", path)
        return Usage()


_present: contextvars.ContextVar[Meter] = contextvars.ContextVar("vlm_meter", default=UNMETERED)


@contextmanager
def metered(meter: Meter) -> Iterator[None]:
    """Connections that are made inside count with this meter, for as long as they live."""
    token = _present.set(meter)
    try:
        yield
    finally:
        _present.reset(token)


def present_meter() -> Meter:
    """The meter that holds here; to be asked in the thread of whoever fetches, not in a worker's."""
    return _present.get()
