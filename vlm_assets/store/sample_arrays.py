"""Rows as Arrow arrays of `SAMPLE_SCHEMA` and `INDEX_SCHEMA`: lists built from flat columns, nulls where emptied."""

from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import Any, Final

import pyarrow as pa

from vlm_assets.store.arrow_files import PIECE_BYTES, StreamedBuffer
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

_SMALL_BYTES: Final = 16_384
"""Of an image, below which to copy it takes less time than a call for it."""


def sample_columns(rows: Sequence[Row], encoded: pa.Buffer | None = None) -> dict[str, pa.Array]:
    """Every column of `SAMPLE_SCHEMA` by name, in its order. `encoded` stands for the bytes of the images."""
    return {name: _column(name, [row[name] for row in rows], encoded) for name in COLUMN_NAMES}


def streamed_images(rows: Sequence[Row]) -> StreamedBuffer:
    """The bytes of the images of these rows, for a file.

    Put end to end they would take fresh memory of their size, which costs more than to write them.
    """
    values = _encoded([row["images"] for row in rows])
    return StreamedBuffer(sum(map(len, values)), _pieces(values))


def _pieces(values: Sequence[bytes]) -> Iterator[memoryview]:
    """The values end to end; small ones together."""
    waiting: list[bytes] = []
    held = 0
    for value in values:
        small = len(value) < _SMALL_BYTES
        if waiting and (not small or held + len(value) > PIECE_BYTES):
            yield memoryview(b"".join(waiting))
            waiting, held = [], 0
        if small:
            waiting.append(value)
            held += len(value)
        else:
            yield from (memoryview(value)[at : at + PIECE_BYTES] for at in range(0, len(value), PIECE_BYTES))
    if waiting:
        yield memoryview(b"".join(waiting))


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


def _column(name: str, values: list[Any], encoded: pa.Buffer | None) -> pa.Array:
    if name == "images":
        return _images(values, encoded)
    if name == "image_facts":
        return _facts(values)
    if name == "messages" and all(value is None for value in values):
        return pa.nulls(len(values), MESSAGES_TYPE)
    return pa.array(values, SAMPLE_SCHEMA.field(name).type)


def _images(rows: Sequence[Sequence[bytes] | None], encoded: pa.Buffer | None) -> pa.ListArray:
    """The image column; None, after a takedown, is a null list."""
    images = _binary(_encoded(rows), encoded)
    structs = pa.StructArray.from_arrays(
        [images, pa.nulls(len(images), pa.string())], fields=list(IMAGE_TYPE)
    )
    gone = pa.array([images is None for images in rows]) if any(one is None for one in rows) else None
    return pa.ListArray.from_arrays(_offsets(rows), structs, mask=gone)


def _encoded(rows: Sequence[Sequence[bytes] | None]) -> list[bytes]:
    """The images of all rows."""
    return [image for images in rows if images is not None for image in images]


def _binary(values: Sequence[bytes], data: pa.Buffer | None) -> pa.BinaryArray:
    """The values end to end in one buffer of their size: an array that grows value by value is copied as it grows."""
    offsets = pa.array(list(accumulate(map(len, values), initial=0)), pa.int32())
    buffers = [None, offsets.buffers()[1], pa.py_buffer(b"".join(values)) if data is None else data]
    return pa.Array.from_buffers(pa.binary(), len(values), buffers)


def _facts(rows: Sequence[Sequence[Row]]) -> pa.ListArray:
    facts = [fact for one in rows for fact in one]
    arrays = [pa.array([fact[field.name] for fact in facts], field.type) for field in FACT_TYPE]
    structs = pa.StructArray.from_arrays(arrays, fields=list(FACT_TYPE))
    return pa.ListArray.from_arrays(_offsets(rows), structs).cast(FACTS_TYPE)


def _offsets(rows: Sequence[Sequence[Any] | None]) -> pa.Array:
    return pa.array(list(accumulate((len(one or ()) for one in rows), initial=0)), pa.int32())
