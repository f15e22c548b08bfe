"""Columns as Python values: what Arrow's own conversion gives, whole and of a part."""

from typing import Any

import pyarrow as pa
import pytest

from vlm_assets.exports.values import python_values
from vlm_assets.words.schema import FACTS_TYPE, MESSAGES_TYPE

FACT = dict.fromkeys(FACTS_TYPE.value_type.names)
TURN = {"role": "user", "content": [{"type": "image", "text": None}, {"type": "text", "text": "kaç — ğİş"}]}
COLUMNS: dict[str, tuple[pa.DataType, list[Any]]] = {
    "words": (pa.string(), ["a", None, "", "ğ"]),
    "numbers": (pa.int64(), [1, -2, 2**60, 0]),
    "numbers and none": (pa.uint64(), [1, None, 2**63, 0]),
    "lists": (pa.list_(pa.int32()), [[1, 2], [], None, [None, 3]]),
    "conversations": (MESSAGES_TYPE, [[TURN, TURN], None, [], [{"role": "user", "content": None}, None]]),
    "facts": (
        FACTS_TYPE,
        [[{**FACT, "dhash": 2**63, "dpi": 300}], [FACT, FACT], [], [{**FACT, "name": "x"}]],
    ),
    "nothing": (pa.string(), [None, None, None, None]),
}


@pytest.mark.parametrize("part", [slice(0, 4), slice(1, 3), slice(3, 4), slice(2, 2)], ids=str)
@pytest.mark.parametrize("name", COLUMNS)
def test_values_are_those_of_arrow(name, part):
    kind, values = COLUMNS[name]
    column = pa.array(values, kind)[part]
    assert python_values(column) == column.to_pylist() == values[part]
