"""The check `parses` on the catalogue. A service that loads faulty files reports it by itself (`run.service`)."""

import dagster as dg

from vlm_assets.installation.opening import Installation, open_installation
from vlm_assets.orchestration.names import CATALOG_KEY, PARSES
from vlm_assets.orchestration.run.catalog_state import catalog_result
from vlm_assets.orchestration.run.ecs import LISTING
from vlm_assets.words.errors import ConfigError


@dg.asset_check(
    asset=CATALOG_KEY,
    name=PARSES,
    op_tags=LISTING.tags,
    description="The files of the catalogue have no fault, and what they say is what is served.",
)
def parses(installation: dg.ResourceParam[Installation]) -> dg.AssetCheckResult:
    """Reads the files again."""
    served = installation.catalog.hash
    try:
        found = open_installation(installation.settings).catalog.hash
    except ConfigError as error:
        return catalog_result(error.problems, served)
    return catalog_result((), served, found=found)
