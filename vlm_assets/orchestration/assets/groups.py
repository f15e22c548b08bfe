"""How assets are shown: groups, kinds and tags of a source. For eyes only."""

from typing import Final

from vlm_assets.catalog.spec import SourceSpec
from vlm_assets.orchestration.assets.metadata import source_state
from vlm_assets.sources.registry import traits_of

LISTING_GROUP: Final = "listing"
LINE_GROUP: Final = "corpus"


def source_kinds(spec: SourceSpec) -> set[str]:
    """Kind badges of a source's assets: the kind, and those that the UI has a picture for."""
    return {spec.kind, *traits_of(spec.kind).badges}


def dataset_group(spec: SourceSpec) -> str:
    """Datasets stand by category, apart from the groups of the line itself."""
    return f"dataset_{spec.category}"


def source_tags(spec: SourceSpec) -> dict[str, str]:
    """Tags to filter by in the UI."""
    return {"kind": spec.kind, "category": spec.category, "state": source_state(spec)}
