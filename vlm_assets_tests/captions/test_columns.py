import json

import pyarrow as pa
import pytest

from vlm_assets.captions.columns import Form, find_messages_column, form_of, is_conversation_type
from vlm_assets.captions.conversations import normalise
from vlm_assets.words.errors import SourceError
from vlm_assets_tests.captions.talks import FORMS, IMAGE, PAIRED, Talk

TEXT = pa.string()
TALK: Talk = [("user", [IMAGE, "Bu?"]), ("assistant", ["Kedi"])]
EVERY_FORM = FORMS | PAIRED
JSON = json.dumps([{"from": "human", "value": "a"}])
PART = pa.struct([("type", TEXT), ("text", TEXT)])
TURN = pa.struct([("role", TEXT), ("content", TEXT)])
LLAVA = pa.struct([("from", TEXT), ("value", TEXT)])
PAIR = pa.struct([("user", TEXT), ("assistant", TEXT), ("source", TEXT)])


CONVERSATIONS = {
    "turns": (pa.list_(TURN), Form.ROLE_CONTENT),
    "llava": (pa.list_(LLAVA), Form.FROM_VALUE),
    "pairs": (pa.list_(PAIR), Form.USER_ASSISTANT),
    "human-gpt": (pa.list_(pa.struct([("human", TEXT), ("gpt", TEXT)])), Form.USER_ASSISTANT),
    "parts": (pa.list_(pa.struct([("role", TEXT), ("content", pa.list_(PART))])), Form.CONTENT_PARTS),
    "parts-of-image-only": (
        pa.list_(pa.struct([("role", TEXT), ("content", pa.list_(pa.struct([("image", pa.binary())])))])),
        Form.CONTENT_PARTS,
    ),
    "large": (pa.large_list(pa.struct([("from", pa.large_string()), ("value", pa.string_view())])), Form.FROM_VALUE),
    "fixed": (pa.list_(TURN, 2), Form.ROLE_CONTENT),
    "view": (pa.list_view(TURN), Form.ROLE_CONTENT),
    "dictionary": (
        pa.list_(pa.struct([("role", pa.dictionary(pa.int8(), TEXT)), ("content", TEXT)])),
        Form.ROLE_CONTENT,
    ),
    "lists": (pa.struct([("user", pa.list_(TEXT)), ("assistant", pa.list_(TEXT))]), Form.USER_ASSISTANT),
    "lists-of-parts": (
        pa.struct([("role", pa.list_(TEXT)), ("content", pa.list_(pa.list_(PART)))]), Form.CONTENT_PARTS
    ),
    "parts-as-lists": (
        pa.list_(
            pa.struct([("role", TEXT), ("content", pa.struct([("type", pa.list_(TEXT)), ("text", pa.list_(TEXT))]))])
        ),
        Form.CONTENT_PARTS,
    ),
    "one-pair": (PAIR, Form.USER_ASSISTANT),
    "all-null-side": (pa.list_(pa.struct([("user", TEXT), ("assistant", pa.null())])), Form.USER_ASSISTANT),
}  # fmt: skip

OTHERS = {
    "text": TEXT,
    "captions": pa.list_(TEXT),
    "number": pa.int64(),
    "images": pa.list_(pa.struct([("bytes", pa.binary()), ("path", TEXT)])),
    "boxes": pa.list_(pa.struct([("label", TEXT), ("box", pa.list_(pa.int32()))])),
    "half-a-pair": pa.list_(pa.struct([("user", TEXT), ("rating", pa.int8())])),
    "pair-of-nulls": pa.list_(pa.struct([("user", pa.null()), ("assistant", pa.null())])),
    "number-content": pa.list_(pa.struct([("role", TEXT), ("content", pa.int64())])),
    "number-role": pa.list_(pa.struct([("role", pa.int64()), ("content", TEXT)])),
    "several-conversations": pa.list_(pa.list_(TURN)),
    "struct": pa.struct([("tr", TEXT), ("en", TEXT)]),
    "empty-struct": pa.struct([]),
    "null": pa.null(),
}


