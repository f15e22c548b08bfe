"""What a slice's writer counts, where it begins a new file, and what a reader says of a damaged index."""

from pathlib import Path

import pytest

from vlm_assets.store import slices
from vlm_assets.store.slices import SliceWriter, WrittenSlice, data_file_names, read_rows
from vlm_assets.words.errors import StoreError
from vlm_assets.words.schema import Row
from vlm_assets_tests.builders import sample


def _written(folder: Path, rows: list[Row]) -> WrittenSlice:
    folder.mkdir()
    writer = SliceWriter(folder)
    for row in rows:
        writer.add(row)
    return writer.finish()


@pytest.mark.parametrize(
    ("most", "files"),
    [([100, 100, 100], 1), ([100, 100, 101], 2), ([300, 1, 299, 1], 3), ([400, 400], 2), ([3, 1, 297], 2)],
    ids=["full", "one-over", "each-full", "larger-than-a-file", "bits-in-common"],
)
def test_a_file_is_closed_before_the_row_that_it_would_not_hold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: list[int], files: int
):
    monkeypatch.setattr(slices, "FILE_BYTES", 300)
    monkeypatch.setattr(slices, "BATCH_ROWS", 1)
    rows = [{**sample("a", "s", f"k{n}"), "row_bytes": size} for n, size in enumerate(most)]
    assert len(data_file_names(_written(tmp_path / "s", rows).files)) == files


def test_records_and_their_images_are_counted_apart(tmp_path: Path):
    rows = [
        sample("a", "s", "one"),
        sample("a", "s", "two", images=[b"x", b"y"]),
        sample("a", "s", "also-one"),
    ]
    written = _written(tmp_path / "s", rows)
    assert (written.rows, written.images, written.multi_image_rows) == (3, 4, 1)


def test_an_index_shorter_than_its_data_is_named(tmp_path: Path):
    rows = [sample("a", "s", f"k{n}") for n in range(3)]
    names = data_file_names(_written(tmp_path / "long", rows).files)
    _written(tmp_path / "short", rows[:2])
    (tmp_path / "short" / slices.INDEX_FILE).replace(tmp_path / "long" / slices.INDEX_FILE)
    with pytest.raises(StoreError, match=r"long/.*is damaged: fewer rows than data-00000"):
        list(read_rows(tmp_path / "long", names))
