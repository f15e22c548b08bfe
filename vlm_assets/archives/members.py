"""What the readers of the formats give (`Entry`), and what comes out of the room (`Member`, or `LeftOut`)."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import BinaryIO

from vlm_assets.archives.streams import Stream
from vlm_assets.words.errors import LeftOut, RejectReason


@dataclass(frozen=True, slots=True)
class Entry:
    """A member as its archive announces it, before anything was decided about it."""

    name: str
    """NFC, with `/`. Of an unsafe one: what it calls itself."""
    open: Callable[[], Stream]
    """Its bytes; until the next entry is asked for, and once. Reading may raise `MemberFaultError` or
    `DamagedArchiveError`."""
    size_bytes: int | None = None
    """As announced."""
    is_folder: bool = False
    unsafe: str = ""
    """Why it must not be used under its name, or is no file."""
    closed: tuple[RejectReason, str] | None = None
    """Why its bytes cannot be had."""
    guessed: bool = False
    """The name's encoding is a guess."""
    view: Callable[[], BinaryIO] | None = None
    """Its bytes as a file that can be positioned, where they lie in the archive as they are."""


@dataclass(frozen=True, slots=True)
class Member:
    """One record of an archive: its bytes, or why there are none; where they were not asked for, neither."""

    name: str
    """NFC, with `/`; of a member of an archive inside, below that archive's name (`train.zip/cat/a.jpg`)."""
    number: int
    """Place among the archive's records, refused ones included."""
    data: bytes | None
    reason: RejectReason | None = None
    detail: str = ""
    guessed: bool = False
    """Whether the encoding of its name is a guess."""


Found = Member | LeftOut
