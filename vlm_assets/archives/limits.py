"""How much an archive may claim and unpack to, and the faults that end a member or the whole archive."""

from dataclasses import dataclass, field
from typing import Final

from vlm_assets.words.counts import so_many
from vlm_assets.words.errors import BombError, RejectReason, SourceError

_FREE_BYTES: Final = 2**30
"""Unpacked bytes below which the ratio is nobody's business."""


@dataclass(frozen=True, slots=True)
class ArchiveLimits:
    """Where an archive counts as a bomb: the member is refused, or the whole archive is an error."""

    member_bytes: int
    """A larger member is a reject."""
    members: int = 5_000_000
    """More members than this, those of archives inside counted too: an error."""
    ratio: int = 200
    """Unpacked bytes over archive bytes, beyond the first GiB: an error. Image formats do not pack that well."""
    depth: int = 3
    """Archives inside the outermost one that are opened; what lies deeper is left out."""
    header_bytes: int = 2**20
    """A tar's header extension that claims more is an error: it would be held in memory."""
    window_bytes: int = 256 * 2**20
    """A compressed stream that needs a larger window than this to unpack is unreadable."""


class DamagedArchiveError(SourceError):
    """An archive cannot be enumerated to its end."""


class TruncatedArchiveError(DamagedArchiveError):
    """An archive ends before its end: cut off, or the last parts of a split one are missing."""


class MissingPartsError(TruncatedArchiveError):
    """Parts of a split archive are not there; nothing of it was given."""


class MemberFaultError(Exception):
    """One member cannot be read; the archive goes on. Ends as a reject, never leaves this package."""

    def __init__(self, reason: RejectReason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


@dataclass(slots=True)
class Budget:
    """What one archive, with the archives inside it, has unpacked so far."""

    limits: ArchiveLimits
    archive_bytes: int
    where: str
    unpacked_bytes: int = field(default=0, init=False)
    members: int = field(default=0, init=False)

    def unpack(self, size_bytes: int) -> None:
        """Counts bytes that came out of a decoder.

        Raises:
            BombError: they are too many for an archive of this size.
        """
        self.unpacked_bytes += size_bytes
        if self.unpacked_bytes > _FREE_BYTES and self.unpacked_bytes > self.limits.ratio * max(
            self.archive_bytes, 1
        ):
            raise BombError(
                f"{self.where}: unpacks to more than {self.limits.ratio} times its {self.archive_bytes} bytes; "
                "refused as a bomb"
            )

    def member(self) -> None:
        """Counts a member.

        Raises:
            BombError: there are more than the cap.
        """
        self.members += 1
        if self.members > self.limits.members:
            raise BombError(f"{self.where}: more than {so_many(self.limits.members, 'member')}")


def short(error: BaseException) -> str:
    """A library's message as one line."""
    return " ".join(str(error).split())[:150] or type(error).__name__
