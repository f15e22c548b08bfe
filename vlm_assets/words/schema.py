"""The one row type of the platform: its Arrow schema, its Hugging Face features, its digest.

Reads nothing, writes nothing. What a source yields and how rows are stored lies in `sources` and `store`.
"""

import json
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any, Final

import orjson
import pyarrow as pa

IMAGE_TYPE: Final = pa.struct([("bytes", pa.binary()), ("path", pa.string())])

_COLUMNS: Final[tuple[tuple[str, pa.DataType], ...]] = (
    ("image", IMAGE_TYPE),  # original encoded bytes; null after a takedown
    ("id", pa.string()),  # <source>/<slice>/<key>
    ("text", pa.string()),  # caption; nullable
    ("extra", pa.string()),  # JSON object of the other upstream columns; nullable
    ("label", pa.string()),  # raw upstream label: folder or column value; nullable
    ("category", pa.string()),
    ("subcategory", pa.string()),  # deeper levels: street/night; null where a label has no map entry
    ("source", pa.string()),
    ("slice", pa.string()),
    ("origin", pa.string()),  # URL, archive member, file.pdf#page=3
    ("licence", pa.string()),
    ("image_sha256", pa.string()),  # hex, of the encoded bytes
    ("dhash", pa.uint64()),  # null where the image was not decoded
    ("width_px", pa.int32()),  # as stored, before EXIF orientation
    ("height_px", pa.int32()),
    ("orientation", pa.uint8()),  # EXIF 1..8; null where absent
    ("frames", pa.int32()),  # 1 for a still
    ("format", pa.string()),
    ("dpi", pa.int32()),  # nullable
    ("size_bytes", pa.int64()),  # of the encoded image
)

_VALUE_NAMES: Final = {
    pa.string(): "string", pa.uint64(): "uint64", pa.int32(): "int32", pa.uint8(): "uint8", pa.int64(): "int64",
}  # fmt: skip


def _features() -> dict[str, dict[str, str]]:
    return {
        name: {"_type": "Image"} if kind == IMAGE_TYPE else {"dtype": _VALUE_NAMES[kind], "_type": "Value"}
        for name, kind in _COLUMNS
    }


SAMPLE_SCHEMA: Final = pa.schema(
    [pa.field(name, kind) for name, kind in _COLUMNS],
    metadata={"huggingface": json.dumps({"info": {"features": _features()}})},
)
"""Schema of every data file, slice and corpus alike. `datasets` finds its features in the metadata."""

COLUMN_NAMES: Final = tuple(SAMPLE_SCHEMA.names)

_NOT_INDEXED: Final = frozenset({"image", "text", "extra"})
ASSIGNED_COLUMNS: Final = ("category", "subcategory", "licence")
"""Columns that the catalogue decides. Resolved anew at allocation, so a relabel fetches nothing."""

INDEX_SCHEMA: Final = pa.schema(
    [
        *(pa.field(name, kind) for name, kind in _COLUMNS if name not in _NOT_INDEXED),
        pa.field("row_bytes", pa.int64()),  # upper bound of the row's Arrow bytes without ASSIGNED_COLUMNS
        pa.field("text_sha256", pa.binary(32)),  # sha256 of the text's UTF-8, of b"" where null
        pa.field("item_hash", pa.uint64()),  # `layout.key_hash` of the item key
        pa.field("record", pa.int64()),  # place of the record in its item, rejected ones counted
        pa.field("digest", pa.binary(32)),  # `row_digest`; outlives a takedown
    ]
)
"""Schema of `index.arrow`: what allocation and audit read, row for row beside the data files."""

_DIGEST_FIELDS: Final = tuple(n for n in COLUMN_NAMES if n != "image" and n not in ASSIGNED_COLUMNS)

_FIXED_BYTES: Final = (
    sum(
        4 if pa.types.is_string(kind) else 8 if kind == IMAGE_TYPE else kind.bit_width // 8
        for _, kind in _COLUMNS
    )
    + (len(_COLUMNS) + 2 + 7) // 8
)
_VARIABLE: Final = tuple(
    n for n, kind in _COLUMNS if pa.types.is_string(kind) and n not in ASSIGNED_COLUMNS
)  # fmt: skip


def row_digest(row: Mapping[str, Any]) -> bytes:
    """sha256 over a row's values, without the catalogue's columns, as one canonical JSON array.

    The image counts through `image_sha256`. Equal on every platform and library version: JSON of strings,
    integers and nulls has one compact form.
    """
    return sha256(orjson.dumps([row[name] for name in _DIGEST_FIELDS])).digest()


def row_bytes(row: Mapping[str, Any]) -> int:
    """Upper bound of the Arrow bytes that a row takes in a data file, without `ASSIGNED_COLUMNS`' text."""
    text = sum(len(value.encode()) for name in _VARIABLE if (value := row[name]) is not None)
    return _FIXED_BYTES + text + int(row["size_bytes"])


def digest_of_digests(digests: Sequence[bytes]) -> str:
    """`content_hash`: sha256 hex over row digests in row order."""
    return sha256(b"".join(digests)).hexdigest()
