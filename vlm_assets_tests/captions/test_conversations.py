import json
import unicodedata
from collections import Counter
from hashlib import sha256

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlm_assets.captions.conversations import Change, Conversation, normalise
from vlm_assets.captions.marks import split_at_marks, without_marks
from vlm_assets.captions.turns import (
    MAX_CHARACTERS,
    MAX_DEPTH,
    MAX_FIELDS,
    MAX_TURNS,
    ROLES,
    ConversationError,
)
from vlm_assets.words.schema import messages_json
from vlm_assets_tests.captions.talks import FORMS, IMAGE, PAIRED, Talk, messages

TALK: Talk = [
    ("user", [IMAGE, "Bu nedir?"]),
    ("assistant", ["Bir kedi."]),
    ("user", ["Ya bu", IMAGE, "ve bu", IMAGE, "?"]),
    ("assistant", ["İki köpek.\n\n  - ısırgan"]),
]
EVERY_FORM = FORMS | PAIRED
MESSAGES_TYPE = pa.list_(
    pa.struct(
        [
            ("role", pa.string()),
            ("content", pa.list_(pa.struct([("type", pa.string()), ("text", pa.string())]))),
        ]
    )
)


def asked(text: str, told: str = "Evet.") -> list[dict[str, str]]:
    return [{"role": "user", "content": text}, {"role": "assistant", "content": told}]


def shape(conversation: Conversation) -> list[list[str | None]]:
    """What each turn says, an image as None."""
    return [[part["text"] for part in message["content"]] for message in conversation.messages]


def first_turn(text: str, image_count: int) -> list[str | None]:
    return shape(normalise(asked(text), image_count))[0]


@pytest.mark.parametrize("form", EVERY_FORM)
def test_every_form_gives_the_same_messages(form):
    conversation = normalise(EVERY_FORM[form](TALK), 3)
    assert conversation.messages == messages(TALK)
    assert not conversation.changes


@pytest.mark.parametrize("form", FORMS)
def test_a_system_turn_and_a_talk_without_images(form):
    talk = [("system", ["Kısa yanıtla."]), ("user", ["Merhaba"]), ("assistant", ["Selam"])]
    assert normalise(FORMS[form](talk), 0).messages == messages(talk)


@pytest.mark.parametrize("form", EVERY_FORM)
def test_what_an_arrow_column_gives_back_is_the_same_again(form):
    once = normalise(EVERY_FORM[form](TALK), 3).messages
    column = pa.array([once], MESSAGES_TYPE).to_pylist()
    assert column == [once]
    assert normalise(column[0], 3).messages == once


def test_a_pair_may_have_a_system_text_and_be_alone():
    one = normalise({"system": "Kısa.", "user": "Bu?", "assistant": "Kedi"}, 1)
    assert one.messages == messages(
        [("system", ["Kısa."]), ("user", [IMAGE, "Bu?"]), ("assistant", ["Kedi"])]
    )
    human = normalise([{"human": "Bu?", "gpt": "Kedi", "user": None}], 1)
    assert human.messages == one.messages[1:]


def test_a_pair_without_question_leaves_the_turn_to_the_image():
    assert shape(normalise([{"user": None, "assistant": "Bir kedi."}], 1)) == [[IMAGE], ["Bir kedi."]]


@pytest.mark.parametrize(
    ("text", "images", "said"),
    [
        ("<image>\nBu?", 1, [IMAGE, "Bu?"]),
        ("Bu?\n<image>", 1, ["Bu?", IMAGE]),
        ("  \n<image> \t\n Bu ne?  ", 1, [IMAGE, "Bu ne?"]),
        ("<image><image>\n<image>Bu?", 3, [IMAGE, IMAGE, IMAGE, "Bu?"]),
        ("Bunu <image> şununla <image>.", 2, ["Bunu", IMAGE, "şununla", IMAGE, "."]),
        ("Bir <image> içinde", 1, ["Bir", IMAGE, "içinde"]),
        ("  baş ve son  ", 0, ["  baş ve son  "]),
    ],
    ids=["before", "after", "much-space", "in-a-row", "inside", "between", "no-mark-keeps-space"],
)
def test_marks_become_images_in_their_places(text, images, said):
    assert first_turn(text, images) == said


