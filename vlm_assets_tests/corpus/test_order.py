"""Format constants of the corpus: a change here is another corpus, and must raise `ORDER_VERSION`."""

import numpy as np
import pytest

from vlm_assets.allocation.manifest import AllocatedShard
from vlm_assets.corpus.manifest import cell_digest, corpus_rows_hash
from vlm_assets.corpus.order import (
    ORDER_VERSION,
    Blocks,
    block_keys,
    group_bits,
    groups_of,
    planned_bytes,
    row_hashes,
    slice_seed,
    trie_leaves,
    window_ends,
    window_order,
)
from vlm_assets.words.errors import CorpusError


def words(*values: int) -> np.ndarray:
    return np.array(values, np.uint64)


@pytest.mark.parametrize(
    ("items", "block_rows", "bits"),
    [
        (1, 64, 0),
        (64, 64, 0),
        (96, 64, 0),
        (97, 64, 1),
        (192, 64, 1),
        (193, 64, 2),
        (10_000, 64, 7),
        (5, 1, 2),
    ],
)
def test_groups_are_the_power_of_two_nearest(items, block_rows, bits):
    assert group_bits(items, block_rows) == bits


def test_groups_of_loose_and_container_slices():
    hashes = words(0, 2**61, 2**63, 2**64 - 1)
    assert groups_of(hashes, container=False, bits=3).tolist() == [0, 1, 4, 7]
    assert groups_of(hashes, container=False, bits=0).tolist() == [0, 0, 0, 0]
    assert groups_of(hashes, container=True, bits=3).tolist() == hashes.tolist()


def test_vectors():
    assert ORDER_VERSION == 1
    h0 = slice_seed(7, "street", "0001-of-0012")
    assert h0 == H0
    assert block_keys(h0, words(0, 3, 2**64 - 1), words(0, 1, 2)).tolist() == BLOCK_KEYS
    assert row_hashes(h0, words(0, 3, 2**64 - 1), words(0, 1, 2)).tolist() == ROW_HASHES
    assert cell_digest("photos", "street", "CC0-1.0").hex() == CELL_DIGEST
    assert corpus_rows_hash([("1", "b"), ("0", "a")]) == corpus_rows_hash([("0", "a"), ("1", "b")])


H0 = 15698384143717669946
BLOCK_KEYS = [13503399893509546801, 888673914259542010, 13997069769900309007]
ROW_HASHES = [7888009472758632419, 131308761578714105, 4647619473138540726]
CELL_DIGEST = "a1d9455009bd61f665bc3f1a1b92d29ecc136093b0f5ea4d050a7f522acf3449"


@pytest.mark.parametrize(
    ("sizes", "window", "ends"),
    [
        ([], 10, []),
        ([3, 3, 3, 3, 3], 9, [3, 5]),
        ([3, 3, 4, 1], 9, [3, 4]),
        ([100, 1, 100], 9, [1, 3]),
        ([9, 9], 9, [1, 2]),
    ],
)
def test_a_window_closes_with_the_row_that_reaches_its_bytes(sizes, window, ends):
    assert window_ends(np.array(sizes, np.uint32), window).tolist() == ends


def test_ties_of_the_row_hash_go_by_position():
    assert window_order(words(5, 1, 5, 1)).tolist() == [1, 3, 0, 2]


def one_row_blocks(keys: list[int], sizes: list[int], hashes: list[int]) -> Blocks:
    count = len(keys)
    return Blocks(
        slice=np.zeros(count, np.uint32), group=np.arange(count, dtype=np.uint64),
        number=np.zeros(count, np.uint64), key=words(*keys), start=np.arange(count, dtype=np.int64),
        count=np.ones(count, np.int64), row_size=np.array(sizes, np.uint32), row_hash=words(*hashes),
    ).ordered()  # fmt: skip


SPEC = AllocatedShard(max_bytes=planned_bytes(100, 10**6), block_rows=1, window_bytes=10**6)


@pytest.mark.parametrize(
    ("keys", "hashes", "expected"),
    [
        pytest.param([], [], {"": []}, id="no_rows"),
        pytest.param([2**63, 1], [0, 0], {"0": [1], "1": [0]}, id="split_by_the_first_bit"),
        pytest.param([2**62, 3 * 2**61], [0, 0], {"010": [0], "011": [1]}, id="empty_siblings_vanish"),
        pytest.param([0, 0], [2**63, 0], {"0" * 65: [1], "0" * 64 + "1": [0]}, id="own_hash_after_the_key"),
    ],
)
def test_shards_are_leaves_of_the_trie(keys, hashes, expected):
    blocks = one_row_blocks(keys, [60] * len(keys), hashes)
    assert {leaf.bits: leaf.rows.tolist() for leaf in trie_leaves(blocks, SPEC)} == expected


def test_rows_that_nothing_tells_apart_cannot_be_split():
    with pytest.raises(CorpusError, match=r"2 row\(s\) that cannot be split"):
        list(trie_leaves(one_row_blocks([5, 5], [60, 60], [9, 9]), SPEC))


def test_equal_block_keys_go_by_slice_group_number():
    blocks = one_row_blocks([5, 5, 1], [1, 1, 1], [0, 0, 0])
    assert [leaf.rows.tolist() for leaf in trie_leaves(blocks, SPEC)] == [[2, 0, 1]]
