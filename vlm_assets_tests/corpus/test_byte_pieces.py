"""Pieces of files in any order, against slices of the files' bytes."""

import random
from itertools import pairwise

import numpy as np
import pytest

from vlm_assets.corpus import byte_pieces
from vlm_assets.corpus.byte_pieces import Arranged, ImageBytes, PieceReader, Pieces, between_gaps
from vlm_assets.words.errors import CorpusError


@pytest.fixture
def files(tmp_path):
    """Three files of random bytes."""
    draw = random.Random(5)
    paths = [tmp_path / f"{number}" for number in range(3)]
    for path in paths:
        path.write_bytes(draw.randbytes(200_000))
    return paths


def images_of(found: ImageBytes) -> list[bytes]:
    """Each image, of chunks that are copied as they come."""
    joined = b"".join(bytes(chunk) for chunk in found.chunks())
    ends = found.offsets.tolist()
    assert len(joined) == ends[-1]
    return [joined[begin:end] for begin, end in pairwise(ends)]


def drawn(draw: random.Random, largest: int) -> list[tuple[int, int, int]]:
    """Disjoint (file, offset, size) in random order; some touch, some are empty."""
    found = []
    for file in range(3):
        place = draw.randrange(1000)
        while (end := place + draw.randrange(largest)) < 200_000:
            found.append((file, place, end - place))
            place = end + draw.choice([0, 1, 700, 40_000])
    draw.shuffle(found)
    return found


@pytest.mark.parametrize("largest", [40, 3_000, 30_000])  # with gaps, with gaps, one by one
@pytest.mark.parametrize("most", [2**31 - 1, 300_000])
@pytest.mark.parametrize("chunk", [1, 5_000, 2**20])
def test_pieces_come_in_the_order_wanted(files, monkeypatch, largest, most, chunk):
    monkeypatch.setattr(byte_pieces, "MAX_COLUMN_BYTES", most)
    monkeypatch.setattr(byte_pieces, "PIECE_BYTES", chunk)
    reader, draw = PieceReader(files), random.Random(largest)
    for _ in range(3):
        wanted = drawn(draw, largest)
        wanted = wanted[: max(1, 100_000 // largest)]
        arranged = Arranged.of(Pieces(*np.array(wanted, np.int64).T))
        reader.read_ahead(arranged)
        expected = [files[file].read_bytes()[at : at + size] for file, at, size in wanted]
        assert images_of(reader.read(arranged)) == expected


@pytest.mark.parametrize("most", [2**31 - 1, 250])
def test_pieces_of_memory_larger_than_a_column(monkeypatch, most):
    monkeypatch.setattr(byte_pieces, "MAX_COLUMN_BYTES", most)
    memory = np.arange(1000, dtype=np.uint16).astype(np.uint8)
    begin, size = np.array([0, 300, 900]), np.array([100, 0, 100])
    found = between_gaps(memory, begin, size, np.array([2, 0, 1])).to_pylist()
    assert found == [b"", memory[900:].tobytes(), memory[:100].tobytes()]


def test_pieces_of_memory_that_no_column_holds(monkeypatch):
    monkeypatch.setattr(byte_pieces, "MAX_COLUMN_BYTES", 150)
    with pytest.raises(CorpusError, match="200 image bytes"):
        between_gaps(np.zeros(1000, np.uint8), np.array([0, 900]), np.array([100, 100]), np.array([0, 1]))


def test_what_a_column_cannot_hold_is_refused(files, monkeypatch):
    monkeypatch.setattr(byte_pieces, "MAX_COLUMN_BYTES", 999)
    arranged = Arranged.of(Pieces(*np.array([(0, 0, 500), (1, 7, 500)], np.int64).T))
    with pytest.raises(CorpusError, match="1000 image bytes"):
        images_of(PieceReader(files).read(arranged))


@pytest.mark.parametrize("size", [10, 5_000])
def test_a_file_that_is_cut_is_named(files, size):
    arranged = Arranged.of(Pieces(*np.array([(0, 0, size), (1, 199_000, size)], np.int64).T))
    files[1].write_bytes(b"short")
    with pytest.raises(CorpusError, match=f"{files[1]} is damaged"):
        images_of(PieceReader(files).read(arranged))
