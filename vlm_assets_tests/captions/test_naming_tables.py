"""Tables that nobody named, of which a column names the images beside them."""

import io

import pytest

from vlm_assets.captions.naming_tables import naming_tables

IMAGES = {"a.jpg", "b.jpg", "in/c.jpg", "1.jpg"}


@pytest.mark.parametrize(
    ("key", "text", "expected"),
    [
        pytest.param(
            "t.csv", "file_name,caption\na.jpg,x\nz.jpg,y\nq.jpg,\n", {"text": "t.csv"}, id="by rule"
        ),
        pytest.param(
            "t.csv",
            "file;caption\na.jpg;x\nb.jpg;y\n",
            {"text": "t.csv", "file_name_column": "file"},
            id="by values",
        ),
        pytest.param("metadata.csv", "file_name\na.jpg\n", {"text": "metadata"}, id="metadata"),
        pytest.param(
            "in/t.jsonl",
            '{"f": "c.jpg"}\n',
            {"text": "t.jsonl", "file_name_column": "f"},
            id="from its folder on",
        ),
        pytest.param(
            "t.csv", "rating,of\n1,x\n1,y\n1,z\n2,q\n", None, id="a number that one image is called"
        ),
        pytest.param("t.csv", "x,y\n3,4\n", None, id="names nothing"),
        pytest.param("t.csv", "", None, id="empty"),
        pytest.param("t.parquet", "no parquet", None, id="unreadable"),
        pytest.param("t.txt", "file_name,caption\na.jpg,x\n", None, id="no table by its name"),
        pytest.param("state.json", '[{"file_name": "a.jpg"}]', None, id="of a dataset"),
    ],
)
def test_a_column_is_known_by_what_it_names(key, text, expected):
    found = naming_tables(IMAGES, [key], lambda _: io.BytesIO(text.encode()))
    assert [one.keys for one in found] == ([] if expected is None else [expected])
    assert all(one.told.endswith(" and ".join(f"{k}: {v}" for k, v in one.keys.items())) for one in found)


def test_the_table_that_names_most_comes_first():
    texts = {"a.csv": "file\na.jpg\n1.jpg\n", "b.csv": "file\na.jpg\nb.jpg\n1.jpg\n"}
    found = naming_tables(IMAGES, texts, lambda key: io.BytesIO(texts[key].encode()))
    assert [(one.key, one.images) for one in found] == [("b.csv", 3), ("a.csv", 2)]
