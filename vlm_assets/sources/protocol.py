"""What a kind of source promises and is given: list slices, fetch records."""

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeVar

from vlm_assets.catalog.spec import SourceSpec
from vlm_assets.errors import Reject
from vlm_assets.settings import Settings

SpecT_contra = TypeVar("SpecT_contra", bound=SourceSpec, contravariant=True)


@dataclass(frozen=True, slots=True)
class Item:
    """One thing known at listing: a URL, a file, an archive, a document.

    `key` is NFC and unique in its source. `identity` changes when upstream's content does (a hash, an ETag, a
    declared sha256; "" where upstream tells nothing). `payload` is what fetching needs besides the key: JSON
    values, no secret. It is not part of the fingerprint: what changes bytes goes into `identity`.
    """

    key: str
    identity: str = ""
    payload: Mapping[str, Any] = field(default_factory=dict)
    size_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class ListedSlice:
    """The items of one slice, in any order. `container`: its items hold many records each (archives, PDFs)."""

    name: str
    """Raw name; `layout.slice_key` makes the partition key."""
    items: Sequence[Item]
    container: bool = False
    items_per_slice: int = 1
    """Planned number of loose items a slice: with `block_rows` it fixes how fine the groups are."""


@dataclass(frozen=True, slots=True)
class Listed:
    """What `list` gives back: the pinned upstream revision and every slice."""

    revision: str
    slices: Iterable[ListedSlice]
    buckets: Mapping[str, int] = field(default_factory=dict)
    """Number of buckets a group of items was cut into at the first listing; "" is the only group of most."""
    attributes: Mapping[str, Any] = field(default_factory=dict)
    """Anything else that fetching needs for the whole source (resolved config names, repo id): JSON values."""


@dataclass(frozen=True, slots=True)
class Record:
    """A raw row before it becomes a sample.

    `record` counts within the item, rejected ones included. `key` is unique within the slice and names the row
    in its id. `image` is the encoded bytes, or a file that holds just them. `extra` holds the other upstream
    columns: JSON values.
    """

    item: str
    record: int
    key: str
    image: bytes | Path
    origin: str
    text: str | None = None
    label: str | None = None
    extra: Mapping[str, Any] | None = None
    dpi: int | None = None
    vouched: bool = False
    """The listing declares the hash of these bytes: other ones than before are meant, not drift."""


@dataclass(frozen=True, slots=True)
class ListContext:
    """What listing may use."""

    settings: Settings
    cache_dir: Path
    """Of this source, under the data root's cache."""
    locks_dir: Path
    """For slots and rate limits shared by all runs on the machine."""
    previous_buckets: Mapping[str, int] = field(default_factory=dict)
    """`Listed.buckets` of the last listing: must be kept, or every slice changes."""
    previous_revision: str | None = None
    force: bool = False
    """Ask upstream again even where the cache would do."""


@dataclass(frozen=True, slots=True)
class FetchContext:
    """What fetching one slice may use."""

    settings: Settings
    source: str
    slice_name: str
    revision: str
    attributes: Mapping[str, Any]
    cache_dir: Path
    """Of this source; downloads that several slices share lie here."""
    spool_dir: Path
    """Of this slice; progress that survives a kill. Removed by the caller after the commit."""
    locks_dir: Path
    force: bool = False
    """Ignore what the cache holds."""
    max_records: int | None = None
    """Test mode: no more records than this are wanted."""
    tombstoned_urls: frozenset[str] = frozenset()
    """Never to be requested; each is a reject with reason `tombstoned`."""
    attempts: Mapping[str, int] = field(default_factory=dict)
    """Earlier attempts of items that are due again, by item key."""
    cancelled: threading.Event = field(default_factory=threading.Event)
    progress: Callable[[int, int], None] = lambda items, size_bytes: None  # noqa: ARG005 - does nothing
    """Called with the numbers of items and bytes since the last call."""
    measure: Callable[[str, float], None] = lambda name, value: None  # noqa: ARG005 - does nothing
    """Adds to a named figure in `run.json` (requests, bytes, pages, seconds)."""


class Source(Protocol[SpecT_contra]):
    """A kind of source. Stateless; one instance a kind, named `SOURCE` in its module."""

    kind: ClassVar[str]
    version: ClassVar[int]
    """Raised by hand when the kind yields other bytes for the same upstream content."""
    spec_type: ClassVar[type[SourceSpec]]

    def list(self, spec: SpecT_contra, context: ListContext) -> Listed:
        """Every slice with every item, under a pinned revision.

        Raises:
            SourceError: upstream is missing, gated, or cannot be listed to its end.
        """
        ...

    def fetch(
        self, spec: SpecT_contra, items: Sequence[Item], context: FetchContext
    ) -> Iterator[Record | Reject]:
        """All records of `items`, item by item in the given order, records in theirs.

        Every item gives at least one record or reject. A container that cannot be enumerated to its end raises.

        Raises:
            SourceError: the slice cannot be fetched as a whole; nothing of it is committed.
        """
        ...


def retry_at(attempts: int, *, now: float | None = None) -> int:
    """When a transient reject is due again, in Unix seconds: 1 h, 4 h, 16 h, then weekly."""
    delay_s = min(3600 * 4 ** (max(attempts, 1) - 1), 7 * 86400)
    return int((time.time() if now is None else now) + delay_s)
