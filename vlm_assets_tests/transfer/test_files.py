import os
import time
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace

import pytest

from vlm_assets.transfer.files import FileHashes


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Files that were written a second ago."""
    for index in range(20):
        (tmp_path / f"{index}.bin").write_bytes(bytes([index]) * 1000)
    monkeypatch.setattr("vlm_assets.transfer.files.time", SimpleNamespace(time=lambda: time.time() + 1))
    return tmp_path


def paths_of(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.bin"))


def test_hashes_once_across_processes_lifetimes(folder):
    cache = folder / "cache" / "files.sqlite"
    with FileHashes(cache) as hashes:
        first = hashes.hash_many(paths_of(folder))
        assert hashes.files_read == 20
    with FileHashes(cache) as hashes:
        assert hashes.hash_many(paths_of(folder)) == first
        assert hashes.files_read == 0
    assert first == [sha256(p.read_bytes()).hexdigest() for p in paths_of(folder)]


def test_same_size_and_restored_mtime_is_seen(folder):
    path = folder / "3.bin"
    with FileHashes(folder / "c.sqlite") as hashes:
        before = hashes.sha256(path)
        found = path.stat()
        path.write_bytes(b"\xff" * 1000)
        os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))
        assert hashes.sha256(path) != before


@pytest.mark.parametrize(("age_s", "read"), [(0.0, 2), (0.09, 2), (0.11, 1)])
def test_a_file_touched_just_now_is_not_cached(tmp_path, monkeypatch, age_s, read):
    path = tmp_path / "new.bin"
    path.write_bytes(b"a" * 10)
    now = path.stat().st_ctime + age_s
    monkeypatch.setattr("vlm_assets.transfer.files.time", SimpleNamespace(time=lambda: now))
    with FileHashes(tmp_path / "c.sqlite") as hashes:
        assert hashes.sha256(path) == hashes.sha256(path) == sha256(b"a" * 10).hexdigest()
        assert hashes.files_read == read
        path.write_bytes(b"b" * 10)
        assert hashes.sha256(path) == sha256(b"b" * 10).hexdigest()


def test_unreadable_gives_an_empty_identity(folder):
    with FileHashes(folder / "c.sqlite") as hashes:
        known = hashes.sha256(folder / "1.bin")
        assert hashes.hash_many([folder / "absent", folder / "1.bin", folder]) == ["", known, ""]
        with pytest.raises(FileNotFoundError):
            hashes.sha256(folder / "absent")


def test_a_torn_cache_is_rebuilt(folder):
    cache = folder / "c.sqlite"
    cache.write_bytes(b"not a database" * 100)
    with FileHashes(cache) as hashes:
        assert len(hashes.sha256(folder / "1.bin")) == 64
