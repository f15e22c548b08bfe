"""What schema 1 wrote, one image a row in columns of its own: as takedowns and `prune` read it before it is migrated.

Nothing else reads it; `operate.schema_1` makes slices of today of it.
"""

from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import orjson
import pyarrow as pa
from pydantic import ConfigDict

from vlm_assets.store.versions import read_manifest
from vlm_assets.words.errors import StoreError
from vlm_assets.words.layout import MANIFEST
from vlm_assets.words.manifest import FileEntry, Manifest, SliceManifest
from vlm_assets.words.schema import CONTENT_COLUMNS, FACT_NAMES, FACT_TYPE, FACTS_TYPE

SCHEMA_1: Final = 1
FACTS: Final = ("dhash", "width_px", "height_px", "orientation", "frames", "dpi", "size_bytes")
"""Facts of the image that were columns of the row, beside `image_sha256` and `format`."""
CONTENT: Final = ("image", "text", "extra")
"""The columns that a takedown makes null."""
FACT_COLUMNS: Final = ("image_sha256", "format", *FACTS)


def is_of_schema_1(schema: pa.Schema) -> bool:
    """Whether a data file or an index has its columns."""
    return "image_sha256" in schema.names and "image_facts" not in schema.names


def content_columns(schema: pa.Schema) -> tuple[str, ...]:
    """The columns of a data file of either schema whose role is content."""
    return CONTENT if is_of_schema_1(schema) else CONTENT_COLUMNS


def facts_of(columns: Mapping[str, pa.Array], rows: int) -> pa.ListArray:
    """`image_facts` of today out of columns of schema 1: a list of one each.

    Raises:
        KeyError, ValueError: a column is missing, or of another type.
    """
    by_name = {**{name: columns[name] for name in (*FACTS, "format")}, "sha256": columns["image_sha256"]}
    arrays = [by_name.get(name, pa.nulls(rows, FACT_TYPE.field(name).type)) for name in FACT_NAMES]
    for name, array in zip(FACT_NAMES, arrays, strict=True):
        if array.type != FACT_TYPE.field(name).type:
            raise ValueError(f"column {name} is of another type")
    structs = pa.StructArray.from_arrays(arrays, fields=list(FACT_TYPE))
    return pa.ListArray.from_arrays(pa.array(np.arange(rows + 1, dtype=np.int32)), structs).cast(FACTS_TYPE)


def columns_needed(columns: Sequence[str]) -> list[str]:
    """Columns of an index of schema 1 from which these of today can be made."""
    others = [name for name in columns if name != "image_facts"]
    return [*others, *FACT_COLUMNS] if "image_facts" in columns else others


def as_of_today(table: pa.Table, columns: Sequence[str]) -> pa.Table:
    """These columns of an index, out of `columns_needed` of one of schema 1."""
    whole = {
        name: pa.concat_arrays(column.chunks or [pa.array([], column.type)])
        for name, column in zip(table.schema.names, table.columns, strict=True)
    }
    if "image_facts" in columns:
        whole["image_facts"] = facts_of(whole, table.num_rows)
    return pa.table({name: whole[name] for name in columns})


def read_content(version: Path) -> dict[str, Any]:
    """The manifest of a version of any schema, as plain JSON.

    Raises:
        StoreError: missing or unreadable.
    """
    path = version / MANIFEST
    try:
        content = orjson.loads(path.read_bytes())
    except FileNotFoundError:
        raise StoreError(f"{path}: missing; the folder was never committed") from None
    except (OSError, orjson.JSONDecodeError) as error:
        raise StoreError(f"{path}: cannot be read: {error}; run `vlm-assets verify`") from error
    if not isinstance(content, dict):
        raise StoreError(f"{path}: not a manifest; run `vlm-assets verify`")
    return content


def is_version_1(version: Path) -> bool:
    """Whether a version's manifest says so.

    Raises:
        StoreError: it is missing or unreadable.
    """
    return bool(read_content(version).get("schema_version") == SCHEMA_1)


def identity_without_words(identity: str) -> str:
    """An item's identity with the captions that end it as their hash: once they stood there as they are, as JSON."""
    begin = identity.find("[[")
    if begin < 0 or not identity.endswith("]]"):
        return identity
    return identity[:begin] + sha256(identity[begin:].encode()).hexdigest()


class SliceManifest1(Manifest):
    """A slice's manifest of schema 1: what a takedown needs, and the rest as it stands."""

    model_config = ConfigDict(frozen=True, extra="allow")

    schema_version: int = SCHEMA_1
    type: Literal["slice"] = "slice"
    source: str
    slice: str
    data_bytes: int
    files: dict[str, FileEntry]


def read_slice_manifest(version: Path) -> SliceManifest | SliceManifest1:
    """The manifest of a version of a slice, of either schema.

    Raises:
        StoreError: missing, unreadable, or of another kind.
    """
    if is_version_1(version):
        return read_manifest(version, SliceManifest1)
    return read_manifest(version, SliceManifest)
