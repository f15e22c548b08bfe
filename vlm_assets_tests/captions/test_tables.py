import gzip
import io
import json
import random
import tracemalloc
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from vlm_assets.captions import json_rows, parquet_pages, tables
from vlm_assets.captions.tables import is_table_name
from vlm_assets.words.errors import BombError, SourceError
from vlm_assets_tests.captions.kit import parquet, rows, table

ROWS = [{"file_name": "a.jpg", "text": "şık"}, {"file_name": "b.jpg", "text": "ağaç"}]
LINES = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS)
BOM = b"\xef\xbb\xbf"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("m.jsonl", LINES),
        ("m.jsonl", BOM + LINES.encode()),
        ("m.jsonl", LINES.encode("utf-16")),
        ("m.ndjson", "\n" + LINES.replace("\n", "\r\n\r\n")),
        ("m.json", json.dumps(ROWS)),
        ("m.json", BOM + json.dumps(ROWS, indent=2).encode()),
        ("m.json", LINES),
        ("m.json", json.dumps({"data": ROWS, "version": 1})),
        ("m.json", json.dumps({row["file_name"]: row["text"] for row in ROWS})),
        ("m.json", json.dumps({row["file_name"]: {"text": row["text"]} for row in ROWS})),
        ("m.json", json.dumps(ROWS[0], indent=1) + json.dumps(ROWS[1], indent=1)),
        ("m.jsonl.gz", gzip.compress(LINES.encode())),
        ("m.csv.gz", gzip.compress("file_name;text\na.jpg;şık\nb.jpg;ağaç\n".encode())),
        ("m.parquet", parquet({name: [row[name] for row in ROWS] for name in ("file_name", "text")})),
        ("M.PQ", parquet({name: [row[name] for row in ROWS] for name in ("file_name", "text")})),
    ],
    ids=["jsonl", "bom", "utf16", "crlf-gaps", "array", "array-bom", "lines-named-json", "wrapped", "map-of-texts",
         "map-of-objects", "objects-in-a-row", "jsonl-gz", "csv-gz", "parquet", "pq"],
)  # fmt: skip
def test_every_format_says_the_same(name, content):
    assert is_table_name(name)
    assert rows(content, name) == ROWS
    assert set(table(content, name).load().columns) >= {"file_name", "text"}


def test_one_object_with_a_name_column_is_a_row():
    assert rows(json.dumps(ROWS[0]), "m.json") == ROWS[:1]


def test_coco_captions_are_rows_with_their_images():
    coco = {
        "info": {"year": 2017},
        "images": [{"id": 7, "file_name": "a.jpg", "width": 3}, {"id": 8, "file_name": "b.jpg", "width": 4}],
        "annotations": [
            {"id": 1, "image_id": 8, "caption": "bir"}, {"id": 2, "image_id": 7, "caption": "iki"},
            {"id": 3, "image_id": 8, "caption": "üç"},
        ],
    }  # fmt: skip
    assert [(row["file_name"], row["caption"], row["id"]) for row in rows(json.dumps(coco), "c.json")] == [
        ("b.jpg", "bir", 1), ("a.jpg", "iki", 2), ("b.jpg", "üç", 3),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("m.jsonl", LINES + "{nope}\n", "line 3 is not JSON"),
        ("m.jsonl", LINES + "[1]\n", "line 3: expected an object, got an array"),
        ("m.jsonl", LINES[:-3] + "\n", "line 2 is not JSON"),
        ("m.json", json.dumps(ROWS, indent=1)[:-3], "line 9 is not JSON"),
        ("m.json", json.dumps(ROWS)[:-1] + ",]", "expected a value after the comma"),
        ("m.json", json.dumps(ROWS) + "x", "expected nothing after the array"),
        ("m.json", "[{} {}]", "expected a comma or the array's end"),
        ("m.json", "[1]", "row 1: expected an object, got a number"),
        ("m.json", '[{}, "x"]', "row 2: expected an object, got a text"),
        ("m.json", '{"a": 1, "b": [{}]  , "c": [{}]}', "an object with a, b, c; expected an array"),
        ("m.json", '{"images": [{"id": 1}], "annotations": [{"image_id": 2}]}', "annotation 1 names no image"),
        ("m.json", '{"images": [{"id": 1}], "annotations": [{"image_id": 1}]}', "annotation 1 has no caption"),
        ("m.json", "[" * 100_000, "line 1 is not JSON"),
        ("m.parquet", b"PAR1 nonsense", "m.parquet: not readable as parquet"),
        ("m.parquet", parquet({"a": [1]})[:-9], "m.parquet: not readable as parquet"),
        ("m.xlsx", b"PK", "unknown format; a table is one of .csv"),
        ("m.jsonl", b'{"text": "\xe7"}\n', "m.jsonl: line 1 is not UTF-8.*encoding"),
    ],
    ids=["bad-line", "array-line", "cut-line", "cut-array", "comma-end", "after-array", "no-comma", "number", "text",
         "other-object", "coco-image", "coco-caption", "deep", "no-parquet", "cut-parquet", "xlsx", "cp1254"],
)  # fmt: skip
def test_what_cannot_be_read_says_where(name, content, told):
    with pytest.raises(SourceError, match=told):
        rows(content, name)


