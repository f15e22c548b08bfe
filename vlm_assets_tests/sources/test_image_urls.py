import itertools
from hashlib import sha256
from pathlib import Path
from typing import Any
from unicodedata import normalize
from urllib.parse import quote

import pytest

from vlm_assets.words.errors import ConfigError, Reject, RejectReason
from vlm_assets.words.layout import bucket_name, bucket_of
from vlm_assets.words.records import Record
from vlm_assets_tests.odd_servers import OddServer, answer
from vlm_assets_tests.servers import FaultServer, Reply
from vlm_assets_tests.sources.url_lists import fetched, items_of, jsonl, listed, spec_of, write

A, B, C = (f"http://127.0.0.1/{name}.jpg" for name in "abc")


@pytest.mark.parametrize(
    ("cell", "urls"),
    [
        ([A, B], [A, B]), ([A, None, [B]], [A, B]), ({"src": A, "alt": "x"}, [A]), ([{"url": A}, {"url": B}], [A, B]),
        ([], [""]), (None, [""]), ({"a": 1}, ['{"a":1}']),
        (f'["{A}", "{B}"]', [A, B]), (f" ['{A}', '{B}']", [A, B]), ("[a, b]", ["[a, b]"]), ("[" * 999, ["[" * 999]),
    ],
    ids=["list", "nested", "object", "objects", "empty", "null", "other", "json", "python", "no_list", "deep"],
)  # fmt: skip
def test_a_cell_of_several_urls_is_one_item_unless_split(tmp_path, cell, urls):
    path = write(tmp_path / "u.jsonl", jsonl([{"url": cell, "caption": "x", "n": 1}]))
    said = ["x", "", None, {"n": 1}]
    [item] = items_of(spec_of(path, text_column="caption"), tmp_path).values()
    assert item.payload.get("urls", [item.payload.get("url")]) == urls
    assert len(item.payload["rows"]) == 1
    items = items_of(spec_of(path, text_column="caption", split_images=True), tmp_path)
    assert sorted(item.payload["url"] for item in items.values()) == urls
    assert [item.payload["rows"] for item in items.values()] == [[said]] * len(urls)


def test_cells_of_the_same_urls_are_one_item_with_all_rows(tmp_path):
    rows: list[dict[str, Any]] = [
        {"url": [A, B], "t": "1"},
        {"url": [A, B], "t": "2"},
        {"url": [B, A], "t": "1"},
        {"url": A, "t": "1"},
    ]
    items = items_of(spec_of(write(tmp_path / "u.jsonl", jsonl(rows)), text_column="t"), tmp_path)
    several = [item for item in items.values() if "urls" in item.payload]
    told = sorted((item.payload["urls"], [row[0] for row in item.payload["rows"]]) for item in several)
    assert told == [([A, B], ["1", "2"]), ([B, A], ["1"])]
    assert [key for key, item in items.items() if "url" in item.payload] == [A]
    assert all(key.startswith(f"{item.payload['urls'][0]}#urls=") for key, item in items.items() if key != A)


H1, H2 = sha256(b"1").hexdigest(), sha256(b"2").hexdigest()


@pytest.mark.parametrize(
    ("sha", "told"),
    [
        pytest.param([H1, H2], ["1", "2"], id="one-an-image"),
        pytest.param([H1, None], ["1", "2"], id="one-of-two"),
        pytest.param([H2, H1], RejectReason.CHECKSUM, id="in-another-order"),
        pytest.param(H1, RejectReason.CHECKSUM, id="one-for-two"),
        pytest.param(None, ["1", "2"], id="none"),
    ],
)
def test_hashes_of_several_urls_are_declared_one_an_image(tmp_path, sha, told):
    with FaultServer({"/1": Reply(body=b"1"), "/2": Reply(body=b"2")}) as server:
        row = {"url": [server.url("/1"), server.url("/2")], "sha": sha}
        spec = spec_of(write(tmp_path / "u.jsonl", jsonl([row])), sha256_column="sha")
        [event] = fetched(spec, list(items_of(spec, tmp_path).values()), tmp_path)
        if isinstance(event, Record):
            assert [bytes_of(image.data).decode() for image in event.images] == told
        else:
            assert event.reason is told


def bytes_of(data: bytes | Path) -> bytes:
    return data if isinstance(data, bytes) else data.read_bytes()


