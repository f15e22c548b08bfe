"""What an annotator promises: its name, its version, what it reads, the columns it gives."""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any, ClassVar, Protocol, TypeVar

import pyarrow as pa

Seen_contra = TypeVar("Seen_contra", contravariant=True)
Values = Mapping[str, Any] | None
"""The value of each column, plain Python; None for an image or words that have none."""


class Reads(StrEnum):
    """What an annotator is handed, one at a time."""

    IMAGES = "images"
    """`picture.Picture`: each image of a record gives values of its own."""
    TEXT = "text"
    """All words of a record, as one string: its text and the text of its messages."""


class Annotator(Protocol[Seen_contra]):
    """Stateless, or with what it loads once; one instance an annotator, named `ANNOTATOR` in its module."""

    name: ClassVar[str]
    """Of its module too; filters say `<name>.<column>`."""
    version: ClassVar[int]
    """Raised by hand when it gives other values for the same content, be it by a parameter or a model: every record
    is looked at anew then. Under the same version values of content that was seen before are taken over."""
    reads: ClassVar[Reads]
    columns: ClassVar[pa.Schema]
    """The value columns, as of one image or one record: no lists. A column that can be used in a filter is a number,
    a truth value or a string."""

    cost_s: ClassVar[float]
    """Seconds of one core for 1,000 images, or the words of 1,000 records, beside decoding, as `bench_annotate`
    measured them: for plans."""

    def missing(self) -> str:
        """What must be installed before it can work, in words for a person; "" where nothing is missing."""
        ...

    def annotate(self, batch: Sequence[Seen_contra]) -> Sequence[Values]:
        """Values of each, in their order. Each depends on that one alone, on no clock and on no other of the batch.

        Raises:
            Exception: anything, over bytes that it cannot make sense of; the one at fault then has no values.
        """
        ...
