import json
from hashlib import sha256
from typing import Any

import datasets
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlm_assets.store.sample_arrays import index_batch, sample_batch, sample_columns
from vlm_assets.words.schema import (
    ASSIGNED_COLUMNS,
    COLUMN_NAMES,
    CONTENT_COLUMNS,
    FACT_NAMES,
    FLAT_COLUMNS,
    INDEX_SCHEMA,
    NO_WORDS,
    SAMPLE_SCHEMA,
    Row,
    images_hash,
    messages_json,
    row_bytes,
    row_digest,
    without_content,
)
from vlm_assets_tests.builders import image_fact, sample

ASKED = [{"type": "image", "text": None}, {"type": "text", "text": "ne?"}]
TALK: list[dict[str, Any]] = [{"role": "user", "content": ASKED}]
ROW: Row = {
    **dict.fromkeys(COLUMN_NAMES), "images": [b"abc"], "id": "s/x/k", "label": "ışık", "category": "c", "source": "s",
    "slice": "x", "origin": "k", "licence": "MIT",
    "image_facts": [image_fact(b"abc", sha256="0" * 64, dhash=2**64 - 1)],
}  # fmt: skip


def test_datasets_finds_the_features_of_every_column():
    features = datasets.Features.from_arrow_schema(SAMPLE_SCHEMA)
    assert list(features) == list(COLUMN_NAMES)
    assert features["images"] == datasets.List(datasets.Image())
    assert features["image_facts"].feature["dhash"].dtype == "uint64"
    parts = datasets.List({"type": datasets.Value("string"), "text": datasets.Value("string")})
    assert features["messages"] == datasets.List({"role": datasets.Value("string"), "content": parts})


def test_the_digest_is_fixed_and_ignores_what_the_catalogue_decides():
    assert (
        row_digest(ROW).hex() == row_digest(ROW | {"category": "z", "licence": "y", "subcategory": "q"}).hex()
    )
    facts = [[fact[name] for name in FACT_NAMES] for fact in ROW["image_facts"]]
    told = {**ROW, "image_facts": facts}
    kept = [told[name] for name in COLUMN_NAMES if name not in {"images", *ASSIGNED_COLUMNS}]
    plain = json.dumps(kept, ensure_ascii=False, separators=(",", ":")).encode()
    assert row_digest(ROW) == sha256(plain).digest()
    assert row_digest(ROW).hex()[:16] == "741b93217f9234b7"
    other = {"messages": TALK, "image_facts": [image_fact(b"abd")]}
    changed = {
        name for name in COLUMN_NAMES if row_digest(ROW | {name: other.get(name, "other")}) != row_digest(ROW)
    }
    assert changed == set(COLUMN_NAMES) - {"images", *ASSIGNED_COLUMNS}


def test_the_order_of_keys_in_a_conversation_changes_no_hash():
    turned = [{"content": [dict(reversed(part.items())) for part in TALK[0]["content"]], "role": "user"}]
    assert messages_json(TALK) == messages_json(turned)
    assert row_digest(ROW | {"messages": TALK}) == row_digest(ROW | {"messages": turned})


def test_a_takedown_empties_the_content_and_nothing_else():
    words: dict[str, Any] = dict.fromkeys(set(CONTENT_COLUMNS) - {"images"}, "{}")
    row = sample("s", "x", "k", **words | {"messages": TALK})
    emptied = without_content(row)
    assert {name for name in row if row[name] != emptied[name]} == set(CONTENT_COLUMNS)
    assert all(emptied[name] is None for name in CONTENT_COLUMNS)


@pytest.mark.parametrize(("count", "whole"), [(1, False), (2, True)], ids=["one image", "two images"])
def test_the_flat_columns_of_a_row(count, whole):
    pictures = [b"picture %d" % n for n in range(count)]
    row = sample("s", "x", "k", images=pictures, text="söz", fact={"dhash": 7})
    hashes = [sha256(one).digest() for one in pictures]
    assert row["images_sha256"] == (sha256(b"".join(hashes)).digest() if whole else hashes[0])
    assert row["dhash"] == (None if whole else 7)
    assert (row["image_count"], row["image_bytes"]) == (count, sum(map(len, pictures)))
    assert row["text_sha256"] == sha256("söz".encode()).digest()
    assert row["messages_sha256"] == NO_WORDS
    parts = row["images_sha256"] + row["text_sha256"] + row["messages_sha256"]
    assert row["content_sha256"] == sha256(parts).digest()
    assert {name for name, _ in FLAT_COLUMNS} <= set(row)


def test_the_hash_of_several_images_depends_on_their_order():
    one, other = sha256(b"1").digest(), sha256(b"2").digest()
    assert images_hash([one, other]) != images_hash([other, one])


text = st.none() | st.text(st.characters(codec="utf-8"), max_size=30)
talks = st.none() | st.lists(
    st.fixed_dictionaries(
        {
            "role": st.sampled_from(["user", "assistant"]),
            "content": st.lists(st.fixed_dictionaries({"type": st.just("text"), "text": text}), max_size=3),
        }
    ),
    max_size=3,
)
rows = st.fixed_dictionaries(
    {
        "text": text, "label": text, "extra": text, "messages": talks,
        "images": st.lists(st.binary(), min_size=1, max_size=4),
    }
)  # fmt: skip


@given(st.lists(rows, max_size=9))
def test_row_bytes_bound_what_arrow_takes(changes):
    given_rows = [sample("s", "x", f"k{n}", **change) for n, change in enumerate(changes)]
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, SAMPLE_SCHEMA) as writer:
        writer.write_batch(sample_batch(sample_columns(given_rows)))
    assigned = sum(len((r[name] or "").encode()) for r in given_rows for name in ASSIGNED_COLUMNS)
    assert sink.getvalue().size <= sum(row_bytes(r) for r in given_rows) + assigned + 16 * 1024 + 64 * 1024


@given(st.lists(rows, max_size=5), st.data())
def test_arrays_hold_what_rows_say(changes, data):
    given_rows = [sample("s", "x", f"k{n}", **change) for n, change in enumerate(changes)]
    down = [data.draw(st.booleans()) for _ in given_rows]
    given_rows = [without_content(row) if gone else row for row, gone in zip(given_rows, down, strict=True)]
    columns = sample_columns(given_rows)
    read = sample_batch(columns).to_pylist()
    for row, back in zip(given_rows, read, strict=True):
        images = None if back["images"] is None else [one["bytes"] for one in back["images"]]
        assert {**back, "images": images} == {name: row[name] for name in COLUMN_NAMES}
    index = index_batch(given_rows, columns)
    assert index.schema == INDEX_SCHEMA
    index.validate(full=True)
    assert index.to_pylist() == [{name: row[name] for name in INDEX_SCHEMA.names} for row in given_rows]
