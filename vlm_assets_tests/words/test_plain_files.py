"""Files that are none, have no end or are larger than they may be: an error that names them, at once."""

import os
from pathlib import Path

import pytest

from vlm_assets.words.plain_files import open_plain, read_plain, sha256_of


@pytest.mark.parametrize("name", ["pipe", "folder", "zero", "to-pipe"])
def test_what_is_no_file_is_not_waited_for(tmp_path: Path, name: str):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "to-pipe").symlink_to(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    (tmp_path / "zero").symlink_to("/dev/zero")
    for read in (open_plain, sha256_of, lambda path: read_plain(path, 10)):
        with pytest.raises(OSError, match=f"no regular file.*{name}"):
            read(tmp_path / name)


def test_no_more_is_read_than_may_be(tmp_path: Path):
    path = tmp_path / "file"
    for size, most in ((0, 0), (5, 5), (4, 5)):
        path.write_bytes(b"x" * size)
        assert read_plain(path, most) == b"x" * size
    path.write_bytes(b"x" * 6)
    with pytest.raises(OSError, match="larger than 5 bytes"):
        read_plain(path, 5)
    with path.open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(OSError, match="larger than 64 MiB"):
        read_plain(path, 64 * 2**20)


def test_a_file_that_says_it_is_empty_is_bounded_too():
    assert read_plain(Path("/proc/self/status"), 2**20).startswith(b"Name:")
    with pytest.raises(OSError, match="larger than 3 bytes"):
        read_plain(Path("/proc/self/status"), 3)
