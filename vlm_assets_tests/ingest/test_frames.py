"""Pictures of several frames: on record beyond the first, or a sample a page."""

from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from vlm_assets.demo.services.pictures import zip_of
from vlm_assets.ingest.frames import Frames
from vlm_assets.store.left_out import read_slice_left_out
from vlm_assets.store.slices import data_file_names, read_rejects, read_rows
from vlm_assets.words.errors import Reject, RejectReason
from vlm_assets.words.records import Record, RecordImage
from vlm_assets_tests.workplace import STREET, ingest, install, picture


def many(form: str, count: int) -> bytes:
    frames = [Image.open(BytesIO(picture(number))) for number in range(count)]
    out = BytesIO()
    frames[0].save(out, form, save_all=True, append_images=frames[1:])
    return out.getvalue()


TIFF = many("TIFF", 3)


def built(tmp_path: Path, **keys: Any) -> Any:
    folder = tmp_path / "in"
    folder.mkdir(exist_ok=True)
    files = {"a.tif": TIFF, "b.gif": many("GIF", 4), "c.jpg": picture(7)}
    for name, content in {
        **files,
        "z.zip": zip_of([("x.jpg", picture(8)), ("y.tif", TIFF), ("z.jpg", b"bad")]),
    }.items():
        (folder / name).write_bytes(content)
    return ingest(install(tmp_path, {**STREET, "path": folder, "reject_tolerance": 1, **keys}))


def rows_of(outcome: Any) -> dict[str, tuple[int, int, str]]:
    rows = read_rows(outcome.path, data_file_names(outcome.manifest.files))
    return {
        row["id"].split("/", 2)[2]: (row["record"], row["image_facts"][0]["frames"], row["origin"])
        for row in rows
    }


def left_out_of(outcome: Any) -> list[str]:
    found = read_slice_left_out(outcome.path)
    assert all(str(one.reason) == "frame" for told in found.values() for one in told)
    return [one.key for told in found.values() for one in told]


def test_frames_beyond_the_first_are_on_record(tmp_path):
    outcomes = built(tmp_path)
    root = outcomes["root"]
    assert {key: frames for key, (_, frames, _) in rows_of(root).items()} == {
        "a.tif": 3,
        "b.gif": 4,
        "c.jpg": 1,
    }
    assert sorted(left_out_of(root)) == [
        "a.tif#frame=2",
        "a.tif#frame=3",
        *(f"b.gif#frame={n}" for n in (2, 3, 4)),
    ]
    assert (root.manifest.left_out, root.manifest.upstream) == ({"frame": 5}, 8)
    assert left_out_of(outcomes["z.zip"]) == ["z.zip/y.tif#frame=2", "z.zip/y.tif#frame=3"]
    (tmp_path / "in/c.jpg").write_bytes(picture(9))
    again = ingest(install(tmp_path, {**STREET, "path": tmp_path / "in", "reject_tolerance": 1}))["root"]
    assert again.manifest.left_out == {"frame": 5}


def test_each_page_of_a_tiff_is_a_sample(tmp_path):
    outcomes = built(tmp_path, multi_frame="pages")
    assert rows_of(outcomes["root"]) == {
        **{f"a.tif#frame={n}": (n - 1, 1, f"a.tif#frame={n}") for n in (1, 2, 3)},
        "b.gif": (0, 4, "b.gif"), "c.jpg": (0, 1, "c.jpg"),
    }  # fmt: skip
    packed = outcomes["z.zip"]
    assert {key: record for key, (record, _, _) in rows_of(packed).items()} == {
        "z.zip/x.jpg": 0, **{f"z.zip/y.tif#frame={n}": n for n in (1, 2, 3)},
    }  # fmt: skip
    assert [(one.record, one.reason) for one in read_rejects(packed.path)] == [(4, RejectReason.NOT_AN_IMAGE)]
    assert left_out_of(packed) == []
    assert (packed.manifest.upstream, packed.manifest.records) == (5, 5)


def record(data: bytes, number: int = 0, *more: bytes) -> Record:
    return Record("i", number, "i", [RecordImage(one) for one in (data, *more)], "o", text="t")


def test_only_pages_of_a_single_picture_are_taken_apart():
    frames = Frames()
    damaged = bytearray(TIFF)
    damaged[-100:] = b""
    events: list[Record | Reject] = [
        record(TIFF, 0, TIFF), record(picture(1), 1), record(TIFF[:9], 2), Reject("i", RejectReason.EMPTY, "", 3),
        record(bytes(damaged), 4), record(TIFF, 5),
    ]  # fmt: skip
    told = list(frames.pages(events, 10**9))
    assert [(type(one).__name__, one.record) for one in told[:4]] == [
        ("Record", 0), ("Record", 1), ("Record", 2), ("Reject", 3),
    ]  # fmt: skip
    assert [one.record for one in told] == list(range(len(told)))
    assert [one.text for one in told[-3:] if isinstance(one, Record)] == ["t"] * 3
    assert [one.vouched for one in told[-3:] if isinstance(one, Record)] == [False, True, True]
    assert frames.left_out == {}


def test_a_file_that_was_replaced_since_it_was_listed_stays_whole(tmp_path):
    (tmp_path / "a.tif").write_bytes(TIFF)
    for digest, pages in (("", 3), (sha256(TIFF).hexdigest(), 3), ("0" * 64, 1)):
        image = RecordImage(tmp_path / "a.tif", sha256=digest)
        told = list(Frames().pages([Record("i", 0, "i", [image], "o")], 10**9))
        assert len(told) == pages
    assert [one.images for one in told if isinstance(one, Record)] == [[image]]


def test_pages_that_share_their_strips_are_a_bomb(monkeypatch):
    monkeypatch.setattr("vlm_assets.ingest.frames._MOST_TIMES", 0.5)
    told = list(Frames().pages([record(TIFF)], 10**9))
    assert [one.reason for one in told if isinstance(one, Reject)] == [RejectReason.BOMB] * 2


@pytest.mark.parametrize(("frames", "told"), [(3, 2), (1000, 999), (10_000, 1000)])
def test_of_very_many_frames_some_share_a_line(frames, told):
    noted = Frames()
    outcome: Any = {"image_facts": [{"frames": 1}, {"frames": frames}]}
    assert list(noted.told([(record(b"", 0), outcome)])) == [(record(b"", 0), outcome)]
    assert len(noted.left_out["i"]) == told
    assert noted.left_out["i"][0].key == "i#image=2#frame=2"
