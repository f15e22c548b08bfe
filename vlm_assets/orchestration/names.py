"""Names that users and outside checks rely on: asset keys, partition sets, pools, tags, groups.

Nothing that needs the catalogue, the disk or an instance.
"""

from typing import Final

import dagster as dg

LISTING: Final = "listing"
DATASET: Final = "dataset"
ANNOTATION: Final = "annotation"
ALLOCATION_KEY: Final = dg.AssetKey("allocation")
CORPUS_KEY: Final = dg.AssetKey("corpus")
REPORT_KEY: Final = dg.AssetKey("report")
BACKUP_KEY: Final = dg.AssetKey("backup")
CATALOG_KEY: Final = dg.AssetKey("catalog")
CORPUS_POOL: Final = "corpus_writer"

PARSES: Final = "parses"
"""Name of the check on the catalogue."""
DUE: Final = "due"
"""Name of the check on a dataset and on a corpus."""
FAILED: Final = "failed"
"""Metadata of an observation: why a slice or a listing failed."""
REJECTED: Final = "rejected images"
"""Key of a slice's metadata: pictures of rejects."""
FAILED_SLICES: Final = "failed slices"
FAILED_LISTINGS: Final = "failed listings"
"""Metadata of a failed step: JSON, the message by slice or source."""

DATA_VERSION_TAG: Final = "dagster/data_version"
LISTING_VERSION: Final = "see the fingerprints"
"""Data version of every listing. What a listing means for a slice is the slice's fingerprint, which the sensors
compare; a version of the listing as a whole would show every slice as stale when one has changed."""
PARTITION_TAG: Final = "dagster/partition"
RANGE_START_TAG: Final = "dagster/asset_partition_range_start"
RANGE_END_TAG: Final = "dagster/asset_partition_range_end"

LOCATION: Final = "vlm_assets"
"""Name of the code location in both workspace files; the daemon finds it by that."""
REPOSITORY: Final = "__repository__"
REPOSITORY_TAG: Final = ".dagster/repository"
REPOSITORY_LABEL: Final = f"{REPOSITORY}@{LOCATION}"

SOURCE_TAG: Final = "vlm/source"
CATALOG_TAG: Final = "vlm/catalog"
NIGHTLY_TAG: Final = "vlm/night"
HOST_TAG: Final = "vlm/host"
"""Where the process of a run that `build` did itself is, or was."""
LOCK_WAIT_TAG: Final = "vlm/lock_wait_s"
LOCKED_TAG: Final = "vlm/locked"
"""Name of the kept `corpus.lock` that a run works by."""
FORCE_TAG: Final = "vlm/force_redownload"
ACCEPT_SHRINK_TAG: Final = "vlm/accept_shrink"
ACCEPT_DRIFT_TAG: Final = "vlm/accept_drift"
ACCEPT_RENDERER_TAG: Final = "vlm/accept_renderer"


def listing_key(source: str) -> dg.AssetKey:
    """`listing/<source>`."""
    return dg.AssetKey([LISTING, source])


def dataset_key(source: str) -> dg.AssetKey:
    """`dataset/<source>`."""
    return dg.AssetKey([DATASET, source])


def annotation_key(name: str, source: str) -> dg.AssetKey:
    """`annotation/<name>/<source>`."""
    return dg.AssetKey([ANNOTATION, name, source])


def slices_partitions(source: str) -> str:
    """Name of the dynamic partition set of a source's slices."""
    return f"{source}__slices"


def source_pool(source: str) -> str:
    """Pool that lets one queued run at a time work on a source."""
    return f"source__{source}"


def slice_tags(source: str, content_hash: str) -> dict[str, str]:
    """Data version and provenance of a slice's materialization.

    Without provenance the UI goes by time, and shows every slice as stale after each listing. Tag names as in
    `dagster._core.definitions.data_version`, read in 1.13.
    """
    listing = listing_key(source).to_user_string()
    return {
        DATA_VERSION_TAG: content_hash,
        "dagster/code_version": "none",
        f"dagster/input_data_version/{listing}": LISTING_VERSION,
        f"dagster/input_event_pointer/{listing}": "NULL",
    }
