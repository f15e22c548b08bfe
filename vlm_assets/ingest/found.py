"""What lies here of a source, looked at once: of 100,000 slices each look takes a second."""

from collections.abc import Mapping
from dataclasses import dataclass

from vlm_assets.catalog.spec import SourceSpec
from vlm_assets.ingest.summary import SliceSummary, summarise_source
from vlm_assets.store.listings import read_listing
from vlm_assets.words.caption_rows import CaptionRows, caption_rows_of
from vlm_assets.words.layout import DataRoot
from vlm_assets.words.manifest import Listing


@dataclass(frozen=True, slots=True)
class FoundSource:
    """Listing and committed slices of one moment, for all that a command says of the source."""

    spec: SourceSpec
    listing: Listing | None
    committed: Mapping[str, SliceSummary]
    """By slice, retired ones too."""

    @classmethod
    def of(cls, root: DataRoot, spec: SourceSpec) -> "FoundSource":
        """As it is now; None for a listing that was never made."""
        return cls(spec, read_listing(root, spec.name), summarise_source(root, spec.name).slices)

    def caption_rows(self) -> CaptionRows | None:
        """What became of its captions, in archives too; None where none were counted."""
        return caption_rows_of(self.listing, self.in_force())

    def in_force(self) -> dict[str, SliceSummary]:
        """The committed slices that are listed still; all of them where there is no listing."""
        listed = None if self.listing is None else self.listing.slices
        return {name: one for name, one in self.committed.items() if listed is None or name in listed}

    def due(self) -> list[str]:
        """The listed slices that are not committed as they are listed: new, changed, or never committed."""
        listed = {} if self.listing is None else self.listing.slices
        return [
            name
            for name, one in listed.items()
            if name not in self.committed or self.committed[name].listing_fingerprint != one.fingerprint
        ]