@pytest.mark.parametrize(
    "mark",
    ["<image>", "<image></image>", "<image1>", "<image 1>", "<image_1>", "<image-1>", "<image:1>", "<image_0>",
     "<|image|>", "<|image_1|>", "<|image1|>", "<|image-1|>", "<|image_pad|>", "<image_placeholder>",
     "<start_of_image>", "<ImageHere>", "<img>kediler/1.jpg</img>", "<Image><image></Image>",
     "<Img><ImageHere></Img>", "<im_start><image><im_end>", "<|vision_start|><|image_pad|><|vision_end|>"],
)  # fmt: skip
def test_what_is_a_mark(mark):
    assert first_turn(f"önce {mark} sonra", 1) == ["önce", IMAGE, "sonra"]


@pytest.mark.parametrize(
    "words",
    ["<img>", '<img src="1.png">', '<image href="1.png"/>', "<Image>", "[IMG]", "<images>", "<video>", "<im_start>",
     "<|im_start|>", "<image", "< image >", "a < b", "<img>a\nb</img>", "<image12345>", "<IMAGE>"],
)  # fmt: skip
def test_what_is_no_mark(words):
    assert first_turn(words, 1) == [IMAGE, words]


@pytest.mark.parametrize(
    ("value", "images", "said", "changes"),
    [
        (asked("Bu?"), 2, [[IMAGE, IMAGE, "Bu?"], ["Evet."]], {Change.UNMARKED: 1}),
        (asked("<image> Bu?"), 2, [[IMAGE, IMAGE, "Bu?"], ["Evet."]],
         {Change.MISMATCHED: 1, Change.MARKS_REMOVED: 1}),
        (asked("Bu <image><image> mu?", "<image>"), 1, [[IMAGE, "Bu mu?"]],
         {Change.MISMATCHED: 1, Change.MARKS_REMOVED: 3, Change.EMPTY_REMOVED: 1}),
        (asked("A\n<image>\nB <image>C"), 0, [["A\nB C"], ["Evet."]],
         {Change.MISMATCHED: 1, Change.MARKS_REMOVED: 2}),
        (asked("<image-2> ve <image-1>"), 2, [[IMAGE, IMAGE, "ve"], ["Evet."]],
         {Change.MISMATCHED: 1, Change.MARKS_REMOVED: 2}),
        (asked("<image-1> ve <image-1>"), 2, [[IMAGE, IMAGE, "ve"], ["Evet."]],
         {Change.MISMATCHED: 1, Change.MARKS_REMOVED: 2}),
        ([{"role": "system", "content": "Kısa."}, *asked("Bu?")], 1, [["Kısa."], [IMAGE, "Bu?"], ["Evet."]],
         {Change.UNMARKED: 1}),
        ([{"role": "user", "content": [{"type": "text", "text": "Bu?"}, {"type": "image"}, {"type": "image"}]}], 1,
         [[IMAGE, "Bu?"]], {Change.MISMATCHED: 1, Change.MARKS_REMOVED: 2}),
        ([{"role": "user", "content": [{"type": "text", "text": "<image>\nBu?"}, {"type": "image"}]}], 1,
         [["Bu?", IMAGE]], {Change.MARKS_REMOVED: 1}),
        ([{"role": "user", "content": [{"type": "image", "index": 1}, {"type": "text", "text": "A"},
                                       {"type": "image", "index": 0}]}], 2,
         [[IMAGE, IMAGE, "A"]], {Change.MISMATCHED: 1, Change.MARKS_REMOVED: 2}),
        ([{"role": "user", "content": [{"type": "text", "text": "A", "index": None}, {"type": "image", "index": 0}]}],
         1, [["A", IMAGE]], {}),
        ([{"role": "user", "content": ["", {"type": "text", "text": " "}, {"type": "text", "text": "A"}]},
          {"role": "assistant", "content": ""}], 1, [[IMAGE, "A"]], {Change.UNMARKED: 1, Change.EMPTY_REMOVED: 3}),
        ([{"role": "assistant", "content": "Sor."}, *asked("Bu?")], 1, [["Sor."], [IMAGE, "Bu?"], ["Evet."]],
         {Change.UNMARKED: 1}),
    ],
    ids=["no-mark", "too-few", "too-many", "no-image", "wrong-order", "same-twice", "after-system", "too-many-parts",
         "parts-fit-marks-do-not", "index-in-wrong-order", "index-in-order", "empty-texts", "after-assistant"],
)  # fmt: skip
def test_where_marks_are_not_the_images_the_images_go_first(value, images, said, changes):
    conversation = normalise(value, images)
    assert shape(conversation) == said
    assert conversation.changes == changes


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a <image> b", "a b"),
        ("a<image>b", "a b"),
        ("a\n<image> b", "a\nb"),
        ("a <image>\n\nb", "a\nb"),
        ("a <image>\n<image> b", "a\nb"),
        ("a\n<image> b <image> c", "a\nb c"),
        (" <image>\n  a  b ", "a  b"),
        ("<image>", ""),
        ("<ima<image 1>ge>", "<ima ge>"),
        ("<image<image>1>", ""),
        ("  a  ", "  a  "),
    ],
    ids=repr,
)
def test_words_that_a_mark_stood_between_stay_apart(text, words):
    assert without_marks(text) == words


