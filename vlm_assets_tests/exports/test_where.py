"""Which rows an expression wants."""

from typing import Any

import pyarrow as pa
import pytest

from vlm_assets.exports.where import COLUMNS, Where
from vlm_assets.words.errors import ConfigError
from vlm_assets.words.schema import FACT_NAMES, INDEX_SCHEMA, NO_WORDS
from vlm_assets_tests.workplace import expect_error


def index_row(number: int, **more: Any) -> dict[str, Any]:
    facts = [
        dict.fromkeys(FACT_NAMES) | {"format": form, "width_px": 100 * number}
        for form in more.pop("forms", ["PNG"])
    ]
    row: dict[str, Any] = dict.fromkeys(INDEX_SCHEMA.names)
    words = {"text_sha256": NO_WORDS, "messages_sha256": NO_WORDS, "images_sha256": bytes([number]) * 32}
    return {**row, **words, "id": f"s/a/{number}", "image_facts": facts, "image_count": len(facts), **more}


INDEX = pa.Table.from_pylist(
    [
        index_row(
            0, category="photos", subcategory="street/night", licence="CC0-1.0", min_side_px=64, label="gece"
        ),
        index_row(1, category="photos", licence="CC-BY-4.0", min_side_px=512, forms=["PNG", "JPEG"]),
        index_row(
            2, category="art", licence="CC0-1.0", min_side_px=1024, text_sha256=b"t" * 32, label="gündüz"
        ),
        index_row(3, category="art", licence="unknown", forms=["JPEG"], messages_sha256=b"m" * 32),
    ],
    INDEX_SCHEMA,
)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("category == 'photos'", [0, 1]),
        ("category == 'photos' and min_side_px >= 512", [1]),
        ("licence in ['CC0-1.0', 'CC-BY-4.0'] and not category == 'art'", [0, 1]),
        ("min_side_px > 0", [0, 1, 2]),
        ("not min_side_px > 100", [0]),
        ("label == 'gündüz' or label == 'gece'", [0, 2]),
        ("has_text", [2]),
        ("has_messages or has_text", [2, 3]),
        ("image_count > 1", [1]),
        ("any(image_facts.format == 'JPEG')", [1, 3]),
        ("all(image_facts.format == 'JPEG')", [3]),
        ("min(image_facts.width_px) >= 200", [2, 3]),
        (f"images_sha256 == '{'02' * 32}'", [2]),
        ("id == 's/a/3'", [3]),
        ("source == 'x'", []),
    ],
)
def test_rows_for_which_it_is_true(text: str, wanted: list[int]):
    where = Where.parse(text)
    columns = INDEX.select(list(where.reads))
    assert where.mask(columns).nonzero()[0].tolist() == wanted
    assert where.mask(columns.slice(1, 2)).nonzero()[0].tolist() == [n - 1 for n in wanted if n in (1, 2)]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("catgory == 'photos'", "category"),
        ("category == ", "not an expression"),
        ("category", "true or false"),
        ("min_side_px == 'large'", "a number"),
        ("image_facts.width_px > 3", "min(...)"),
        ("__import__('os').system('true')", "no function"),
        ("lambda: 1", "part of the language"),
        ("text == 'x'", "no column 'text'"),
    ],
)
def test_what_is_no_expression_is_told_with_what_there_is(text: str, told: str):
    assert told in expect_error(lambda: Where.parse(text), ConfigError)


def test_every_column_of_the_index_that_has_one_value_can_be_named():
    missing = set(INDEX_SCHEMA.names) - COLUMNS.keys()
    assert missing == {"dhash", "item_hash", "image_facts"}
