"""What a plan may draw from, and what it must keep out: committed slices of enabled sources and benchmarks."""

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
    has_words: bool = True
    """Where it is False, no row has text or messages."""

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
            has_words=manifest.rows_with_text + manifest.rows_with_messages > 0,
        )


def checked_supply(catalog: Catalog, slices: Sequence[SupplySlice]) -> tuple[SupplySlice, ...]:
    """Those of the slices that a corpus is made of, none of a benchmark, sorted by (source, slice).

    Raises:
        AllocationError: a slice twice, or of a source that the catalogue disables or does not have.
    """
    return tuple(one for one in _checked(catalog, slices) if not catalog.is_benchmark(one.source))


def checked_benchmarks(catalog: Catalog, slices: Sequence[SupplySlice]) -> tuple[SupplySlice, ...]:
    """Those of the slices that no corpus may hold, of benchmarks, sorted by (source, slice).

    Raises:
        AllocationError: as `checked_supply`.
    """
    return tuple(one for one in _checked(catalog, slices) if catalog.is_benchmark(one.source))


def _checked(catalog: Catalog, supply: Sequence[SupplySlice]) -> tuple[SupplySlice, ...]:
    enabled = {spec.name for spec in catalog.fetched if spec.enabled}
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