TWICE = [
    '{"file_name": "a.jpg", "text": "bir", "text": "iki"}',
    '{"file_name": "a.jpg", "more": [{"k": 1, "k": 2}]}',
    '{"file_name": "a.jpg", "te\u0301xt": "bir", "t\u00e9xt": "iki"}',
]


@pytest.mark.parametrize("name", ["m.jsonl", "m.json"])
@pytest.mark.parametrize("line", TWICE, ids=["plain", "inside", "unicode"])
def test_an_object_that_says_two_things_under_one_name_is_an_error(name, line):
    with pytest.raises(SourceError, match=rf"{name}: (line|row) 2: .*stands twice"):
        rows(f"{LINES.splitlines()[0]}\n{line}\n", name)


@pytest.mark.parametrize("name", ["m.jsonl", "m.json"])
def test_what_only_looks_like_two_things_is_none(name):
    told = {"file_name": "a.jpg", "text": 'x": "y" : {"text": 1}', "big": 2**63}
    line = json.dumps(told)
    assert rows(line, name) == [told]
    assert rows(line.replace("{", '{"big": 9223372036854775808, ', 1), name) == [told]


def test_parquet_with_two_columns_of_one_name_is_an_error():
    buffer = io.BytesIO()
    pq.write_table(pa.table([[1], [2]], names=["a", "a"]), buffer)
    with pytest.raises(SourceError, match="two columns are named a"):
        rows(buffer.getvalue(), "m.parquet")


def test_damaged_parquet_is_read_or_says_where():
    """Whatever bytes are changed: no raw error of a reader's, and nothing follows offsets out of the file."""
    kinds = {
        "text": ["şık", None] * 4,
        "kind": pa.array(["k", "l"] * 4).dictionary_encode(),
        "tags": [["a"], []] * 4,
    }
    buffer = io.BytesIO()
    pq.write_table(pa.table(kinds), buffer)
    refused = 0
    for seed in range(400):
        rng, damaged = random.Random(seed), bytearray(buffer.getvalue())
        for _ in range(rng.randint(1, 3)):
            damaged[rng.randrange(len(damaged))] = rng.choice((0, 255, 127, rng.randrange(256)))
        try:
            rows(bytes(damaged), "m.parquet")
        except SourceError:
            refused += 1
    assert 0 < refused < 400


@pytest.mark.parametrize("groups", [[], [0], [0, 2, 0], [1, 0, 1]], ids=str)
def test_row_groups_without_rows_are_no_damage(groups):
    """As pandas writes an empty table: of such a column the footer says that its pages begin at 0."""
    columns = {
        name: pa.array([row[name] for row in ROWS]).dictionary_encode() for name in ("file_name", "text")
    }
    content, buffer = pa.table(columns), io.BytesIO()
    with pq.ParquetWriter(buffer, content.schema) as writer:
        start = 0
        for count in groups:
            writer.write_table(content.slice(start, count))
            start += count
    assert rows(buffer.getvalue(), "m.parquet") == ROWS[: sum(groups)]


def test_times_beyond_pythons_years_are_kept_as_arrow_prints_them():
    times = pa.array([2**62, 0], pa.int64()).cast(pa.timestamp("us"))
    found = rows(parquet({"file_name": ["a.jpg", "b.jpg"], "t": times}), "m.parquet")
    assert [str(row["t"]) for row in found] == [
        "<value out of range: 4611686018427387904>",
        "1970-01-01 00:00:00",
    ]


VALUES = ["şık", "ağaç", None]


@pytest.mark.parametrize(
    "column",
    [
        pa.array(VALUES, pa.large_string()),
        pa.array(VALUES, pa.string_view()),
        pa.array(VALUES).dictionary_encode(),
        pa.array(VALUES, pa.large_string()).dictionary_encode(),
    ],
    ids=["large", "view", "dictionary", "large-dictionary"],
)
def test_arrow_texts_of_every_kind_are_texts(column):
    content = parquet({"file_name": column, "names_file_names": pa.array([["a"], [], None])})
    assert [row["file_name"] for row in rows(content, "m.parquet")] == VALUES
    assert [row["names_file_names"] for row in rows(content, "m.parquet")] == [["a"], [], None]


