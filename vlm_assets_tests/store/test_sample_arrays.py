"""Columns that are put together from buffers are what Arrow builds value by value."""

import pyarrow as pa
import pytest

from vlm_assets.store.sample_arrays import sample_columns
from vlm_assets.words.schema import COLUMN_NAMES, IMAGES_TYPE


@pytest.mark.parametrize(
    "images",
    [
        pytest.param([], id="no rows"),
        pytest.param([[b"one"], [b"another"]], id="one image each"),
        pytest.param([[b"a", b"bc", b""], [b"d" * 70_000], [b"e", b"f"]], id="several, an empty one, a long one"),
        pytest.param([[b"a"], None, [b"b", b"c"]], id="a row was taken down"),
        pytest.param([None], id="only that"),
    ],
)  # fmt: skip
def test_images_are_those_of_a_column_that_arrow_builds(images):
    rows = [{**dict.fromkeys(COLUMN_NAMES), "image_facts": [], "images": one} for one in images]
    column = sample_columns(rows)["images"]
    column.validate(full=True)
    built = [None if one is None else [{"bytes": data, "path": None} for data in one] for one in images]
    assert column.equals(pa.array(built, IMAGES_TYPE))
