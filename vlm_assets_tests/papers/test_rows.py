"""Bytes of words by offsets are those by the texts themselves; damage is named."""

import pyarrow as pa
import pytest

from vlm_assets.papers.bins import row_histograms
from vlm_assets.papers.rows import seen_rows, word_bytes
from vlm_assets.words.errors import StoreError
from vlm_assets.words.schema import SAMPLE_SCHEMA

TALK = [
    {
        "role": "user",
        "content": [{"type": "image", "text": None}, {"type": "text", "text": "ne görüyorsun?"}],
    },
    {"role": "assistant", "content": [{"type": "text", "text": "ağaç"}]},
]
TEXTS = [("bir sokak", None), (None, TALK), (None, None), ("", []), ("ğ" * 40, TALK), ("son", None)]


def batch() -> pa.RecordBatch:
    rows = [
        dict.fromkeys(SAMPLE_SCHEMA.names) | {"id": f"s/a/{n}", "text": text, "messages": messages}
        for n, (text, messages) in enumerate(TEXTS)
    ]
    made: pa.RecordBatch = pa.RecordBatch.from_pylist(rows, SAMPLE_SCHEMA)
    return made


def size(text, messages):
    said = [part["text"] or "" for turn in messages or () for part in turn["content"]]
    return sum(len(one.encode()) for one in (text or "", *said))


@pytest.mark.parametrize("span", [(0, 6), (1, 4), (2, 1), (6, 0)], ids=str)
def test_bytes_of_words(span):
    assert word_bytes(batch().slice(*span)).tolist() == [size(*one) for one in TEXTS[span[0] : sum(span)]]


@pytest.fixture
def files(tmp_path):
    paths = [tmp_path / "data-0.arrow", tmp_path / "data-1.arrow"]
    for path in paths:
        with pa.OSFile(str(path), "w") as file, pa.ipc.new_stream(file, SAMPLE_SCHEMA) as writer:
            writer.write_batch(batch().slice(0, 4))
            writer.write_batch(batch().slice(4))
    return paths


def test_rows_are_counted_through_all_files(files):
    words = row_histograms()["words"]
    found = list(seen_rows(files, [7, 5, 0], words))
    assert [(number, row["id"]) for number, row in found] == [(0, "s/a/0"), (5, "s/a/5"), (7, "s/a/1")]
    assert dict(words.to_json()["bins"]) == {
        "none": 4, "1-16": 4, "17-64": 2, "65-256": 2, "257-1K": 0, "1K-4K": 0, "4K-16K": 0, "> 16K": 0,
    }  # fmt: skip


def test_damage_is_named(files):
    content = bytearray(files[0].read_bytes())
    place = content.index(b"bir sokak")  # behind its offsets
    content[place - 64 : place] = b"\xff" * 64
    files[0].write_bytes(content)
    with pytest.raises(StoreError, match=r"data-0\.arrow is damaged"):
        list(seen_rows(files, [], row_histograms()["words"]))
