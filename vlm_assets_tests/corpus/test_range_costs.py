"""What rows by range are said to cost is about what they cost."""

import random

import pytest

from vlm_assets.corpus.range_costs import RangeCosts, range_costs
from vlm_assets.corpus.ranges import Piece, requests_for

ROW_BYTES = 20_000
BLOCK_ROWS = 64


@pytest.mark.parametrize("share", [1.0, 0.9, 0.5, 0.3, 0.05])
def test_requests_and_bytes_are_those_of_chance(share):
    """Blocks of a slice, far from one another, of which rows are chosen by chance; heads left aside."""
    draw = random.Random(5)
    rows = [row for row in range(400 * BLOCK_ROWS) if draw.random() < share]
    memory = memoryview(bytes(ROW_BYTES))
    pieces = [Piece(row // BLOCK_ROWS, row % BLOCK_ROWS * ROW_BYTES, memory) for row in rows]
    made = list(requests_for(pieces, int(0.2 * len(rows) * ROW_BYTES)))
    told = range_costs(len(rows), 400 * BLOCK_ROWS, ROW_BYTES, BLOCK_ROWS)
    heads = 2 * 400 * BLOCK_ROWS / 1_000
    assert told.requests - heads == pytest.approx(len(made), rel=0.15)
    asked = sum(one.end - one.begin for one in made)
    assert told.size_bytes == pytest.approx(asked, rel=0.15)
    assert sum(len(one.pieces) for one in made) == len(rows)


def test_nothing_costs_nothing():
    assert range_costs(0, 10, 1_000.0, 64) == range_costs(0, 0, 0.0, 64) == RangeCosts(0, 0)


def test_ten_million_rows_of_100_kb():
    told = range_costs(10_000_000, 20_000_000, 100_000, 64)
    assert told.requests < 4_000_000
    assert told.size_bytes <= 1.3e12


def test_large_pieces_are_asked_for_in_parts_and_arrive_whole():
    made = list(requests_for([Piece(0, 7, memoryview(bytearray(40 * 2**20)))], 0))
    assert [one.end - one.begin for one in made] == [2**24, 2**24, 2**23]
    assert [one.begin for one in made] == [7, 7 + 2**24, 7 + 2**25]
