"""Caches after a takedown: what cannot be read or removed is told, for nobody knows whether it is the image."""

import errno
import shutil
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from vlm_assets.operate.takedown.leftovers import clean_caches
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
