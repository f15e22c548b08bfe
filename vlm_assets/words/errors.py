"""One tree of errors, in three kinds that are never mixed.

*config*: raised when settings and catalogue load, all problems at once. *sample*: not an exception but a
`Reject` on record. *slice/system*: raised, retried by the orchestrator. A message says what, where, got against
expected, and what to do.
"""

import errno
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Self, cast


class VlmAssetsError(Exception):
    """Base of every error that this package raises on purpose."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One fault in settings or catalogue: the file, the key inside it, what is wrong and what to do.

    `line`, `column`: of the key, or of what should hold it, from 1; None where there is no such place.
    """

    file: str
    key: str
    message: str
    line: int | None = None
    column: int | None = None

    def __str__(self) -> str:
        """`file:line:column: key: message`, as `vlm-assets check` prints it."""
        place = ":".join(str(part) for part in (self.file, self.line, self.column) if part)
        return ": ".join(part for part in (place, self.key, self.message) if part)


class ConfigError(VlmAssetsError):
    """Settings or catalogue do not load; carries every problem found, in file order."""

    def __init__(self, problems: Sequence[Problem] | Problem) -> None:
        self.problems = (problems,) if isinstance(problems, Problem) else tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


class OperationError(VlmAssetsError):
    """Base of what goes wrong while running: raised, recorded, retried by the orchestrator."""


class SourceError(OperationError):
    """A source cannot be listed or a slice cannot be fetched as a whole (gated, missing, unreadable to its end)."""


class BombError(SourceError):
    """What is packed unpacks to more bytes or members than its limits allow; nothing of it is kept."""


class PostponedError(SourceError):
    """Servers want to be left alone, or gave no good answer: nothing is lost, and nothing is committed.

    `until`: when it may be tried again (Unix seconds).
    """

    def __init__(self, message: str, until: float) -> None:
        self.until = until
        super().__init__(message)


class ListingShrunkError(SourceError):
    """A listing lost more of its items than `shrink_tolerance` allows; the old listing stays in force."""


class RejectToleranceError(SourceError):
    """A slice has a larger share of rejects than its source tolerates; nothing was committed."""


class RendererError(SourceError):
    """A slice is drawn by another machine's renderer, and what is due of it would be drawn by this one's."""


class LockedError(SourceError):
    """A slice cannot become what `corpus.lock` says: items are gone upstream or changed; nothing was committed."""


class StoreError(OperationError):
    """What lies on disk is not what its manifest says, or cannot be written."""


class AnnotationError(StoreError):
    """A file of annotations is damaged, or values are not what their annotator declares; names file or annotator."""


class DataAwayError(StoreError):
    """A file of a committed version lies at the remote alone, and nobody here can lend it; names remote and fix."""


class LockHeldError(StoreError):
    """Another live process holds the lock; the message names its pid, host and start."""


class DiskFullError(StoreError):
    """The volume has not enough room for what is about to be written; everything on disk is still valid."""


_OF_THE_DISK: Final = frozenset(
    {
        errno.EIO, errno.ESTALE, errno.ENXIO, errno.ENODEV, errno.EACCES, errno.EPERM, errno.EMFILE, errno.ENFILE,
        errno.ENOSPC, errno.EDQUOT, errno.EROFS,
    }
)  # fmt: skip


_FIXES: Final = {
    errno.ENOSPC: "make room", errno.EDQUOT: "make room", errno.EACCES: "give this user the right",
    errno.EPERM: "give this user the right", errno.EROFS: "mount it for writing",
    errno.EMFILE: "raise the limit of open files", errno.ENFILE: "raise the limit of open files",
    errno.ENAMETOOLONG: "give it a shorter path", errno.EEXIST: "look what is in its way",
    errno.ENOTEMPTY: "look what is in its way",
}  # fmt: skip


def of_the_disk(error: BaseException) -> bool:
    """Whether the disk said it: over damaged data decoders raise an `OSError` too, or seek where no file is."""
    return isinstance(error, OSError) and error.errno in _OF_THE_DISK


def of_the_medium(error: BaseException) -> bool:
    """Whether it is about the file that was read, where it lies: a bad sector, a right that is missing."""
    return of_the_disk(error) and cast("OSError", error).errno not in {errno.EMFILE, errno.ENFILE}


def of_the_machine(error: BaseException) -> bool:
    """Whether this machine said it: its disk, or that it is out of memory, descriptors or threads.

    An `ImportError` is one: what was installed when the process began cannot be loaded now, and no bytes do that.
    """
    if isinstance(error, RuntimeError):
        return "can't start new thread" in str(error)
    no_memory = isinstance(error, OSError) and error.errno in {errno.ENOMEM, errno.EAGAIN}
    return no_memory or of_the_disk(error) or isinstance(error, MemoryError | ImportError)


