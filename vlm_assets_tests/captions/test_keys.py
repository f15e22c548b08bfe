import pytest
from pydantic import ValidationError

from vlm_assets.captions.keys import TextFileKeys
from vlm_assets.captions.separated import Quotes
from vlm_assets.captions.tables import TableReading


@pytest.mark.parametrize(
    ("keys", "reading"),
    [
        ({}, TableReading()),
        ({"encoding": "cp1254", "separator": ";"}, TableReading("cp1254", ";")),
        ({"encoding": ["utf-8", "cp1254"]}, TableReading(("utf-8", "cp1254"))),
        ({"separator": "tab"}, TableReading(separator="\t")),
        ({"separator": "\\t"}, TableReading(separator="\t")),
        ({"separator": "semicolon", "quotes": "literal"}, TableReading(None, ";", Quotes.LITERAL)),
    ],
)
def test_keys_say_how_tables_are_read(keys, reading):
    assert TextFileKeys.model_validate(keys).table_reading() == reading


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ({"encoding": "cp9999"}, "unknown encoding 'cp9999'"),
        ({"encoding": ["utf-8", "cp9999"]}, "unknown encoding 'cp9999'"),
        ({"encoding": "hex"}, "unknown encoding 'hex'"),
        ({"encoding": []}, "expected the name of an encoding"),
        ({"encoding": 5}, "expected the name of an encoding"),
        ({"separator": ";;"}, "expected one character, or comma"),
        ({"separator": '"'}, "expected one character"),
        ({"separator": 5}, "expected one character"),
        ({"quotes": "none"}, "csv"),
    ],
)
def test_keys_that_cannot_be_are_told(keys, told):
    with pytest.raises(ValidationError, match=told):
        TextFileKeys.model_validate(keys)
