"""A shard as Parquet: the corpus's columns, in order, as `datasets` and the Hub's viewer read them."""

from collections.abc import Iterable, Iterator
from typing import BinaryIO, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from vlm_assets.words.schema import SAMPLE_SCHEMA

ROW_GROUP_BYTES: Final = 100_000_000
"""Of encoded images a row group, one row at least: readers fetch whole ones, the Hub's viewer none above 286 MiB."""
_IMAGE_LEAF: Final = "images.list.element.bytes"


def write_parquet(batches: Iterable[pa.RecordBatch], file: BinaryIO) -> int:
    """Writes rows with content-defined chunking and a page index; returns how many. Holds one row group.

    Pages are cut by content (Arrow's `use_content_defined_chunking`), so a store that keeps chunks once sends little
    of a file in which a few rows changed. Encoded images are not compressed again, and stand in no dictionary.
    """
    words = [leaf for leaf in _leaves() if leaf != _IMAGE_LEAF]
    rows = 0
    with pq.ParquetWriter(
        file,
        SAMPLE_SCHEMA,
        compression={_IMAGE_LEAF: "NONE", **dict.fromkeys(words, "ZSTD")},
        use_dictionary=words,
        write_statistics=words,
        write_page_index=True,
        use_content_defined_chunking=True,
    ) as writer:
        for group in _row_groups(batches):
            writer.write_table(group, row_group_size=group.num_rows)
            rows += group.num_rows
    return rows


def _leaves() -> list[str]:
    """Paths of the physical columns, as Parquet names them."""
    sink = pa.BufferOutputStream()
    pq.write_table(SAMPLE_SCHEMA.empty_table(), sink)
    schema = pq.ParquetFile(pa.BufferReader(sink.getvalue())).schema
    return [schema.column(number).path for number in range(len(schema))]


def _row_groups(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.Table]:
    """The rows in tables of up to `ROW_GROUP_BYTES` of images; where batches end decides nothing."""
    waiting: list[pa.RecordBatch] = []
    held = 0
    for batch in batches:
        ends = np.cumsum(_image_bytes(batch))
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


def _image_bytes(batch: pa.RecordBatch) -> "np.ndarray[tuple[int], np.dtype[np.int64]]":
    """Bytes of all images of each row."""
    images = batch.column("images")
    sizes = pc.binary_length(images.flatten().field("bytes")).to_numpy(zero_copy_only=False)
    totals = np.zeros(batch.num_rows, np.int64)
    np.add.at(totals, pc.list_parent_indices(images).to_numpy(), sizes)
    return totals
