"""What was left out of items while they were fetched."""

import pyarrow.parquet as pq
import pytest

from vlm_assets.demo.services.pictures import zip_of
from vlm_assets.ingest.left_out import LeftOutOfItems
from vlm_assets.ingest.slice import SliceOptions
from vlm_assets.store.listings import read_listing
from vlm_assets.store.slices import file_hash
from vlm_assets.words.errors import LeftOut, LeftOutReason, Reject, RejectReason, RejectToleranceError
from vlm_assets.words.records import Item
from vlm_assets_tests.workplace import STREET, expect_error, fill, ingest, install, picture, relist

JUNK = LeftOut("a.zip/in.zip/x.txt", LeftOutReason.UNKNOWN_TYPE)


def test_it_is_kept_apart_and_counted():
    reject = Reject("b", RejectReason.EMPTY)
    left_out = LeftOutOfItems([Item("a.zip"), Item("a.zip/in"), Item("b")])
    assert list(left_out.strip([JUNK, reject, LeftOut("b", LeftOutReason.OS_JUNK), JUNK])) == [reject]
    assert left_out.by_item == {"a.zip": [JUNK, JUNK], "b": [LeftOut("b", LeftOutReason.OS_JUNK)]}


@pytest.mark.parametrize("options", [None, SliceOptions(max_records=5)], ids=["whole", "test-mode"])
def test_an_item_of_which_all_was_left_out_is_dealt_with(tmp_path, options):
    folder = fill(tmp_path / "in", 1)
    members = [("x/a.jpg", picture(1)), ("y/b.jpg", picture(2))]
    for name, files in (("a.zip", members[1:]), ("b.zip", members), ("c.zip", members[1:])):
        (folder / name).write_bytes(zip_of(files))
    keys = {**STREET, "path": folder, "include": ["*/x/*", "*.zip/x/*"]}
    outcomes = ingest(install(tmp_path, keys), options=options)
    manifests = {name: outcome.manifest for name, outcome in outcomes.items()}
    assert {name: (one.items, one.records, one.rows) for name, one in manifests.items()} == {
        "a.zip": (1, 0, 0), "b.zip": (1, 1, 1), "c.zip": (1, 0, 0),
    }  # fmt: skip
    assert {name: (one.upstream, one.left_out) for name, one in manifests.items()} == {
        "a.zip": (1, {"excluded": 1}), "b.zip": (2, {"excluded": 1}), "c.zip": (1, {"excluded": 1}),
    }  # fmt: skip
    assert pq.read_table(outcomes["a.zip"].path / "rejects.parquet").num_rows == 0


def listed_left_out(installation):
    listing = read_listing(installation.root, "street")
    assert listing is not None
    rows = pq.read_table(installation.root.listings / listing.left_out_file).to_pylist()
    return [(one["key"], one["reason"], one["size_bytes"]) for one in rows]


def test_a_listing_has_its_left_out_in_a_table_beside_it(tmp_path):
    folder = fill(tmp_path / "in", 2)
    (folder / "Thumbs.db").write_bytes(b"junk")
    installation = install(tmp_path, {**STREET, "path": folder})
    listing = relist(installation)
    assert (listing.left_out, listing.left_out_file.startswith("street.")) == ({"os_junk": 1}, True)
    assert [one[:2] for one in listed_left_out(installation)] == [("Thumbs.db", "os_junk")]
    assert file_hash(installation.root.listings / listing.left_out_file) == listing.left_out_blake3
    assert relist(installation) == listing, "an unchanged listing is not written"


def test_old_tables_of_a_listing_go(tmp_path):
    folder = fill(tmp_path / "in", 2)
    installation = install(tmp_path, {**STREET, "path": folder})
    for number in range(4):
        (folder / f"._{number}.jpg").write_bytes(b"junk")
        listing = relist(installation)
    tables = sorted(path.name for path in installation.root.listings.glob("*.left_out.parquet"))
    assert len(tables) == 2
    assert listing.left_out_file in tables


def test_what_was_left_out_of_a_kept_item_is_carried_over(tmp_path):
    folder = fill(tmp_path / "in", 1)
    for name, number in (("a.zip", 1), ("b.zip", 2)):
        (folder / name).write_bytes(zip_of([("x/a.jpg", picture(number)), ("y/b.jpg", picture(9))]))
    keys = {**STREET, "path": folder, "include": ["*.zip/x/*"]}
    installation = install(tmp_path, keys)
    [first, *_] = [one for name, one in ingest(installation).items() if name == "a.zip"]
    table = pq.read_table(first.path / "left_out.parquet").to_pylist()
    assert [(row["key"], row["reason"], row["item"]) for row in table] == [
        ("a.zip/y/b.jpg", "excluded", "a.zip")
    ]
    assert "left_out.parquet" in first.manifest.files
    # The slice is due for its formats, the item is kept.
    again = install(tmp_path, keys, corpus={"formats": ["JPEG"]})
    second = ingest(again)["a.zip"]
    assert second.run.taken_over == 1
    assert pq.read_table(second.path / "left_out.parquet").to_pylist() == table
    assert second.manifest.left_out == {"excluded": 1}


def test_members_that_went_with_records_are_counted(tmp_path):
    folder = fill(tmp_path / "in", 1)
    rows = b"file_name,mask_file_name,text\nx/a.jpg,m.jpg,bir\n"
    members = [("x/a.jpg", picture(1)), ("m.jpg", picture(2)), ("metadata.csv", rows), ("notes.md", b"")]
    (folder / "a.zip").write_bytes(zip_of(members))
    keys = {**STREET, "path": folder, "text": "metadata", "reject_tolerance": 1}
    first = ingest(install(tmp_path, keys))["a.zip"].manifest
    assert (first.records, first.companions, first.left_out) == (1, 2, {"unknown_type": 1})
    assert first.upstream == len(members)
    second = ingest(install(tmp_path, keys, corpus={"formats": ["JPEG"]}))["a.zip"]
    assert second.run.taken_over == 1
    assert (second.manifest.companions, second.manifest.upstream) == (2, 4)


@pytest.mark.parametrize(("tolerance", "fails"), [(0.2, True), (0.4, False)], ids=["over", "within"])
def test_unread_members_count_towards_the_tolerance(tmp_path, tolerance, fails):
    folder = fill(tmp_path / "in", 0)
    members = [("a.jpg", picture(1)), ("b.jpg", picture(2)), ("c.weights", b"\0" * 40)]
    (folder / "a.zip").write_bytes(zip_of(members))
    installation = install(tmp_path, {**STREET, "path": folder, "reject_tolerance": tolerance})
    if fails:
        assert "unknown_type 1" in expect_error(lambda: ingest(installation), RejectToleranceError)
    else:
        assert ingest(installation)["a.zip"].manifest.left_out == {"unknown_type": 1}
