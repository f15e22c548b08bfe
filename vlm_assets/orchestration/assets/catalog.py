"""`catalog`: the directory that says what is built. People make it; its check says whether it is served."""

import dagster as dg

from vlm_assets.installation.opening import Installation
from vlm_assets.orchestration.assets.groups import LISTING_GROUP, catalog_references, owners_of
from vlm_assets.orchestration.names import CATALOG_KEY


def catalog_asset(installed: Installation) -> dg.AssetSpec:
    """The catalogue as an asset that others make."""
    catalog = installed.catalog
    targets = ", ".join(catalog.corpus.targets)
    return dg.AssetSpec(
        CATALOG_KEY,
        group_name=LISTING_GROUP,
        kinds={"yaml"},
        owners=owners_of(installed.settings),
        description=(
            f"Says what is built: {len(catalog.sources)} sources, targets {targets}. Edit its files, then reload the "
            "code location. Of files with faults the last good state is served, and the check `parses` fails."
        ),
        metadata={
            "dagster/uri": str(installed.catalog_dir),
            "served": catalog.hash[:12],
            **catalog_references(installed.catalog_dir),
        },
    )
