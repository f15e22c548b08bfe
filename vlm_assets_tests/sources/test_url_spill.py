"""Rows of URL lists as slices, against the plain way of doing it."""

import errno
import tracemalloc
from collections import defaultdict
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np  # noqa: F401 - not while memory is counted
import orjson
import pyarrow as pa  # noqa: F401
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlm_assets.sources import _url_spill
from vlm_assets.sources._url_rows import Columns, packed_cells, packed_rows
from vlm_assets.sources._url_spill import UrlSpill
from vlm_assets.words.errors import DiskFullError, SourceError
from vlm_assets.words.layout import bucket_name, key_hash

NAMES = ("url", "caption", "n")
COLUMNS = Columns("url", "caption")
URLS = st.one_of(
    st.sampled_from([f"https://a.example/{n}.jpg" for n in range(6)]),
    st.sampled_from(["https://a.example/ş.jpg", " https://a.example/1.jpg#x", "", None, "https://a.example/s\u0327.jpg"]),
)  # fmt: skip
ROWS = st.lists(
    st.tuples(URLS, st.sampled_from([None, "bir", "iki", "ş"]), st.integers(0, 2**70)), max_size=40
)


def expected(rows: list[tuple[Any, ...]], buckets: int) -> dict[str, list[tuple[str, str, dict[str, Any]]]]:
    """What the slices hold, one row after the other."""
    by_key: defaultdict[str, list[bytes]] = defaultdict(list)
    for row in rows:
        for key, packed, _, _ in packed_rows(dict(zip(NAMES, row, strict=True)), COLUMNS, "t"):
            by_key[key].append(packed)
    slices: defaultdict[str, list[tuple[str, str, dict[str, Any]]]] = defaultdict(list)
    for key in sorted(by_key, key=lambda one: (key_hash(one) % buckets, key_hash(one), one)):
        distinct = sorted(set(by_key[key]))
        repeated = len(by_key[key]) - len(distinct)
        identity = sha256(b"\n".join(distinct) + b"\n%d" % repeated).hexdigest()
        url = "" if key.startswith("missing-url-") else key
        payload = {"url": url, "rows": [orjson.loads(one) for one in distinct], "repeated": repeated}
        slices[bucket_name(key_hash(key) % buckets, buckets)].append((key, identity, payload))
    return dict(slices)


@given(rows=ROWS, buckets=st.integers(1, 5), tiny=st.booleans())
def test_slices_are_those_of_one_row_after_the_other(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[Any, ...]], buckets: int, *, tiny: bool
) -> None:
    folder = tmp_path_factory.mktemp("spill")
    with pytest.MonkeyPatch.context() as patch:
        if tiny:
            for name in ("_BUFFER_BYTES", "_PART_BYTES"):
                patch.setattr(_url_spill, name, 200)
        spill = UrlSpill(folder)
        spill.fill(packed_cells(enumerate(rows), NAMES, COLUMNS, "t"), list[str]().append)
        wanted = expected(rows, buckets)
        assert (spill.rows, spill.count_items()) == (len(rows), sum(map(len, wanted.values())))
        found = {
            one.name: [(item.key, item.identity, item.payload) for item in one.items]
            for one in spill.slices(buckets, 10)
        }
    assert found == wanted
    assert list(found) == sorted(found)
    assert list(folder.iterdir()) == []


def test_labels_are_those_of_the_rows(tmp_path: Path) -> None:
    spill = UrlSpill(tmp_path)
    rows = [("https://a.example/1.jpg", "x", "kedi"), ("https://a.example/2.jpg", "y", None)]
    spill.fill(
        packed_cells(enumerate(rows), NAMES, Columns("url", "caption", label="n"), "t"), list[str]().append
    )
    assert spill.labels == {"kedi"}
    spill.close()


def test_objects_where_the_text_should_be_are_an_error_that_names_the_row() -> None:
    rows = [(2, ("https://a.example/1.jpg", "x", 0)), (3, ("https://a.example/2.jpg", {"tr": "x"}, 0))]
    with pytest.raises(SourceError, match=r"l\.parquet: row 3: column 'caption' holds objects"):
        list(packed_cells(rows, NAMES, COLUMNS, "l.parquet: row"))


def test_a_full_volume_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spill = UrlSpill(tmp_path)

    def full(_path: Path, _data: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(DiskFullError):
        spill.fill([("https://a.example/1.jpg", b"[]", None, None)], list[str]().append)


def test_rows_lie_on_disk_once_and_packed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_url_spill, "_BUFFER_BYTES", 100_000)
    monkeypatch.setattr(_url_spill, "_PART_BYTES", 100_000)
    spill = UrlSpill(tmp_path)
    rows = [
        (f"https://a.example/pictures/{n:06d}.jpg", "a picture of a street, by night", n)
        for n in range(5_000)
    ]
    spill.fill(packed_cells(enumerate(rows), NAMES, COLUMNS, "t"), list[str]().append)

    def on_disk() -> int:
        return sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file())

    waiting = on_disk()
    assert waiting < sum(len(url) + len(text) for url, text, _ in rows) // 2
    assert all(on_disk() <= waiting * 1.3 for _ in spill.slices(10, 200))


@pytest.mark.parametrize(
    ("cell", "requests"),
    [
        ("https://a.example/1.jpg", 1),
        (["https://a.example/1.jpg", "https://a.example/2.jpg"], 2),
        (["https://a.example/1.jpg", "https://a.example/2.jpg", "https://a.example/1.jpg"], 2),
        ("", 0),
    ],
    ids=["one", "two", "one_twice", "none"],
)
def test_a_slice_says_how_many_urls_it_asks_for(tmp_path: Path, cell: Any, requests: int) -> None:
    spill = UrlSpill(tmp_path)
    rows = packed_rows({"url": cell, "caption": "bir"}, COLUMNS, "t")
    spill.fill(rows, list[str]().append)
    [one] = spill.slices(1, 10)
    assert (len(one.items), one.requests) == (1, requests)


def test_few_rows_are_in_memory_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a row costs is its place: with its words it would be 500 bytes."""
    monkeypatch.setattr(_url_spill, "_BUFFER_BYTES", 50_000)
    monkeypatch.setattr(_url_spill, "_PART_BYTES", 50_000)
    count, words = 5_000, "a picture of a street, by night, with rain on the windows of a tram that waits "
    rows = ((n, (f"https://a.example/pictures/{n:06d}.jpg", f"{words}{n}", n)) for n in range(count))
    tracemalloc.start()
    try:
        spill = UrlSpill(tmp_path)
        spill.fill(packed_cells(rows, NAMES, COLUMNS, "t"), lambda _: None)
        items = sum(len(one.items) for one in spill.slices(50, 100))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert items == count
    assert peak < 150 * count
