import pytest

from vlm_assets.captions.words import Words, words_of
from vlm_assets.words.errors import SourceError

TALK = [{"from": "human", "value": "ne?"}, {"from": "gpt", "value": "kedi"}]
AS_JSON = '[{"role": "user", "content": "?"}]'


@pytest.mark.parametrize(
    ("values", "column", "text", "extra"),
    [
        ({"text": "x", "caption": "y", "n": 1}, None, "x", {"caption": "y", "n": 1}),
        ({"text": None, "caption": "y"}, None, "y", {"text": None}),
        ({"text": "  ", "caption": "y"}, None, "y", {"text": "  "}),
        ({"captions": ["x", None, "y"]}, None, "x\ny", {}),
        ({"text": 5}, None, None, {"text": 5}),
        ({"text": 5}, "text", "5", {}),
        ({"meta": {"caption": "x", "k": 1}}, "meta.caption", "x", {"meta": {"caption": "x", "k": 1}}),
        ({"meta.caption": "x", "meta": {}}, "meta.caption", "x", {"meta": {}}),
        ({"text": ""}, "text", None, {}),
        ({"Caption": "x", "n": 1}, None, "x", {"n": 1}),
        ({"Text": "x", "caption": "y", "TEXT": "z"}, None, "y", {"Text": "x", "TEXT": "z"}),
        ({"text": "şık".encode(), "caption": "y"}, None, "şık", {"caption": "y"}),
        ({"text": b"\xfe", "caption": "y"}, None, "y", {"text": {"base64": "/g=="}}),
        ({"text": b"\xfe"}, None, None, {"text": {"base64": "/g=="}}),
        ({"other": float("nan"), "b": b"\x00"}, None, None, {"other": "nan", "b": {"base64": "AA=="}}),
    ],
)
def test_text_and_other_columns(values, column, text, extra):
    assert words_of(values, "m.csv: line 1", text_column=column) == Words(text, None, extra)


def test_objects_are_no_text():
    with pytest.raises(SourceError, match=r"m\.json: row 1: column 'text' holds objects.*messages_column"):
        words_of({"text": [{"from": "human"}]}, "m.json: row 1", text_column="text")


@pytest.mark.parametrize(
    ("values", "column", "words"),
    [
        ({"conversations": TALK, "text": "x", "n": 1}, None, Words("x", ("conversations", TALK), {"n": 1})),
        (
            {"messages": '[{"role": "user", "content": "?"}]'},
            None,
            Words(None, ("messages", '[{"role": "user", "content": "?"}]')),
        ),
        ({"texts": "yalnız metin"}, None, Words(None, None, {"texts": "yalnız metin"})),
        ({"texts": ["bir", "iki"]}, None, Words(None, None, {"texts": ["bir", "iki"]})),
        ({"talk": TALK}, None, Words(None, None, {"talk": TALK})),
        ({"talk": TALK, "messages": TALK}, "talk", Words(None, ("talk", TALK), {"messages": TALK})),
        ({"talk": None, "text": "x"}, "talk", Words("x")),
        ({"talk": " ", "text": "x"}, "talk", Words("x")),
        ({"conversations": None}, None, Words(None, None, {"conversations": None})),
    ],
)
def test_conversations_are_found_where_they_are_plain(values, column, words):
    found = words_of(values, "m.json: row 1", messages_column=column)
    assert found == words
    assert Words.of(found.as_json()) == words
