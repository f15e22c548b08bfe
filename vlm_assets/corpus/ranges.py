"""Parts of objects that lie elsewhere: which requests get them, and the fetching of these side by side.

Knows no store: whoever reads hands one over.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from vlm_assets.words.manifest import FileEntry

MAX_REQUEST_BYTES: Final = 16 * 2**20
"""More is asked for in parts, so that a cut costs little and several connections share the work."""
MAX_GAP_BYTES: Final = 2**20
"""Bytes that nobody wants, at most, between two parts of one request: another request takes about as long."""
WASTE_SHARE: Final = 0.2
"""Of the bytes of rows: what may be asked for beside them, where that saves requests."""

_UNWANTED: Final = memoryview(bytearray(MAX_GAP_BYTES))

I64 = NDArray[np.int64]


class RangedObjects(Protocol):
    """Objects named by their blake3, of which parts can be read. For several threads at once."""

    @property
    def concurrency(self) -> int:
        """Requests that may be under way at once."""

    def fill(self, entry: FileEntry, begin: int, targets: Sequence[memoryview]) -> None:
        """Fills memory, one piece after the other, with the object's bytes from a place on.

        Raises:
            RemoteError: it is missing, has another size, or the store does not answer; names the object.
        """

    def name(self, entry: FileEntry) -> str:
        """The object, for messages."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Bytes of an object that are wanted, and the memory that they go to."""

    object: int
    begin: int
    target: memoryview

    @property
    def end(self) -> int:
        """Place behind the last byte."""
        return self.begin + len(self.target)


@dataclass(frozen=True, slots=True)
class Request:
    """One request and what it is for."""

    object: int
    begin: int
    end: int
    pieces: tuple[Piece, ...]


def requests_for(pieces: Sequence[Piece], waste_bytes: int) -> Iterator[Request]:
    """Few requests that cover the pieces, with at most `waste_bytes` in all of them that nobody wants.

    The narrowest gaps are closed first, which closes the most of them.
    """
    ordered = sorted(_parts(pieces), key=lambda one: (one.object, one.begin))
    if not ordered:
        return
    joined = _joined(ordered, waste_bytes)
    group = [ordered[0]]
    for one, joins in zip(ordered[1:], joined.tolist(), strict=True):
        if joins and one.end - group[0].begin <= MAX_REQUEST_BYTES:
            group.append(one)
        else:
            yield _request(group)
            group = [one]
    yield _request(group)


def _parts(pieces: Sequence[Piece]) -> Iterator[Piece]:
    for one in pieces:
        for place in range(0, len(one.target), MAX_REQUEST_BYTES):
            yield Piece(one.object, one.begin + place, one.target[place : place + MAX_REQUEST_BYTES])


def _joined(ordered: Sequence[Piece], waste_bytes: int) -> NDArray[np.bool_]:
    """Whether each piece but the first is asked for together with the one before it."""
    places = np.array([(one.object, one.begin, one.end) for one in ordered], np.int64)
    gaps: I64 = places[1:, 1] - places[:-1, 2]  # below 0 where damaged offsets have pieces overlap
    near = (places[1:, 0] == places[:-1, 0]) & (gaps >= 0) & (gaps <= MAX_GAP_BYTES)
    narrowest = np.argsort(np.where(near, gaps, MAX_GAP_BYTES + 1), kind="stable")
    spent = np.cumsum(np.where(near, gaps, 0)[narrowest])
    joined: NDArray[np.bool_] = np.zeros(len(gaps), np.bool_)
    joined[narrowest[spent <= waste_bytes]] = True
    joined &= near
    return joined


def _request(group: Sequence[Piece]) -> Request:
    return Request(group[0].object, group[0].begin, max(one.end for one in group), tuple(group))


def fetch(
    pieces: Sequence[Piece],
    objects: Sequence[FileEntry],
    source: RangedObjects,
    threads: Executor,
    waste_bytes: int,
) -> int:
    """Fills the memory of every piece; returns the bytes that were asked for.

    Raises:
        RemoteError: see `RangedObjects.fill`.
    """

    def get(request: Request) -> int:
        source.fill(objects[request.object], request.begin, _targets(request))
        return request.end - request.begin

    return sum(threads.map(get, requests_for(pieces, waste_bytes)))


def _targets(request: Request) -> list[memoryview]:
    """Where the bytes of a request go, in their order; to memory of no use what lies between pieces."""
    found, place = [], request.begin
    for one in request.pieces:
        if one.begin > place:
            found.append(_unwanted(one.begin - place))
        found.append(one.target)
        place = one.end
    return found


def _unwanted(size: int) -> memoryview:
    """Memory that every thread may write to and none reads."""
    return _UNWANTED[:size] if size <= len(_UNWANTED) else memoryview(bytearray(size))
