"""What one member of an archive holds: its first bytes, and all of them."""

from typing import Final

from vlm_assets.archives.limits import ArchiveLimits, MemberFaultError
from vlm_assets.archives.members import Entry, Found, Member
from vlm_assets.archives.streams import Peeked, Stream
from vlm_assets.images.facts import FORMATS
from vlm_assets.images.sniff import POINTER, sniff
from vlm_assets.words.errors import LeftOut, LeftOutReason, RejectReason

HEAD_BYTES: Final = 4096
"""Of a member without a known suffix: enough to tell an image."""
_DATA_FILES: Final = ((b"PAR1", "Parquet"), (b"ARROW1", "Arrow"))


def read_member(entry: Entry, name: str, limits: ArchiveLimits, *, by_content: bool = False) -> Found:
    """One member: its bytes, or why there are none. `by_content`: left out where it does not hold an image.

    Raises:
        BombError: with it, the archive has unpacked to too much.
    """
    if entry.unsafe:
        return Member(name, 0, None, RejectReason.UNSAFE_MEMBER, entry.unsafe)
    stream: Stream | None = None
    if by_content:
        try:
            stream, head = peek(entry)
        except MemberFaultError as fault:
            return LeftOut(name, LeftOutReason.UNKNOWN_TYPE, fault.detail, entry.size_bytes)
        if not is_image_head(head):
            return LeftOut(name, LeftOutReason.UNKNOWN_TYPE, form_named(head), entry.size_bytes)
    try:
        return Member(name, 0, read_whole(entry, limits.member_bytes, stream))
    except MemberFaultError as fault:
        return Member(name, 0, None, fault.reason, fault.detail)


def peek(entry: Entry) -> tuple[Stream, bytes]:
    """A member's stream, and the first bytes of it."""
    if entry.closed is not None:
        raise MemberFaultError(*entry.closed)
    stream = entry.open()
    head = stream.read(HEAD_BYTES)
    return Peeked(head, stream), head


def read_whole(entry: Entry, cap: int, stream: Stream | None = None) -> bytes:
    """All bytes of a member. Reads no more than the cap, whatever it says."""
    if entry.closed is not None:
        raise MemberFaultError(*entry.closed)
    if (entry.size_bytes or 0) > cap:
        raise MemberFaultError(RejectReason.TOO_MANY_BYTES, f"{entry.size_bytes} bytes, the cap is {cap}")
    data = (stream or entry.open()).read(cap + 1)
    if len(data) > cap:
        raise MemberFaultError(RejectReason.TOO_MANY_BYTES, f"more than {cap} bytes")
    return data


def is_image_head(head: bytes) -> bool:
    """Whether a file's first bytes are those of an image in a format that can be admitted.

    Not Targa: it has no magic number, and much that is no image looks like it.
    """
    found = sniff(head)
    return found is not None and found.is_image and found.name in FORMATS and found.name != "TGA"


def form_named(head: bytes) -> str:
    """The form that a member's first bytes are of; "" where they tell none."""
    for magic, name in _DATA_FILES:
        if head.startswith(magic):
            return f"{name}, which is not read inside an archive: unpack it"
    found = sniff(head)
    return found.name if found is not None else ""


def what_it_is(head: bytes) -> str:
    """What the first bytes of a file that is not what its name says are of, to go behind a message; may be ""."""
    if not head:
        return ": it has no bytes"
    found = sniff(head)
    if found is None:
        return ""
    is_pointer = found.name == POINTER
    return f": it is {found.name}" + ("; fetch the file itself (git lfs pull)" if is_pointer else "")