def test_records_of_several_urls_are_whole_and_each_url_is_asked_once(tmp_path):
    script = {f"/{name}": Reply(body=name.encode()) for name in "abc"} | {
        "/gone": Reply(404),
        "/later": Reply(429),
    }
    with FaultServer(script) as server:
        cells = ["ab", "a", ["c", "gone", "a"], "ba", ["later", "gone"], "aa"]
        rows = [
            {"url": [server.url(f"/{name}") for name in cell], "t": f"{n}"} for n, cell in enumerate(cells)
        ]
        spec = spec_of(write(tmp_path / "u.jsonl", jsonl(rows)), text_column="t")
        items = sorted(items_of(spec, tmp_path).values(), key=lambda item: item.payload["rows"][0][0])
        events = fetched(spec, items, tmp_path)
        whole = {
            event.text: b"".join(bytes_of(image.data) for image in event.images).decode()
            for event in events if isinstance(event, Record)
        }  # fmt: skip
        assert whole == {"0": "ab", "1": "a", "3": "ba", "5": "aa"}
        assert [event.item for event in events] == [item.key for item in items]
        rejects = [event for event in events if isinstance(event, Reject)]
        assert [(one.reason, one.transient) for one in rejects] == [(RejectReason.NOT_FOUND, False)] * 2
        assert rejects[0].detail.startswith(f"image 2 of 3, {server.url('/gone')}")
        assert [server.counts[f"/{name}"] for name in ("a", "b", "c", "gone")] == [1] * 4
        [first] = [event for event in events if isinstance(event, Record) and event.text == "0"]
        assert [image.origin for image in first.images] == [server.url("/a"), server.url("/b")]
        [alone] = [event for event in events if isinstance(event, Record) and event.text == "1"]
        assert (alone.origin, alone.images[0].origin) == (server.url("/a"), None)


def test_the_internet_needs_a_contact(tmp_path):
    with pytest.raises(ConfigError, match="VLM_CONTACT"):
        listed(spec_of(write(tmp_path / "u.txt", "https://example.org/a.jpg\n")), tmp_path)


def test_rows_of_one_url_become_one_item_in_an_order_of_their_own(tmp_path):
    rows = [f"{A},one,", f"{A},two,", f"{A},one,", f"{B},x,1"]
    identities = set()
    for order in itertools.permutations(rows):
        items = items_of(
            spec_of(write(tmp_path / "u.csv", "url,caption,n\n" + "\n".join(order)), text_column="caption"),
            tmp_path,
        )
        assert [row[0] for row in items[A].payload["rows"]] == ["one", "two"]
        assert items[A].payload["repeated"] == 1
        identities.add((items[A].identity, items[B].identity))
    assert len(identities) == 1


@pytest.mark.parametrize(
    "other", [f"{A},uno,aa,x", f"{A},one,bb,x", f"{A},one,aa,y", f"{A},one,aa,x\n{A},one,aa,x"],
    ids=["text", "sha256", "extra", "repeated"],
)  # fmt: skip
def test_identity_changes_with_anything_declared(tmp_path, other):
    keys = {"text_column": "caption", "sha256_column": "sha"}
    head = "url,caption,sha,n\n"
    before = items_of(spec_of(write(tmp_path / "u.csv", f"{head}{A},one,aa,x\n"), **keys), tmp_path)
    after = items_of(spec_of(write(tmp_path / "v.csv", f"{head}{other}\n"), **keys), tmp_path)
    assert before[A].identity != after[A].identity


def test_a_row_without_a_url_is_not_lost(tmp_path):
    path = write(tmp_path / "u.csv", f"url,caption\n{A},x\n,lost\n,lost\n , other\n")
    spec = spec_of(path, text_column="caption")
    items = items_of(spec, tmp_path)
    assert len(items) == 3
    missing = [item for item in items.values() if item.payload["url"] == ""]
    rejects = fetched(spec, missing, tmp_path)
    assert [(r.item, r.reason) for r in rejects if isinstance(r, Reject)] == [
        (item.key, RejectReason.BAD_URL) for item in missing
    ]


@pytest.mark.parametrize(
    ("rule", "label"),
    [({"column": "klass"}, "kedi"), ({"folder": 1}, "animals"), ({"folder": 2}, "cats"), ({"folder": 3}, "")],
)
def test_labels(tmp_path, rule, label):
    url = "http://127.0.0.1/animals/cats/1.jpg?x=/y/"
    spec = spec_of(
        write(tmp_path / "u.csv", f"url,klass\n{url},kedi\nhttp://127.0.0.1/a/b/c/2.jpg,\n"),
        subcategory_from=rule,
    )
    item = items_of(spec, tmp_path)[url]
    assert item.payload["rows"][0][2] == label


@pytest.mark.parametrize(
    ("keys", "context", "buckets"),
    [
        ({"rows_per_slice": 100}, {}, 10),
        ({"rows_per_slice": 300}, {}, 4),
        ({"rows_per_slice": 100, "buckets": 3}, {"previous_buckets": {"": 7}}, 3),
        ({"rows_per_slice": 100}, {"previous_buckets": {"": 7}}, 7),
        ({"buckets": 5000}, {}, 5000),
    ],
)
def test_buckets(tmp_path, keys, context, buckets):
    urls = [f"http://127.0.0.1/{n}.jpg" for n in range(1000)]
    found = listed(spec_of(write(tmp_path / "u.txt", "\n".join(urls)), **keys), tmp_path, **context)
    assert found.buckets == {"": buckets}
    slices = list(found.slices)
    assert [s.name for s in slices] == sorted({bucket_name(bucket_of(u, buckets), buckets) for u in urls})
    for part in slices:
        assert {bucket_name(bucket_of(item.key, buckets), buckets) for item in part.items} == {part.name}
    assert sum(len(part.items) for part in slices) == 1000


