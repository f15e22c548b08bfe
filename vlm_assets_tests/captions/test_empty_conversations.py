"""An empty cell is no conversation, and its record is there without one, wherever conversations stand."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest

from vlm_assets.archives.limits import ArchiveLimits
from vlm_assets.captions.conversations import conversation_of
from vlm_assets.captions.samples import caption_events
from vlm_assets.captions.turns import ConversationError, says_nothing
from vlm_assets.captions.words import words_of
from vlm_assets.demo.services.pictures import picture
from vlm_assets.hub.columns import Wanted
from vlm_assets.hub.readers import Reading, read_data_file
from vlm_assets.sources import image_urls
from vlm_assets.words.errors import Reject
from vlm_assets.words.records import Event, Record, RecordImage
from vlm_assets_tests.archives.made import tar_bytes
from vlm_assets_tests.captions.kit import parquet
from vlm_assets_tests.sources.kit import COMMON, list_context

IMAGE: Final = picture("a").data
SAID: Final = [{"role": "user", "content": "ne?"}, {"role": "assistant", "content": "kedi"}]
EMPTY: Final[dict[str, Any]] = {
    "null": None, "empty": "", "blank": " \r\n\t", "json-null": "null", "json-list": " [ ]\n", "json-text": '""',
    "json-object": "{}", "json-lists": '{"role": [], "content": []}', "list": [],
    "lists": {"role": [], "content": []}, "nulls": {"role": None, "content": None},
}  # fmt: skip
TALK: Final = Wanted(messages_column="talk")
MADE: Final = [{"role": "user", "content": [{"type": "image", "text": None}, {"type": "text", "text": "ne?"}]},
               {"role": "assistant", "content": [{"type": "text", "text": "kedi"}]}]  # fmt: skip


@pytest.mark.parametrize("value", [*EMPTY.values(), float("nan"), b"", b" \n", b"[]", (), {}], ids=repr)
def test_an_empty_cell_is_no_conversation(value: object) -> None:
    assert says_nothing(value)
    assert conversation_of(value, 1) is None


FAULTY: Final = [
    0,
    False,
    "nan.",
    "0",
    b"\xff",
    [None],
    [{}],
    ["a"],
    "[" * 200,
    {"role": ""},
    [{"role": "user"}],
]


@pytest.mark.parametrize("value", FAULTY, ids=repr)
def test_what_is_there_and_no_conversation_is_a_fault(value: object) -> None:
    with pytest.raises(ConversationError):
        conversation_of(value, 1)


def of_a_caption_table(_: Path, values: list[Any]) -> list[Event]:
    said = [words_of({"talk": value}, "m.csv", messages_column="talk").as_json() for value in values]
    return list(caption_events("a", "a", "a", RecordImage(IMAGE), said))


def of_a_payload(_: Path, values: list[Any]) -> list[Event]:
    """As listings have kept them so far."""
    said = [{"messages": ["talk", value]} for value in values]
    return list(caption_events("a", "a", "a", RecordImage(IMAGE), said))


def of_a_data_file(folder: Path, values: list[Any], wanted: Wanted = TALK) -> list[Event]:
    path = folder / "a.parquet"
    first, said = values
    if isinstance(first, str):
        said = json.dumps(said)
    elif isinstance(first, dict):
        said = {key: [turn[key] for turn in said] for key in first}
    name = wanted.messages_column or "messages"
    path.write_bytes(parquet({"image": [IMAGE, IMAGE], name: [first, said]}))
    return list(read_data_file(path, "parquet", "a", "a", Reading(ArchiveLimits(100_000), wanted)))


def of_a_data_file_that_is_not_told(folder: Path, values: list[Any]) -> list[Event]:
    return of_a_data_file(folder, values, Wanted())


def of_a_tar(folder: Path, values: list[Any]) -> list[Event]:
    path = folder / "a.tar"
    members = [
        member
        for number, value in enumerate(values)
        for member in ((f"{number}.jpg", IMAGE), (f"{number}.json", json.dumps({"talk": value}).encode()))
    ]
    path.write_bytes(tar_bytes(members))
    reading = Reading(ArchiveLimits(100_000), Wanted(messages_column="json.talk"), spool_dir=folder)
    events = read_data_file(path, "webdataset", "a", "a", reading)
    return [event for event in events if isinstance(event, Record | Reject)]


def of_a_list(folder: Path, values: list[Any]) -> list[Event]:
    path = folder / "urls.jsonl"
    rows = [{"url": f"http://127.0.0.1/{number}", "talk": value} for number, value in enumerate(values)]
    path.write_text("\n".join(map(json.dumps, rows)))
    spec = image_urls.ImageUrlsSpec(
        **{**COMMON, "kind": "image_urls", "urls": path, "messages_column": "talk"}
    )
    listed = image_urls.SOURCE.list(spec, list_context(folder))
    items = sorted((item for one in listed.slices for item in one.items), key=lambda item: item.key)
    said = [{"messages": row[4]} if len(row) > 4 else {} for item in items for row in item.payload["rows"]]
    return list(caption_events("a", "a", "a", RecordImage(IMAGE), said))


ROOMS: Final[dict[str, Callable[[Path, list[Any]], list[Event]]]] = {
    "caption-table": of_a_caption_table, "payload": of_a_payload, "data-file": of_a_data_file,
    "data-file-untold": of_a_data_file_that_is_not_told, "tar": of_a_tar, "list": of_a_list,
}  # fmt: skip


@pytest.mark.parametrize("form", EMPTY)
@pytest.mark.parametrize("room", ROOMS)
def test_every_room_has_the_record_without_a_conversation(tmp_path: Path, room: str, form: str) -> None:
    events = ROOMS[room](tmp_path, [EMPTY[form], SAID])
    assert [event.messages if isinstance(event, Record) else event for event in events] == [None, MADE]
