"""What a kind of source promises: its traits, list slices, fetch records."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar, Protocol, TypeVar

from vlm_assets.catalog.spec import SourceSpec
from vlm_assets.words.contexts import FetchContext, ListContext
from vlm_assets.words.records import Event, Item, Listed

SpecT_contra = TypeVar("SpecT_contra", bound=SourceSpec, contravariant=True)


class Requests(StrEnum):
    """What of a kind's work is asked for on the network."""

    NONE = "none"
    """Nothing: all lies on volumes of this machine."""
    ONE_A_SOURCE = "one_a_source"
    """One file, which all slices of the source share."""
    ONE_AN_ITEM = "one_an_item"
    """Each item by itself."""


class Obtained(StrEnum):
    """How a kind comes by its data, in the classes of the EU's template for summaries of training data."""

    PUBLIC = "public_datasets"
    """Datasets that somebody publishes for anybody to download."""
    CRAWLED = "crawled"
    """Asked for from the servers of many, address by address."""
    PRIVATE = "private_datasets"
    """Handed over by a third party, or lying on this machine's disks already."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Traits:
    """What fetching a kind takes, for whoever plans or places its work. No field has a default: each kind tells all.

    Whether an item is a container is no trait: a repository or release has both, so `ListedSlice` tells it.
    """

    requests: Requests
    """Decides requests and hours of a plan, and whether nightly budgets have anything to count."""
    renders_pages: bool
    """A slice keeps several cores busy with processes of its own, and each of them holds a page in memory."""
    memory_mib: int
    """Of a machine that works on one slice at a time."""
    badges: frozenset[str]
    """Further kinds, for which the UI has a picture."""
    obtained: Obtained
    """What a summary of training data files it under."""


class Source(Protocol[SpecT_contra]):
    """A kind of source. Stateless; one instance a kind, named `SOURCE` in its module."""

    kind: ClassVar[str]
    version: ClassVar[int]
    """Raised by hand when the kind yields other bytes for the same upstream content."""
    spec_type: ClassVar[type[SourceSpec]]
    traits: ClassVar[Traits]

    def list(self, spec: SpecT_contra, context: ListContext) -> Listed:
        """Every slice with every item, under a pinned revision.

        Raises:
            SourceError: upstream is missing, gated, or cannot be listed to its end.
        """
        ...

    def fetch(self, spec: SpecT_contra, items: Sequence[Item], context: FetchContext) -> Iterator[Event]:
        """All records of `items`, item by item in the given order, records in theirs.

        Every item gives at least one record or reject, or something left out, whose `key` is the item's or below it.
        A container that cannot be enumerated to its end raises.

        Raises:
            SourceError: the slice cannot be fetched as a whole; nothing of it is committed.
        """
        ...
