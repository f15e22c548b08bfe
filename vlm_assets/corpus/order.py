"""Where every row stands in the corpus: blocks, their keys, the trie of shards, windows. Pure and integer.

Every function here is a format: a changed result is a changed corpus, so `ORDER_VERSION` must be raised with it.
Nothing here may depend on memory, cores, or on how the slices happen to be batched.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

import numpy as np
from numpy.typing import NDArray

from vlm_assets.allocation.manifest import FILE_OVERHEAD_BYTES, WINDOW_OVERHEAD_BYTES, AllocatedShard
from vlm_assets.words.errors import CorpusError
from vlm_assets.words.keys import splitmix64, splitmix64_array

ORDER_VERSION: Final = 1

_KEY_BITS: Final = 64

U64 = NDArray[np.uint64]
I64 = NDArray[np.int64]


def group_bits(items_per_slice: int, block_rows: int) -> int:
    """g, with 2^g the power of two nearest `items_per_slice / block_rows`; the lower of two equally near."""
    bits = 0
    while 2 * items_per_slice > 3 * (block_rows << bits):
        bits += 1
    return bits


def slice_seed(seed: int, source: str, slice_name: str) -> int:
    r"""h0: first 8 bytes, big endian, of sha256 of `<seed>\0<source>\0<slice>`."""
    return int.from_bytes(sha256(f"{seed}\0{source}\0{slice_name}".encode()).digest()[:8], "big")


def groups_of(item_hash: U64, *, container: bool, bits: int) -> U64:
    """Group of each row: in a container slice the item itself, in a loose one the top `bits` of its hash."""
    if container:
        return item_hash
    if bits == 0:
        return np.zeros_like(item_hash)
    return item_hash >> np.uint64(_KEY_BITS - bits)


def block_keys(h0: int, groups: U64, numbers: U64) -> U64:
    """Key of the blocks (group, number) of one slice: splitmix64(splitmix64(h0 ^ group) ^ number)."""
    return splitmix64_array(splitmix64_array(groups ^ np.uint64(h0)) ^ numbers)


def row_hashes(h0: int, item_hash: U64, record: U64) -> U64:
    """A row's own hash: splitmix64(splitmix64(splitmix64(h0) ^ item_hash) ^ record).

    Orders rows in their window, and serves the trie where one block alone is over the cap. The extra round on h0
    keeps it apart from the block key of a container, which is made of the same numbers.
    """
    return splitmix64_array(splitmix64_array(item_hash ^ np.uint64(splitmix64(h0))) ^ record)


def planned_bytes(row_bytes: int, window_bytes: int) -> int:
    """Upper bound of the size of a data file whose rows' planned bytes sum to `row_bytes`."""
    windows = row_bytes // window_bytes + 1
    return row_bytes + WINDOW_OVERHEAD_BYTES * windows + FILE_OVERHEAD_BYTES


@dataclass(frozen=True, slots=True)
class Blocks:
    """Every block with planned rows, as runs of rows, and the rows.

    `slice`, `group`, `number`, `key`, `start`, `count` have one entry a run of rows of one block; `start` and
    `count` point into `row_size` and `row_hash`, which have one entry a row. Runs of a block are in slice order.
    """

    slice: NDArray[np.uint32]
    group: U64
    number: U64
    key: U64
    start: I64
    count: I64
    row_size: NDArray[np.uint32]
    row_hash: U64

    def ordered(self) -> "Blocks":
        """The same blocks by (key, slice, group, number), stable. Slices are numbered by (source, slice)."""
        order = np.lexsort((self.number, self.group, self.slice, self.key))
        return Blocks(
            self.slice[order], self.group[order], self.number[order], self.key[order],
            self.start[order], self.count[order], self.row_size, self.row_hash,
        )  # fmt: skip

    def block_bytes(self) -> I64:
        """Planned bytes of each block."""
        if not len(self.count):
            return np.zeros(0, np.int64)
        cumulative = np.concatenate(([0], np.cumsum(self.row_size, dtype=np.int64)))
        return np.asarray(cumulative[self.start + self.count] - cumulative[self.start], np.int64)

    def rows(self, low: int, high: int) -> I64:
        """Positions, in `row_size`, of the rows of blocks `low` to `high`, block by block."""
        count = self.count[low:high]
        before = np.cumsum(count) - count
        return np.repeat(self.start[low:high] - before, count) + np.arange(count.sum(), dtype=np.int64)


