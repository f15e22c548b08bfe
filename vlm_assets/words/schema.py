"""The one row type of the platform, a whole record: its columns with their roles, its features, hashes and sizes.

Reads nothing, writes nothing. What a source yields and how rows are stored lies in `sources` and `store`.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256
from typing import Any, Final

import orjson
import pyarrow as pa

Row = dict[str, Any]
"""A sample under way: every column of `SAMPLE_SCHEMA` by name (`images` as a list of bytes), and the index's own."""

IMAGE_TYPE: Final = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
IMAGES_TYPE: Final = pa.list_(IMAGE_TYPE)
PART_TYPE: Final = pa.struct([("type", pa.string()), ("text", pa.string())])
MESSAGE_TYPE: Final = pa.struct([("role", pa.string()), ("content", pa.list_(PART_TYPE))])
MESSAGES_TYPE: Final = pa.list_(MESSAGE_TYPE)
FACT_TYPE: Final = pa.struct(
    [
        (
            "name",
            pa.string(),
        ),  # column, member or file that the image came from; null where the record is the image
        ("origin", pa.string()),  # where it came from, if that is not the record's origin
        ("sha256", pa.string()),  # hex, of the encoded bytes
        ("dhash", pa.uint64()),  # null where the image was not decoded
        ("width_px", pa.int32()),  # as stored, before EXIF orientation
        ("height_px", pa.int32()),
        ("orientation", pa.uint8()),  # EXIF 1..8; null where absent
        ("frames", pa.int32()),  # 1 for a still
        ("format", pa.string()),
        ("dpi", pa.int32()),  # nullable
        ("size_bytes", pa.int64()),  # of the encoded image
    ]
)
FACTS_TYPE: Final = pa.list_(FACT_TYPE)
FACT_NAMES: Final = tuple(FACT_TYPE.field(i).name for i in range(FACT_TYPE.num_fields))


class Role(StrEnum):
    """What a column is to the line; every step that treats columns differently asks for the role."""

    CONTENT = "content"
    """What upstream's people made. Not in the index; null after a takedown."""
    IDENTITY = "identity"
    """Which record it is, and where it came from."""
    FACT = "fact"
    """What upstream or the bytes say about it. Stays after a takedown."""
    ASSIGNED = "assigned"
    """What the catalogue decides. Resolved anew at allocation, so a relabel fetches nothing; in no digest."""


@dataclass(frozen=True, slots=True)
class Column:
    """One column of the sample row."""

    name: str
    type: pa.DataType
    role: Role


COLUMNS: Final = (
    Column("images", IMAGES_TYPE, Role.CONTENT),  # original encoded bytes, one or more, in upstream's order
    Column("text", pa.string(), Role.CONTENT),  # plain text or caption; nullable
    Column("messages", MESSAGES_TYPE, Role.CONTENT),  # a conversation, images in their places; nullable
    Column("extra", pa.string(), Role.CONTENT),  # JSON object of the other upstream columns; nullable
    Column("id", pa.string(), Role.IDENTITY),  # <source>/<slice>/<key>
    Column("label", pa.string(), Role.FACT),  # raw upstream label: folder or column value; nullable
    Column("category", pa.string(), Role.ASSIGNED),
    Column("subcategory", pa.string(), Role.ASSIGNED),  # street/night; null where a label has no map entry
    Column("source", pa.string(), Role.IDENTITY),
    Column("slice", pa.string(), Role.IDENTITY),
    Column("origin", pa.string(), Role.IDENTITY),  # URL, archive member, file.pdf#page=3
    Column("licence", pa.string(), Role.ASSIGNED),
    Column("image_facts", FACTS_TYPE, Role.FACT),  # beside `images`, one each
)

COLUMN_NAMES: Final = tuple(column.name for column in COLUMNS)


def columns_of(role: Role) -> tuple[str, ...]:
    """Names of the columns with that role, in their order."""
    return tuple(column.name for column in COLUMNS if column.role is role)


CONTENT_COLUMNS: Final = columns_of(Role.CONTENT)
ASSIGNED_COLUMNS: Final = columns_of(Role.ASSIGNED)
_DIGEST_COLUMNS: Final = tuple(n for n in COLUMN_NAMES if n != "images" and n not in ASSIGNED_COLUMNS)

_VALUE_NAMES: Final = {
    pa.string(): "string", pa.uint64(): "uint64", pa.int32(): "int32", pa.uint8(): "uint8", pa.int64(): "int64",
}  # fmt: skip


def _feature(kind: pa.DataType) -> dict[str, Any]:
    """The Hugging Face feature of an Arrow type, as `datasets` writes it."""
    if kind == IMAGE_TYPE:
        return {"_type": "Image"}
    if pa.types.is_list(kind):
        return {"feature": _feature(kind.value_type), "_type": "List"}
    if pa.types.is_struct(kind):
        return {field.name: _feature(field.type) for field in kind}
    return {"dtype": _VALUE_NAMES[kind], "_type": "Value"}


SAMPLE_SCHEMA: Final = pa.schema(
    [pa.field(column.name, column.type) for column in COLUMNS],
    metadata={
        "huggingface": json.dumps(
            {"info": {"features": {column.name: _feature(column.type) for column in COLUMNS}}}
        )
    },
)
"""Schema of every data file, slice and corpus alike. `datasets` finds its features in the metadata."""

