"""Reading rows of Arrow files by position, against what pyarrow reads."""

import random
from itertools import combinations
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from vlm_assets.corpus import row_files
from vlm_assets.corpus.byte_pieces import Arranged, PieceReader, Pieces
from vlm_assets.corpus.ipc_layout import read_layouts
from vlm_assets.corpus.row_files import RowFiles, WideColumnError
from vlm_assets.words.errors import CorpusError
from vlm_assets.words.schema import IMAGE_TYPE
from vlm_assets_tests.corpus.test_byte_pieces import images_of

SCHEMA = pa.schema(
    [
        ("image", IMAGE_TYPE), ("text", pa.string()), ("never", pa.string()), ("side", pa.int32()),
        ("kind", pa.uint8()), ("digest", pa.binary(32)),
    ]
)  # fmt: skip


def rows(count: int, seed: int) -> list[dict[str, object]]:
    """Random rows; every third column value or so is null, in some batches all, in others none."""
    draw = random.Random(seed)
    gone = draw.choice([0.0, 0.3, 1.0])

    def maybe(value: object) -> object:
        return None if draw.random() < gone else value

    return [
        {
            "image": maybe({"bytes": draw.randbytes(draw.randrange(200)), "path": None}),
            "text": maybe("ş" * draw.randrange(9)),
            "never": None,
            "side": maybe(draw.randrange(2**31)),
            "kind": maybe(draw.randrange(9)),
            "digest": draw.randbytes(32),
        }
        for _ in range(count)
    ]


@pytest.fixture
def files(tmp_path: Path) -> tuple[list[Path], pa.Table]:
    """Streams and files of IPC with batches of many sizes, empty ones among them; and all their rows."""
    paths, tables = [], []
    for number, sizes in enumerate([(7, 0, 64), (1,), (), (33, 20)]):
        path = tmp_path / f"{number}.arrow"
        new = pa.ipc.new_file if number % 2 else pa.ipc.new_stream
        batches = [
            pa.RecordBatch.from_pylist(rows(size, 100 * number + place), SCHEMA)
            for place, size in enumerate(sizes)
        ]
        with new(str(path), SCHEMA) as writer:
            for batch in batches:
                writer.write_batch(batch)
        paths.append(path)
        tables.append(pa.Table.from_batches(batches, SCHEMA))
    return paths, pa.concat_tables(tables)


@pytest.mark.parametrize("gap_rows", [1, 3, 1000])
@pytest.mark.parametrize("seed", range(6))
def test_columns_at_places_are_those_that_pyarrow_reads(files, gap_rows, seed):
    paths, table = files
    held = RowFiles(SCHEMA, paths)
    draw = np.random.default_rng(seed)
    places = np.flatnonzero(draw.random(table.num_rows) < draw.random())
    stretches, local = held.stretches(places, gap_rows)
    for name in SCHEMA.names:
        expected = table.column(name).take(pa.array(places)).to_pylist()
        if name == "image":
            images = held.pieces(name, stretches)
            order = [images.file[local], images.offset[local], images.size[local]]
            got = images_of(PieceReader(paths).read(Arranged.of(Pieces(*order))))
            expected = [one["bytes"] if one else b"" for one in expected]
        else:
            got = held.read(name, stretches).take(pa.array(local)).to_pylist()
        assert got == expected
        valid = held.valid(name, stretches)
        seen = np.ones(stretches.total, np.bool_) if valid is None else valid
        there = table.column(name).take(pa.array(places)).is_valid()
        assert there.to_pylist() == seen[local].tolist()


def test_rows_of_each_file_are_told(files):
    paths, _ = files
    assert RowFiles(SCHEMA, paths).file_rows.tolist() == [71, 1, 0, 53]


def test_a_small_gap_is_read_and_a_large_one_cut_out(files):
    paths, _ = files
    held = RowFiles(SCHEMA, paths)
    stretches, _ = held.stretches(np.array([10, 12, 20]), 2)
    assert stretches.rows.tolist() == [3, 1]
    assert stretches.batch.tolist() == [2, 2]


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        pytest.param(lambda data: data[:-200], "cut short", id="cut"),
        pytest.param(lambda data: data[:1000] + bytes(len(data) - 1000), "no Arrow message", id="zeros"),
        pytest.param(lambda data: data[:0], "no Arrow schema", id="empty"),
    ],
)
def test_a_damaged_file_is_named(files, damage, told):
    path = files[0][0]
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(CorpusError, match=told):
        read_layouts(path, SCHEMA)


