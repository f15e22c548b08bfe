"""Pictures of rejects: few, small, of what decodes, and only of rejects that a slice has."""

from dataclasses import replace

import pytest

from vlm_assets.ingest.rejected_pictures import RejectedPictures
from vlm_assets.ingest.slice import SliceOptions
from vlm_assets.store import rejected_pictures
from vlm_assets.store.rejected_pictures import (
    RejectedPicture,
    forget_rejected,
    keep_rejected,
    kept_rejected,
    slices_with_pictures,
)
from vlm_assets.store.tombstones import StoredTombstones
from vlm_assets.words.errors import Reject, RejectReason
from vlm_assets.words.layout import DataRoot
from vlm_assets.words.records import Record, RecordImage
from vlm_assets_tests.workplace import STREET, fill, ingest, install, picture


def cut(number: int) -> bytes:
    return picture(number, size=(640, 480))[:4000]


@pytest.mark.parametrize(
    ("reason", "data", "shown"),
    [
        ("truncated", cut(0), True),
        ("multi_frame", picture(0, form="PNG"), True),
        ("not_an_image", b"rubbish", False),
        ("format_not_allowed", picture(0, form="GIF"), False),
        ("bomb", picture(0), False),
        ("decoder_timeout", picture(0), False),
        ("corrupt", picture(0)[:300], False),
    ],
)
def test_rejects_that_decode_are_shown(reason, data, shown):
    pictures = RejectedPictures()
    pictures.see(Reject("a", RejectReason(reason)), iter([data]))
    assert [one.reason for one in pictures.found] == [reason] * shown


@pytest.mark.parametrize(("key", "shown"), [("taken.jpeg", False), ("other.jpeg", True)])
def test_what_is_taken_down_by_its_id_is_not_shown_as_a_reject(key, shown):
    """Cut short on its way or replaced upstream, it has another hash than the one that went."""
    takedowns = replace(StoredTombstones.none(), ids=frozenset({"street/root/taken.jpeg"}))
    pictures = RejectedPictures(takedowns=takedowns, max_bytes=10**6, slice_name="street/root")
    record = Record(item=key, record=0, key=key, images=(RecordImage(cut(0)),), origin=key)
    row = {"id": f"street/root/{key}", "record": 0, "images": [picture(0)]}
    assert len(list(pictures.among([(record, Reject(key, RejectReason.TRUNCATED, record=0))]))) == 1
    pictures.drifted(key, row)
    assert [one.reason for one in pictures.found] == ["truncated", "drifted"] * shown


def test_of_many_rejects_few_are_decoded_and_kept():
    pictures, left = RejectedPictures(), iter([b"rubbish"] * 1000)
    for _ in range(100):
        pictures.see(Reject("a", RejectReason.NOT_AN_IMAGE), left)
    assert len(list(left)) == 1000 - 64
    told: list[RejectedPicture] = []
    pictures, left = RejectedPictures(told.append), iter([picture(0)] * 1000)
    for reason in (RejectReason.CORRUPT, RejectReason.TRUNCATED, RejectReason.CHECKSUM):
        pictures.see(Reject("a", reason), left)
    assert [one.reason for one in told] == ["corrupt"] * 4 + ["truncated"] * 4
    assert len(list(left)) == 1000 - 8


def test_pictures_follow_the_rejects_of_their_slice(tmp_path):
    """A new fetch keeps those of items that it did not ask again; what is no reject any more has none."""
    folder = fill(tmp_path / "street", 2)
    for number in (5, 6):
        (folder / f"cut{number}.jpeg").write_bytes(cut(number))
    keys = {"reject_tolerance": 1, "shrink_tolerance": 1}
    installation = install(tmp_path, {**STREET, "path": folder, **keys})
    root = installation.root
    told: list[RejectedPicture] = []
    ingest(installation, options=SliceOptions(on_rejected=told.append))
    assert {one.key for one in kept_rejected(root, "street", "root")} == {"cut5.jpeg", "cut6.jpeg"}
    assert tuple(told) == kept_rejected(root, "street", "root")
    (folder / "cut5.jpeg").write_bytes(picture(5))
    fill(folder, 1, start=7)
    ingest(installation)
    assert [one.key for one in kept_rejected(root, "street", "root")] == ["cut6.jpeg"]
    (folder / "cut6.jpeg").unlink()
    ingest(installation)
    assert kept_rejected(root, "street", "root") == ()
    assert slices_with_pictures(root, "street") == frozenset()


def test_a_source_keeps_those_of_a_bounded_number_of_slices(tmp_path, monkeypatch):
    monkeypatch.setattr(rejected_pictures, "A_SOURCE", 3)
    root = DataRoot(tmp_path)
    one = RejectedPicture(
        key="a", record=None, reason=RejectReason.CORRUPT, image_sha256="0" * 64, jpeg=b"\xff\xd8\xfb"
    )
    for number in range(5):
        keep_rejected(root, "s", f"slice{number}", [one] * 20)
    assert slices_with_pictures(root, "s") == {"slice0", "slice1", "slice2"}
    assert kept_rejected(root, "s", "slice0") == (one,) * 8
    keep_rejected(root, "s", "slice0", [])
    keep_rejected(root, "s", "slice4", [one.model_copy(update={"record": 3})])
    assert [kept.record for kept in kept_rejected(root, "s", "slice4")] == [3]
    (tmp_path / "cache/s/rejected/slice1.json").write_bytes(b"{")
    assert kept_rejected(root, "s", "slice1") == ()
    assert forget_rejected(root) == ["s"]
    assert slices_with_pictures(root, "s") == frozenset()