def is_full(error: OSError) -> bool:
    """Whether the volume is full, or what a quota leaves of it."""
    return error.errno in {errno.ENOSPC, errno.EDQUOT}


def write_error(where: object, error: OSError) -> StoreError:
    """What to raise where a file cannot be written: a `DiskFullError` only where the volume is full."""
    kind = DiskFullError if is_full(error) else StoreError
    fix = _FIXES.get(error.errno or 0, "see to the disk")
    return kind(
        f"{where}: cannot be written ({error.strerror or error}); what is committed stays valid: {fix}, then run "
        "it again"
    )


class MachineError(StoreError):
    """This machine has no memory, descriptors or threads left, or a library does not load: no data's fault."""


def machine_error(doing: str, error: BaseException) -> MachineError:
    """What to raise of an error that is `of_the_machine`; `doing`: where, and what did not come about."""
    told = " ".join(f"{type(error).__name__}: {error}".split())[:300]
    return MachineError(f"{doing} ({told}); see to its memory, open files and disk, then run it again")


class TakenDownError(StoreError):
    """A version holds rows that were taken down: it is neither pushed nor shown nor restored."""


class AllocationError(OperationError):
    """Quotas cannot be met as the catalogue demands (incomplete sources, `shortfall: fail`)."""


class IncompleteError(AllocationError):
    """Something declared was never committed, and `require_complete` is on."""

    incomplete: tuple[str, ...] = ()

    @classmethod
    def of(cls, incomplete: Sequence[str], mend: str = "Mend what failed and build again") -> Self:
        """`mend`: what to do about it where it is read, a command or the UI."""
        error = cls(
            "the sources are not complete (require_complete):\n  "
            + "\n  ".join(incomplete)
            + f"\n{mend}, set hold or enabled: false for it, or require_complete: false in corpus.yaml."
        )
        error.incomplete = tuple(incomplete)
        return error


class CorpusError(OperationError):
    """Shards cannot be written or sealed from the plan."""


class RemoteError(OperationError):
    """The remote refused, lost or changed an object."""


class LeaseLostError(RemoteError):
    """A lease at the remote could not be renewed: whoever works under it must stop, another may have begun."""


class RejectReason(StrEnum):
    """Why an item or a record did not become a sample. Public: in `rejects.parquet`, manifests and README."""

    # the transfer
    NOT_FOUND = "not_found"
    """404 or 410, or a listed file that is gone."""
    FORBIDDEN = "forbidden"
    """401, 403, 451."""
    HTTP_ERROR = "http_error"
    """Any other status, after all retries where it was worth retrying, or an answer that cannot be made out."""
    UNREACHABLE = "unreachable"
    """No DNS answer, refused connection, TLS failure, timeout or cut body, after all retries."""
    BAD_URL = "bad_url"
    """Not an http(s) URL, or a redirect that leads nowhere or in a circle."""
    PRIVATE_ADDRESS = "private_address"
    """The host or a redirect resolves to an address that the settings do not allow."""
    ROBOTS = "robots"
    """robots.txt forbids it."""
    NOAI = "noai"
    """`X-Robots-Tag` says noai or noimageai, or ai.txt forbids it."""
    TDM_RESERVED = "tdm_reserved"
    """Reserved from text and data mining (TDMRep): by the header `tdm-reservation`, or in tdmrep.json."""
    TOO_MANY_BYTES = "too_many_bytes"
    """Larger than the size cap of a download, file or member."""
    CHECKSUM = "checksum"
    """The bytes do not hash to the declared value."""
    CHANGED = "changed"
    """A file that was replaced since it was listed; due again, as it is listed then."""
    TOMBSTONED = "tombstoned"
    """Taken down: never asked for again."""
    DRIFTED = "drifted"
    """The address gives another picture than before: quarantined until someone accepts it."""
    # the item
    DUPLICATE_ITEM = "duplicate_item"
    """The listing names the same thing twice."""
    EMPTY = "empty"
    """No bytes, or a container without records."""
    UNREADABLE = "unreadable"
    """A file, member or document that cannot be opened or read."""
    ENCRYPTED = "encrypted"
    """A member or document behind a password."""
    UNSAFE_MEMBER = "unsafe_member"
    """An archive member that is a link, a device, or leaves its folder."""
    NO_IMAGE = "no_image"
    """A row whose image cell is empty, or one of several is."""
    BAD_CONVERSATION = "bad_conversation"
    """A conversation in none of the known forms."""
    TEST_MODE = "test_mode"
    """Beyond the row cap of test mode; never in a real corpus."""
    # the image
    NOT_AN_IMAGE = "not_an_image"
    """The bytes are no image in any known format."""
    FORMAT_NOT_ALLOWED = "format_not_allowed"
    """A known format outside the `formats` of the catalogue."""
    CORRUPT = "corrupt"
    """Header and body disagree, or the decoder fails."""
    UNSUPPORTED = "unsupported"
    """A pixel mode or compression of a known format that its decoder does not know."""
    TRUNCATED = "truncated"
    """The data ends before the image does."""
    BOMB = "bomb"
    """More pixels than the limit; refused before decoding."""
    DECODER_CRASHED = "decoder_crashed"
    """The decoder died in its child process, and again when tried once more."""
    DECODER_TIMEOUT = "decoder_timeout"
    """The decoder used up its processor time, or hung, in its child process."""
    MULTI_FRAME = "multi_frame"
    """Animated or multi-page, and the settings reject those."""
    # the page
    PAGE_TOO_LARGE = "page_too_large"
    """A page with more pixels at the wanted DPI than the cap."""
    RENDER_FAILED = "render_failed"
    """No renderer gave the page, or it hung, or ran out of processor time or memory."""


