"""Data files with some bytes changed: each is read or is an error that names the file, whatever Arrow makes of it."""

import io
import random
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from vlm_assets.archives.limits import ArchiveLimits
from vlm_assets.hub.readers import Reading, read_data_file
from vlm_assets.words.errors import SourceError

TABLE: Final = pa.table(
    {
        "image": pa.array(
            [{"bytes": b"\xff\xd8x" * 20, "path": "a.jpg"}, {"bytes": b"abc", "path": "b"}, None]
        ),
        "text": ["bir", None, "üç"],
        "tags": pa.array([["a", "b"], None, ["c"]]),
        "kind": pa.array(["x", "y", "x"]).dictionary_encode(),
        "messages": pa.array([[{"role": "user", "content": "hi"}], [], None]),
        "large": pa.array(["q"] * 3, pa.large_string()),
        "map": pa.array([[("k", 1)], [], None], pa.map_(pa.string(), pa.int32())),
        "view": pa.array(["aa", None, "longer than twelve bytes"], pa.string_view()),
    }
)
_VALUES: Final = (b"\xff\xff\xff\x7f", b"\0\0\0\x80", b"\xff\xff\xff\xff", b"\0\0\0\0")


def arrow(form: Any, compression: str | None) -> bytes:
    sink = io.BytesIO()
    with form(sink, TABLE.schema, options=pa.ipc.IpcWriteOptions(compression=compression)) as writer:
        writer.write_table(TABLE)
    return sink.getvalue()


def parquet() -> bytes:
    sink = io.BytesIO()
    pq.write_table(TABLE.drop_columns(["view"]), sink)
    return sink.getvalue()


def changed(data: bytes, seed: int) -> bytes:
    rng = random.Random(seed)
    found = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        place, how = rng.randrange(len(found)), rng.random()
        if how < 0.5:
            found[place] = rng.randrange(256)
        elif how < 0.85:
            found[place : place + 4] = rng.choice(_VALUES)
        else:
            del found[place : place + rng.randint(1, 9)]
    return bytes(found)


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        pytest.param("arrow", arrow(pa.ipc.new_stream, None), id="stream"),
        pytest.param("arrow", arrow(pa.ipc.new_stream, "zstd"), id="packed-stream"),
        pytest.param("arrow", arrow(pa.ipc.new_file, None), id="file"),
        pytest.param("parquet", parquet(), id="parquet"),
    ],
)
def test_a_damaged_file_is_read_or_named(tmp_path: Path, kind: str, data: bytes):
    path = tmp_path / "train"
    told: list[str] = []
    for seed in range(250):
        path.write_bytes(changed(data, seed))
        try:
            list(read_data_file(path, kind, "train", "owner/name: train", Reading(ArchiveLimits(2**20))))
        except SourceError as error:
            told.append(str(error))
    assert 100 < len(told) < 250
    assert [one for one in told if not one.startswith("owner/name: train")] == []


def test_column_metadata_that_contradict_themselves_end_nothing(tmp_path: Path):
    """pyarrow ends the process where a column's chunk is asked for over `RowGroupMetaData.column`."""
    path = tmp_path / "train"
    sink = io.BytesIO()
    pq.write_table(TABLE.select(["tags"]), sink)
    data = sink.getvalue()
    histogram = b"\x19\x26\x06\x02"  # of repetition levels: two numbers
    assert data.count(histogram) == 1
    path.write_bytes(data.replace(histogram, b"\x19\x16\x06\x02"))
    with pytest.raises(SourceError, match=r"^W: cannot be read"):
        list(read_data_file(path, "parquet", "train", "W", Reading(ArchiveLimits(2**20))))
