"""Where images lie, how they are read and what they become, against what pyarrow reads."""

import random
import resource
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from vlm_assets.corpus import images as images_module
from vlm_assets.corpus.batches import Batches, MappedFile
from vlm_assets.corpus.images import (
    ImagePlaces,
    ImageReader,
    image_begins,
    image_column,
    image_data,
    image_sizes,
    row_sizes,
)
from vlm_assets.store.arrays import canonical
from vlm_assets.words.errors import CorpusError
from vlm_assets.words.schema import IMAGES_TYPE, Row


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """Three files of random bytes."""
    draw = random.Random(5)
    paths = [tmp_path / f"{number}" for number in range(3)]
    for path in paths:
        path.write_bytes(draw.randbytes(200_000))
    return paths


def drawn(draw: random.Random, largest: int) -> list[tuple[int, int, int]]:
    """Disjoint (file, place, size) in random order; some touch, some are empty."""
    found = []
    for file in range(3):
        place = draw.randrange(1000)
        while (end := place + draw.randrange(largest)) < 200_000:
            found.append((file, place, end - place))
            place = end + draw.choice([0, 1, 700, 40_000])
    draw.shuffle(found)
    return found[: 100_000 // largest]


def places_of(wanted: list[tuple[int, int, int]]) -> ImagePlaces:
    return ImagePlaces(*np.array(wanted, np.int64).reshape(-1, 3).T)


@pytest.mark.parametrize("largest", [40, 3_000, 30_000])
@pytest.mark.parametrize("piece", [1_000, 2**20])
@pytest.mark.parametrize("descriptors", [0, 2, 3])
def test_pieces_come_in_the_order_wanted(files, monkeypatch, largest, piece, descriptors):
    monkeypatch.setattr(images_module, "PIECE_BYTES", piece)
    monkeypatch.setattr(images_module, "_allowed", lambda _: descriptors)
    reader, draw = ImageReader([MappedFile(path) for path in files]), random.Random(largest)
    for _ in range(3):
        wanted = drawn(draw, largest)
        places = places_of(wanted)
        reader.read_ahead(places)
        found = [bytes(one) for one in reader.pieces(places)]
        assert all(len(one) == piece for one in found[:-1])
        assert b"".join(found) == b"".join(
            files[file].read_bytes()[at : at + size] for file, at, size in wanted
        )
        assert places.total == sum(size for *_, size in wanted)


def test_nothing_wanted_is_nothing(files):
    reader = ImageReader([MappedFile(files[0])])
    for places in (places_of([]), places_of([(0, 5, 0)])):
        reader.read_ahead(places)
        assert list(reader.pieces(places)) == []


def test_what_lies_near_is_read_in_one_go():
    wanted = [(1, 100, 50), (0, 60_000, 10), (0, 0, 100), (0, 10_000, 90), (1, 0, 100)]
    assert list(places_of(wanted).spans()) == [(0, 0, 10_090), (0, 60_000, 60_010), (1, 0, 150)]


def test_what_a_column_cannot_hold_is_refused():
    assert places_of([(0, 0, 2**30), (1, 7, 2**30 - 1)]).total == 2**31 - 1
    with pytest.raises(CorpusError, match="2147483648 image bytes"):
        _ = places_of([(0, 0, 2**30), (1, 7, 2**30)]).total


def test_a_file_that_was_cut_is_named(files):
    reader = ImageReader([MappedFile(path) for path in files])
    files[1].write_bytes(b"short")
    with pytest.raises(CorpusError, match=f"{files[1]} is damaged"):
        list(reader.pieces(places_of([(0, 0, 10), (1, 199_000, 10)])))


@pytest.mark.parametrize(
    ("soft", "hard", "files", "allowed"),
    [(1_024, 4_096, 100, 100), (1_024, 4_096, 2_000, 2_000), (1_024, 4_096, 9_000, 3_584), (256, 256, 9, 0)],
    ids=["enough", "raised", "too_many", "too_few"],
)
def test_descriptors_are_taken_as_the_limit_allows(monkeypatch, soft, hard, files, allowed):
    limits = [soft, hard]
    monkeypatch.setattr(resource, "getrlimit", lambda _: tuple(limits))
    monkeypatch.setattr(resource, "setrlimit", lambda _, new: limits.__setitem__(slice(2), new))
    assert images_module._allowed(files) == allowed
    assert soft <= limits[0] <= hard == limits[1]


def rows_of(draw: random.Random, rows: int) -> list[list[Row]]:
    """Random rows without nulls, of none to three images."""

    def image() -> Row:
        return {"bytes": draw.randbytes(draw.choice([0, 1, 500])), "path": None}

    return [[image() for _ in range(draw.randrange(4))] for _ in range(rows)]


@pytest.mark.parametrize("seed", range(4))
def test_a_row_is_one_range_of_its_file_and_becomes_the_same_column(tmp_path, seed):
    draw = random.Random(seed)
    rows, schema = rows_of(draw, 40), pa.schema([("images", IMAGES_TYPE)])
    path = tmp_path / "data.arrow"
    with pa.ipc.new_stream(str(path), schema) as writer:
        writer.write_batch(pa.RecordBatch.from_arrays([pa.array(rows, IMAGES_TYPE)], schema=schema))
    held = Batches(schema, [path])
    column = held.read(0).column("images")
    order = draw.sample(range(40), 25)
    sizes = canonical(image_sizes(column).take(pa.array(order)))
    begins = (image_begins(column) + held.file(0).place_of(image_data(column)))[order]
    content = path.read_bytes()
    expected = [b"".join(image["bytes"] for image in rows[n]) for n in order]
    ranges = zip(begins, row_sizes(sizes), strict=True)
    assert [content[at : at + size] for at, size in ranges] == expected
    made = image_column(sizes, pa.py_buffer(b"".join(expected)))
    made.validate(full=True)
    assert made.to_pylist() == [rows[n] for n in order]


def test_images_without_bytes_are_null_sizes():
    rows = [[{"bytes": b"x", "path": None}], None, [{"bytes": None, "path": None}], [None], []]
    assert image_sizes(pa.array(rows, IMAGES_TYPE)).to_pylist() == [[1], None, [None], [None], []]


def test_a_batch_whose_images_are_all_gone_has_no_bytes():
    gone = pa.array([None, None], IMAGES_TYPE)
    assert image_data(gone).size == 0
    assert image_begins(gone).tolist() == [0, 0]
