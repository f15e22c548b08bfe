"""Conversations of lists of URLs: found, kept, normalised when the image is there; nothing of it without a column."""

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from vlm_assets.allocation.step import allocate
from vlm_assets.captions.samples import talk_of
from vlm_assets.demo.services.huggingface import HubService
from vlm_assets.demo.services.static import StaticService
from vlm_assets.sources import hf_image_urls, image_urls
from vlm_assets.sources._url_list import UrlList
from vlm_assets.sources._url_talks import find_talks
from vlm_assets.sources.hf_image_urls import HfImageUrlsSpec
from vlm_assets.sources.image_urls import ImageUrlsSpec
from vlm_assets.store.slices import data_file_names, read_rows
from vlm_assets.words.errors import RejectReason, SourceError
from vlm_assets.words.records import Item, Listed
from vlm_assets_tests.captions.talks import FORMS, IMAGE, PAIRED, Talk, messages
from vlm_assets_tests.sources.kit import COMMON, fetch_slice, identities, list_context
from vlm_assets_tests.workplace import STREET, ingest, install, picture

A, B = "http://127.0.0.1/a.jpg", "http://127.0.0.1/b.jpg"
TALK: Talk = [("user", [IMAGE, "ne görüyorsun?"]), ("assistant", ["Bir köprü."])]
LLAVA = [{"from": "human", "value": "<image>\nne?"}, {"from": "gpt", "value": "kedi"}]
ALL_FORMS = {**FORMS, **PAIRED}
FORMS_TOLD = "no conversation; a conversation is a list of"


def plain(value: Any) -> Any:
    """As JSON has it."""
    return value.decode() if isinstance(value, bytes) else value


def written(folder: Path, form: str, rows: list[dict[str, Any]]) -> Path:
    """A list of these rows as `parquet`, `jsonl`, `json` or `csv`, where what is no text is JSON."""
    path = folder / f"urls.{form}"
    if form == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif form == "csv":
        out = io.StringIO()
        writer = csv.DictWriter(out, list(rows[0]))
        writer.writeheader()
        cells = [
            {
                name: plain(one) if isinstance(one, str | bytes | None) else json.dumps(one)
                for name, one in row.items()
            }
            for row in rows
        ]
        writer.writerows(cells)
        path.write_text(out.getvalue())
    else:
        told = [{name: plain(one) for name, one in row.items()} for row in rows]
        path.write_bytes(orjson.dumps(told) if form == "json" else b"\n".join(map(orjson.dumps, told)))
    return path


def spec_of(urls: Path, **keys: Any) -> ImageUrlsSpec:
    return ImageUrlsSpec(**{**COMMON, "kind": "image_urls", "urls": urls, **keys})


def listed(folder: Path, spec: ImageUrlsSpec | HfImageUrlsSpec) -> Listed:
    source: Any = image_urls.SOURCE if isinstance(spec, ImageUrlsSpec) else hf_image_urls.SOURCE
    made = source.list(spec, list_context(folder))
    return Listed(made.revision, list(made.slices), made.buckets, made.attributes, hints=made.hints)


def items_of(made: Listed) -> dict[str, Item]:
    return {item.key: item for one in made.slices for item in one.items}


@pytest.mark.parametrize("column", ["conversations", "konuşma"])
@pytest.mark.parametrize("form", ["parquet", "jsonl", "json", "csv"])
@pytest.mark.parametrize("name", ALL_FORMS)
def test_every_form_in_every_format_is_normalised(tmp_path, name, form, column):
    path = written(tmp_path, form, [{"url": A, "n": "1", column: ALL_FORMS[name](TALK)}])
    keys = {} if column == "conversations" else {"messages_column": column}
    made = listed(tmp_path, spec_of(path, **keys))
    [[text, declared, label, extra, said]] = items_of(made)[A].payload["rows"]
    assert (text, declared, label, extra) == (None, "", None, {"n": "1"})
    assert talk_of(said, 1).messages == messages(TALK)
    assert made.hints == []


@pytest.fixture
def web() -> Iterator[StaticService]:
    with StaticService() as service:
        for number in range(3):
            service.add(f"/{number}.jpg", picture(number))
        yield service


