"""WebDataset tars: what belongs together, and what its members say."""

import json
from pathlib import Path
from typing import Any

import pytest

from vlm_assets.archives.limits import ArchiveLimits
from vlm_assets.captions.trees import METADATA_NAMES, CaptionRule
from vlm_assets.hub.columns import LabelRule, Wanted
from vlm_assets.hub.packed import PackedWords
from vlm_assets.hub.readers import Reading, read_data_file
from vlm_assets.words.errors import Reject, SourceError
from vlm_assets.words.records import Record
from vlm_assets_tests.archives.made import tar_bytes

Members = list[tuple[str, bytes]]


def read(
    folder: Path, members: Members, wanted: Wanted | None = None, **options: Any
) -> list[Record | Reject]:
    path = folder / "x.tar"
    path.write_bytes(tar_bytes(members))
    reading = Reading(ArchiveLimits(100_000), wanted or Wanted(), spool_dir=folder / "spool", **options)
    return [
        one
        for one in read_data_file(path, "webdataset", "x.tar", "hf://x.tar", reading)
        if isinstance(one, (Record, Reject))
    ]


def told(events: list[Record | Reject]) -> list[tuple[object, ...]]:
    """Of a record its key, images and text; of a reject its number, reason and the member."""
    return [
        (one.key.partition("/")[2], [image.data for image in one.images], one.text)
        if isinstance(one, Record)
        else (one.record, str(one.reason), one.detail.partition(":")[0])
        for one in events
    ]


def test_members_that_are_not_side_by_side_are_joined(tmp_path: Path) -> None:
    names = ["a", "b", "f/a"]
    members = [(f"{name}.jpg", name.encode()) for name in names] + [
        ("whole.jpg", b"w"),
        ("whole.txt", b"hep"),
    ]
    members += [(f"{name}.txt", f"şu {name}".encode()) for name in reversed(names)]
    events = read(tmp_path, members)
    assert told(events) == [
        ("whole", [b"w"], "hep"), ("f/a", [b"f/a"], "şu f/a"), ("b", [b"b"], "şu b"), ("a", [b"a"], "şu a"),
    ]  # fmt: skip
    assert [one.record for one in events] == [0, 1, 2, 3]


def test_a_name_that_comes_twice_costs_its_second_member_only(tmp_path: Path) -> None:
    members = [("a.jpg", b"A"), ("a.txt", b"bir"), ("b.jpg", b"B"), ("a.txt", b"iki"), ("b.jpg", b"C")]
    assert told(read(tmp_path, members)) == [
        ("a", [b"A"], "bir"), (1, "duplicate_item", "a.txt"), (2, "duplicate_item", "b.jpg"), ("b", [b"B"], None),
    ]  # fmt: skip


TEXTS: dict[str, tuple[str, bytes, str | None]] = {
    "utf-8": ("txt", "şık\n".encode(), "şık"),
    "mark": ("txt", "\ufeffşık".encode(), "şık"),
    "utf-16": ("txt", "şık".encode("utf-16"), "şık"),
    "large-letters": ("TXT", b"bir", "bir"),
    "only-text": ("uzun.txt", b"bir", "bir"),
    "json": ("json", b'{"caption": "bir"}', "bir"),
    "json-letters": ("json", b'{"Caption": "bir"}', "bir"),
    "json-mark": ("json", b'\xef\xbb\xbf{"caption": "bir"}', "bir"),
    "json-nan": ("json", b'{"caption": "bir", "score": NaN}', "bir"),
    "json-list": ("json", b'{"captions": ["bir", "iki"]}', "bir\niki"),
    "blank": ("txt", b" \n", None),
}


@pytest.mark.parametrize(("name", "content", "text"), TEXTS.values(), ids=TEXTS)
def test_what_a_member_says_is_the_text(tmp_path: Path, name: str, content: bytes, text: str | None) -> None:
    assert told(read(tmp_path, [("a.jpg", b"A"), (f"a.{name}", content)])) == [("a", [b"A"], text)]


def test_words_that_cannot_be_read_reject_their_sample(tmp_path: Path) -> None:
    members = [("a.jpg", b"A"), ("a.txt", "şık".encode("cp1254")), ("b.jpg", b"B"), ("b.json", b"{'a': 1}")]
    assert told(read(tmp_path, members)) == [
        (0, "unreadable", "a.txt"),
        (1, "unreadable", "b.json is not JSON"),
    ]
    assert told(read(tmp_path, members[:2], encoding="cp1254")) == [("a", [b"A"], "şık")]


@pytest.mark.parametrize(
    ("names", "order"),
    [
        (["2.jpg", "10.jpg", "1.jpg"], ["1.jpg", "2.jpg", "10.jpg"]),
        (["b.2.jpg", "b.10.jpg"], ["b.2.jpg", "b.10.jpg"]),
        (["sol.1.0.png", "sol.0.3.png"], ["sol.0.3.png", "sol.1.0.png"]),
        (["jpg", "seg.png"], ["jpg"]),
    ],
    ids=["numbers", "one-name", "two-numbers", "something-about-it"],
)
def test_numbered_images_are_one_sample(tmp_path: Path, names: list[str], order: list[str]) -> None:
    [event] = read(tmp_path, [(f"a.{name}", name.encode()) for name in names])
    assert isinstance(event, Record)
    assert [image.data for image in event.images] == [name.encode() for name in order]


@pytest.mark.parametrize(
    "wanted",
    [
        Wanted(text_column="json.baslik"),
        Wanted(image_column="png"),
        Wanted(messages_column="talk"),
        Wanted(label=LabelRule("column 'cls'", "cls")),
    ],
    ids=["text", "image", "messages", "label"],
)
def test_a_column_that_no_sample_has_is_an_error(tmp_path: Path, wanted: Wanted) -> None:
    members = [("a.jpg", b"A"), ("a.json", json.dumps({"caption": "bir"}).encode())]
    with pytest.raises(SourceError, match=r"no sample has '.*' \(.*column\); there are: jpg, json"):
        read(tmp_path, members, wanted)


def test_pairs_under_dotted_names_are_a_sample_each(tmp_path: Path) -> None:
    members = [(f"v1.0/a.b.{n}.{kind}", f"{kind}{n}".encode()) for n in (0, 10, 2) for kind in ("jpg", "txt")]
    members += [("c.1.jpg", b"1"), ("c.2.jpg", b"2"), ("c.txt", b"ikisi")]
    assert told(read(tmp_path, members)) == [
        *((f"v1.0/a.b.{n}", [f"jpg{n}".encode()], f"txt{n}") for n in (0, 10, 2)), ("c", [b"1", b"2"], "ikisi"),
    ]  # fmt: skip


def test_a_tar_of_images_with_a_table_of_their_words_has_these_words(tmp_path: Path) -> None:
    table = b'{"file_name": "k/a.jpg", "text": "bir"}\n{"file_name": "b.jpg", "text": "iki"}\n'
    members = [("k/a.jpg", b"A"), ("b.jpg", b"B"), ("metadata.jsonl", table)]
    words = PackedWords(CaptionRule(tables=METADATA_NAMES))
    events = read(tmp_path, members, words=words)
    assert told(events) == [("k/a.jpg", [b"A"], "bir"), ("b.jpg", [b"B"], "iki")]
    events = read(tmp_path, [*members, ("b.txt", b"kendi")], words=words)
    assert told(events)[-1] == ("b", [b"B"], "kendi")
