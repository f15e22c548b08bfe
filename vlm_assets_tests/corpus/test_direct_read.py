"""Ranges of files read past the page cache or out of it, against the files' bytes."""

import os
import random
from pathlib import Path

import numpy as np
import pytest

from vlm_assets.corpus import direct_read
from vlm_assets.corpus.direct_read import LoadedRanges
from vlm_assets.words.errors import CorpusError

RANGES = [(0, 1), (0, 4096), (4095, 4097), (5000, 5000), (3, 300_000), (299_000, 300_001), (0, 300_001)]


@pytest.fixture
def file(tmp_path):
    """A file whose size is no multiple of a block."""
    path = tmp_path / "data"
    path.write_bytes(random.Random(3).randbytes(300_001))
    return path


def read(path: Path, begin: int, end: int) -> bytes:
    """The range, while it is loaded."""
    loaded = LoadedRanges([path], [(0, begin, end)])
    place = int(loaded.places(np.array([0]), np.array([begin]))[0])
    found = loaded.memory[place : place + end - begin].tobytes()
    loaded.release()
    return found


def test_ranges_of_several_files_lie_side_by_side(tmp_path):
    draw = random.Random(5)
    paths = [tmp_path / str(number) for number in range(3)]
    for path in paths:
        path.write_bytes(draw.randbytes(100_000))
    ranges = [(0, 10, 20), (0, 5_000, 5_001), (0, 9_000, 30_000), (2, 0, 100_000)]
    loaded = LoadedRanges(paths, ranges)
    for file, begin, end in ranges:
        content = paths[file].read_bytes()
        at = np.arange(begin, end)
        places = loaded.places(np.full(len(at), file), at)
        assert loaded.memory[places].tobytes() == content[begin:end]
    loaded.release()
    assert len(LoadedRanges(paths, []).places(np.zeros(0, np.int64), np.zeros(0, np.int64))) == 0


@pytest.mark.parametrize("how", ["cached", "direct", "no direct reads"])
@pytest.mark.parametrize(("begin", "end"), RANGES)
def test_a_range_is_what_the_file_holds(file, monkeypatch, how, begin, end):
    monkeypatch.setattr(direct_read, "_BLOCK_BYTES", 65_536)
    monkeypatch.setattr(direct_read, "_is_cached", lambda *_: how == "cached")
    if how == "no direct reads":
        monkeypatch.setattr(os, "O_DIRECT", os.O_DIRECTORY)  # opening fails, as on a file system without them
    assert read(file, begin, end) == file.read_bytes()[begin:end]


@pytest.mark.parametrize("cached", [True, False])
def test_a_file_that_is_too_short_is_named(file, monkeypatch, cached):
    monkeypatch.setattr(direct_read, "_is_cached", lambda *_: cached)
    with pytest.raises(CorpusError, match=f"{file} is damaged"):
        read(file, 10, 400_000)


def test_what_was_just_written_is_cached_and_what_was_forgotten_is_not(file):
    assert direct_read._is_cached(file, 0, 300_000)
    descriptor = os.open(file, os.O_RDONLY)
    os.fsync(descriptor)
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(descriptor)
    if direct_read._is_cached(file, 0, 300_000):
        pytest.skip("this file system keeps what it is told to forget")
    assert read(file, 100, 200_000) == file.read_bytes()[100:200_000]
