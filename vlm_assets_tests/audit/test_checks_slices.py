"""Order of a slice's rows against its ledger."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from vlm_assets.audit import checks_slices
from vlm_assets.store.slices import INDEX_FILE
from vlm_assets.words.layout import key_hash
from vlm_assets.words.schema import INDEX_SCHEMA

KEYS = ["a", "b", "c"]
ROWS = [2, 3, 1]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A slice's index with two rows of a, three of b, one of c."""
    hashes = np.repeat(np.array([key_hash(key) for key in KEYS], np.uint64), ROWS)
    empty = {field.name: pa.nulls(len(hashes), field.type) for field in INDEX_SCHEMA}
    table = pa.table({**empty, "item_hash": hashes}, INDEX_SCHEMA)
    with pa.OSFile(str(tmp_path / INDEX_FILE), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table)
    return tmp_path


@pytest.mark.parametrize(
    ("keys", "rows", "told"),
    [
        (KEYS, ROWS, []),
        (["a", "c", "b"], ROWS, ["s: rows from 2 on are not of 'c', as its ledger says"]),
        (["x", "b", "c"], ROWS, ["s: rows from 0 on are not of 'x', as its ledger says"]),
        (KEYS, [3, 2, 1], ["s: rows from 0 on are not of 'a', as its ledger says"]),
        (["a", "b", "x"], ROWS, ["s: rows from 5 on are not of 'x', as its ledger says"]),
        (KEYS, [2, 3, 2], []),  # the counts say so
        ([], [], []),
    ],
    ids=["right", "swapped", "first", "counts-moved", "last", "too-many", "empty"],
)
def test_rows_that_are_not_the_items_are_named(
    folder: Path, keys: list[str], rows: list[int], told: list[str]
):
    assert list(checks_slices._order_faults("s", folder, keys, rows)) == told
