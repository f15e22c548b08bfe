"""What is not as it was locked is named, and nothing of its slice is committed."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from zipfile import ZipFile

import pytest

from vlm_assets.operate.lock import program_differences, unlocked_slices
from vlm_assets.store.corpus_lock import items_path, read_lock
from vlm_assets.words.errors import LockedError, StoreError
from vlm_assets_tests.operate.lock.locked import Again, corpus_of, image_changed, image_gone, text_changed
from vlm_assets_tests.workplace import expect_error, picture


def image_broken(folder: Path) -> None:
    (folder / "a" / "0003.jpeg").write_bytes(b"rubbish")


def member_gone(folder: Path) -> None:
    with ZipFile(folder / "c.zip", "w") as archive:
        for number in range(3):
            data = picture(200 + number)
            archive.writestr(f"{number}.jpg", data[:300] if number == 1 else data)


def archive_emptied(folder: Path) -> None:
    with ZipFile(folder / "c.zip", "w") as archive:
        archive.writestr(".hidden", b"")


def member_more(folder: Path) -> None:
    with ZipFile(folder / "c.zip", "a") as archive:
        archive.writestr("4.jpg", picture(204))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (text_changed, ["street/a: ", "a/0003.jpeg: another text"]),
        (image_changed, ["street/a: ", "a/0003.jpeg: another image"]),
        (image_broken, ["street/a: ", "a/0003.jpeg: not_an_image"]),
        (image_gone, ["street/a: ", "a/0003.jpeg: gone"]),
        (member_gone, ["street/c.zip: ", "c.zip, record 3: gone"]),
        (archive_emptied, ["street/c.zip: ", "c.zip: empty: an archive without images"]),
        (member_more, ["street/c.zip: ", "c.zip, record 4: was not there"]),
    ],
    ids=lambda one: one.__name__ if callable(one) else "",
)
def test_what_changed_is_named_and_nothing_of_its_slice_is_committed(
    again: Again, change: Callable[[Path], None], told: list[str]
):
    change(again.folder)
    error = expect_error(lambda: corpus_of(again.installation, again.locked), LockedError)
    assert [one for one in told if one not in error] == []
    assert error.count("\n") == 1
    slice_name = told[0].removesuffix(": ")
    assert f"{slice_name}: not committed as locked" in unlocked_slices(
        again.installation, again.locked.lock, ["street"]
    )


def test_other_keys_of_the_catalogue_are_told_as_a_cause(again: Again):
    image_changed(again.folder)
    one = again.installation.catalog.source("street").model_copy(update={"verify": "header"})
    catalog = again.installation.catalog.model_copy(update={"sources": (one,)})
    error = expect_error(
        lambda: corpus_of(replace(again.installation, catalog=catalog), again.locked), LockedError
    )
    assert "keys of the catalogue, limits on images or the kind's version are not those of the lock" in error


@pytest.mark.parametrize("package", ["pyarrow", "pillow", "pillow-heif", "pikepdf", "pypdfium2"])
def test_another_version_of_what_decides_bytes_is_named(again: Again, package: str):
    lock_file = again.installation.catalog_dir / "corpus.lock"
    lock = read_lock(lock_file)
    here = version(package)
    if package == "pyarrow":
        other = lock.model_copy(update={"pyarrow": "1.0"})
    else:
        other = lock.model_copy(update={"packages": {**lock.packages, package: "1.0"}})
    assert list(program_differences(lock)) == []
    assert list(program_differences(other)) == [f"{package}: locked with 1.0, here is {here}"]
    older = lock.model_copy(update={"packages": {}})  # which does not say
    assert list(program_differences(older)) == []


def test_a_slice_that_is_gone_as_a_whole_is_named(again: Again):
    shutil.rmtree(again.folder / "b")
    corpus_of(again.installation, again.locked)
    told = unlocked_slices(again.installation, again.locked.lock, ["street"])
    assert told == ["street/b: not listed any more, with its 9 items"]


def test_items_of_another_lock_are_refused(again: Again):
    items_path(again.installation.catalog_dir / "corpus.lock").write_bytes(b"")
    assert "not the items file of corpus.lock" in expect_error(lambda: again.locked, StoreError)
    items_path(again.installation.catalog_dir / "corpus.lock").unlink()
    assert "no such file; it is published with the lock" in expect_error(lambda: again.locked, StoreError)