@pytest.mark.parametrize(
    ("part", "said"),
    [
        ({"type": "input_text", "text": "A"}, ["A"]),
        ({"type": "output_text", "text": "A"}, ["A"]),
        ({"type": "TEXT", "content": "A"}, ["A"]),
        ({"type": "text", "value": "A"}, ["A"]),
        ({"text": "A", "image": None}, ["A"]),
        ("A", ["A"]),
        ({"type": "image", "image": "1.jpg"}, [IMAGE]),
        ({"type": "image_url", "image_url": "1.jpg"}, [IMAGE]),
        ({"type": "input_image", "image_url": "1.jpg"}, [IMAGE]),
        ({"type": "image_file", "image_file": {"file_id": "1"}}, [IMAGE]),
        ({"image": "1.jpg", "text": None}, [IMAGE]),
        ({"type": "image", "text": "<image>"}, [IMAGE]),
    ],
    ids=str,
)
def test_parts_of_all_kinds(part, said):
    turn = {"role": "user", "content": [{"type": "text", "text": "x"}, part]}
    assert shape(normalise([turn], said.count(IMAGE))) == [["x", *said]]


@pytest.mark.parametrize(
    ("upstream", "role"), [*ROLES.items(), ("Human ", "user"), ("<|Assistant|>", "assistant")]
)
def test_roles_are_mapped(upstream, role):
    turns = [{"from": "user", "value": "?"}, {"from": upstream, "value": "!"}]
    assert normalise(turns, 0).messages[1]["role"] == role


def test_texts_are_nfc_and_whole_characters():
    text = unicodedata.normalize("NFD", "şığ\u0130")
    whole = unicodedata.normalize("NFC", text) + "\ufffd"
    assert first_turn(text + "\ud83d", 0) == [whole]
    parts = [{"role": "user", "content": [text + "\ud83d", {"type": "text", "text": text + "\ud83d"}]}]
    assert shape(normalise(parts, 0)) == [[whole, whole]]


@pytest.mark.parametrize(
    "text", ['[{"type": "cat", "box": [1, 2]}]', '[{"type": "text", "text": "a"}, {"type": "cat"}]',
             '["type"', '["type"]'],
    ids=["other-types", "one-other-type", "no-json", "no-parts"],
)  # fmt: skip
def test_words_that_happen_to_be_json_stay_words(text):
    assert shape(normalise(asked("Kutular?", text), 0))[1] == [text]


@pytest.mark.parametrize(
    ("value", "beside"),
    [
        ([{"user": "a", "assistant": "b", "source": "x", "rating": 5},
          {"user": "c", "assistant": "d", "source": None}],
         {"source": ["x", None], "rating": [5, None]}),
        ({"user": ["a"], "assistant": ["b"], "source": ["x"], "licence": "CC0-1.0", "tags": ["t", "u"], "none": None},
         {"source": ["x"], "licence": "CC0-1.0", "tags": ["t", "u"]}),
        ([{"role": "user", "content": "a", "weight": 0, "tool_calls": None}], {"weight": [0]}),
        ([{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "1.jpg", "detail": "low"}},
                                       {"type": "text", "text": "a"}]}],
         {"content": [[{"image_url": {"url": "1.jpg", "detail": "low"}}, {}]]}),
        ([{"role": "user", "content": [{"type": "image", "image": {"bytes": b"abc", "path": None}},
                                       {"type": "text", "text": "a"}]}],
         {"content": [[{"image": {"bytes": {"sha256": sha256(b"abc").hexdigest(), "size_bytes": 3}}}, {}]]}),
        ([{"role": "user", "content": [{"type": "image", "image": "data:image/png;base64,QUJD"}, "a"]}],
         {"content": [[{"image": {"sha256": sha256(b"data:image/png;base64,QUJD").hexdigest(), "size_bytes": 26}},
                       {}]]}),
        ([{"role": "user", "content": {"type": ["text"], "text": ["a"], "lang": "tr"}}],
         {"content": [[{}, {"lang": "tr"}]]}),
        ([{"role": "user", "content": [{"type": "image", "image": "Q" * 5000, "text": "", "index": True}, "a"]}],
         {"content": [[{"image": {"sha256": sha256(b"Q" * 5000).hexdigest(), "size_bytes": 5000}, "index": True},
                       {}]]}),
        (asked("a"), {}),
    ],
    ids=["pairs", "lists", "messages", "image-url", "bytes-as-hash", "data-uri-as-hash", "parts-as-lists",
         "base64-as-hash", "none"],
)  # fmt: skip
def test_fields_beside_the_conversation_are_given_back(value, beside):
    assert normalise(value, 1).beside == beside


