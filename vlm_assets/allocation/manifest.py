"""`metadata.json` of an allocation."""

from pathlib import Path
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from vlm_assets.words.errors import StoreError
from vlm_assets.words.layout import MANIFEST
from vlm_assets.words.manifest import FileEntry, Manifest

PLAN_SCHEMA_VERSION: Final = 1
"""Of plans; has a count of its own, for a plan is never migrated but made anew."""


WINDOW_OVERHEAD_BYTES: Final = 16 * 2**10
"""Bound of a record batch's own bytes: metadata of 21 columns, validity bitmaps' last bytes, padding."""
FILE_OVERHEAD_BYTES: Final = 64 * 2**10
"""Bound of a file's own bytes: schema with the features, end marker."""


class AllocatedShard(BaseModel):
    """The catalogue's `shard` values, resolved."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_bytes: int
    block_rows: int
    window_bytes: int


class AllocatedSlice(BaseModel):
    """One slice of the supply, and how many of its rows the plan selects."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: str
    slice: str
    version: str
    content_hash: str
    container: bool
    items_per_slice: int
    rows: int
    selected: int


class AllocatedBenchmark(BaseModel):
    """One slice of a benchmark that the supply was held against."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: str
    slice: str
    version: str
    content_hash: str


class AllocatedCell(BaseModel):
    """One source in one subcategory: what its rows are called in the corpus, and how many there are."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    category: str
    subcategory: str
    source: str
    licence: str
    grant: int


class AllocationManifest(Manifest):
    """`metadata.json` of a plan. Holds no clock, so equal inputs give the same version."""

    schema_version: int = PLAN_SCHEMA_VERSION
    type: Literal["allocation"] = "allocation"
    corpus: str
    target: str
    target_rows: int
    granted_rows: int
    seed: int
    algorithm_version: int
    inputs_hash: str
    shard: AllocatedShard
    slices: tuple[AllocatedSlice, ...]
    """The whole supply, sorted by (source, slice). `plan.arrow` counts into it, and has a batch for each slice
    with selected rows, in this order."""
    benchmarks: tuple[AllocatedBenchmark, ...] = ()
    """What no row may be like, sorted by (source, slice)."""
    cells: tuple[AllocatedCell, ...]
    """Sorted by (category, subcategory, source). `plan.arrow` counts into it."""
    excluded: dict[str, int]
    """Rows by reason (see `reasons.reasons_of`), every reason named."""
    tombstones: tuple[str, ...] = ()
    """P: the takedowns that the plan was made with."""
    files: dict[str, FileEntry] = Field(default_factory=dict)


class PlanHead(BaseModel):
    """What people and sensors ask of a plan: its manifest without the slices, of which there may be 100,000."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    schema_version: Literal[1] = PLAN_SCHEMA_VERSION
    granted_rows: int
    inputs_hash: str
    excluded: dict[str, int]


def read_plan_head(directory: Path) -> PlanHead:
    """The head of the plan in a version folder.

    Raises:
        StoreError: missing, unreadable, or no plan of this version of the program.
    """
    path = directory / MANIFEST
    try:
        return PlanHead.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        raise StoreError(f"{path}: missing; the folder was never committed") from None
    except ValidationError as error:
        raise StoreError(f"{path}: not a plan: {error}") from error
