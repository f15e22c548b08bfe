"""Lists of URLs as clients write them: formats, columns, quotes, encodings, folders, and what cannot be read."""

import gzip

import pytest

from vlm_assets.words.errors import SourceError
from vlm_assets_tests.sources.test_image_urls import A, B, C
from vlm_assets_tests.sources.url_lists import items_of, jsonl, listed, parquet, spec_of, write


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("u.csv", f"url,caption,n\n{A},ağaç,1\n{B},,2\n"),
        ("u.csv", f'\ufeffcaption;x,n,URL\n"ağaç",1,{A}\n,2,{B}\n'.replace(";x", "")),
        ("u.tsv", f"url\tcaption\tn\n{A}\tağaç\t1\n{B}\t\t2\n"),
        ("u.jsonl", jsonl([{"url": A, "caption": "ağaç", "n": "1"}, {"url": B, "caption": "", "n": "2"}])),
        (
            "u.JSONL",
            b"\xef\xbb\xbf\n"
            + jsonl([{"url": A, "caption": "ağaç", "n": "1"}, {"url": B, "n": "2"}])
            + b"\n\n",
        ),
    ],
    ids=["csv", "csv-bom-other-order", "tsv", "jsonl", "jsonl-bom-gaps"],
)
def test_every_text_format_says_the_same(tmp_path, name, content):
    items = items_of(spec_of(write(tmp_path / name, content), text_column="caption"), tmp_path)
    assert set(items) == {A, B}
    assert items[A].payload["rows"] == [["ağaç", "", None, {"n": "1"}]]
    assert items[B].payload["rows"] == [[None, "", None, {"n": "2"}]]


def test_parquet_keeps_types(tmp_path):
    path = parquet(
        tmp_path / "u.parquet",
        {"image_url": [A, B], "score": [0.5, None], "tags": [["x"], []], "raw": [b"\xff", b"a"]},
    )
    items = items_of(spec_of(path), tmp_path)
    assert items[A].payload["rows"][0][3] == {"score": 0.5, "tags": ["x"], "raw": "ff"}
    assert items[B].payload["rows"][0][3] == {"score": None, "tags": [], "raw": "a"}


def test_a_txt_is_one_url_a_line(tmp_path):
    path = write(tmp_path / "u.txt", f"\ufeff{A}\r\n\n  {B}  \n{A}#top\n")
    items = items_of(spec_of(path), tmp_path)
    assert set(items) == {A, B}
    assert items[A].payload == {"url": A, "rows": [[None, "", None, None]], "repeated": 1}


@pytest.mark.parametrize(
    ("name", "content", "keys"),
    [
        ("u.csv", f"url;caption;n\r\n{A};çay, şeker;1\r\n", {}),
        ("u.csv", f"\ufeffsep=;\r\nurl;caption;n\r\n{A};çay, şeker;1\r\n", {}),
        ("u.csv", f"adres|caption|n\n{A}|çay, şeker|1\n", {"url_column": "adres"}),
        ("u.csv", f"url^caption^n\n{A}^çay, şeker^1\n", {"separator": "^"}),
        ("u.csv", f"url;caption;n\n{A};çay, şeker;1\n".encode("cp1254"), {"encoding": "cp1254"}),
        ("u.csv", f"url\tcaption\tn\n{A}\tçay, şeker\t1\n".encode("utf-16"), {}),
        ("u.csv.gz", gzip.compress(f'url,caption,n\n{A},"çay, şeker",1\n'.encode()), {}),
        ("u.json", f'[{{"url": "{A}", "caption": "çay, şeker", "n": "1"}}]', {}),
        ("u.tsv", f'url\tcaption\tn\n{A}\t"çay, şeker"\t1\n', {}),
    ],
    ids=[
        "semicolon",
        "sep-line",
        "declared-name",
        "declared-separator",
        "cp1254",
        "utf16",
        "gz",
        "json",
        "tsv",
    ],
)
def test_lists_as_clients_write_them(tmp_path, name, content, keys):
    items = items_of(spec_of(write(tmp_path / name, content), text_column="caption", **keys), tmp_path)
    assert {key: item.payload["rows"] for key, item in items.items()} == {
        A: [["çay, şeker", "", None, {"n": "1"}]]
    }


def test_a_quote_can_be_a_character(tmp_path):
    path = write(tmp_path / "u.tsv", f'url\tcaption\n{A}\t"Merhaba dedi\n{B}\tiki\n{C}\t"Dört\n')
    items = items_of(spec_of(path, text_column="caption", quotes="literal"), tmp_path)
    assert [items[key].payload["rows"][0][0] for key in (A, B, C)] == ['"Merhaba dedi', "iki", '"Dört']


