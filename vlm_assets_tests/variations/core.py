"""`python -m vlm_assets_tests.variations.core`: the line from nothing in one process, by what stands behind Dagster.

For busy machines: a third of the processor time of `vlm-assets build`. Prints root hashes by target, in JSON.
"""

import json

from vlm_assets.allocation.step import allocate
from vlm_assets.corpus.build import build_corpus
from vlm_assets.ingest.listing import refresh_listing
from vlm_assets.ingest.slice import build_slice
from vlm_assets.installation.opening import open_installation
from vlm_assets.settings import load_settings


def root_hashes() -> dict[str, str]:
    """Lists and fetches all sources, plans and writes all corpora of the installation that the environment names."""
    installation = open_installation(load_settings())
    for spec in installation.catalog.sources:
        listing = refresh_listing(installation, spec).listing
        for key in listing.slices:
            build_slice(installation, spec, listing, key)
    return {
        target: build_corpus(allocate(installation, target).path, installation.root).root_hash
        for target in installation.catalog.corpus.targets
    }


if __name__ == "__main__":
    print(json.dumps(root_hashes()))