def nested(depth: int) -> object:
    return [nested(depth - 1)] if depth else 1


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (None, "is null, not a list"),
        (3, "is a number, not a list"),
        ([], "no turn"),
        ({}, "turn 1 has the fields none"),
        ("[]", "no turn"),
        ({"user": [], "assistant": []}, "no turn"),
        ("Bir kedi", "text that is no JSON (Expecting value)"),
        ("[{'from': 'human', 'value': 'a'}]", "text that is no JSON"),
        (b"\xff\xfe\xfd", "text that is no JSON"),
        ('"a"', "is text, not a list"),
        ("[" * 100_000, "JSON nested too deep"),
        (" " * (MAX_CHARACTERS + 1), "at most 16777216"),
        (asked("a" * MAX_CHARACTERS), "characters, at most"),
        (asked("a") * MAX_TURNS, "20000 turns, at most"),
        (asked("<image>" * 10_001), "more than 10000 marks"),
        (asked("<image>" * 6_000) * 2, "12,000 marks"),
        (asked("<image" * 20 + "<image>" + " 1>" * 20), "marks of images within marks"),
        ([["user", "a"]], "turn 1 is a list, not an object"),
        ([None], "turn 1 is null"),
        (["a"], "turn 1 is text"),
        ([{"text": "a", "speaker": "b"}], 'turn 1 has the fields "text", "speaker"; a turn has role and content'),
        ([{"role": "user"}], 'turn 1 has the fields "role"'),
        ([{"role": 1, "content": "a"}], "turn 1: the role is a number"),
        ([*asked("a"), {"role": "eleştirmen", "content": "a"}], 'turn 3: unknown role "eleştirmen"; there are'),
        ([{"role": "user", "content": 3}], "turn 1, content is a number"),
        ([{"user": {"a": 1}, "assistant": "b"}], "turn 1, user, part 1 has no type, and the fields"),
        ([{"role": "user", "content": [3]}], "part 1 is a number, not an object"),
        ([{"role": "user", "content": [{"type": "video"}]}], 'part 1 is of type "video"; the types are text'),
        ([{"role": "user", "content": [{"type": 3}]}], "part 1 is of type a number"),
        ([{"role": "user", "content": [{"type": "text", "text": ["a"]}]}], "part 1: its text is a list"),
        ([{"role": "user", "content": [{"text": "a", "image": "b"}]}], "part 1 has no type"),
        ({"user": ["a", "b"], "assistant": ["c"]}, "differ in length: user 2, assistant 1"),
        (asked("a")[1:], "no user turn"),
        ([{"role": "user", "content": " "}, {"role": "assistant", "content": "a"}], "no user turn that says"),
        ([{"role": "user", "content": [{"type": "image"}]}], "no words"),
        ([{"role": "user", "content": "a", "x": nested(MAX_DEPTH + 1)}], 'turn 1, "x" is nested more than'),
        ([{"role": "user", "content": [{"type": "image", "x": nested(MAX_DEPTH + 1)}]}], "nested more than"),
        ([{"role": "user", "content": [{"text": "a", "x": nested(MAX_DEPTH + 1)}]}], "nested more than"),
        ({"user": ["a"], "assistant": ["b"], "x": {"y": nested(MAX_DEPTH)}}, "nested more than"),
        ([{"role": "user", "content": "a", **{f"f{n}": n for n in range(MAX_FIELDS + 1)}}], "different fields"),
    ],
    ids=lambda value: value[:30] if isinstance(value, str) else "",
)  # fmt: skip
def test_odd_rows_are_told_in_one_line(value, problem):
    images = 1 if "words" in problem else 0
    with pytest.raises(ConversationError) as caught:
        normalise(value, images)
    message = str(caught.value)
    assert problem in message
    assert "\n" not in message
    assert len(message) < 400


