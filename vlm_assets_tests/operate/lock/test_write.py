"""Locks as they are written, refused and pruned."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from vlm_assets.ingest.summary import summarise_source
from vlm_assets.installation.opening import Installation
from vlm_assets.operate.lock import write_lock
from vlm_assets.operate.prune import prune_data_root
from vlm_assets.store.corpus_lock import items_path, kept_lock, lock_path
from vlm_assets.store.tombstones import Tombstone, write_tombstone
from vlm_assets.words.errors import StoreError
from vlm_assets_tests.operate.lock.locked import Again, Made, corpus_of
from vlm_assets_tests.workplace import expect_error, fill, relist


def stale_slice(installation: Installation, folder: Path) -> None:
    fill(folder / "a", 1, start=50)
    relist(installation)


def stale_corpus(installation: Installation, folder: Path) -> None:
    del folder
    write_tombstone(installation.root, Tombstone(asked="id:x", ids=("street/a/a/0001.jpeg",)))


def no_corpus(installation: Installation, folder: Path) -> None:
    del folder
    (installation.root.path / "corpora/small/10").unlink()


def test_prune_takes_locks_that_are_not_the_catalogues(again: Again):
    root, name = again.installation.root, again.locked.lock.version
    path = lock_path(root, "0123456789ab")
    for source, target in (
        (lock_path(root, name), path),
        (items_path(lock_path(root, name)), items_path(path)),
    ):
        shutil.copyfile(source, target)
    removed = prune_data_root(again.installation).removed
    assert removed == [f".catalogs/{path.name}", f".catalogs/{items_path(path).name}"]
    assert kept_lock(root, name).lock.version == name


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (stale_slice, "street/a: listed anew, not fetched since"),
        (stale_corpus, "target 10: built from other slices, takedowns or another catalogue"),
        (no_corpus, "target 10: not built"),
    ],
    ids=lambda one: one.__name__ if callable(one) else "",
)
def test_a_lock_is_refused_where_it_would_not_make_the_corpus(
    again: Again, change: Callable[[Installation, Path], None], told: str
):
    corpus_of(again.installation)
    before = (again.installation.catalog_dir / "corpus.lock").read_bytes()
    change(again.installation, again.folder)
    assert told in expect_error(lambda: write_lock(again.installation, ["10"]), StoreError)
    assert (again.installation.catalog_dir / "corpus.lock").read_bytes() == before


def test_a_slice_that_changes_while_it_is_locked_is_told(again: Again, monkeypatch: pytest.MonkeyPatch):
    corpus_of(again.installation)
    other = summarise_source(again.installation.root, "street")
    changed = other.slices["a"].model_copy(update={"content_hash": "other"})
    other = other.model_copy(update={"slices": {**other.slices, "a": changed}})
    monkeypatch.setattr("vlm_assets.operate.lock.summarise_source", lambda *_: other)
    assert "street/a: changed while it was locked" in expect_error(
        lambda: write_lock(again.installation, ["10"]), StoreError
    )


def test_a_lock_is_the_same_on_every_machine(made: Made, again: Again):
    corpus_of(again.installation)
    again.installation.catalog_dir.joinpath("corpus.lock").unlink()
    write_lock(again.installation, ["10"])
    for name in ("corpus.lock", "corpus.lock.items.parquet"):
        assert (again.installation.catalog_dir / name).read_bytes() == (
            made.base / "catalog" / name
        ).read_bytes()
    assert str(made.base) not in (made.base / "catalog" / "corpus.lock").read_text()
