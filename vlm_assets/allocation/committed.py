"""What the catalogue's sources have on disk for an allocation: committed slices, and what is missing."""

from dataclasses import dataclass

from vlm_assets.allocation.supply import SupplySlice
from vlm_assets.catalog.spec import SourceSpec
from vlm_assets.ingest.summary import SourceSummary, summarise_source
from vlm_assets.installation.opening import Installation
from vlm_assets.store.listings import read_listing
from vlm_assets.words.layout import VERSIONS
from vlm_assets.words.manifest import Listing


@dataclass(frozen=True, slots=True)
class Supply:
    """Committed slices of all enabled sources, sorted, and in words what is declared and not there."""

    slices: tuple[SupplySlice, ...]
    incomplete: tuple[str, ...]


def gather_supply(installation: Installation) -> Supply:
    """Reads summaries and listings, no index. Retired slices and disabled sources are left out.

    A held source counts with what it has. A slice whose newer content failed to arrive counts with its old version.
    """
    slices: list[SupplySlice] = []
    incomplete: list[str] = []
    for spec in installation.catalog.sources:
        if not spec.enabled:
            continue
        listing = read_listing(installation.root, spec.name)
        summary = summarise_source(installation.root, spec.name)
        slices += _slices_of(installation, spec, listing, summary)
        if not spec.hold:
            incomplete += _missing(spec, listing, summary)
    return Supply(tuple(sorted(slices, key=lambda s: (s.source, s.slice))), tuple(incomplete))


def _slices_of(
    installation: Installation, spec: SourceSpec, listing: Listing | None, summary: SourceSummary
) -> list[SupplySlice]:
    versions = installation.root.source(spec.name) / VERSIONS
    return [
        SupplySlice(
            source=spec.name,
            slice=name,
            version=one.version,
            content_hash=one.content_hash,
            rows=one.rows,
            container=one.container,
            items_per_slice=one.items_per_slice,
            path=versions / one.version,
            multi_image_rows=one.multi_image_rows,
        )
        for name, one in summary.slices.items()
        if listing is None or name in listing.slices
    ]


def _missing(spec: SourceSpec, listing: Listing | None, summary: SourceSummary) -> list[str]:
    if listing is None:
        return [f"source {spec.name}: never listed"]
    missing = [name for name in listing.slices if name not in summary.slices]
    if not missing:
        return []
    shown = ", ".join(missing[:5]) + (", …" if len(missing) > 5 else "")
    return [f"source {spec.name}: {len(missing)} of {len(listing.slices)} slices never committed: {shown}"]