@dataclass(frozen=True, slots=True)
class Reject:
    """One item or record that did not become a sample, as whoever met it tells it.

    `record` is None when the whole item was rejected. `detail` is one line for a person and holds no secret. How
    often it was tried and when it is due again is for the ledger of its slice.
    """

    item: str
    reason: RejectReason
    detail: str = ""
    record: int | None = None
    transient: bool = False
    """It may come right by itself: the item is fetched again later."""
    not_before: float = 0
    """Unix seconds: until then upstream wants to be left alone. 0: it said nothing."""
    tries: int = 0
    """After so many attempts a transient one is final. 0: never."""


class LeftOutReason(StrEnum):
    """Why something upstream has is neither an item nor a companion. Public: in `left_out.parquet` and README."""

    OS_JUNK = "os_junk"
    """What an operating system leaves behind: `__MACOSX`, `._*`, `.DS_Store`, `Thumbs.db`, `desktop.ini`."""
    HIDDEN = "hidden"
    """Its name, or that of a folder above it, begins with a dot."""
    LINK_OUTSIDE = "link_outside"
    """A link that leads out of its folder; `follow_links: true` takes it in."""
    EXCLUDED = "excluded"
    """A key of the catalogue (`include`, `exclude`, `assets`, …) does not let it through."""
    UNKNOWN_TYPE = "unknown_type"
    """Neither its name nor its bytes are of a kind that is read."""
    SPLIT_ARCHIVE_INCOMPLETE = "split_archive_incomplete"
    """A part of a split archive of which other parts are missing."""
    NESTED_TOO_DEEP = "nested_too_deep"
    """An archive inside more archives than are opened."""
    FRAME = "frame"
    """A frame or page beyond the first of a picture of several."""
    UNUSED_COMPANION = "unused_companion"
    """Captions or metadata that were joined to no item."""
    NOT_LOCKED = "not_locked"
    """`build --locked` takes what `corpus.lock` names: upstream got this later."""


UNREAD: Final = frozenset(
    {LeftOutReason.UNKNOWN_TYPE, LeftOutReason.SPLIT_ARCHIVE_INCOMPLETE, LeftOutReason.NESTED_TOO_DEEP}
)
"""Left out though nobody said so: these count towards `reject_tolerance`."""


@dataclass(frozen=True, slots=True)
class LeftOut:
    """One thing that upstream has and that is left out on purpose: a row of `left_out.parquet`.

    `key` is its path below the source; of a member below the container's item key (`photos.zip/a/readme.txt`).
    `detail` is one line for a person. `size_bytes` is None where nobody tells.
    """

    key: str
    reason: LeftOutReason
    detail: str = ""
    size_bytes: int | None = None


def told_why(reason: str, detail: str) -> str:
    """`truncated: 12 of 40 kB`; the reason alone where the detail says the same, or nothing."""
    said = detail.strip()
    same = said.casefold().replace(" ", "_") in {"", reason}
    return reason if same else f"{reason}: {said}"


@dataclass(frozen=True, slots=True)
class Companion:
    """Members of a container that went with its records: their words, images that stand beside others.

    `key` is of one of them, below the container's item key.
    """

    key: str
    members: int = 1
