"""Looking for what was taken down: a damaged index is an error that names the file."""

from pathlib import Path

import pyarrow as pa
import pytest

from vlm_assets.store.taken_down import covered_rows
from vlm_assets.words.errors import StoreError
from vlm_assets.words.schema import FACTS_TYPE
from vlm_assets_tests.workplace import expect_error

FEWER_FACTS = pa.list_(pa.struct([("name", pa.string())]))


@pytest.mark.parametrize(
    "columns",
    [
        pytest.param(
            {"id": pa.string(), "origin": pa.string(), "image_facts": FEWER_FACTS}, id="fewer-facts"
        ),
        pytest.param(
            {"id": pa.int64(), "origin": pa.string(), "image_facts": FACTS_TYPE}, id="numbers-for-ids"
        ),
        pytest.param({"id": pa.string(), "image_facts": FACTS_TYPE}, id="a-column-missing"),
    ],
)
def test_an_index_of_other_columns_is_damaged(tmp_path: Path, columns: dict[str, pa.DataType]) -> None:
    path = tmp_path / "index.arrow"
    schema = pa.schema(columns)
    with pa.ipc.new_file(str(path), schema) as file:
        file.write_table(schema.empty_table())
    told = expect_error(lambda: covered_rows(path, frozenset({"a"}), frozenset()), StoreError)
    assert str(path) in told
    assert "vlm-assets verify" in told
