"""What a plan may draw from: the committed slices of enabled sources."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from vlm_assets.catalog.spec import Catalog
from vlm_assets.words.errors import AllocationError
from vlm_assets.words.manifest import SliceManifest


@dataclass(frozen=True, slots=True)
class SliceValues:
    """The values of one annotation for a slice, which some filter reads."""

    annotation: str
    values_hash: str
    """Of ids and values, whatever file they lie in."""
    path: Path


@dataclass(frozen=True, slots=True)
class SupplySlice:
    """One committed slice of an enabled source that takes part. `path` is the real version folder, no symlink."""

    source: str
    slice: str
    version: str
    content_hash: str
    rows: int
    container: bool
    items_per_slice: int
    path: Path
    multi_image_rows: int = 0
    """Where it is 0, no list of the index is read but by filters."""
    values: tuple[SliceValues, ...] = ()
    """Of the annotations that filters read, as far as they are there for this content; by name."""

    @classmethod
    def of(cls, manifest: SliceManifest, path: Path) -> "SupplySlice":
        """The slice that a committed version folder holds."""
        return cls(
            source=manifest.source,
            slice=manifest.slice,
            version=manifest.version,
            content_hash=manifest.content_hash,
            rows=manifest.rows,
            container=manifest.container,
            items_per_slice=manifest.items_per_slice,
            path=path,
            multi_image_rows=manifest.multi_image_rows,
        )


def checked_supply(catalog: Catalog, supply: Sequence[SupplySlice]) -> tuple[SupplySlice, ...]:
    """The supply sorted by (source, slice).

    Raises:
        AllocationError: a slice twice, or of a source that the catalogue disables or does not have.
    """
    enabled = {spec.name for spec in catalog.sources if spec.enabled}
    foreign = sorted({entry.source for entry in supply} - enabled)
    if foreign:
        raise AllocationError(
            f"supply of sources that are not enabled: {', '.join(foreign)}; enabled: {', '.join(sorted(enabled))}"
        )
    ordered = tuple(sorted(supply, key=lambda entry: (entry.source, entry.slice)))
    for one, other in pairwise(ordered):
        if (one.source, one.slice) == (other.source, other.slice):
            raise AllocationError(
                f"{one.source}/{one.slice} is in the supply twice: {one.path}, {other.path}"
            )
    return ordered
