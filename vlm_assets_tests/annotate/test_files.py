"""The file of annotations: what is written is read, and what is not as it was written is damaged."""

from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from vlm_assets.annotate.files import (
    CONTENT_KEY,
    HEADER_KEY,
    KEY_TYPE,
    AnnotationState,
    Header,
    annotation_state,
    read_annotation,
    read_header,
    read_keys,
    values_hash,
    write_annotation,
)
from vlm_assets.words.errors import AnnotationError

TABLE = pa.table(
    {
        "id": ["s/a/1", "s/a/2", "s/a/3"],
        "laplacian": pa.array([[1.5], None, [2.0, None]], pa.list_(pa.float32())),
        "words": pa.array(["yağmur", None, ""], pa.string()),
        "fine": pa.array([True, None, False]),
        "count": pa.array([1, None, -3], pa.int32()),
    }
)


KEYS = pa.array([b"a" * 16, None, b"c" * 16], KEY_TYPE)


def header(**changed: Any) -> Header:
    given = {
        "annotator": "blur", "version": "1", "source": "s", "slice": "a", "content_hash": "ab", "rows": 0,
        "values_hash": "",
    }  # fmt: skip
    return Header(**{**given, **changed})


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "blur" / "s" / "a.parquet"


def test_what_is_written_is_read(path: Path):
    written = write_annotation(path, header(failed={"timeout": 2}), TABLE)
    found = read_annotation(path)
    assert found is not None
    assert found.table.equals(TABLE)
    assert found.header == read_header(path) == written
    assert (written.rows, written.values_hash, written.failed) == (3, values_hash(TABLE), {"timeout": 2})
    assert [one.name for one in path.parent.iterdir()] == ["a.parquet"]


def test_content_keys_stand_beside_the_values(path: Path):
    written = write_annotation(path, header(), TABLE, KEYS)
    found = read_annotation(path)
    assert found is not None
    assert found.keys is not None
    assert found.keys.equals(KEYS)
    assert found.table.equals(TABLE)
    assert written.values_hash == values_hash(TABLE), "they are no values"
    assert read_keys(path) == (found.header, KEYS)
    write_annotation(path, header(format=1), TABLE)
    found = read_annotation(path)
    assert found is not None
    assert (found.keys, read_keys(path)) == (None, (found.header, None))


@pytest.mark.parametrize(
    "keys",
    [
        pa.array([b"a" * 16, None, b"d" * 16], KEY_TYPE),
        pa.array([b"a" * 16, b"c" * 16, None], KEY_TYPE),
        None,
    ],
    ids=["another", "shifted", "gone"],
)
def test_tampered_content_keys_are_damage(path: Path, keys: pa.Array | None):
    told = write_annotation(path, header(), TABLE, KEYS)
    table = TABLE if keys is None else TABLE.append_column(CONTENT_KEY, keys)
    pq.write_table(table.replace_schema_metadata({HEADER_KEY: orjson.dumps(told.model_dump())}), path)
    with pytest.raises(AnnotationError, match=r"a\.parquet is damaged: its content keys"):
        read_annotation(path)


def test_the_hash_is_of_texts_bytes_wherever_they_begin():
    texts = pa.table({"id": ["x", "ş", "z"], "text": ["ı", None, "ab"]})
    parts = pa.concat_tables([texts.slice(0, 1), texts.slice(1)])
    assert values_hash(texts) == values_hash(parts)
    assert values_hash(texts.slice(1)) == values_hash(pa.table({"id": ["ş", "z"], "text": [None, "ab"]}))
    assert values_hash(texts) != values_hash(pa.table({"id": ["x", "ş", "z"], "text": ["ıa", None, "b"]}))


def test_equal_values_are_equal_bytes(path: Path, tmp_path: Path):
    write_annotation(path, header(), TABLE)
    cut = pa.concat_tables([TABLE.slice(0, 1), TABLE.slice(1)])
    write_annotation(tmp_path / "other.parquet", header(), cut)
    assert path.read_bytes() == (tmp_path / "other.parquet").read_bytes()


