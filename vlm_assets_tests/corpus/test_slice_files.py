"""Rows of a slice by what its index says of them, over several batches of it."""

from collections.abc import Sequence
from hashlib import sha256

import numpy as np
import pytest

from vlm_assets.corpus.slice_files import SliceFiles, SliceIndex
from vlm_assets.store.versions import current_version
from vlm_assets.words.errors import CorpusError
from vlm_assets.words.layout import DataRoot
from vlm_assets_tests.builders import commit_slice, sample

ROWS = 10


def images(number: int) -> list[bytes]:
    """A picture of its own, and for every third row the logo that all share."""
    return [b"%d" % number, *([b"logo"] * (number % 3 == 0))]


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> tuple[SliceIndex, list[str], list[list[bytes]]]:
    """The index, in batches of 3, 3, 3 and 1; ids and images of its rows as they stand there."""
    root = DataRoot(tmp_path_factory.mktemp("slices"))
    root.marker.touch()
    rows = [sample("a", "s", f"i{n}", images=images(n)) for n in range(ROWS)]
    ordered = sorted(rows, key=lambda row: int(row["item_hash"]))
    commit_slice(root, "a", "s", rows, batch_rows=3, index_batch_rows=3)
    version = current_version(root.slice("a", "s"))
    assert version is not None
    index = SliceIndex(SliceFiles("a", "s", version, ("data-00000.arrow",), ROWS))
    assert index._starts.tolist() == [0, 3, 6, 9, 10]
    return index, [row["id"] for row in ordered], [row["images"] for row in ordered]


@pytest.mark.parametrize("places", [[0], [9], [2, 3], [5, 6, 9], list(range(ROWS)), []])
def test_ids_are_found_in_whatever_batch_they_stand(opened, places: Sequence[int]):
    index, ids, _ = opened
    asked = [ids[place] for place in reversed(places)]
    assert index.rows_with("id", [*asked, "a/s/none"]).tolist() == list(places)


def test_images_are_found_in_whatever_batch_they_stand(opened):
    index, _, stored = opened
    logo = sha256(b"logo").hexdigest()
    wanted = [place for place, one in enumerate(stored) if b"logo" in one]
    assert len({place // 3 for place in wanted}) > 1
    assert index.rows_with_image([logo]).tolist() == wanted
    for place, one in enumerate(stored):
        assert index.rows_with_image([sha256(one[0]).hexdigest()]).tolist() == [place]


@pytest.mark.parametrize("order", [range(ROWS), range(ROWS)[::-1], (7, 0, 9, 3, 3)])
def test_values_are_taken_over_batches_in_any_order(opened, order: Sequence[int]):
    index, _, stored = opened
    [counts] = index.take(("image_count",), np.array(order, np.uint32))
    assert counts.tolist() == [len(stored[place]) for place in order]


def test_an_index_of_other_rows_than_the_plan_has_is_an_error(opened):
    files = opened[0].files
    with pytest.raises(CorpusError, match="a/s: the index has 10 rows, the plan says 9"):
        SliceIndex(SliceFiles("a", "s", files.directory, files.data_files, 9))
