"""Rows gathered out of slices that are not what they were: an error that names the file, never a crash."""

import random
from collections import Counter

import numpy as np
import pytest

from vlm_assets.corpus.images import ImageReader
from vlm_assets.corpus.slice_files import SliceFiles
from vlm_assets.corpus.slice_rows import SliceRows
from vlm_assets.store.versions import current_version
from vlm_assets.words.errors import CorpusError
from vlm_assets.words.layout import DataRoot
from vlm_assets_tests.builders import commit_slice, sample

ROWS = 20


@pytest.fixture
def files(tmp_path) -> SliceFiles:
    """A committed slice whose rows have one to three images and a conversation."""
    root = DataRoot(tmp_path)
    root.marker.touch()
    turn = {"role": "user", "content": [{"type": "text", "text": "Nerede bu sokak?"}]}
    rows = [
        sample("a", "s", f"i{n}", images=[bytes([n]) * 50] * (1 + n % 3), text=f"satır {n}", messages=[turn])
        for n in range(ROWS)
    ]
    commit_slice(root, "a", "s", rows)
    version = current_version(root.slice("a", "s"))
    assert version is not None
    return SliceFiles("a", "s", version, ("data-00000.arrow",), ROWS)


def read(files: SliceFiles) -> bytes:
    """All images, after all columns."""
    opened = SliceRows({0: files})
    rows = opened.read(np.zeros(ROWS, np.uint32), np.arange(ROWS, dtype=np.uint32)[::-1])
    for column in rows.columns.values():
        column.validate(full=True)
    return b"".join(map(bytes, ImageReader(opened.files).pieces(rows.images)))


def test_whole_it_gives_every_image(files):
    assert Counter(read(files)) == {n: 50 * (1 + n % 3) for n in range(ROWS)}


@pytest.mark.parametrize("name", ["data-00000.arrow", "index.arrow"])
@pytest.mark.parametrize("seed", range(60))
def test_damaged_anywhere_it_is_an_error_or_no_harm(files, name, seed):
    path, draw = files.directory / name, random.Random(seed)
    whole = bytearray(path.read_bytes())
    place = draw.randrange(len(whole) - 8)
    whole[place : place + 8] = draw.randbytes(8)
    path.unlink()
    path.write_bytes(whole)
    told = outcome(files)
    assert told == "whole" or "a/s" in told or name in told


def outcome(files: SliceFiles) -> str:
    """What the error says, or "whole" where as many bytes came as there were."""
    try:
        found = read(files)
    except CorpusError as error:
        return str(error)
    return "whole" if len(found) == sum(50 * (1 + n % 3) for n in range(ROWS)) else f"{len(found)} bytes"
