"""Rows as Arrow arrays of `SAMPLE_SCHEMA` and `INDEX_SCHEMA`: lists built from flat columns, nulls where emptied."""

from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import pyarrow as pa

from vlm_assets.words.schema import (
    COLUMN_NAMES,
    FACT_TYPE,
    FACTS_TYPE,
    IMAGE_TYPE,
    INDEX_SCHEMA,
    MESSAGES_TYPE,
    SAMPLE_SCHEMA,
    Row,
)


def sample_columns(rows: Sequence[Row]) -> dict[str, pa.Array]:
    """Every column of `SAMPLE_SCHEMA` by name, in its order."""
    return {name: _column(name, [row[name] for row in rows]) for name in COLUMN_NAMES}


def sample_batch(columns: dict[str, pa.Array]) -> pa.RecordBatch:
    """The record batch of a data file."""
    return pa.RecordBatch.from_arrays([columns[name] for name in COLUMN_NAMES], schema=SAMPLE_SCHEMA)


def index_batch(rows: Sequence[Row], columns: dict[str, pa.Array]) -> pa.RecordBatch:
    """The record batch of the index: what it shares with `columns`, and its own out of the rows."""
    arrays = [
        columns[field.name]
        if field.name in columns
        else pa.array([row[field.name] for row in rows], field.type)
        for field in INDEX_SCHEMA
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=INDEX_SCHEMA)


def _column(name: str, values: list[Any]) -> pa.Array:
    if name == "images":
        return _images(values)
    if name == "image_facts":
        return _facts(values)
    if name == "messages" and all(value is None for value in values):
        return pa.nulls(len(values), MESSAGES_TYPE)
    return pa.array(values, SAMPLE_SCHEMA.field(name).type)


def _images(rows: Sequence[Sequence[bytes] | None]) -> pa.ListArray:
    """The image column; None, after a takedown, is a null list."""
    encoded = _binary([image for images in rows if images is not None for image in images])
    structs = pa.StructArray.from_arrays(
        [encoded, pa.nulls(len(encoded), pa.string())], fields=list(IMAGE_TYPE)
    )
    gone = pa.array([images is None for images in rows]) if any(one is None for one in rows) else None
    return pa.ListArray.from_arrays(_offsets(rows), structs, mask=gone)


def _binary(values: Sequence[bytes]) -> pa.BinaryArray:
    """The values end to end in one buffer of their size: an array that grows value by value is copied as it grows."""
    offsets = pa.array(list(accumulate(map(len, values), initial=0)), pa.int32())
    buffers = [None, offsets.buffers()[1], pa.py_buffer(b"".join(values))]
    return pa.Array.from_buffers(pa.binary(), len(values), buffers)


def _facts(rows: Sequence[Sequence[Row]]) -> pa.ListArray:
    facts = [fact for one in rows for fact in one]
    arrays = [pa.array([fact[field.name] for fact in facts], field.type) for field in FACT_TYPE]
    structs = pa.StructArray.from_arrays(arrays, fields=list(FACT_TYPE))
    return pa.ListArray.from_arrays(_offsets(rows), structs).cast(FACTS_TYPE)


def _offsets(rows: Sequence[Sequence[Any] | None]) -> pa.Array:
    return pa.array(list(accumulate((len(one or ()) for one in rows), initial=0)), pa.int32())