def test_a_record_has_its_conversation_and_an_odd_row_is_a_reject(tmp_path, web):
    one, two = f"{web.url}/1.jpg", f"{web.url}/2.jpg"
    both = [{"from": "human", "value": "<image> ile <image>?", "at": 5}, {"from": "gpt", "value": "fark yok"}]
    rows: list[dict[str, Any]] = [
        {"url": [one, two], "conversations": both},
        {"url": one, "conversations": LLAVA[1:]},
        {"url": one, "conversations": LLAVA},
        {"url": two, "conversations": None},
    ]
    spec = spec_of(written(tmp_path, "jsonl", rows))
    made = listed(tmp_path, spec)
    fetched = fetch_slice(image_urls.SOURCE, spec, tmp_path, made, next(iter(made.slices)).name)
    found = {record.key.partition("#")[0]: record for record in fetched.records if len(record.images) == 1}
    assert found[one].messages == messages([("user", [IMAGE, "ne?"]), ("assistant", ["kedi"])])
    assert (found[two].messages, found[two].extra, found[two].images_upstream) == (None, None, 1)
    [pair] = [record for record in fetched.records if len(record.images) == 2]
    assert pair.messages is not None
    assert [part["type"] for part in pair.messages[0]["content"]] == ["image", "text", "image", "text"]
    assert (pair.images_upstream, pair.extra) == (2, {"conversations": {"at": [5, None]}})
    [reject] = fetched.rejects
    assert (reject.item, reject.reason) == (one, RejectReason.BAD_CONVERSATION)
    assert "no user turn" in reject.detail


def test_ten_conversations_an_image_stay_ten(tmp_path, web):
    rows = [
        {
            "url": f"{web.url}/{number % 3}.jpg",
            "conversations": [
                {"from": "human", "value": f"<image> {number}. soru?"}, {"from": "gpt", "value": "yanıt"},
            ],
        }
        for number in range(30)
    ]  # fmt: skip
    source = {**STREET, "kind": "image_urls", "urls": written(tmp_path, "jsonl", rows)}
    installation = install(tmp_path, source, allow_private_hosts="127.0.0.1")
    [outcome] = ingest(installation).values()
    made = list(read_rows(outcome.path, data_file_names(outcome.manifest.files)))
    asked = {row["messages"][0]["content"][1]["text"] for row in made}
    assert asked == {f"{number}. soru?" for number in range(30)}
    assert {row["extra"] for row in made} == {None}
    plan = allocate(installation, "1k").manifest
    assert (plan.granted_rows, {reason for reason, count in plan.excluded.items() if count}) == (30, set())


@pytest.mark.parametrize("form", ["parquet", "csv", "jsonl"])
def test_hub_lists_have_conversations(tmp_path, monkeypatch, web, form):
    rows = [{"url": f"{web.url}/1.jpg", "caption": "kedi", "conversations": LLAVA}]
    with HubService() as service:
        monkeypatch.setenv("HF_ENDPOINT", service.url)
        service.add("org/urls", {f"train.{form}": written(tmp_path, form, rows).read_bytes()})
        spec = HfImageUrlsSpec(**{**COMMON, "kind": "hf_image_urls", "repo": "org/urls"})
        made = listed(tmp_path, spec)
        name = next(iter(made.slices)).name
        [record] = fetch_slice(hf_image_urls.SOURCE, spec, tmp_path, made, name).records
        assert record.messages == messages([("user", [IMAGE, "ne?"]), ("assistant", ["kedi"])])
        assert (record.text, record.extra) == ("kedi", None)
        declared = spec.model_copy(update={"messages_column": "caption"})
        with pytest.raises(
            SourceError, match=r"column 'caption' .messages_column. is string.* no conversation"
        ):
            listed(tmp_path, declared)


