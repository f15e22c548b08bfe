"""A lock makes the same corpus again in an empty data root, row for row, whatever came since."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest

from vlm_assets.allocation.step import adopt_takedowns
from vlm_assets.ingest.due import Due
from vlm_assets.ingest.listing import refresh_listing
from vlm_assets.ingest.slice import SliceOptions, build_slice
from vlm_assets.installation.opening import Installation
from vlm_assets.operate.lock import check_lock, unlocked_slices, write_lock
from vlm_assets.sources.registry import source_of
from vlm_assets.store.corpus_lock import keep_lock, kept_lock
from vlm_assets.store.tombstones import Tombstone, write_tombstone
from vlm_assets_tests.operate.lock.locked import (
    CORPUS,
    SOURCE,
    Again,
    Made,
    corpus_of,
    image_changed,
    later,
    mended,
    target_of,
    text_changed,
)
from vlm_assets_tests.workplace import STREET, fill, install, picture, relist


def test_an_empty_data_root_gives_the_root_hash_of_the_lock(made: Made, again: Again):
    manifest = corpus_of(again.installation, again.locked)
    assert manifest.root_hash == made.manifest.root_hash
    assert unlocked_slices(again.installation, again.locked.lock, ["street"]) == []
    assert check_lock(again.installation).differences == []
    spec, listing = again.installation.catalog.source("street"), relist(again.installation)
    due = build_slice(again.installation, spec, listing, "a", SliceOptions(locked=again.locked)).due
    assert due is Due.COMMITTED


def mended_member(folder: Path) -> None:
    with ZipFile(folder / "c.zip", "w") as archive:
        for number in range(4):
            archive.writestr(f"{number}.jpg", picture(200 + number))


def reject_gone(folder: Path) -> None:
    (folder / "b" / "bad.jpg").unlink()


@pytest.mark.parametrize(
    "changes", [(later, mended), (mended_member, reject_gone)], ids=["a, b", "archive, b"]
)
def test_what_came_since_stays_out(made: Made, again: Again, changes: tuple[Callable[[Path], None], ...]):
    for change in changes:
        change(again.folder)
    assert corpus_of(again.installation, again.locked).root_hash == made.manifest.root_hash


def test_what_came_since_is_left_out_on_record(again: Again):
    later(again.folder)
    spec = again.installation.catalog.source("street")
    listing = refresh_listing(again.installation, spec, locked=again.locked).listing
    assert listing.left_out == {"not_locked": 4}
    assert listing.upstream == listing.items + (listing.companions or 0) + 4


def test_buckets_are_the_locked_ones_though_upstream_has_grown(tmp_path: Path):
    """An empty data root would count them anew, and with that every slice would be another."""
    source = {**STREET, "path": fill(tmp_path / "in", 8), "files_per_slice": 5}
    owner = install(tmp_path / "one", source, corpus=CORPUS)
    manifest = corpus_of(owner)
    write_lock(owner, ["10"])
    fill(tmp_path / "in", 20, start=50)
    assert len(relist(install(tmp_path / "two", source, corpus=CORPUS), "street").slices) > 2
    shutil.copytree(tmp_path / "one" / "catalog", tmp_path / "three" / "catalog")
    reader = install(tmp_path / "three", source, corpus=CORPUS)
    locked = kept_lock(reader.root, keep_lock(reader.root, reader.catalog_dir / "corpus.lock"))
    assert corpus_of(reader, locked).root_hash == manifest.root_hash


REVISIONS = [
    ({"kind": "hf_dataset", "repo": "a/b"}, "abc", {"revision": "abc"}),
    ({"kind": "hf_image_urls", "repo": "a/b", "revision": "main"}, "abc", {"revision": "abc"}),
    ({"kind": "kaggle", "handle": "a/b"}, "versions/3", {"handle": "a/b/versions/3"}),
    ({"kind": "kaggle", "handle": "a/b/versions/2"}, "versions/3", {"handle": "a/b/versions/3"}),
    ({"kind": "github_release", "repo": "a/b"}, "v1", {"tag": "v1"}),
    ({"kind": "client_folder", "path": "in"}, "folder", {}),
]


@pytest.mark.parametrize(("keys", "revision", "changed"), REVISIONS, ids=str)
def test_upstream_is_asked_for_the_locked_revision(
    keys: dict[str, Any], revision: str, changed: dict[str, Any]
):
    spec = source_of(keys["kind"]).spec_type.model_validate({**STREET, **keys})
    assert spec.at_revision(revision) == spec.model_copy(update=changed)
    assert spec.at_revision(revision).byte_config() == spec.byte_config()


def test_a_data_root_that_went_on_comes_back(made: Made, again: Again):
    """Items that are as locked are kept, others are fetched; what came right since is a reject again."""
    corpus_of(again.installation, again.locked)
    kept = (again.folder / "a" / "0003.jpeg").read_bytes()
    for change in (later, mended, text_changed, image_changed):
        change(again.folder)
    assert corpus_of(again.installation).root_hash != made.manifest.root_hash
    (again.folder / "a" / "0003.jpeg").write_bytes(kept)
    (again.folder / "a" / "0003.txt").write_text("three", "utf-8")
    spec = again.installation.catalog.source("street")
    listing = refresh_listing(again.installation, spec, locked=again.locked).listing
    runs = {
        key: build_slice(
            again.installation, spec, listing, key, SliceOptions(locked=again.locked)
        ).run.taken_over
        for key in listing.slices
    }
    assert runs == {"a": 7, "b": 8, "c.zip": 0}
    assert target_of(again.installation, again.locked).root_hash == made.manifest.root_hash


def first_row_of(installation: Installation, *, image: bool) -> Tombstone:
    """A takedown of a row in the corpus of the lock, by its image or by its id alone."""
    from vlm_assets.store.sound_files import IndexFile

    (index,) = (installation.root.path / "corpora/small/10").resolve().glob("index-*")
    row = IndexFile(index).read_all().slice(0, 1).to_pylist()[0]
    digests = tuple(fact["sha256"] for fact in row["image_facts"]) if image else ()
    return Tombstone(asked=f"id:{row['id']}", ids=(row["id"],), image_sha256=digests)


@pytest.mark.parametrize("image", [True, False], ids=["by image", "by id"])
def test_a_takedown_since_is_a_hole(made: Made, again: Again, *, image: bool):
    write_tombstone(again.installation.root, first_row_of(made.installation, image=image))
    manifest = corpus_of(again.installation, again.locked)
    assert (manifest.rows, manifest.holes) == (9, 1)
    assert manifest.root_hash != made.manifest.root_hash
    same = set(manifest.shards) == set(made.manifest.shards)
    assert same
    # Without the lock the place is filled again.
    assert target_of(again.installation).holes == 0


def test_a_takedown_before_the_lock_holds_where_nobody_heard_of_it(made: Made, tmp_path: Path):
    """The rows are neither in the corpus nor asked for, though the reader has no tombstone."""
    shutil.copytree(made.base / "in", tmp_path / "one" / "in")
    owner = install(tmp_path / "one", {**SOURCE, "path": tmp_path / "one" / "in"}, corpus=CORPUS)
    corpus_of(owner)
    order = first_row_of(owner, image=True)
    write_tombstone(owner.root, order)
    name = order.ids[0].split("/", 2)[2]
    sealed = target_of(owner)
    write_lock(owner, ["10"])
    shutil.copytree(tmp_path / "one" / "in", tmp_path / "two" / "in")
    shutil.copytree(tmp_path / "one" / "catalog", tmp_path / "two" / "catalog")
    reader = install(tmp_path / "two", {**SOURCE, "path": tmp_path / "two" / "in"}, corpus=CORPUS)
    (tmp_path / "two" / "in" / name).write_bytes(b"not looked at")
    root = reader.root
    locked = kept_lock(root, keep_lock(root, reader.catalog_dir / "corpus.lock"))
    assert adopt_takedowns(root, locked)
    assert corpus_of(reader, locked).root_hash == sealed.root_hash
    assert not adopt_takedowns(owner.root, locked)