@pytest.mark.parametrize(("kind", "form"), CONVERSATIONS.values(), ids=CONVERSATIONS)
def test_types_that_are_conversations(kind, form):
    assert is_conversation_type(kind)
    assert form_of(kind, column="messages", where="src") is form


@pytest.mark.parametrize("kind", OTHERS.values(), ids=OTHERS)
def test_types_that_are_none(kind):
    assert not is_conversation_type(kind)


@pytest.mark.parametrize("name", sorted(OTHERS.keys() - {"text"}))
def test_a_column_that_cannot_be_one_is_named_with_its_type_and_the_forms(name):
    with pytest.raises(SourceError) as caught:
        form_of(OTHERS[name], [], column="sohbet", where="src/train")
    message = str(caught.value)
    assert message.startswith("src/train: column 'sohbet' (messages_column) is ")
    assert str(OTHERS[name])[:40] in message
    for part in ("{role, content}", "{from, value}", "{user, assistant}", "{type, text}", "JSON"):
        assert part in message


def test_a_long_type_is_told_in_short():
    kind = pa.struct([(f"column_{n}", TEXT) for n in range(500)])
    with pytest.raises(SourceError) as caught:
        form_of(kind, column="sohbet", where="src")
    assert len(str(caught.value)) < 600


@pytest.mark.parametrize("form", EVERY_FORM)
def test_a_form_that_rows_can_have_is_one_that_columns_can_have(form):
    value = EVERY_FORM[form](TALK)
    column = pa.array([value])
    assert form_of(column.type, column.to_pylist(), column="messages", where="src") in Form
    assert normalise(column.to_pylist()[0], 1).messages[1]["content"] == [{"type": "text", "text": "Kedi"}]


@pytest.mark.parametrize(
    "kind", [TEXT, pa.large_string(), pa.string_view(), pa.binary(), pa.json_()], ids=str
)
@pytest.mark.parametrize(
    "samples", [[], [None], [None, JSON], ["", JSON]], ids=["none", "null", "json", "one-of-them"]
)
def test_text_may_be_json(kind, samples):
    assert form_of(kind, samples, column="messages", where="src") is Form.JSON


def test_text_that_is_no_json_is_told_with_the_first_reason():
    with pytest.raises(
        SourceError, match=r"column 'text' .* is string, .*\(text that is no JSON .*JSON text of one"
    ):
        form_of(TEXT, [None, "Bir kedi", '{"a": 1}'], column="text", where="src")


@pytest.mark.parametrize(
    ("schema", "samples", "found"),
    [
        ({"images": pa.list_(pa.binary()), "texts": pa.list_(PAIR)}, {}, "texts"),
        ({"conversations": pa.list_(LLAVA), "id": TEXT}, {}, "conversations"),
        ({"messages": pa.list_(TURN), "text": TEXT}, {}, "messages"),
        ({"conversation": pa.struct([("role", pa.list_(TEXT)), ("content", pa.list_(TEXT))])}, {}, "conversation"),
        ({"conversations": TEXT}, {"conversations": [None, JSON, JSON]}, "conversations"),
        ({"conversations": TEXT}, {"conversations": [JSON, "Bir kedi"]}, None),
        ({"conversations": TEXT}, {"conversations": [None]}, None),
        ({"conversations": TEXT}, {}, None),
        ({"texts": pa.list_(TEXT), "messages": pa.list_(TURN)}, {}, "messages"),
        ({"texts": pa.list_(TEXT), "messages": TEXT, "conversations": pa.int64()}, {}, None),
        ({"dialogue": pa.list_(TURN)}, {}, None),
    ],
    ids=["finevision", "llava", "messages", "lists", "json", "not-all-json", "null", "unseen-text", "one-by-type",
         "none-by-type", "other-name"],
)  # fmt: skip
def test_the_plain_column_is_found(schema, samples, found):
    assert find_messages_column(pa.schema(list(schema.items())), samples, where="src") == found


def test_two_plain_columns_are_an_error_that_names_them():
    schema = pa.schema([("texts", pa.list_(PAIR)), ("messages", pa.list_(TURN))])
    with pytest.raises(
        SourceError, match=r"src: several columns of conversations: texts, messages; set messages_col"
    ):
        find_messages_column(schema, where="src")