@pytest.mark.parametrize(
    ("rows", "keys", "message"),
    [
        ([{"n": 5}], {"messages_column": "n"}, f"column 'n' .messages_column. is int64: {FORMS_TOLD}"),
        (
            [{"n": "bir"}],
            {"messages_column": "n"},
            "is string, and its first values are no conversation .text that",
        ),
        ([{"n": [{"who": "x", "said": "y"}]}], {"messages_column": "n"}, f"is list<.*: {FORMS_TOLD}"),
        ([{"n": 5}], {"messages_column": "m"}, "messages_column: no column 'm'; there are: url, n"),
        (
            [{"texts": LLAVA, "messages": LLAVA}],
            {},
            "columns of conversations: texts, messages; set messages_column",
        ),
        ([{"n": LLAVA}], {"text_column": "n"}, "name a conversation as messages_column"),
    ],
    ids=["numbers", "text", "other-objects", "no-column", "several", "as-text"],
)
@pytest.mark.parametrize("form", ["parquet", "jsonl"])
def test_what_is_no_conversation_is_told_when_it_is_listed(tmp_path, form, rows, keys, message):
    path = written(tmp_path, form, [{"url": A, **row} for row in rows])
    with pytest.raises(SourceError, match=message):
        listed(tmp_path, spec_of(path, **keys))


def test_split_images_tear_a_conversation_apart(tmp_path):
    path = written(tmp_path, "jsonl", [{"url": A, "conversations": LLAVA}])
    for kind, key in (
        (ImageUrlsSpec, {"urls": path}),
        (HfImageUrlsSpec, {"repo": "a/b", "kind": "hf_image_urls"}),
    ):
        with pytest.raises(ValidationError, match="split_images tears a conversation apart"):
            kind(**{**COMMON, "kind": "image_urls", "split_images": True, "messages_column": "c", **key})
    [[*_, extra]] = items_of(listed(tmp_path, spec_of(path, split_images=True)))[A].payload["rows"]
    assert list(extra) == ["conversations"]


@pytest.mark.parametrize(
    ("values", "hint"),
    [
        (
            [json.dumps(LLAVA), "bir"],
            "column 'conversations' goes into `extra`; say messages_column: conversations",
        ),
        ([[{"who": "x"}], None], "column 'conversations' goes into"),
        (["bir", "iki"], None),
        ([None, None], None),
    ],
    ids=["some", "other-objects", "texts", "nothing"],
)
def test_a_column_that_is_left_is_hinted_at(tmp_path, values, hint):
    rows = [{"url": url, "conversations": value} for url, value in zip((A, B), values, strict=True)]
    made = listed(tmp_path, spec_of(written(tmp_path, "jsonl", [{**row, "n": 1} for row in rows])))
    assert [one[: len(hint or "")] for one in made.hints] == ([] if hint is None else [hint])
    assert all(len(row) == 4 for item in items_of(made).values() for row in item.payload["rows"])


def test_only_items_with_a_conversation_become_due(tmp_path):
    before = listed(tmp_path, spec_of(written(tmp_path, "jsonl", [{"url": A, "n": 1}, {"url": B, "n": 2}])))
    rows: list[dict[str, Any]] = [{"url": A, "n": 1}, {"url": B, "n": 2, "messages": LLAVA}]
    after = listed(tmp_path, spec_of(written(tmp_path, "jsonl", rows)))
    first, second = (
        {k: v for one in identities(made).values() for k, v in one.items()} for made in (before, after)
    )
    assert [first[url] == second[url] for url in (A, B)] == [True, False]


def test_the_empty_cell_of_a_csv_is_no_conversation(tmp_path):
    rows: list[dict[str, Any]] = [{"url": A, "messages": LLAVA}, {"url": B, "messages": " "}]
    items = items_of(listed(tmp_path, spec_of(written(tmp_path, "csv", rows))))
    assert [len(items[url].payload["rows"][0]) for url in (A, B)] == [5, 4]


def test_a_list_without_such_a_column_is_not_looked_into(tmp_path, monkeypatch):
    def never() -> Any:
        raise AssertionError("read")

    assert find_talks(["url", "caption"], never, "x", kinds=never) == (None, ())
    assert find_talks(["url", "texts"], never, "x", kinds=never, split=True) == (None, ())
    path = written(tmp_path, "csv", [{"url": A, "caption": "bir"}])
    urls = UrlList(path)
    monkeypatch.setattr("vlm_assets.sources._url_list.packed_rows", never)
    assert urls.talks() == (None, ())
