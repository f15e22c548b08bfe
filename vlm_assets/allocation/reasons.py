"""Why an admitted row takes no part in an allocation."""

from collections.abc import Iterable
from enum import StrEnum
from typing import Final


class ExclusionReason(StrEnum):
    """Tested in this order; a row counts under the first that holds. Public: in grants, manifests and README."""

    TOMBSTONE = "tombstone"
    """Taken down by id or by one of its images."""
    UNMAPPED_LABEL = "unmapped_label"
    """The label gives no subcategory, or one that the quota tree does not name."""
    LICENCE = "licence"
    """The catalogue's licence policy does not admit the source's licence."""
    MIN_SIDE = "min_side"
    """The shorter side of one of its images has fewer pixels than `min_side_px`."""
    TOO_LARGE = "too_large"
    """The row alone does not fit into a shard of `max_bytes`."""
    DECONTAMINATE = "decontaminate"
    """One of its images is a benchmark's, or within `decontaminate_bits` of one, or it shares 13 words in a row."""
    MAX_SAMPLES = "max_samples"
    """Not among the source's `max_samples` distinct row keys of lowest rank."""
    DUPLICATE = "duplicate"
    """A row of higher precedence has the same key, or nearly the same picture."""
    DUPLICATE_OTHER_WORDS = "duplicate_other_words"
    """Under `exact: image`: the same images as a row of higher precedence, but other text or messages."""


FILTER_PREFIX: Final = "filter:"
"""Before the name of a filter; its reason is tested after `min_side`."""


def reasons_of(filters: Iterable[str]) -> tuple[str, ...]:
    """Every reason of a catalogue with these filters, in the order in which they are tested; filters by name."""
    fixed = [str(reason) for reason in ExclusionReason]
    place = fixed.index(ExclusionReason.MIN_SIDE) + 1
    return (*fixed[:place], *(f"{FILTER_PREFIX}{name}" for name in sorted(filters)), *fixed[place:])