def test_a_line_inserted_at_the_top_changes_one_slice(tmp_path):
    urls = [f"http://127.0.0.1/{n}.jpg" for n in range(500)]
    spec = spec_of(write(tmp_path / "u.txt", "\n".join(urls)), rows_per_slice=50)
    before = {part.name: part.items for part in listed(spec, tmp_path).slices}
    write(tmp_path / "u.txt", "\n".join(["http://127.0.0.1/new.jpg", *urls]))
    after = {p.name: p.items for p in listed(spec, tmp_path, previous_buckets={"": 10}).slices}
    assert sum(before[name] != after[name] for name in before) == 1


def test_records_come_in_the_order_of_the_items(tmp_path):
    pictures = {name: b"\xff\xd8\xff" + name.encode() * 500 for name in ("a", "b", "c", "ağaç ı")}
    right = sha256(pictures["c"]).hexdigest()
    script = {f"/{name}": Reply(body=body) for name, body in pictures.items()}
    script["/a%C4%9Fa%C3%A7%20%C4%B1"] = script.pop("/ağaç ı")
    with FaultServer(script) as server:
        rows = [
            (server.url("/a"), "one", ""), (server.url("/a"), "two", ""), (server.url("/a"), "one", ""),
            (server.url("/b"), "", right), (server.url("/c"), "x", right.upper()), (server.url("/c"), "y", "0" * 64),
            (server.url("/gone"), "", ""), (server.url("/ağaç ı") + "#f", "", ""), ("ftp://x/y", "", ""),
        ]  # fmt: skip
        path = write(tmp_path / "u.csv", "url,caption,sha\n" + "".join(",".join(row) + "\n" for row in rows))
        spec = spec_of(path, text_column="caption", sha256_column="sha")
        items = items_of(spec, tmp_path)
        order = [server.url(p) for p in ("/c", "/a", "/b", "/gone", "/ağaç ı")] + ["ftp://x/y"]
        results = fetched(spec, [items[key] for key in order], tmp_path)
        assert server.counts["/a"] == server.counts["/c"] == 1
        short = [
            (r.item.rpartition("/")[2], r.record, r.key.rpartition("/")[2], r.text) if isinstance(r, Record)
            else (r.item.rpartition("/")[2], r.record, r.reason) for r in results
        ]  # fmt: skip
        assert short == [
            ("c", 0, "c#0", "x"), ("c", 1, RejectReason.CHECKSUM),
            ("a", 0, "a#0", "one"), ("a", 1, "a#1", "two"), ("a", 2, RejectReason.DUPLICATE_ITEM),
            ("b", None, RejectReason.CHECKSUM), ("gone", None, RejectReason.NOT_FOUND),
            ("ağaç ı", 0, "ağaç ı", None), ("y", None, RejectReason.BAD_URL),
        ]  # fmt: skip
        assert [r.images[0].data for r in results if isinstance(r, Record)] == [
            pictures[n] for n in ("c", "a", "a", "ağaç ı")
        ]


def test_a_test_run_asks_for_no_more_than_it_wants(tmp_path):
    with FaultServer({f"/{n}": Reply(body=b"\xff\xd8\xff") for n in range(20)}) as server:
        spec = spec_of(write(tmp_path / "u.txt", "\n".join(server.url(f"/{n}") for n in range(20))))
        items = list(items_of(spec, tmp_path).values())
        assert len(fetched(spec, items, tmp_path, max_records=3)) == 3
        assert sum(server.counts.values()) == 3


def test_a_path_is_asked_for_in_the_form_it_is_written_in(tmp_path):
    composed, decomposed = normalize("NFC", "/çay/şehir.jpg"), normalize("NFD", "/çay/şehir.jpg")
    with OddServer() as server:
        server.script[quote(decomposed)] = answer(b"\xff\xd8\xff\xe0decomposed")
        urls = [server.url(composed), server.url(decomposed)]
        spec = spec_of(write(tmp_path / "u.txt", "\n".join(urls)), subcategory_from={"folder": 1})
        items = items_of(spec, tmp_path)
        assert sorted(items) == sorted([urls[0], server.url(quote(decomposed))])
        assert {item.payload["rows"][0][2] for item in items.values()} == {normalize("NFC", "çay")}
        results = fetched(spec, list(items.values()), tmp_path)
        assert {(type(one), one.item) for one in results} == {
            (Reject, urls[0]), (Record, server.url(quote(decomposed)))
        }  # fmt: skip
