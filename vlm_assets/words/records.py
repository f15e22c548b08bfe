"""What sources speak of: items known at listing, slices of them, and raw records before they become samples."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from vlm_assets.words.errors import Companion, LeftOut, Reject


@dataclass(frozen=True, slots=True)
class Item:
    """One thing known at listing: a URL, a file, an archive, a document.

    `key` is NFC and unique in its source. `identity` changes when upstream's content does (a hash, an ETag, a
    declared sha256; "" where upstream tells nothing). `payload` is what fetching needs besides the key: JSON
    values, no secret. It is not part of the fingerprint: what changes bytes goes into `identity`, as a hash where it
    is words. Words stand in `captions` or `rows` of the payload, an entry a record: takedowns empty them there.
    The address that it is fetched from stands in `url`, those of one record's images in `urls`: an item whose address
    was taken down is rejected before its kind is asked.
    """

    key: str
    identity: str = ""
    payload: Mapping[str, Any] = field(default_factory=dict)
    size_bytes: int | None = None


class KeysTell(StrEnum):
    """What the keys of a slice's items tell of the folders in its records' keys."""

    WHOLE = "whole"
    """All of them: an image, a document."""
    ABOVE = "above"
    """The first ones, the key itself the last of these: an archive whose members are keyed below it."""
    NOTHING = "nothing"


@dataclass(frozen=True, slots=True)
class ListedSlice:
    """The items of one slice, in any order. `container`: its items hold many records each (archives, PDFs)."""

    name: str
    """Raw name; `layout.slice_key` makes the partition key."""
    items: Sequence[Item]
    container: bool = False
    items_per_slice: int = 1
    """Planned number of loose items a slice: with `block_rows` it fixes how fine the groups are."""
    requests: int | None = None
    """How many it takes to fetch all items; None: one each, of a kind that asks for each."""
    keys_tell: KeysTell | None = None
    """None: `WHOLE` of loose items, `NOTHING` of containers."""

    @property
    def told_by_keys(self) -> KeysTell:
        """`keys_tell`, or what goes without saying."""
        return self.keys_tell or (KeysTell.NOTHING if self.container else KeysTell.WHOLE)


@dataclass(frozen=True, slots=True)
class Listed:
    """What `list` gives back: the pinned upstream revision and every slice."""

    revision: str
    slices: Iterable[ListedSlice]
    """A sequence, or one at a time in the order of their names."""
    buckets: Mapping[str, int] = field(default_factory=dict)
    """Number of buckets a group of items was cut into at the first listing; "" is the only group of most."""
    attributes: Mapping[str, Any] = field(default_factory=dict)
    """Anything else that fetching needs for the whole source (resolved config names, repo id): JSON values."""
    left_out: Iterable[LeftOut] = ()
    """What upstream has that is neither an item nor joined to one."""
    hints: Sequence[str] = ()
    """What a person should look at before fetching: a line each."""
    upstream: int | None = None
    """How many things upstream showed, counted where they are met; None where the kind does not count them."""
    companions: int = 0
    """How many of these were joined to items: captions, metadata, further parts of split archives."""
    captions_unused: int | None = None
    """Caption rows or sidecars that name nothing."""
    unchanged: bool = False
    """The last listing stands as it is, nothing else here counts. Needs `ListContext.keeps_revision`."""
    word_keys: Mapping[str, str] = field(default_factory=dict)
    """What the catalogue would say for captions that are there and that it does not name: for `add`."""


@dataclass(frozen=True, slots=True)
class RecordImage:
    """One image of a record: encoded bytes, or a file that holds just them.

    `name`: the column, member or file it came from, where the record is more than this image. `origin`: where it
    came from, where that is not the record's origin. `sha256`: of the bytes that were listed, hex; others are a
    reject, due again. "" where the listing took none.
    """

    data: bytes | Path
    name: str | None = None
    origin: str | None = None
    dpi: int | None = None
    sha256: str = ""


@dataclass(frozen=True, slots=True)
class Record:
    """A raw row before it becomes a sample: whole, with all its images and words.

    `record` counts within the item, rejected ones included. `key` is unique within the slice and names the row
    in its id. `images`: one or more, in upstream's order. `messages`: a conversation as `captions.conversations`
    normalises it. `extra` holds the other upstream columns: JSON values.
    """

    item: str
    record: int
    key: str
    images: Sequence[RecordImage]
    origin: str
    text: str | None = None
    messages: Sequence[Mapping[str, Any]] | None = None
    label: str | None = None
    extra: Mapping[str, Any] | None = None
    images_upstream: int = 1
    """How many images upstream's record has, counted where upstream tells it and not in `images`: the audit holds
    the row against it."""
    remarks: Mapping[str, int] = field(default_factory=dict)
    """What was mended on the way, as `captions.conversations` names it, or is missing (`NO_TEXT_LAYER`): no fault of
    the record, but counted."""
    vouched: bool = False
    """The listing declares the hash of these bytes: other ones than before are meant, not drift."""


@dataclass(frozen=True, slots=True)
class JoinedCaptions:
    """What became of caption rows and sidecars in or beside a container, in counts that `sum_counts` adds up."""

    item: str
    counts: Mapping[str, Any]


Event = Record | Reject | LeftOut | Companion | JoinedCaptions
"""What `fetch` gives."""