def test_no_rows(path: Path):
    write_annotation(path, header(), TABLE.slice(0, 0), KEYS[:0])
    found = read_annotation(path)
    assert found is not None
    assert found.table.num_rows == 0
    assert found.keys == KEYS[:0]


def test_keys_are_the_same_wherever_they_begin(path: Path):
    told = [
        write_annotation(path, header(), TABLE.slice(1), keys).keys_hash
        for keys in (KEYS[1:], pa.array([None, b"c" * 16], KEY_TYPE), pa.array([b"c" * 16, None], KEY_TYPE))
    ]
    assert told[0] == told[1] != told[2]


@pytest.mark.parametrize(
    ("version", "content", "state"),
    [
        ("1", "ab", AnnotationState.FRESH),
        ("2", "ab", AnnotationState.STALE),
        ("1", "cd", AnnotationState.STALE),
    ],
)
def test_states(path: Path, version: str, content: str, state: AnnotationState):
    assert annotation_state(path, version, content) is AnnotationState.MISSING
    write_annotation(path, header(), TABLE)
    assert annotation_state(path, version, content) is state


@pytest.mark.parametrize(
    "change",
    [
        TABLE.set_column(4, "count", pa.array([1, None, -4], pa.int32())),
        TABLE.set_column(4, "count", pa.array([1, 0, -3], pa.int32())),
        TABLE.set_column(4, "count", pa.array([1, None, -3], pa.int64())),
        TABLE.set_column(1, "laplacian", pa.array([[1.5], [], [2.0, None]], pa.list_(pa.float32()))),
        TABLE.set_column(1, "laplacian", pa.array([[1.5, 2.0], None, [None]], pa.list_(pa.float32()))),
        TABLE.set_column(2, "words", pa.array(["yağmur", "", None])),
        TABLE.set_column(0, "id", pa.array(["s/a/1", "s/a/2", "s/a/4"])),
        TABLE.rename_columns(["id", "laplacian", "words", "fine", "other"]),
        TABLE.slice(0, 2),
    ],
    ids=["value", "null", "type", "empty list", "shifted", "empty text", "id", "name", "rows"],
)
def test_a_tampered_value_is_damage(path: Path, change: pa.Table):
    told = write_annotation(path, header(), TABLE)
    metadata = {HEADER_KEY: orjson.dumps(told.model_dump())}
    pq.write_table(change.replace_schema_metadata(metadata), path)
    with pytest.raises(AnnotationError, match=r"a\.parquet is damaged"):
        read_annotation(path)


@pytest.mark.parametrize("place", [60, -6, -1], ids=["page", "length of the footer", "end"])
def test_a_flipped_byte_is_damage_that_names_the_file(path: Path, place: int):
    write_annotation(path, header(), TABLE)
    data = bytearray(path.read_bytes())
    data[place] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(AnnotationError, match=r"a\.parquet is damaged"):
        read_annotation(path)


@pytest.mark.parametrize(
    ("data", "told"),
    [(b"", "is damaged"), (b"PAR1", "is damaged"), (None, "says nothing of its annotator")],
    ids=["empty", "cut", "somebody else's"],
)
def test_other_files(path: Path, data: bytes | None, told: str):
    path.parent.mkdir(parents=True)
    if data is None:
        pq.write_table(TABLE, path)
    else:
        path.write_bytes(data)
    assert annotation_state(path, "1", "ab") is AnnotationState.DAMAGED
    with pytest.raises(AnnotationError, match=told):
        read_annotation(path)


def test_a_file_of_a_later_format(path: Path):
    write_annotation(path, header(format=3), TABLE)
    with pytest.raises(AnnotationError, match="of format 3, this program reads up to 2"):
        read_annotation(path)


def test_nothing_is_left_of_a_write_that_failed(path: Path):
    write_annotation(path, header(), TABLE)
    before = path.read_bytes()
    with pytest.raises(AnnotationError, match="column vector is of"):
        write_annotation(path, header(), TABLE.append_column("vector", pa.array([[[1]]] * 3)))
    assert path.read_bytes() == before
