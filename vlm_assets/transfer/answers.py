"""An answer as this package reads it, whichever client brought it, and what it says of its own body."""

import re
from typing import Final, Protocol

from multidict import CIMultiDictProxy

_DIGITS: Final = re.compile(r"^\+?([0-9]{1,15})$")
_RANGE: Final = re.compile(r"^\s*bytes[ =]\s*(\d{1,15})-(\d{1,15})/(\d{1,15}|\*)\s*$", re.IGNORECASE)

Headers = CIMultiDictProxy[str]


class Content(Protocol):
    """A body that arrives."""

    async def readany(self) -> bytes:
        """What has arrived, at least one byte; none at the end."""
        ...


class Answer(Protocol):
    """Status and headers of an answer, and its body as it was sent: no coding undone."""

    @property
    def status(self) -> int: ...  # noqa: D102 - as aiohttp's

    @property
    def headers(self) -> Headers: ...  # noqa: D102 - the same

    @property
    def content(self) -> Content: ...  # noqa: D102 - the same


def lengths_said(headers: Headers) -> frozenset[int]:
    """The lengths that an answer names: none where it names no number, several where it is of two minds."""
    values = headers.getall("Content-Length", ())
    if len(values) != 1 or "," in values[0]:
        values = ",".join(values).split(",")
    return frozenset(int(match[1]) for value in values if (match := _DIGITS.match(value.strip())))


def length_said(headers: Headers) -> int | None:
    """The one length that an answer names, or None; chunks end where they end, whatever else is said."""
    if "chunked" in headers.get("Transfer-Encoding", "").lower():
        return None
    said = lengths_said(headers)
    return next(iter(said)) if len(said) == 1 else None


def is_whole(headers: Headers) -> bool:
    """Whether the range of a 206 is all there is; an answer that names no range is taken for whole."""
    named = headers.get("Content-Range", "")
    if not named:
        return True
    match = _RANGE.match(named)
    return match is not None and int(match[1]) == 0 and match[3] in {"*", str(int(match[2]) + 1)}
