"""Caches after a takedown: what cannot be read or removed is told, for nobody knows whether it is the image."""

import errno
import os
import shutil
import time
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from vlm_assets.operate.takedown.leftovers import clean_caches, clear_staging, litter
from vlm_assets.words.errors import StoreError
from vlm_assets.words.layout import DataRoot

IMAGE = b"taken down"
HASHES = frozenset({sha256(IMAGE).hexdigest()})


@pytest.fixture
def root(tmp_path: Path) -> DataRoot:
    made = DataRoot(tmp_path)
    for source in ("street", "other"):
        (made.cache / source / "deep").mkdir(parents=True)
        (made.cache / source / "deep" / "a.jpg").write_bytes(IMAGE)
        (made.cache / source / "b.jpg").write_bytes(b"another")
    return made


def test_own_caches_are_emptied_and_equal_files_go_from_all(root: DataRoot):
    assert clean_caches(root, ["street"], HASHES) == ["other", "street"]
    assert [path.name for path in sorted(root.cache.rglob("*")) if path.is_file()] == ["b.jpg"]
    assert clean_caches(root, [], HASHES) == []


def failing(*_: Any, **__: Any) -> Any:
    raise OSError(errno.EIO, "said so")


@pytest.mark.parametrize(
    ("sources", "thing", "name", "told"),
    [
        pytest.param([], Path, "open", "b.jpg: cannot be read", id="read"),
        pytest.param([], Path, "unlink", "a.jpg: cannot be removed", id="remove"),
        pytest.param(["other"], shutil, "rmtree", "deep: cannot be removed", id="remove-a-folder"),
    ],
)
def test_a_disk_that_fails_is_told(
    root: DataRoot, monkeypatch: pytest.MonkeyPatch, sources: list[str], thing: Any, name: str, told: str
):
    monkeypatch.setattr(thing, name, failing)
    with pytest.raises(StoreError, match=told):
        clean_caches(root, sources, HASHES)


@pytest.mark.parametrize(
    ("age_s", "left_over"),
    [(0.0, False), (1_800.0, False), (7_200.0, True), (-1_800.0, False), (-20 * 365 * 86_400.0, True)],
    ids=["new", "half-an-hour", "hours", "ahead-a-little", "of-a-clock-that-ran-ahead"],
)
def test_a_temporary_file_is_left_over_once_nobody_can_be_at_work_on_it(
    tmp_path: Path, *, age_s: float, left_over: bool
):
    (tmp_path / "listings").mkdir()
    path = tmp_path / "listings" / ".x.json.1.tmp"
    path.touch()
    os.utime(path, (time.time() - age_s,) * 2)
    assert litter(DataRoot(tmp_path)) == [path] * left_over


def test_what_a_cut_backup_copied_of_dagsters_storage_goes_with_a_takedown(tmp_path: Path):
    """It has previews of the rows."""
    root = DataRoot(tmp_path)
    root.locks.mkdir()
    copy = tmp_path / ".remote" / "storage" / "history" / "runs.db"
    copy.parent.mkdir(parents=True)
    copy.write_bytes(IMAGE)
    clear_staging(root)
    assert not copy.exists()