FLAT_COLUMNS: Final = (
    ("image_count", pa.int32()),
    ("images_upstream", pa.int32()),  # how many images upstream's record had
    ("image_bytes", pa.int64()),  # of all its encoded images
    ("min_side_px", pa.int32()),  # the shortest side of any image
    ("dhash", pa.uint64()),  # of a single image; null where not decoded, or of several images
    ("images_sha256", pa.binary(32)),  # `images_hash`
    ("text_sha256", pa.binary(32)),  # sha256 of the text's UTF-8, of b"" where null
    ("messages_sha256", pa.binary(32)),  # sha256 of the conversation's compact JSON, of b"" where null
    ("content_sha256", pa.binary(32)),  # sha256 over the three before
    ("row_bytes", pa.int64()),  # upper bound of the row's Arrow bytes without ASSIGNED_COLUMNS
    ("item_hash", pa.uint64()),  # `layout.key_hash` of the item key
    ("record", pa.int64()),  # place of the record in its item, rejected ones counted
    ("digest", pa.binary(32)),  # `row_digest`; outlives a takedown
)
"""What the index has beside the sample's own columns: flat, so that single images need no list to be read."""

INDEX_SCHEMA: Final = pa.schema(
    [
        *(pa.field(column.name, column.type) for column in COLUMNS if column.role is not Role.CONTENT),
        *(pa.field(name, kind) for name, kind in FLAT_COLUMNS),
    ]
)
"""Schema of `index.arrow`: what allocation and audit read, row for row beside the data files."""

NO_WORDS: Final = sha256(b"").digest()
"""`text_sha256` and `messages_sha256` of a row without."""


def images_hash(digests: Sequence[bytes]) -> bytes:
    """Of one image its sha256, of several the sha256 over theirs, in order. `digests`: 32 bytes each."""
    return digests[0] if len(digests) == 1 else sha256(b"".join(digests)).digest()


def messages_json(messages: Sequence[Mapping[str, Any]] | None) -> bytes:
    """The one byte form of a normalised conversation, keys in the schema's order; b"" where there is none."""
    return b"" if messages is None else orjson.dumps(_ordered(messages))


def _ordered(messages: Sequence[Mapping[str, Any]]) -> list[Row]:
    return [
        {
            "role": message["role"],
            "content": [{"type": part["type"], "text": part["text"]} for part in message["content"]],
        }
        for message in messages
    ]


def row_digest(row: Mapping[str, Any]) -> bytes:
    """sha256 over a row's values, without the catalogue's columns, as one canonical JSON array.

    Images count through the sha256 in `image_facts`, each fact as an array in the order of `FACT_NAMES`. Equal on
    every platform and library version: JSON of strings, integers and nulls has one compact form.
    """
    facts = [[fact[name] for name in FACT_NAMES] for fact in row["image_facts"]]
    messages = None if row["messages"] is None else _ordered(row["messages"])
    told = {"image_facts": facts, "messages": messages}
    values = [told[name] if name in told else row[name] for name in _DIGEST_COLUMNS]
    return sha256(orjson.dumps(values)).digest()


def flat_columns(row: Mapping[str, Any]) -> Row:
    """The index's columns that follow from a row's content and facts: all but `images_upstream`, item and record."""
    facts = row["image_facts"]
    images = images_hash([bytes.fromhex(fact["sha256"]) for fact in facts])
    text = NO_WORDS if row["text"] is None else sha256(row["text"].encode()).digest()
    messages = NO_WORDS if row["messages"] is None else sha256(messages_json(row["messages"])).digest()
    return {
        "image_count": len(facts),
        "image_bytes": sum(fact["size_bytes"] for fact in facts),
        "min_side_px": min((min(fact["width_px"], fact["height_px"]) for fact in facts), default=0),
        "dhash": facts[0]["dhash"] if len(facts) == 1 else None,
        "images_sha256": images,
        "text_sha256": text,
        "messages_sha256": messages,
        "content_sha256": sha256(images + text + messages).digest(),
        "row_bytes": row_bytes(row),
        "digest": row_digest(row),
    }


def without_content(row: Mapping[str, Any]) -> Row:
    """The row after a takedown: every content column null; hashes, sizes and facts stay."""
    return {**row, **dict.fromkeys(CONTENT_COLUMNS)}


def _fixed_bits(kind: pa.DataType) -> int:
    """Bits of one value besides text, image bytes and list elements: offset or width, and validity."""
    if pa.types.is_struct(kind):
        return 1 + sum(_fixed_bits(field.type) for field in kind)
    return 1 + (kind.bit_width if pa.types.is_primitive(kind) else 32)


def _fixed_bytes(kind: pa.DataType) -> int:
    return -(-_fixed_bits(kind) // 8)


_ROW_BYTES: Final = sum(_fixed_bytes(column.type) for column in COLUMNS)
_IMAGE_BYTES: Final = _fixed_bytes(IMAGE_TYPE) + _fixed_bytes(FACT_TYPE)
_MESSAGE_BYTES: Final = _fixed_bytes(MESSAGE_TYPE)
_PART_BYTES: Final = _fixed_bytes(PART_TYPE)
_TEXT_COLUMNS: Final = tuple(
    column.name for column in COLUMNS if pa.types.is_string(column.type) and column.role is not Role.ASSIGNED
)
_TEXT_FACTS: Final = tuple(field.name for field in FACT_TYPE if pa.types.is_string(field.type))


def row_bytes(row: Mapping[str, Any]) -> int:
    """Upper bound of the Arrow bytes that a row takes in a data file, without `ASSIGNED_COLUMNS`' text."""
    total = _ROW_BYTES
    for name in _TEXT_COLUMNS:
        if (text := row[name]) is not None:
            total += len(text.encode())
    for fact in row["image_facts"]:
        total += _IMAGE_BYTES + int(fact["size_bytes"])
        for name in _TEXT_FACTS:
            if (text := fact[name]) is not None:
                total += len(text.encode())
    for message in row["messages"] or ():
        total += _MESSAGE_BYTES + len(message["role"])
        for part in message["content"]:
            total += _PART_BYTES + len(part["type"]) + len((part["text"] or "").encode())
    return total