def test_an_upstream_name_cannot_make_a_message_long_or_broken():
    with pytest.raises(ConversationError) as caught:
        normalise([{"role": "a\nb" * 1000, "content": "x"}], 0)
    assert '"a\\nba' in str(caught.value)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("form", EVERY_FORM)
def test_the_shape_is_what_trl_prepares(form):
    """Every content is a list of parts with a type; image parts are empty places, as many as the images."""
    conversation = normalise(EVERY_FORM[form](TALK), 3)
    parts = [part for message in conversation.messages for part in message["content"]]
    assert {message["role"] for message in conversation.messages} <= {"system", "user", "assistant"}
    assert all("type" in part and "image" not in part for part in parts)
    assert sum(part["type"] == "image" for part in parts) == 3


def test_the_hash_is_of_compact_json_in_the_schemas_order():
    json_text = '[{"role":"user","content":[{"type":"image","text":null},{"type":"text","text":"ş"}]}]'
    value = messages([("user", [IMAGE, "ş"])])
    turned = [{"content": [dict(reversed(part.items())) for part in value[0]["content"]], "role": "user"}]
    assert json.loads(json_text) == value
    assert messages_json(value) == messages_json(turned) == json_text.encode()
    assert messages_json(None) == b""


words = st.text(st.characters(codec="utf-8", exclude_characters="<"), min_size=1).map(
    lambda text: unicodedata.normalize("NFC", text).strip()
).filter(bool)  # fmt: skip
said = st.lists(st.one_of(st.just(IMAGE), words), min_size=1, max_size=5)
turns = st.lists(st.tuples(said, said), min_size=1, max_size=4)


@given(turns, st.sampled_from(sorted(EVERY_FORM)))
def test_order_is_kept_and_a_second_time_changes_nothing(pairs, form):
    talk = [turn for asked, told in pairs for turn in (("user", asked), ("assistant", told))]
    images = sum(one is IMAGE for _, said in talk for one in said)
    if not any(one is not IMAGE for _, said in talk for one in said):
        return
    once = normalise(EVERY_FORM[form](talk), images)
    for message, (role, spoken) in zip(once.messages, talk, strict=True):
        assert message["role"] == role
        flat = [bit for part in message["content"] for bit in (part["text"] or "\0").split()]
        assert flat == [bit for one in spoken for bit in ("\0" if one is IMAGE else one).split()]
    again = normalise(once.messages, images)
    assert (again.messages, again.changes, again.beside) == (once.messages, {}, {})


bits = st.sampled_from(
    ["<image>", "<im", "age>", "<image", " ", "\n", "1", "<image 2>", "<img>", "</img>", "<|image|>", "e", "\u0301",
     "\u0338", ">", "</image>", "<Image>", "</Image>", "kedi",
     '[{"type":"text","text":"<image>"}]', '[{"type":"image"}]']
)  # fmt: skip
scraps = st.lists(bits, max_size=12).map("".join)
scrap_parts = st.lists(
    st.one_of(scraps.map(lambda text: {"type": "text", "text": text}), st.just({"type": "image"})), max_size=4
)
scrap_turns = st.lists(
    st.fixed_dictionaries(
        {"role": st.sampled_from(["system", "user", "assistant"]), "content": st.one_of(scraps, scrap_parts)}
    ),
    max_size=4,
)


@given(scrap_turns, st.integers(0, 3))
def test_whatever_the_marks_there_are_as_many_images_and_no_mark_is_left(value, images):
    try:
        once = normalise(value, images)
    except ConversationError:
        return
    kinds = Counter(part["type"] for message in once.messages for part in message["content"])
    assert kinds["image"] == images
    for message in once.messages:
        assert message["content"]
        for part in message["content"]:
            if part["type"] == "text":
                assert part["text"]
                assert split_at_marks(part["text"]) == [part["text"]]
            else:
                assert part == {"type": "image", "text": None}
    again = normalise(once.messages, images)
    assert (again.messages, again.changes) == (once.messages, {})
