"""What was left out of items while they were fetched."""

import pyarrow.parquet as pq
import pytest

from vlm_assets.demo.services.pictures import zip_of
from vlm_assets.ingest.left_out import LeftOutOfItems
from vlm_assets.ingest.slice import SliceOptions
from vlm_assets.words.errors import LeftOut, LeftOutReason, Reject, RejectReason
from vlm_assets.words.records import Item
from vlm_assets_tests.workplace import STREET, fill, ingest, install, picture

JUNK = LeftOut("a.zip/in.zip/x.txt", LeftOutReason.UNKNOWN_TYPE)


def test_it_is_kept_apart_and_counted():
    reject = Reject("b", RejectReason.EMPTY)
    left_out = LeftOutOfItems([Item("a.zip"), Item("a.zip/in"), Item("b")])
    assert list(left_out.strip([JUNK, reject, LeftOut("b", LeftOutReason.OS_JUNK), JUNK])) == [reject]
    assert left_out.items == {"a.zip", "b"}
    assert left_out.counts == {LeftOutReason.UNKNOWN_TYPE: 2, LeftOutReason.OS_JUNK: 1}


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
    assert outcomes["b.zip"].run.figures["left_out_excluded"] == 1
    assert pq.read_table(outcomes["a.zip"].path / "rejects.parquet").num_rows == 0
