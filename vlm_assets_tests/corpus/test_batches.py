"""Record batches of many files as one long run of rows, against what pyarrow reads."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from vlm_assets.corpus.batches import Batches
from vlm_assets.words.errors import CorpusError

SCHEMA = pa.schema([("number", pa.int64()), ("text", pa.string())])
FILES = ((7, 0, 64), (1,), (), (33, 20))
"""Rows of the batches of each file."""


@pytest.fixture
def paths(tmp_path: Path) -> list[Path]:
    """Streams and files of IPC by turns; every row holds its place in the long run."""
    made, next_row = [], 0
    for number, sizes in enumerate(FILES):
        path = tmp_path / f"{number}.arrow"
        new = pa.ipc.new_file if number % 2 else pa.ipc.new_stream
        with new(str(path), SCHEMA) as writer:
            for size in sizes:
                rows = range(next_row, next_row + size)
                columns = [pa.array(rows, pa.int64()), pa.array([f"ş{n}" for n in rows])]
                writer.write_batch(pa.RecordBatch.from_arrays(columns, schema=SCHEMA))
                next_row += size
        made.append(path)
    return made


@pytest.mark.parametrize("gap_rows", [1, 3, 1_000])
@pytest.mark.parametrize("share", [0.02, 0.5, 1.0])
def test_runs_cover_the_places_asked_for(paths, gap_rows, share):
    held = Batches(SCHEMA, paths)
    places = np.flatnonzero(np.random.default_rng(1).random(125) < share)
    runs, local = held.runs(places, gap_rows)
    covered = pa.concat_batches([held.read(batch).slice(first, rows) for batch, first, rows in runs])
    assert covered.column("number").take(pa.array(local)).to_pylist() == places.tolist()
    assert covered.column("text").take(pa.array(local)).to_pylist() == [f"ş{n}" for n in places]
    held.file(0).release_pages()  # they come back
    assert held.read(2).column("number").to_pylist() == list(range(7, 71))


def test_a_small_gap_is_covered_and_a_large_one_cut_out(paths):
    runs, local = Batches(SCHEMA, paths).runs(np.array([10, 12, 20, 70, 71]), 2)
    assert list(runs) == [(2, 3, 3), (2, 13, 1), (2, 63, 1), (3, 0, 1)]
    assert local.tolist() == [0, 2, 3, 4, 5]


def test_rows_of_each_file_are_told(paths):
    held = Batches(SCHEMA, paths)
    assert held.file_rows.tolist() == [71, 1, 0, 53]
    assert held.file_of.tolist() == [0, 0, 0, 1, 3, 3]
    assert Batches(SCHEMA, []).file_rows.tolist() == []


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda data: data[:-200], id="cut"),
        pytest.param(lambda data: data[:3], id="cut_at_its_beginning"),
        pytest.param(lambda data: data[:0], id="empty"),
        pytest.param(lambda data: data[:400] + b"\x55" * (len(data) - 400), id="overwritten"),
    ],
)
@pytest.mark.parametrize("number", [0, 3], ids=["stream", "file"])
def test_a_damaged_file_is_named(paths, number, damage):
    path = paths[number]
    data = path.read_bytes()
    if number == 3:  # whose footer nobody reads
        data = data[: data.rindex(b"\xff\xff\xff\xff\0\0\0\0")]
    path.write_bytes(damage(data))
    with pytest.raises(CorpusError, match=f"{path} is damaged"):
        Batches(SCHEMA, paths)


def test_another_schema_is_refused(paths):
    with pytest.raises(CorpusError, match="migrate"):
        Batches(pa.schema([("x", pa.int8())]), paths[:1])


def test_the_place_of_a_buffer_is_where_its_bytes_lie(paths):
    held = Batches(SCHEMA, paths)
    data = held.read(2).column("text").buffers()[2]
    place = held.file(2).place_of(data)
    assert paths[0].read_bytes()[place : place + data.size] == data.to_pybytes()
    assert held.file(2).place_of(pa.py_buffer(b"")) == 0


def test_a_compressed_batch_has_no_places(tmp_path):
    path = tmp_path / "small.arrow"
    batch = pa.RecordBatch.from_pydict({"number": [1] * 999, "text": ["x"] * 999}, SCHEMA)
    with pa.ipc.new_stream(str(path), SCHEMA, options=pa.ipc.IpcWriteOptions(compression="zstd")) as writer:
        writer.write_batch(batch)
    held = Batches(SCHEMA, [path])
    with pytest.raises(CorpusError, match="compressed"):
        held.file(0).place_of(held.read(0).column("text").buffers()[2])
