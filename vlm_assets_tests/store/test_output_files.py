"""New files, through the page cache and past it, against what was written to them."""

import errno
import os
import random

import pytest

from vlm_assets.store import output_files
from vlm_assets.store.lent_memory import LentMemory
from vlm_assets.store.output_files import CachedFile, DirectFile, new_file

BLOCK = 65_536


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(output_files, "_BLOCK_BYTES", BLOCK)
    monkeypatch.setattr(output_files, "_memory", LentMemory(6))


@pytest.mark.parametrize("direct", [True, False])
@pytest.mark.parametrize("size", [0, 1, 4_096, BLOCK - 1, BLOCK, BLOCK + 1, 10 * BLOCK, 10 * BLOCK + 4_097])
def test_a_file_holds_what_was_written(tmp_path, direct, size):
    draw = random.Random(size)
    content = draw.randbytes(size)
    for name in ("first", "second"):  # the second one in memory of the first
        file, done = new_file(tmp_path / name, direct=direct), 0
        while done < size:
            step = draw.choice([1, 700, 4_096, BLOCK, 3 * BLOCK])
            file.write(memoryview(content)[done : done + step])
            done += step
        file.sync()
        file.close()
        assert (tmp_path / name).read_bytes() == content
        content = content[::-1]


def test_files_written_at_once_do_not_share_memory(tmp_path):
    for round_number in range(3):
        files = [DirectFile(tmp_path / f"{round_number}-{number}") for number in range(3)]
        for _ in range(7):
            for number, file in enumerate(files):
                file.write(memoryview(bytes([number]) * 50_000))
        for file in files:
            file.sync()
            file.close()
        for number in range(3):
            assert (tmp_path / f"{round_number}-{number}").read_bytes() == bytes([number]) * 350_000


def test_without_such_writes_the_page_cache_takes_them(tmp_path, monkeypatch):
    def refuse(path, _flags, _mode):
        raise OSError(errno.EINVAL, "as a file system without O_DIRECT says", str(path))

    with monkeypatch.context() as patched:
        patched.setattr(os, "open", refuse)
        file = new_file(tmp_path / "file", direct=True)
    assert isinstance(file, CachedFile)
    file.write(memoryview(b"content"))
    file.close()
    assert (tmp_path / "file").read_bytes() == b"content"


def test_a_file_that_is_there_is_not_overwritten(tmp_path):
    (tmp_path / "file").write_bytes(b"kept")
    for direct in (True, False):
        with pytest.raises(FileExistsError):
            new_file(tmp_path / "file", direct=direct)
    assert (tmp_path / "file").read_bytes() == b"kept"


def write_blocks(file: DirectFile, blocks: int) -> None:
    for _ in range(blocks):
        file.write(memoryview(bytes(BLOCK)))
    file.sync()


@pytest.mark.parametrize("good_blocks", [0, 1, 5])
def test_a_full_disk_is_told_at_the_latest_when_the_file_is_synced(tmp_path, monkeypatch, good_blocks):
    real, calls = os.pwrite, []

    def pwrite(descriptor, data, place):
        calls.append(place)
        if len(calls) > good_blocks:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(descriptor, data, place)

    monkeypatch.setattr(os, "pwrite", pwrite)
    file = DirectFile(tmp_path / "file")
    with pytest.raises(OSError, match="No space left"):
        write_blocks(file, 8)
    file.close()
    blocks = [output_files._memory.lend(1) for _ in range(6)]
    assert len({id(block) for block in blocks}) == len(blocks)
