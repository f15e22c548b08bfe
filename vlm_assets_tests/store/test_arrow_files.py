"""Record batches with a buffer that is made while it is written, against the same batches written whole."""

import errno
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pytest
from blake3 import blake3

from vlm_assets.store.arrow_files import ArrowFile, StreamedBuffer, replace_file, write_bytes
from vlm_assets.store.output_files import CachedFile
from vlm_assets.words.errors import DiskFullError, StoreError

SCHEMA = pa.schema([("number", pa.int64()), ("data", pa.binary()), ("text", pa.string())])
VALUES = [b"first", b"", b"x" * 1_000_003, b"last"]


class DamagedError(Exception):
    """What making the bytes may end with."""


def batch_of(data: pa.Array) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays(
        [pa.array([1, 2, 3, 4]), data, pa.array(["a", "b", None, "d"])], schema=SCHEMA
    )


def streamed_batch(pieces: list[bytes]) -> tuple[pa.RecordBatch, StreamedBuffer]:
    whole = pa.array(VALUES, pa.binary())
    streamed = StreamedBuffer(sum(map(len, VALUES)), map(memoryview, pieces))
    data = pa.Array.from_buffers(pa.binary(), 4, [None, whole.buffers()[1], streamed.stand_in], 0)
    return batch_of(data), streamed


@pytest.mark.parametrize("direct", [True, False])
@pytest.mark.parametrize("form", ["stream", "file"])
def test_a_streamed_buffer_leaves_the_bytes_of_a_whole_one(tmp_path, form, direct):
    whole = batch_of(pa.array(VALUES, pa.binary()))
    with ArrowFile(tmp_path / "whole", SCHEMA, form=form) as file:
        for _ in range(3):
            file.write(whole)
        expected = file.finish()
    everything = b"".join(VALUES)
    with ArrowFile(tmp_path / "streamed", SCHEMA, form=form, direct=direct) as file:
        for cut in (1, 600_000, len(everything)):
            file.write(*streamed_batch([everything[:cut], everything[cut:]]))
        entry = file.finish()
    content = (tmp_path / "streamed").read_bytes()
    assert content == (tmp_path / "whole").read_bytes()
    assert entry == expected
    assert (len(content), blake3(content).hexdigest()) == (entry.size_bytes, entry.blake3)


@pytest.mark.parametrize("pieces", [[b"short"], [b"".join(VALUES), b"more"]])
def test_a_streamed_buffer_of_another_size_is_refused(tmp_path, pieces):
    with (
        pytest.raises(ValueError, match="of a buffer of 1000012"),
        ArrowFile(tmp_path / "file", SCHEMA) as file,
    ):
        file.write(*streamed_batch(pieces))
    assert not (tmp_path / "file").exists()


def test_a_stand_in_that_did_not_come_back_is_refused(tmp_path):
    _, streamed = streamed_batch([b"".join(VALUES)])
    with pytest.raises(RuntimeError, match="did not hand"), ArrowFile(tmp_path / "file", SCHEMA) as file:
        file.write(batch_of(pa.array(VALUES, pa.binary())), streamed)  # as if Arrow had copied it
    assert not (tmp_path / "file").exists()


def test_what_pieces_raise_comes_through_arrow_as_it_is(tmp_path):
    def pieces():
        yield memoryview(b"first")
        raise DamagedError

    batch, streamed = streamed_batch([])
    streamed.pieces = pieces()
    with pytest.raises(DamagedError), ArrowFile(tmp_path / "file", SCHEMA, direct=True) as file:
        file.write(batch, streamed)
    assert not (tmp_path / "file").exists()


@pytest.mark.parametrize("call", ["write", "fsync"])
@pytest.mark.parametrize(
    ("number", "kind"),
    [(errno.ENOSPC, DiskFullError), (errno.EDQUOT, DiskFullError), (errno.EIO, StoreError)],
)
def test_what_keeps_a_file_from_being_written_is_told_with_its_name(
    tmp_path, monkeypatch, call, number, kind
):
    def fail(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    if call == "write":
        monkeypatch.setattr(CachedFile, "write", fail)
    else:
        monkeypatch.setattr(os, "fsync", fail)
    opened = len(list(Path("/proc/self/fd").iterdir()))
    with pytest.raises(StoreError, match=f"some-name.*{os.strerror(number)}") as told:
        write_bytes(tmp_path / "some-name", b"content")
    assert type(told.value) is kind
    assert len(list(Path("/proc/self/fd").iterdir())) == opened


def test_threads_put_one_file_side_by_side(tmp_path):
    """Catalogues and the like: twelve listings push the same snapshot."""
    path = tmp_path / "same.json"
    with ThreadPoolExecutor(12) as pool:
        list(pool.map(lambda number: replace_file(path, b"%04d" % number * 100), range(60)))
    assert len(path.read_bytes()) == 400
    assert [one.name for one in tmp_path.iterdir()] == ["same.json"]
