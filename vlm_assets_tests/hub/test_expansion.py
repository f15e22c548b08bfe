"""Packed data files that unpack to far more than they are: refused by what they claim, before that is done."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from vlm_assets.archives import limits
from vlm_assets.archives.limits import ArchiveLimits
from vlm_assets.captions import parquet_pages
from vlm_assets.hub.readers import Reading, batches_of, read_data_file
from vlm_assets.words.errors import BombError

ZEROS = bytes(4 * 2**20)
TEXT = b"".join(b"%08d" % number for number in range(2**18))


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A MiB is much here."""
    monkeypatch.setattr(parquet_pages, "FREE_BYTES", 2**20)
    monkeypatch.setattr(parquet_pages, "BATCH_BYTES", 2**20)
    monkeypatch.setattr(limits, "_FREE_BYTES", 2**20)


def arrow(form: Any, data: bytes, compression: str | None) -> bytes:
    sink = io.BytesIO()
    table = pa.table(
        {"image": [b"x", data], "text": ["a", None], "kind": pa.array(["k", "k"]).dictionary_encode()}
    )
    with form(sink, table.schema, options=pa.ipc.IpcWriteOptions(compression=compression)) as writer:
        writer.write_table(table)
    return sink.getvalue()


def parquet(data: bytes, **options: Any) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.table({"image": [b"x", data], "text": ["a", None]}), sink, **options)
    return sink.getvalue()


def repeated() -> bytes:
    """Few bytes in a dictionary, named by thousands of rows."""
    sink = io.BytesIO()
    image = pa.DictionaryArray.from_arrays(pa.array([0] * 5_000, pa.int32()), pa.array([TEXT[: 2**15]]))
    pq.write_table(pa.table({"image": image}), sink, compression="zstd")
    return sink.getvalue()


@pytest.mark.parametrize(
    ("kind", "make"),
    [
        pytest.param("arrow", lambda: arrow(pa.ipc.new_stream, ZEROS, "zstd"), id="stream"),
        pytest.param("arrow", lambda: arrow(pa.ipc.new_stream, ZEROS, "lz4"), id="stream-lz4"),
        pytest.param("arrow", lambda: arrow(pa.ipc.new_file, ZEROS, "zstd"), id="file"),
        pytest.param(
            "parquet", lambda: parquet(ZEROS, compression="zstd", use_dictionary=False), id="parquet"
        ),
        pytest.param("parquet", lambda: parquet(ZEROS, compression="gzip"), id="parquet-dictionary"),
        pytest.param("parquet", repeated, id="parquet-repeated"),
    ],
)
def test_a_bomb_is_refused(tmp_path: Path, kind: str, make: Callable[[], bytes]):
    path = tmp_path / "train"
    path.write_bytes(make())
    with pytest.raises(BombError, match=r"^owner/name: train.*refused as a bomb"):
        list(read_data_file(path, kind, "train", "owner/name: train", Reading(ArchiveLimits(2**26))))


@pytest.mark.parametrize(
    ("kind", "make"),
    [
        pytest.param("arrow", lambda: arrow(pa.ipc.new_stream, TEXT, "zstd"), id="stream"),
        pytest.param("arrow", lambda: arrow(pa.ipc.new_file, ZEROS, None), id="not-packed"),
        pytest.param("parquet", lambda: parquet(TEXT, compression="zstd"), id="parquet"),
        pytest.param(
            "parquet",
            lambda: parquet(TEXT, data_page_version="2.0", write_page_checksum=True),
            id="parquet-v2",
        ),
    ],
)
def test_what_packs_as_data_do_is_read(tmp_path: Path, kind: str, make: Callable[[], bytes]):
    path = tmp_path / "train"
    path.write_bytes(make())
    assert sum(batch.num_rows for batch in batches_of(path, kind, "x")) == 2


def test_rows_of_a_large_dictionary_are_read_a_few_at_a_time(tmp_path: Path):
    path = tmp_path / "train"
    image = pa.DictionaryArray.from_arrays(
        pa.array([0, 1] * 30, pa.int32()), pa.array([TEXT[: 2**18], TEXT[-9:]])
    )
    pq.write_table(pa.table({"image": image}), path, compression="none")
    assert max(batch.num_rows for batch in batches_of(path, "parquet", "x")) <= 4