def test_another_schema_and_compression_are_refused(files, tmp_path):
    with pytest.raises(CorpusError, match="migrate"):
        read_layouts(files[0][0], pa.schema([("x", pa.int8())]))
    path = tmp_path / "small.arrow"
    with pa.ipc.new_stream(str(path), SCHEMA, options=pa.ipc.IpcWriteOptions(compression="zstd")) as writer:
        writer.write_batch(pa.RecordBatch.from_pylist(rows(9, 1), SCHEMA))
    with pytest.raises(CorpusError, match="compressed"):
        read_layouts(path, SCHEMA)


def test_a_file_cut_after_it_was_opened_is_an_error(files):
    paths, _ = files
    held = RowFiles(SCHEMA, paths)
    stretches, _ = held.stretches(np.arange(60, 71), 1)
    paths[0].write_bytes(paths[0].read_bytes()[:4000])
    with pytest.raises(CorpusError, match="bytes are missing"):
        held.read("digest", stretches)


def test_more_files_than_may_be_open_take_turns(files, monkeypatch):
    paths, table = files
    monkeypatch.setattr("vlm_assets.corpus.open_files._reserve", lambda _: 2)
    held = RowFiles(SCHEMA, paths)
    for places in ([1, 71], [75, 80], [3, 90], [71, 76]):
        stretches, local = held.stretches(np.array(places), 1)
        got = held.read("digest", stretches).take(pa.array(local)).to_pylist()
        assert got == table.column("digest").take(places).to_pylist()
    with pytest.raises(CorpusError, match="ulimit -n"):
        held.stretches(np.array([1, 71, 80]), 1)


def test_a_column_over_the_reach_of_its_offsets_is_refused(files, monkeypatch):
    monkeypatch.setattr("vlm_assets.corpus.row_files.MAX_COLUMN_BYTES", 5)
    held = RowFiles(SCHEMA, files[0])
    with pytest.raises(WideColumnError):
        held.read("text", held.stretches(np.arange(100), 1)[0])


@pytest.mark.parametrize("gap_bytes", [0, 300, 2**20])
@pytest.mark.parametrize("names", [*combinations(SCHEMA.names, 1), *combinations(SCHEMA.names, 2)])
def test_of_what_was_loaded_only_the_columns_asked_for_are_there(files, monkeypatch, names, gap_bytes):
    monkeypatch.setattr(row_files, "_LOADED_GAP_BYTES", gap_bytes)
    paths, table = files
    held = RowFiles(SCHEMA, paths)
    for seed in range(2):  # the second time in memory of the first
        places = np.flatnonzero(np.random.default_rng(seed).random(table.num_rows) < 0.3)
        held.load(places, names)
        stretches, local = held.stretches(places, 1000)
        for name in names:
            expected = table.column(name).take(pa.array(places)).to_pylist()
            if name == "image":
                pieces = held.pieces(name, stretches)
                there = Pieces(pieces.file[local], pieces.offset[local], pieces.size[local])
                assert held.loaded(there).to_pylist() == [one["bytes"] if one else b"" for one in expected]
            else:
                assert held.read(name, stretches).take(pa.array(local)).to_pylist() == expected
        held.release()


@pytest.mark.parametrize(("gap_bytes", "ranges"), [(0, 8), (2**20, 3)])
def test_between_columns_wanted_a_large_gap_is_not_loaded(files, monkeypatch, gap_bytes, ranges):
    loaded = []
    monkeypatch.setattr(row_files, "_LOADED_GAP_BYTES", gap_bytes)
    monkeypatch.setattr(row_files, "LoadedRanges", lambda _, ranges: loaded.extend(ranges))
    held = RowFiles(SCHEMA, files[0])
    held.load(np.array([0, 71, 72, 110]), ["text", "digest"])  # of four batches in three files
    assert len(loaded) == ranges