@dataclass(frozen=True, slots=True)
class Leaf:
    """A leaf of the trie: one shard. `rows` are positions in `Blocks.row_size`, in shard order before windows."""

    bits: str
    rows: I64
    row_bytes: int


def trie_leaves(blocks: Blocks, spec: AllocatedShard) -> Iterator[Leaf]:
    """Shards in order of their bits. A node splits when its planned bytes exceed `max_bytes`; empty ones vanish.

    `blocks` are ordered. The bits are those of the block key from the top, then those of the row's own hash. A plan
    without rows has one empty root.

    Raises:
        CorpusError: one row is over the cap, or rows that share all 128 bits are.
    """
    cumulative = np.concatenate(([0], np.cumsum(blocks.block_bytes())))
    stack = [("", 0, len(blocks.key))]
    while stack:
        bits, low, high = stack.pop()
        size = int(cumulative[high] - cumulative[low])
        if planned_bytes(size, spec.window_bytes) <= spec.max_bytes:
            if high > low or not bits:
                yield Leaf(bits, blocks.rows(low, high), size)
        elif len(bits) == _KEY_BITS:
            yield from _row_leaves(bits, blocks.rows(low, high), blocks, spec)
        else:
            first_one = np.uint64(int((bits + "1").ljust(_KEY_BITS, "0"), 2))
            middle = low + int(np.searchsorted(blocks.key[low:high], first_one))
            children = ((bits + "1", middle, high), (bits + "0", low, middle))
            stack += [child for child in children if child[2] > child[1]]


def _row_leaves(bits: str, rows: I64, blocks: Blocks, spec: AllocatedShard) -> Iterator[Leaf]:
    """Leaves below a single block key, split by the bits of the rows' own hashes."""
    stack = [(bits, rows)]
    while stack:
        bits, rows = stack.pop()
        size = int(blocks.row_size[rows].sum(dtype=np.int64))
        if planned_bytes(size, spec.window_bytes) <= spec.max_bytes:
            yield Leaf(bits, rows, size)
            continue
        depth = len(bits) - _KEY_BITS
        if len(rows) == 1 or depth == _KEY_BITS:
            raise CorpusError(
                f"{len(rows)} row(s) that cannot be split need {planned_bytes(size, spec.window_bytes)} bytes, "
                f"shard.max_bytes is {spec.max_bytes}. Raise shard.max_bytes."
            )
        ones = (blocks.row_hash[rows] >> np.uint64(_KEY_BITS - 1 - depth)) & np.uint64(1) == 1
        children = ((bits + "1", rows[ones]), (bits + "0", rows[~ones]))
        stack += [child for child in children if len(child[1])]


def window_ends(sizes: NDArray[np.uint32], window_bytes: int) -> I64:
    """End (exclusive) of every window: it closes with the row whose planned bytes bring it to `window_bytes`."""
    cumulative = np.cumsum(sizes, dtype=np.int64)
    ends: list[int] = []
    start_bytes = 0
    while not ends or ends[-1] < len(sizes):
        if not len(sizes):
            break
        end = min(int(np.searchsorted(cumulative, start_bytes + window_bytes)) + 1, len(sizes))
        ends.append(end)
        start_bytes = int(cumulative[end - 1])
    return np.array(ends, np.int64)


def window_order(hashes: U64) -> I64:
    """Order of a window's rows in the file: by their own hash, ties by position."""
    return np.argsort(hashes, kind="stable")
