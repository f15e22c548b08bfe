from typing import Any

import pytest

from vlm_assets.captions.samples import caption_events, caption_key
from vlm_assets.words.errors import Reject, RejectReason
from vlm_assets.words.records import Record, RecordImage

TALK = [
    "conversations",
    [{"from": "human", "value": "<image> ne?", "at": 5}, {"from": "gpt", "value": "kedi"}],
]


def events(captions: list[dict[str, Any]], **options: Any) -> list[Record | Reject]:
    image = RecordImage(b"own", origin="a.jpg")
    return list(caption_events("a.jpg", "a.jpg", "a.jpg", image, captions, **options))


def test_an_image_without_captions_is_a_record_without_words():
    assert events([]) == [
        Record("a.jpg", 0, "a.jpg", [RecordImage(b"own", origin="a.jpg")], "a.jpg", images_upstream=1)
    ]


def test_captions_are_records_of_one_image():
    found = events(
        [{"text": "bir", "extra": {"n": 1, "label": "x"}}, {}], extra={"label": "k"}, first_record=3
    )
    assert [(r.record, r.key, r.text, r.extra) for r in found if isinstance(r, Record)] == [
        (3, "a.jpg#caption=1", "bir", {"label": "x", "n": 1}), (4, "a.jpg#caption=2", None, {"label": "k"}),
    ]  # fmt: skip


def test_a_conversation_is_normalised_to_the_images():
    (record,) = events([{"messages": TALK}])
    assert isinstance(record, Record)
    assert record.messages == [
        {"role": "user", "content": [{"type": "image", "text": None}, {"type": "text", "text": "ne?"}]},
        {"role": "assistant", "content": [{"type": "text", "text": "kedi"}]},
    ]
    assert record.extra == {"conversations": {"at": [5, None]}}
    two = [["left", "a.jpg", "a.jpg"], ["right", "b.jpg", "b.jpg"]]
    (pair,) = events(
        [{"messages": TALK, "images": two}], open_image=lambda key: RecordImage(key.encode(), origin=key)
    )
    assert isinstance(pair, Record)
    assert [part["type"] for part in pair.messages[0]["content"]] == ["image", "image", "text"]  # type: ignore[index]
    assert pair.remarks == {"mismatched": 1, "marks_removed": 1}


def test_images_of_a_row_are_named_by_their_columns():
    two = [["left", "./b.jpg", "b.jpg"], ["right", "a.jpg", "a.jpg"]]
    (record,) = events([{"images": two}], open_image=lambda key: RecordImage(key.encode(), origin=key, dpi=9))
    assert isinstance(record, Record)
    assert record.images == [
        RecordImage(b"b.jpg", "left", "b.jpg", 9),
        RecordImage(b"a.jpg", "right", None, 9),
    ]
    assert record.images_upstream == 2


@pytest.mark.parametrize(
    ("said", "reason", "detail"),
    [
        ({"images": [["image", "a.jpg", "a.jpg"], ["mask", "yok.png", None]]}, RejectReason.NOT_FOUND,
         "mask names 'yok.png', which is not there"),
        ({"messages": ["talk", [{"from": "gpt", "value": "?"}]]}, RejectReason.BAD_CONVERSATION, "no user turn"),
    ],
)  # fmt: skip
def test_what_is_not_whole_is_a_reject_and_the_others_stay(said, reason, detail):
    first, second = events([said, {"text": "iki"}])
    assert isinstance(first, Reject)
    assert (first.item, first.record, first.reason) == ("a.jpg", 0, reason)
    assert detail in first.detail
    assert isinstance(second, Record)
    assert (second.key, second.record) == ("a.jpg#caption=2", 1)


def test_keys():
    assert [caption_key("k", number, 2) for number in (1, 2)] == ["k#caption=1", "k#caption=2"]
    assert caption_key("k", 1, 1) == "k"
