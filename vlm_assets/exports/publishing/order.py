"""Rows of a shard in the order of their blocks, in which growth puts rows in and moves none.

A corpus permutes the rows of each window, and windows move as rows come in: in that order a corpus that grew by 1 %
has few neighbours that were neighbours before, and a store that keeps chunks once would be sent most of it again.
"""

from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from vlm_assets.allocation.manifest import AllocationManifest
from vlm_assets.corpus.order import block_keys, group_bits, groups_of, slice_seed

ORDER_COLUMNS: Final = ("source", "slice", "item_hash", "record")

I64 = NDArray[np.int64]


class BlockOrder:
    """Order of a window's rows by block, then item and record: what `corpus.order` had before it mixed them."""

    def __init__(self, plan: AllocationManifest) -> None:
        self._block_rows = plan.shard.block_rows
        self._slices = {
            (one.source, one.slice): (
                number,
                one.container,
                group_bits(one.items_per_slice, plan.shard.block_rows),
                slice_seed(plan.seed, one.source, one.slice),
            )
            for number, one in enumerate(plan.slices)
        }

    def order(self, index: pa.Table) -> I64:
        """Places of the rows of one window, given with `ORDER_COLUMNS`."""
        items = index.column("item_hash").to_numpy()
        records = index.column("record").to_numpy().astype(np.uint64)
        numbers = np.zeros(len(items), np.int64)
        keys = np.zeros(len(items), np.uint64)
        for name, rows in _rows_by_slice(index).items():
            number, container, bits, h0 = self._slices[name]
            groups = groups_of(items[rows], container=container, bits=bits)
            numbers[rows] = number
            keys[rows] = block_keys(h0, groups, records[rows] // np.uint64(self._block_rows))
        return np.lexsort((records, items, numbers, keys))


def _rows_by_slice(index: pa.Table) -> dict[tuple[str, str], I64]:
    sources, slices = (
        index.column(name).combine_chunks().dictionary_encode() for name in ("source", "slice")
    )
    pair = np.stack([one.indices.to_numpy() for one in (sources, slices)])
    found, inverse = np.unique(pair, axis=1, return_inverse=True)
    inverse = inverse.reshape(-1)
    return {
        (sources.dictionary[int(one)].as_py(), slices.dictionary[int(other)].as_py()): np.flatnonzero(
            inverse == number
        )
        for number, (one, other) in enumerate(found.T)
    }
