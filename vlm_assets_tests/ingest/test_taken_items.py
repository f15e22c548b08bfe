"""What a takedown names by its address is refused at the door, for every kind in one place."""

from hashlib import sha256

import pytest

from vlm_assets.ingest.slice import build_slice
from vlm_assets.ingest.taken_items import at_the_door
from vlm_assets.ingest.taken_words import is_taken
from vlm_assets.store.slices import data_file_names, read_rejects, read_rows
from vlm_assets.store.tombstones import Tombstone, write_tombstone
from vlm_assets.transfer.taken_urls import TakenUrls
from vlm_assets.words.errors import Reject, RejectReason
from vlm_assets.words.records import Item, Record, RecordImage
from vlm_assets_tests.servers import FaultServer, Reply
from vlm_assets_tests.workplace import STREET, ingest, install, picture, relist

GONE = "http://a.org/gone"


@pytest.mark.parametrize(
    ("payload", "taken"),
    [
        ({}, False),
        ({"url": "http://a.org/x"}, False),
        ({"url": GONE}, True),
        ({"urls": ["http://a.org/x", GONE]}, True),
        ({"urls": []}, False),
        ({"url": None}, False),
        ({"url": 7, "urls": [None]}, False),
    ],
)
def test_an_item_is_taken_by_any_of_its_addresses(payload, taken):
    assert is_taken(Item("k", payload=payload), TakenUrls([GONE])) is taken


def record(item: str, number: int = 0, origin: str = "x.zip/a.png", image: str | None = None) -> Record:
    return Record(item, number, f"{item}#{number}", (RecordImage(b"", origin=image),), origin)


@pytest.mark.parametrize(
    ("items", "given", "told"),
    [
        pytest.param("aGb", ["a", "b"], "a G! b", id="between"),
        pytest.param("GGab", ["a", "b"], "G! G! a b", id="before-all"),
        pytest.param("abG", ["a", "b"], "a b G!", id="after-all"),
        pytest.param("G", [], "G!", id="alone"),
        pytest.param("aGb", ["b"], "G! b", id="beside-one-that-gave-nothing"),
        pytest.param("aGb", ["a", "a", "b"], "a a G! b", id="behind-several-records"),
    ],
)
def test_a_refused_item_keeps_its_place(items, given, told):
    listed = [
        Item(f"{name}{place}", payload={"url": GONE} if name == "G" else {})
        for place, name in enumerate(items)
    ]
    keys = {name: item.key for name, item in zip(items, listed, strict=True)}
    events = at_the_door(listed, [record(keys[name]) for name in given], TakenUrls([GONE]))
    words = [f"{one.item[0]}{'!' if isinstance(one, Reject) else ''}" for one in events]
    assert " ".join(words) == told


@pytest.mark.parametrize(
    ("one", "refused"),
    [
        pytest.param(record("k", 2), False, id="untouched"),
        pytest.param(record("k", 2, origin=GONE), True, id="its-origin"),
        pytest.param(record("k", 2, origin=f"{GONE}#page=4"), True, id="a-page-of-it"),
        pytest.param(record("k", 2, image=GONE), True, id="one-of-its-images"),
    ],
)
def test_a_record_is_refused_by_where_it_came_from(one, refused):
    reject = Reject("k", RejectReason.TOMBSTONED, record=2)
    assert list(at_the_door([Item("k")], [one], TakenUrls([GONE]))) == [reject if refused else one]


def test_a_taken_address_is_never_asked_and_its_row_goes(tmp_path):
    pictures = {f"/{name}.jpg": Reply(body=picture(n)) for n, name in enumerate("abc")}
    with FaultServer(pictures) as server:
        urls = tmp_path / "urls.txt"
        urls.write_text("\n".join(server.url(f"/{name}.jpg") for name in "abc"))
        source = {**STREET, "kind": "image_urls", "urls": urls, "reject_tolerance": 1}
        installation = install(tmp_path / "a", source, allow_private_hosts="127.0.0.1")
        listing, spec = relist(installation), installation.catalog.source("street")
        [key] = listing.slices
        gone = server.url("/b.jpg")
        write_tombstone(installation.root, Tombstone(asked=f"url:{gone}", urls=(gone,)))
        built = build_slice(installation, spec, listing, key)
        assert (built.manifest.rows, built.manifest.rejects) == (2, {RejectReason.TOMBSTONED: 1})
        assert [one.key for one in read_rejects(built.path)] == [gone]
        assert (server.counts["/a.jpg"], server.counts["/b.jpg"]) == (1, 0)


def test_another_picture_under_a_taken_name_has_no_content_and_its_own_hash(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a.jpg").write_bytes(picture(1))
    installation = install(tmp_path, {**STREET, "path": folder})
    write_tombstone(installation.root, Tombstone(asked="id:street/root/a.jpg", ids=("street/root/a.jpg",)))
    for number in (1, 2):
        (folder / "a.jpg").write_bytes(picture(number))
        [built] = ingest(installation).values()
        [row] = read_rows(built.path, data_file_names(built.manifest.files))
        assert (row["images"], row["images_sha256"]) == (None, sha256(picture(number)).digest())
