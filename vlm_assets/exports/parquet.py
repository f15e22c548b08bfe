"""A shard as Parquet: the corpus's columns, in order, as `datasets` and the Hub's viewer read them."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import BinaryIO, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from vlm_assets.exports.images import one_array_a_column
from vlm_assets.store.arrays import values_of
from vlm_assets.words.schema import SAMPLE_SCHEMA

ROW_GROUP_BYTES: Final = 100_000_000
"""Of values a row group, one row at least: readers fetch whole ones, the Hub's viewer none above 286 MiB."""
_CHUNKS: Final = {"min_chunk_size": 2 * 2**10, "max_chunk_size": 8 * 2**10, "norm_level": 0}
"""Of pages. Small, so that an image is a page by itself: by Arrow's own sizes (256 KiB to 1 MiB) pages hold several,
and after a row that came in their cuts, and with them the headers between images, differ for megabytes."""

_WRITTEN_BYTES: Final = 2**20
"""Collected before they go to the file."""

I64 = NDArray[np.int64]
_IMAGE_LEAF: Final = "images.list.element.bytes"


def write_parquet(batches: Iterable[pa.RecordBatch], file: BinaryIO) -> int:
    """Writes rows with content-defined chunking and a page index; returns how many. Holds two row groups.

    Pages are cut by content (Arrow's `use_content_defined_chunking`), so a store that keeps chunks once sends little
    of a file in which a few rows changed. Where record batches end decides nothing: a row group has one array a
    column, for the chunker would cut where an array ends. Encoded images are not compressed again, and stand in no
    dictionary.
    """
    words = [leaf for leaf in _leaves() if leaf != _IMAGE_LEAF]
    rows = 0
    with (
        _fewer_writes(file) as sink,
        pq.ParquetWriter(
            sink,
            SAMPLE_SCHEMA,
            compression={_IMAGE_LEAF: "NONE", **dict.fromkeys(words, "ZSTD")},
            use_dictionary=words,
            write_statistics=words,
            write_page_index=True,
            use_content_defined_chunking=_CHUNKS,
        ) as writer,
    ):
        for group in _row_groups(batches):
            with one_array_a_column(group) as whole:
                writer.write_table(whole, row_group_size=group.num_rows)
            rows += group.num_rows
    return rows


@contextmanager
def _fewer_writes(file: BinaryIO) -> Iterator[pa.NativeFile]:
    """Before the file, which is asked once for many pages: each call waits for the interpreter."""
    buffered = pa.BufferedOutputStream(pa.PythonFile(file, mode="w"), _WRITTEN_BYTES)
    try:
        yield buffered
    finally:
        buffered.detach()  # what is left of a broken file goes the same way, before it is removed


def _leaves() -> list[str]:
    """Paths of the physical columns, as Parquet names them."""
    sink = pa.BufferOutputStream()
    pq.write_table(SAMPLE_SCHEMA.empty_table(), sink)
    schema = pq.ParquetFile(pa.BufferReader(sink.getvalue())).schema
    return [schema.column(number).path for number in range(len(schema))]


def _row_groups(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.Table]:
    """The rows in tables of up to `ROW_GROUP_BYTES`; where batches end decides nothing."""
    waiting: list[pa.RecordBatch] = []
    held = 0
    for batch in batches:
        ends = np.cumsum(_row_bytes(batch))
        start = 0
        while start < batch.num_rows:
            before = int(ends[start - 1]) if start else 0
            end = int(np.searchsorted(ends, before + ROW_GROUP_BYTES - held, side="right"))
            if end == start and not waiting:
                end = start + 1
            if end > start:
                waiting.append(batch.slice(start, end - start))
                held += int(ends[end - 1]) - before
            if end < batch.num_rows:
                yield pa.Table.from_batches(waiting, SAMPLE_SCHEMA)
                waiting, held = [], 0
            start = end
    if waiting:
        yield pa.Table.from_batches(waiting, SAMPLE_SCHEMA)


def _row_bytes(batch: pa.RecordBatch) -> I64:
    """Bytes of all values of each row, before compression."""
    return _added([_value_bytes(column) for column in batch.columns])


def _value_bytes(values: pa.Array) -> I64:
    kind = values.type
    if pa.types.is_list(kind):
        within = _value_bytes(values.flatten())
        owners = values_of(pc.list_parent_indices(values))
        return np.bincount(owners, within, minlength=len(values)).astype(np.int64)
    if pa.types.is_struct(kind):
        return _added([_value_bytes(child) for child in values.flatten()])
    if pa.types.is_string(kind) or pa.types.is_binary(kind):
        return np.asarray(values_of(pc.binary_length(values).fill_null(0)), np.int64)
    return np.full(len(values), kind.bit_width // 8, np.int64)


def _added(sizes: list[I64]) -> I64:
    return np.asarray(np.sum(sizes, axis=0, dtype=np.int64))
