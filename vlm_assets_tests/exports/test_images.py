"""Images in Arrow's memory: those of the rows, whatever part of a batch is looked at, joined as Arrow joins them."""

from collections.abc import Sequence
from itertools import pairwise

import pyarrow as pa
import pytest

from vlm_assets.exports.images import encoded_images, one_array_a_column
from vlm_assets.words.errors import StoreError
from vlm_assets.words.schema import IMAGES_TYPE
from vlm_assets_tests.workplace import expect_error

SCHEMA = pa.schema([("id", pa.string()), ("images", IMAGES_TYPE), ("number", pa.int64())])


def images(*rows: Sequence[bytes | None] | None) -> pa.Array:
    told = [None if row is None else [{"bytes": one, "path": None} for one in row] for row in rows]
    return pa.array(told, IMAGES_TYPE)


@pytest.mark.parametrize("part", [slice(0, 3), slice(1, 3), slice(2, 3), slice(1, 1)], ids=str)
def test_images_are_those_of_the_rows(part):
    rows = [[b"one"], [b"two", b"", b"three"], [b"four"]]
    starts, found = encoded_images(images(*rows)[part])
    assert [found[a:b] for a, b in pairwise(starts)] == rows[part]


@pytest.mark.parametrize("row", [None, [None]], ids=["no images", "no bytes"])
def test_images_that_are_not_there_are_told(row):
    assert "audit" in expect_error(lambda: encoded_images(images([b"one"], row)), StoreError)


def batch(first: int, rows: Sequence[list[bytes]]) -> pa.RecordBatch:
    numbers = pa.array(range(first, first + len(rows)), pa.int64())
    return pa.record_batch([numbers.cast(pa.string()), images(*rows), numbers], SCHEMA)


FIRST = batch(0, [[b"one"], [b"two", b"", b"three"], [b"four"], []])
SECOND = batch(4, [[b"five", b"six"], [b"7" * 100_000], [b"eight"]])
GROUPS = {
    "one batch": [FIRST],
    "parts of batches": [FIRST[1:3], SECOND[:1], SECOND[1:]],
    "parts without rows": [FIRST[:0], SECOND, FIRST[4:], FIRST[3:], FIRST[:0], FIRST[:1]],
    "no bytes": [batch(0, [[b""], []]), batch(2, [[b""]])],
    "an image without bytes": [FIRST, pa.record_batch([["x"], images([None]), [1]], SCHEMA)],
    "none": [],
}


@pytest.mark.parametrize("name", GROUPS)
def test_joined_images_are_those_that_arrow_joins(name):
    rows = pa.Table.from_batches(GROUPS[name], SCHEMA)
    for _ in range(2):  # in memory that was lent before
        with one_array_a_column(rows) as whole:
            whole.validate(full=True)
            assert (whole.schema, whole.to_pylist()) == (SCHEMA, rows.to_pylist())
            assert {column.num_chunks for column in whole.columns} <= {0, 1}
