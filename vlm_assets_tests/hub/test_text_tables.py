"""CSV and JSON data files as rows."""

import base64
import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from vlm_assets.archives.limits import ArchiveLimits
from vlm_assets.captions.tables import TableReading
from vlm_assets.demo.services.pictures import picture
from vlm_assets.hub.columns import Wanted
from vlm_assets.hub.readers import Reading, read_data_file
from vlm_assets.words.errors import SourceError
from vlm_assets.words.records import Record

DATA = {name: picture(name).data for name in "ab"}
B64 = {name: base64.b64encode(data).decode() for name, data in DATA.items()}
ROWS = [{"image": B64[name], "text": f"şık, {name}"} for name in "ab"]
TEXTS = ["şık, a", "şık, b"]


def read(folder: Path, name: str, content: bytes, reading: TableReading, **options: Any) -> list[Record]:
    path = folder / "blob"  # as the client's cache names it: without a suffix
    path.write_bytes(content)
    kind = "csv" if "sv" in name else "json"
    how = Reading(ArchiveLimits(100_000), text=reading, **options)
    return [one for one in read_data_file(path, kind, name, name, how) if isinstance(one, Record)]


def separated(sign: str) -> str:
    return "\n".join(
        f'{row["image"]}{sign}"{row["text"]}"' for row in [{"image": "image", "text": "text"}, *ROWS]
    )


LINES = "\n".join(json.dumps(row, ensure_ascii=False) for row in ROWS)
FILES: dict[str, tuple[str, bytes, TableReading]] = {
    "csv": ("d/x.csv", separated(",").encode(), TableReading()),
    "semicolon": ("x.csv", separated(";").encode(), TableReading()),
    "sep-line": ("x.csv", f"sep=;\n{separated(';')}".encode(), TableReading()),
    "tab": ("x.tsv", separated("\t").encode(), TableReading()),
    "packed": ("x.tsv.gz", gzip.compress(separated("\t").encode()), TableReading()),
    "declared": ("x.csv", separated("|").encode("cp1254"), TableReading("cp1254", "|")),
    "mark": ("x.csv", separated(",").encode("utf-8-sig"), TableReading()),
    "lines": ("x.jsonl", LINES.encode(), TableReading()),
    "lines-mark": ("x.jsonl", LINES.encode("utf-8-sig"), TableReading()),
    "array-mark": ("x.json", json.dumps(ROWS).encode("utf-8-sig"), TableReading()),
    "array-utf-16": ("x.json", json.dumps(ROWS, ensure_ascii=False).encode("utf-16"), TableReading()),
    "inside": ("x.json", json.dumps({"version": 1, "data": ROWS}).encode(), TableReading()),
}


@pytest.mark.parametrize(("name", "content", "reading"), FILES.values(), ids=FILES)
def test_every_form_gives_images_and_texts(
    tmp_path: Path, name: str, content: bytes, reading: TableReading
) -> None:
    records = read(tmp_path, name, content, reading)
    assert [(one.images[0].data, one.text) for one in records] == [
        (data, text) for data, text in zip(DATA.values(), TEXTS, strict=True)
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (f'image,text\n{B64["a"]},"açık\n{B64["b"]},kapalı"\n', "x.csv: line 2: a quote is out of place"),
        (f"image,text\n{B64['a']},iki,fazla\n", "x.csv: line 2 has 3 cells"),
    ],
    ids=["swallowed", "wide"],
)
def test_a_row_is_never_swallowed(tmp_path: Path, content: str, message: str) -> None:
    with pytest.raises(SourceError, match=message):
        read(tmp_path, "x.csv", content.encode(), TableReading())


def test_what_is_written_stays_and_the_readme_says_what_is_a_number(tmp_path: Path) -> None:
    content = f"image,text,code,label,n\n{B64['a']},None,007,1,3\n{B64['b']},NA,1e3,0,\n"
    features = {
        "label": {"_type": "ClassLabel", "names": ["kedi", "köpek"]},
        "n": {"_type": "Value", "dtype": "int64"},
    }
    records = read(tmp_path, "x.csv", content.encode(), TableReading(), features=features)
    assert [(one.text, one.extra) for one in records] == [
        ("None", {"code": "007", "label": "köpek", "n": 3}), ("NA", {"code": "1e3", "label": "kedi", "n": None}),
    ]  # fmt: skip


def test_columns_may_come_late_and_differ_in_type(tmp_path: Path) -> None:
    rows = [{"image": B64["a"], "v": 1}] * 100 + [{"image": B64["b"], "caption": "geç", "v": [1]}]
    records = read(tmp_path, "x.jsonl", "\n".join(map(json.dumps, rows)).encode(), TableReading())
    assert len(records) == 101
    assert (records[-1].text, records[-1].extra) == ("geç", {"v": [1]})


def test_bytes_inside_a_struct_may_be_base64(tmp_path: Path) -> None:
    content = json.dumps({"image": {"bytes": B64["a"], "path": "a.jpg"}}).encode()
    [record] = read(tmp_path, "x.jsonl", content, TableReading(), wanted=Wanted())
    assert record.images[0].data == DATA["a"]


def test_a_number_of_thousands_of_digits_stays_text(tmp_path: Path) -> None:
    """Python refuses to read it."""
    features = {"no": {"_type": "Value", "dtype": "int64"}}
    content = "image,no\n" + f"{B64['a']},{'7' * 5_000}\n"
    [one] = read(tmp_path, "x.csv", content.encode(), TableReading(), features=features)
    assert one.extra == {"no": "7" * 5_000}