@pytest.mark.parametrize("chunk", [1, 2, 5, 64])
def test_json_is_cut_right_wherever_a_chunk_ends(monkeypatch, chunk):
    monkeypatch.setattr(json_rows, "_CHUNK_CHARS", chunk)
    wanted: list[dict[str, Any]] = [{"n": n, "t": ["ç" * n, {"x": -1.5e3}, None, '\\"']} for n in range(30)]
    assert rows(json.dumps(wanted), "m.json") == wanted
    assert rows(" ".join(map(json.dumps, wanted)), "m.json") == wanted


@pytest.mark.parametrize("name", ["m.jsonl", "m.json"])
def test_what_pythons_json_writes_is_read(name):
    line = '{"file_name": "a.jpg", "text": "\\ud800x", "score": NaN}'
    (row,) = rows(line if name == "m.jsonl" else f"[{line}]", name)
    assert row["text"] == "\ufffdx"
    assert row["score"] != row["score"]
    orjson.dumps(row)


def test_columns_of_json_are_those_of_its_first_rows():
    assert table(LINES + '{"file_name": "c", "more": 1}\n', "m.jsonl").load().columns == (
        "file_name", "text", "more",
    )  # fmt: skip


@pytest.mark.parametrize("name", ["m.csv", "m.jsonl", "m.json", "m.parquet"])
def test_memory_does_not_grow_with_the_rows(tmp_path, name):
    count = 40_000
    names = [f"{n}.jpg" for n in range(count)]
    objects = [f'{{"file_name":"{one}","text":"a text"}}' for one in names]
    path = tmp_path / name
    match name:
        case "m.parquet":
            path.write_bytes(parquet({"file_name": names, "text": ["a text"] * count}))
        case "m.csv":
            path.write_text("file_name,text\n" + "".join(f"{one},a text\n" for one in names))
        case _:
            path.write_text("\n".join(objects) if name == "m.jsonl" else f"[{','.join(objects)}]")
    source = table("", name)
    source = type(source)(name, name, lambda: path.open("rb"), source.reading, source.wanted)
    loaded = source.load()
    tracemalloc.start()
    try:
        assert sum(1 for _ in loaded.rows()) == count
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 7_000_000


def deep(levels: int) -> str:
    return "[" * levels + "]" * levels


@pytest.mark.parametrize("name", ["m.jsonl", "m.json"])
def test_nesting_has_an_end(name):
    row = '{"file_name": "a.jpg", "a": DEEP}\n'
    assert len(rows(row.replace("DEEP", deep(99)) * 2, name)) == 2
    for levels in (100, 600, 5_000):
        with pytest.raises(SourceError, match=f"{name}: line 1|deep|nesting"):
            rows(row.replace("DEEP", deep(levels)) * 2, name)


def test_ids_of_coco_may_be_anything():
    coco = {
        "images": [{"id": {"a": 1}, "file_name": "a.jpg"}],
        "annotations": [{"image_id": [1], "caption": "x"}],
    }
    with pytest.raises(SourceError, match="names no image of the file"):
        rows(json.dumps(coco), "c.json")


def test_a_parquet_table_that_unpacks_to_far_more_is_refused(monkeypatch):
    monkeypatch.setattr(parquet_pages, "FREE_BYTES", 2**20)
    sink = io.BytesIO()
    words = pa.table({"file_name": ["a.jpg"], "text": ["x" * 2**23]})
    pq.write_table(words, sink, compression="zstd")
    with pytest.raises(BombError, match=r"t\.parquet.*refused as a bomb"):
        rows(sink.getvalue(), "t.parquet")
    plain = io.BytesIO()
    pq.write_table(words, plain, compression="none", use_dictionary=False)
    assert len(rows(plain.getvalue(), "t.parquet")[0]["text"]) == 2**23


def test_rows_of_a_parquet_table_that_its_dictionary_makes_large_come_few_at_a_time(monkeypatch):
    monkeypatch.setattr(parquet_pages, "BATCH_BYTES", 2**20)
    monkeypatch.setattr(tables, "BATCH_BYTES", 2**21)
    sink = io.BytesIO()
    text = "".join(map(chr, range(1000, 20_000)))
    pq.write_table(pa.table({"text": [text] * 200}), sink)
    assert len(rows(sink.getvalue(), "t.parquet")) == 200
