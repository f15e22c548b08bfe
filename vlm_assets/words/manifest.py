"""The manifests: what a directory on disk says about itself. Written last; hold no clock.

Typed models and their canonical bytes. Reading and writing the directories belongs to `store`.
"""

from datetime import UTC, datetime
from typing import Any, Literal, Self

import orjson
from blake3 import blake3
from pydantic import BaseModel, ConfigDict, Field, model_validator

SCHEMA_VERSION = 2
"""Of the rows and of every manifest; raised by hand with a migration."""
VERSION_HASH_LENGTH = 12


class Manifest(BaseModel):
    """Base of every manifest: frozen, no unknown keys, one canonical byte form."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _of_this_schema(cls, data: Any) -> Any:
        """Says what to do about another schema version, before its fields are found wrong."""
        field = cls.model_fields.get("schema_version")
        if field is not None and isinstance(data, dict):
            found = data.get("schema_version", field.default)
            if found != field.default:
                newer = isinstance(found, int) and found > field.default
                todo = "upgrade this program" if newer else "run `vlm-assets migrate`"
                raise ValueError(f"schema version {found}, this program reads {field.default}: {todo}")
        return data

    def to_bytes(self) -> bytes:
        """Sorted, indented UTF-8 JSON: equal content, equal bytes."""
        return orjson.dumps(self.model_dump(mode="json"), option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS)

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Parse and validate.

        Raises:
            pydantic.ValidationError: not such a manifest.
        """
        return cls.model_validate_json(data)

    @property
    def version(self) -> str:
        """Name of the version directory: first 12 hex digits of the blake3 of `to_bytes()`."""
        return blake3(self.to_bytes()).hexdigest()[:VERSION_HASH_LENGTH]


class FileEntry(BaseModel):
    """One file of a version: its size and blake3 (hex)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    size_bytes: int
    blake3: str


class SliceManifest(Manifest):
    """`metadata.json` of a committed slice."""

    schema_version: int = SCHEMA_VERSION
    type: Literal["slice"] = "slice"
    source: str
    slice: str
    kind: str
    kind_version: int
    category: str
    licence: str
    subcategories: dict[str, int]
    """Rows a subcategory when the slice was committed; "" counts unmapped labels."""
    revision: str
    listing_fingerprint: str
    config_fingerprint: str
    """Over the keys that change bytes, without `formats`: unchanged items are taken over while it stays."""
    formats: tuple[str, ...]
    content_hash: str
    container: bool
    items_per_slice: int
    items: int
    items_fetched: int
    items_rejected: int
    records: int
    rows: int
    rejects: dict[str, int]
    """Rejected records and items by reason. items = fetched + rejected; records = rows + rejected records."""
    records_rejected: int
    transient_rejects: int
    data_bytes: int
    images: int
    """In all rows together."""
    image_bytes: int
    multi_image_rows: int
    """Rows of several images; where it is 0, nobody needs to read a list."""
    rows_with_text: int
    rows_with_messages: int
    rows_with_neither: int | None = None
    """None in slices of before this was counted."""
    remarks: dict[str, int]
    """What was mended in records on the way, or is missing from them, by kind: no fault, but to be told. Counted in
    the items ledger."""
    upstream: int | None = None
    """Members of its containers: records + companions + left out. None where none was counted."""
    companions: int | None = None
    left_out: dict[str, int] | None = None
    """By reason; `left_out.parquet` names each."""
    caption_rows: dict[str, Any] | None = None
    """What became of captions in its containers and in tables beside them, as `caption_rows.settled` takes it; None
    where none were looked for, or nobody counted them."""
    renderer: str | None = None
    """Renderer identity of the machine that drew pages or encoded pictures here; None where none was."""
    files: dict[str, FileEntry]
    """Data files, index and items ledger. `rejects.parquet` and `run.json` are history: `run.json` has the hash."""


class RunRecord(BaseModel):
    """`run.json`: clocks, host and timings of the fetch. Never hashed into a version."""

    model_config = ConfigDict(extra="forbid")

    run_id: str = ""
    host: str = ""
    pid: int = 0
    started_at: datetime = Field(default_factory=lambda: datetime.now(UTC))
    finished_at: datetime | None = None
    seconds: float = 0.0
    next_retry: int = 0
    """Earliest `next_retry` of a transient reject; 0 where there is none."""
    rejects_blake3: str = ""
    taken_over: int = 0
    figures: dict[str, float] = Field(default_factory=dict)
    details: dict[str, Any] = Field(default_factory=dict)


class ListingSlice(BaseModel):
    """One slice in a listing."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    """Raw name before `layout.slice_key`."""
    fingerprint: str
    items: int
    size_bytes: int | None = None
    """Sum of the items' sizes where all are known."""
    container: bool = False
    items_per_slice: int = 1
    requests: int | None = None
    """To fetch all items, where that is not one each."""
    batch: int
    """Number of the record batch with its items in the item table."""


class Listing(Manifest):
    """`listings/<source>.json`."""

    schema_version: int = SCHEMA_VERSION
    type: Literal["listing"] = "listing"
    source: str
    kind: str
    kind_version: int
    revision: str
    buckets: dict[str, int] = Field(default_factory=dict)
    attributes: dict[str, Any] = Field(default_factory=dict)
    items_file: str
    """Arrow IPC file beside the listing: one record batch a slice with key, identity, payload, size_bytes."""
    items_blake3: str
    slices: dict[str, ListingSlice]
    """By partition key, sorted."""
    retired: tuple[str, ...] = ()
    """Partition keys that were listed once; never deleted, out of the supply."""
    upstream: int | None = None
    """Things that upstream shows: items + companions + left out. None where the kind does not count them."""
    companions: int | None = None
    """Files that were joined to items: captions, metadata, sidecars."""
    left_out: dict[str, int] | None = None
    """By reason; the table beside the listing names each."""
    left_out_file: str = ""
    left_out_blake3: str = ""
    captions_unused: int | None = None
    """Caption rows that name nothing."""
    hints: tuple[str, ...] = ()
    """What to do about what is not read, or read otherwise than meant: a line each."""
    listed_as: str = ""
    """Digest of the source's keys and of what else of the configuration a listing depends on: where it and the
    revision are as before, a kind need not list again."""

    @property
    def tables(self) -> dict[str, str]:
        """Files beside the listing that it names, with their blake3."""
        left_out = {self.left_out_file: self.left_out_blake3} if self.left_out_file else {}
        return {self.items_file: self.items_blake3, **left_out}

    @property
    def items(self) -> int:
        """Items over all slices."""
        return sum(entry.items for entry in self.slices.values())
