"""What the rows of a slice say, read from its data files; images are passed over."""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from vlm_assets.allocation.grams import GramReader, Numbers
from vlm_assets.allocation.supply import SupplySlice
from vlm_assets.store.away import files_like
from vlm_assets.store.sound_files import stream_batches
from vlm_assets.words.counts import so_many
from vlm_assets.words.errors import AllocationError, StoreError
from vlm_assets.words.keys import Words
from vlm_assets.words.schema import SAMPLE_SCHEMA


def slice_grams(entry: SupplySlice) -> Iterator[tuple[Words, Numbers]]:
    """Hashes of the grams that the rows of a slice say, and the row of each.

    Of a row's `text`, and of all that is said in its `messages`, turn after turn; from one to the other no gram runs.

    Raises:
        AllocationError: a data file is missing or damaged.
    """
    reader = GramReader()
    first = 0
    try:
        for path in files_like(entry.path, "data-*.arrow"):
            for batch in stream_batches(path, SAMPLE_SCHEMA, ("text", "messages")):
                for column, (texts, rows) in enumerate((_texts(batch), _said(batch))):
                    if texts.null_count < len(texts):
                        stretches = 2 * (first + rows) + column
                        for hashes, owner in reader.read(texts.to_pylist(), stretches.tolist()):
                            yield hashes, owner // 2
                first += batch.num_rows
    except (StoreError, FileNotFoundError) as error:
        raise AllocationError(str(error)) from error
    if first != entry.rows:
        raise AllocationError(
            f"{entry.path}: the data files have {so_many(first, 'row')}, the manifest {entry.rows}; run "
            f"`vlm-assets verify`"
        )


def _texts(batch: pa.RecordBatch) -> tuple[pa.Array, NDArray[np.int64]]:
    """Texts of the batch's rows that have one, and their rows."""
    column = batch.column("text")
    there = column.is_valid()
    return column.filter(there), np.flatnonzero(there.to_numpy(zero_copy_only=False))


def _said(batch: pa.RecordBatch) -> tuple[pa.Array, NDArray[np.int64]]:
    """Texts within the batch's conversations in their order, and the row of each."""
    column = batch.column("messages")
    turns, row_of_turn = column.flatten(), _parents(column)
    content = pc.struct_field(turns, "content")
    parts, turn_of_part = content.flatten(), _parents(content)
    texts = pc.struct_field(parts, "text")
    there = texts.is_valid()
    rows = row_of_turn[turn_of_part]
    return texts.filter(there), rows[there.to_numpy(zero_copy_only=False)]


def _parents(lists: pa.Array) -> NDArray[np.int64]:
    found: NDArray[np.int64] = pc.list_parent_indices(lists).to_numpy(zero_copy_only=False).astype(np.int64)
    return found
