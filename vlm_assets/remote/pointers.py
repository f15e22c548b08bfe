"""`current` at the remote: which version a name shows, and who said so. Moved by conditional writes alone."""

import os
import socket
from datetime import UTC, datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from vlm_assets.remote.bucket import Bucket, ConditionUnmetError, Content
from vlm_assets.remote.memory import Memory
from vlm_assets.remote.names import Name
from vlm_assets.words.errors import LockHeldError, RemoteError


class Pointer(BaseModel):
    """`…/current`. Host, process and time say who moved it; they decide nothing."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    type: Literal["current"] = "current"
    version: str
    host: str = Field(default_factory=socket.gethostname)
    pid: int = Field(default_factory=os.getpid)
    since: str = Field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))

    def __str__(self) -> str:
        """Words for a message."""
        return f"version {self.version}, put there by pid {self.pid} on {self.host} at {self.since}"


def parse_pointer(name: Name, content: Content) -> Pointer:
    """The pointer in an object.

    Raises:
        RemoteError: not a pointer.
    """
    try:
        return Pointer.model_validate_json(content.data)
    except ValidationError as error:
        raise RemoteError(f"{name.current} at the remote is not a pointer: {error}") from error


def read_pointer(bucket: Bucket, name: Name) -> tuple[Pointer, str] | None:
    """The pointer and its tag; None where the name was never pushed."""
    content = bucket.get(name.current)
    return None if content is None else (parse_pointer(name, content), content.etag)


def shown_version(bucket: Bucket, memory: Memory, name: Name, etag: str) -> str:
    """The version that the pointer in the state of that tag names; asked for only where this machine forgot it.

    Raises:
        RemoteError: the pointer is gone since it was listed.
    """
    known = memory.content(name.current, etag)
    if known is not None:
        return known
    found = read_pointer(bucket, name)
    if found is None:
        raise RemoteError(f"{name.current} disappeared from the remote while it was read")
    memory.note(name.current, found[1], found[0].version)
    return found[0].version


def move_pointer(bucket: Bucket, memory: Memory, name: Name, version: str, *, replaces: str | None) -> None:
    """Makes the name show a version: over the state of the tag `replaces`, or, None, where nothing is.

    Raises:
        LockHeldError: another machine moved it meanwhile; names that machine.
    """
    try:
        etag = bucket.put(
            name.current,
            Pointer(version=version).model_dump_json(indent=2).encode(),
            replaces=replaces,
            new=not replaces,
        )
    except ConditionUnmetError:
        found = read_pointer(bucket, name)
        if found is not None and found[0].version == version:
            etag = found[1]
        else:
            holder = str(found[0]) if found else "nothing any more"
            raise LockHeldError(f"{name}: the remote shows {holder}; {ADVICE}") from None
    memory.note(name.current, etag, version, own=True)


ADVICE = (
    "this machine never had that version. Keep that one: vlm-assets restore with this source or target. "
    "Keep this one: vlm-assets backup --take-over."
)
