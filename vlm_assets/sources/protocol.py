"""What a kind of source promises: list slices, fetch records."""

from collections.abc import Iterator, Sequence
from typing import ClassVar, Protocol, TypeVar

from vlm_assets.catalog.spec import SourceSpec
from vlm_assets.words.contexts import FetchContext, ListContext
from vlm_assets.words.errors import Reject
from vlm_assets.words.records import Item, Listed, Record

SpecT_contra = TypeVar("SpecT_contra", bound=SourceSpec, contravariant=True)


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
