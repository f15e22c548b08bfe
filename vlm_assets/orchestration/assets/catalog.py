"""`catalog`: the directory that says what is built. People make it; its check says whether it is served."""

from collections.abc import Mapping
from typing import Final

import dagster as dg

from vlm_assets.installation.opening import Installation
from vlm_assets.installation.removed import removed_sources
from vlm_assets.orchestration.assets.groups import LISTING_GROUP, catalog_references, owners_of
from vlm_assets.orchestration.assets.tables import table
from vlm_assets.orchestration.names import CATALOG_KEY
from vlm_assets.words.counts import so_many

_REMOVED: Final = "not in the catalogue any more"


def catalog_asset(installed: Installation) -> dg.AssetSpec:
    """The catalogue as an asset that others make."""
    catalog = installed.catalog
    targets = ", ".join(catalog.corpus.targets)
    removed = removed_sources(installed)
    held = f"{so_many(len(catalog.benchmarks), 'benchmark')}, " if catalog.benchmarks else ""
    return dg.AssetSpec(
        CATALOG_KEY,
        group_name=LISTING_GROUP,
        kinds={"yaml"},
        owners=owners_of(installed.settings),
        description=(
            f"Says what is built: {so_many(len(catalog.sources), 'source')}, {held}targets {targets}. Edit its "
            "files, then reload the code location. Of files with faults the last good state is served, and the check "
            "`parses` fails." + _of_removed(removed)
        ),
        metadata={
            "dagster/uri": str(installed.catalog_dir),
            "served": catalog.hash[:12],
            **(
                {_REMOVED: table({"source": name, "slices": count} for name, count in removed.items())}
                if removed
                else {}
            ),
            **catalog_references(installed.catalog_dir),
        },
    )


def _of_removed(removed: Mapping[str, int]) -> str:
    if not removed:
        return ""
    return (
        f"\n\n**Not in the catalogue any more, and still in the data root**: {', '.join(removed)}. "
        "`vlm-assets rename OLD NEW` moves what was fetched to a new name, `vlm-assets prune --removed` deletes it."
    )
