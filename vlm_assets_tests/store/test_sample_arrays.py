"""Columns that are put together from buffers are what Arrow builds value by value."""

import pyarrow as pa
import pytest

from vlm_assets.store.arrow_files import ArrowFile
from vlm_assets.store.sample_arrays import sample_batch, sample_columns, streamed_images
from vlm_assets.words.schema import COLUMN_NAMES, IMAGES_TYPE, SAMPLE_SCHEMA

ROWS = pytest.mark.parametrize(
    "images",
    [
        pytest.param([], id="no rows"),
        pytest.param([[b"one"], [b"another"]], id="one image each"),
        pytest.param([[b"a", b"bc", b""], [b"d" * 70_000], [b"e", b"f"]], id="several, an empty one, a long one"),
        pytest.param([[b"a"], None, [b"b", b"c"]], id="a row was taken down"),
        pytest.param([None], id="only that"),
        pytest.param([[b"a" * 20_000, b"b"], [b"c" * 600_000], [b"d" * 9_000] * 90], id="small and large"),
    ],
)  # fmt: skip


def rows_of(images):
    return [{**dict.fromkeys(COLUMN_NAMES), "image_facts": [], "images": one} for one in images]


@ROWS
def test_images_are_those_of_a_column_that_arrow_builds(images):
    column = sample_columns(rows_of(images))["images"]
    column.validate(full=True)
    built = [None if one is None else [{"bytes": data, "path": None} for data in one] for one in images]
    assert column.equals(pa.array(built, IMAGES_TYPE))


@ROWS
def test_images_that_are_streamed_give_the_same_file(tmp_path, images):
    rows = rows_of(images)
    streamed = streamed_images(rows)
    with (
        ArrowFile(tmp_path / "whole", SAMPLE_SCHEMA) as whole,
        ArrowFile(tmp_path / "s", SAMPLE_SCHEMA) as file,
    ):
        whole.write(sample_batch(sample_columns(rows)))
        file.write(sample_batch(sample_columns(rows, streamed.stand_in)), streamed)
        assert whole.finish() == file.finish()
