"""What annotators have said of a slice that is under way: whoever was killed goes on behind it.

Answers are kept as a slice's downloads are while it is fetched: in a spool below the cache, each once it is there.
"""

import json
import logging
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any, Self

from vlm_assets.annotate.pool import Answer
from vlm_assets.transfer.spool import Spool

logger = logging.getLogger("vlm_assets.annotate")


@dataclass(frozen=True, slots=True)
class Batch:
    """What is shown together: the same of a slice each time, as long as what is due of it stays."""

    number: int
    names: tuple[str, ...]
    """Annotators that look at it."""
    things: Sequence[Any]
    """Images, or words."""
    rows: Sequence[int]
    """The record of each."""


class UnderWay:
    """Answers by number of their batch. Any thread may ask and keep. Ends with its block, and is kept beyond it."""

    def __init__(self, folder: Path, identity: str, *, forced: bool = False) -> None:
        """Takes over what `folder` has under this identity; anything else there is removed.

        `identity`: a digest of all that decides which batches there are, and what is said of them.
        `forced`: goes on with nothing but what was begun so.
        """
        self._folder = folder
        self._identity = identity
        self._lock = Lock()
        self._open = True
        self._spool = Spool(folder, forced=forced)
        if any(one.declared != identity for one in self._spool.bodies.values()):
            logger.info("%s is of something else: removed", folder)
            self._spool.close()
            drop(folder)
            self._spool = Spool(folder, forced=forced)
        if self._spool.bodies:
            logger.info("%s: %d batches were done before", folder.parent.name, len(self._spool.bodies))

    def answer(self, batch: Batch) -> Answer | None:
        """What was said of a batch before; None where nobody did."""
        with self._lock:
            stored = self._spool.bodies.get(str(batch.number)) if self._open else None
            data = self._spool.read(stored) if stored is not None else None
        return _loaded(data) if isinstance(data, bytes) else None

    def keep(self, batch: Batch, answer: Answer) -> None:
        """From now on a killed process's successor has it. Does nothing once the block is over.

        Raises:
            DiskFullError, StoreError: it cannot be written.
        """
        body = json.dumps({"values": answer.values, "failed": [*_pairs(answer)]}).encode()
        with self._lock:
            if self._open:
                self._spool.add_body(str(batch.number), self._identity, body)

    def close(self) -> None:
        """Keeps what there is."""
        with self._lock:
            self._open = False
            self._spool.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()


def _pairs(answer: Answer) -> list[tuple[str, list[tuple[int, str]]]]:
    return [(name, sorted(how.items())) for name, how in answer.failed.items()]


def _loaded(data: bytes) -> Answer:
    told = json.loads(data)
    return Answer(told["values"], {name: dict(pairs) for name, pairs in told["failed"]})


def drop(folder: Path) -> None:
    """Removes what was kept there; nothing where there is none."""
    shutil.rmtree(folder, ignore_errors=True)
