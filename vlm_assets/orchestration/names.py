"""Names that users and outside checks rely on: asset keys, partition sets, pools, tags, groups.

Nothing that needs the catalogue, the disk or an instance.
"""

from typing import Final

import dagster as dg

LISTING: Final = "listing"
DATASET: Final = "dataset"
ALLOCATION_KEY: Final = dg.AssetKey("allocation")
CORPUS_KEY: Final = dg.AssetKey("corpus")
CORPUS_POOL: Final = "corpus_writer"

DATA_VERSION_TAG: Final = "dagster/data_version"
PARTITION_TAG: Final = "dagster/partition"
RANGE_START_TAG: Final = "dagster/asset_partition_range_start"
RANGE_END_TAG: Final = "dagster/asset_partition_range_end"

SOURCE_TAG: Final = "vlm/source"
CATALOG_TAG: Final = "vlm/catalog"
NIGHTLY_TAG: Final = "vlm/night"
LOCK_WAIT_TAG: Final = "vlm/lock_wait_s"
FORCE_TAG: Final = "vlm/force_redownload"
ACCEPT_SHRINK_TAG: Final = "vlm/accept_shrink"


def listing_key(source: str) -> dg.AssetKey:
    """`listing/<source>`."""
    return dg.AssetKey([LISTING, source])


def dataset_key(source: str) -> dg.AssetKey:
    """`dataset/<source>`."""
    return dg.AssetKey([DATASET, source])


def slices_partitions(source: str) -> str:
    """Name of the dynamic partition set of a source's slices."""
    return f"{source}__slices"


def source_pool(source: str) -> str:
    """Pool that lets one queued run at a time work on a source."""
    return f"source__{source}"