def test_a_folder_of_lists_is_one_list(tmp_path):
    folder = tmp_path / "lists"
    folder.mkdir()
    parquet(folder / "1.parquet", {"url": [A], "n": ["1"]})
    write(folder / "2.csv", f"n;url\n2;{B}\n")
    write(folder / ".hidden.csv", "x")
    items = items_of(spec_of(folder), tmp_path)
    assert {key: item.payload["rows"][0][3] for key, item in items.items()} == {A: {"n": "1"}, B: {"n": "2"}}
    before = listed(spec_of(folder), tmp_path).revision
    write(folder / "3.csv", f"url,m\n{C},3\n")
    with pytest.raises(SourceError, match=r"3\.csv: its columns are url, m, those of 1\.parquet url, n"):
        listed(spec_of(folder), tmp_path)
    write(folder / "3.csv", f"url,n\n{C},3\n")
    assert listed(spec_of(folder), tmp_path).revision != before


def test_a_folder_without_lists_is_an_error(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(SourceError, match="no URL list in this folder"):
        listed(spec_of(tmp_path / "empty"), tmp_path)


@pytest.mark.parametrize(
    ("header", "keys", "message"),
    [
        ("a,b", {}, "no column is named like a URL.*a, b"),
        ("url,image_url", {}, "2 columns could hold URLs.*url, image_url"),
        ("url,x", {"url_column": "link"}, "url_column: no column 'link'.*url, x"),
        ("url,x", {"text_column": "caption"}, "text_column: no column 'caption'.*url, x"),
        ("url,x", {"sha256_column": "sha"}, "sha256_column: no column 'sha'"),
        ("url,x", {"subcategory_from": {"column": "klass"}}, "subcategory_from.column: no column 'klass'"),
        (f"{A},x", {}, "the first line is a URL"),
    ],
)
def test_columns_that_are_not_plain_are_named(tmp_path, header, keys, message):
    path = write(tmp_path / "u.csv", f"{header}\n{A},1\n")
    with pytest.raises(SourceError, match=message):
        listed(spec_of(path, **keys), tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("u.csv", None, "no such file"),
        ("u.csv", "", "empty"),
        ("u.csv", "url\n", "holds no URL"),
        ("u.txt", "\n\n", "holds no URL"),
        ("u.xls", "url\n", "unknown format"),
        ("u.csv", f"url,x\n{A},1\n{B},".encode() + "ağaç".encode("iso8859-9") + b"\n", "line 3 is not UTF-8"),
        ("u.txt", f"{A}\n".encode() + b"http://x/\xf0.jpg\n", "line 2 is not UTF-8"),
        ("u.csv", f"url,x\n{A},1\n{B},1,2\n", "line 3"),
        ("u.csv", f"url,x\n{A},1,2\n", "line 2 has 3 cells, the header has 2"),
        ("u.csv", f'url,x\n{A},"open\n', "line 2: a quote opens a cell and never"),
        ("u.jsonl", b'{"url": "x"}\n{nope}\n', "line 2 is not JSON"),
        ("u.jsonl", b"[1]\n", "line 1: expected an object, got an array"),
        ("u.parquet", b"PAR1 nonsense", "not readable as parquet"),
        ("u.tsv", f'url\tx\n{A}\t"Merhaba dedi\n{B}\tiki\n{C}\t"Dört\n', "line 2: a quote is out of place"),
        ("u.csv", f"url\n{A};çay\n{B};su\n", "the header names one column"),
        ("u.txt", f"{A}\tçay\n", "line 1 holds a tab"),
        ("u.csv", f"url,url\n{A},{B}\n", "two columns are named url"),
    ],
)
def test_files_that_cannot_be_read_say_where(tmp_path, name, content, message):
    path = tmp_path / name
    if content is not None:
        write(path, content)
    with pytest.raises(SourceError, match=message):
        list(listed(spec_of(path), tmp_path).slices)


def test_long_lists_wait_in_files(tmp_path, monkeypatch):
    urls = [f"http://127.0.0.1/{n}.jpg" for n in range(1000)] * 2
    path = write(tmp_path / "u.txt", "\n".join(urls))
    small = list(listed(spec_of(path, buckets=100), tmp_path).slices)
    monkeypatch.setattr("vlm_assets.sources._url_spill._BUFFER_BYTES", 5000)
    again = list(listed(spec_of(path, buckets=100), tmp_path).slices)
    assert [list(one.items) for one in again] == [list(one.items) for one in small]
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["sha256.db"]
