import pytest

from vlm_assets.ingest.taken_words import TakenWords, without_words
from vlm_assets.words.item_columns import ItemColumns
from vlm_assets.words.records import Item

CAPTION = {"text": "Ayşe", "images": ["a.jpg"]}


@pytest.mark.parametrize(
    ("payload", "left"),
    [
        pytest.param({"captions": [CAPTION]}, {"captions": [{"images": ["a.jpg"]}]}, id="a-caption"),
        pytest.param(
            {"rows": [["Ayşe", "h", "l", {"n": 1}]]}, {"rows": [[None, "h", "l", None]]}, id="a-row"
        ),
        pytest.param(
            {"rows": [[None, "h", "l", None, ["messages", "Ayşe"]]]},
            {"rows": [[None, "h", "l", None]]},
            id="a-row-with-a-conversation",
        ),
        pytest.param({"size": 1}, {"size": 1}, id="no-words"),
    ],
)
def test_what_was_emptied_once_is_not_emptied_again(payload, left):
    items = ItemColumns.of([Item("a.jpg", payload=payload), Item("b.jpg", payload=payload)])
    emptied = without_words(items, TakenWords(frozenset({"a.jpg"})))
    assert [dict(one.payload) for one in emptied] == [left, payload]
    assert without_words(emptied, TakenWords(frozenset({"a.jpg"}))) is emptied
