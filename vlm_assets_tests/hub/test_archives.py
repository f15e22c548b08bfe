"""Archives and WebDataset tars as data files of a Hub repository."""

from pathlib import Path

import pytest

from vlm_assets.archives.limits import ArchiveLimits
from vlm_assets.hub import webdataset
from vlm_assets.hub.readers import Reading, read_data_file
from vlm_assets.words.errors import Companion, LeftOut, Reject, RejectReason
from vlm_assets.words.records import Event, JoinedCaptions, Record
from vlm_assets_tests.archives.made import PNG, raw_zip, tar_bytes, zip_bytes


def read(folder: Path, kind: str, content: bytes, **options: str) -> list[Event]:
    path = folder / "data"
    path.write_bytes(content)
    reading = Reading(ArchiveLimits(100_000), spool_dir=folder / "spool", **options)  # type: ignore[arg-type]
    return list(read_data_file(path, kind, "d/x", "hf://d/x", reading))


def told(events: list[Event]) -> list[tuple[str, str]]:
    return [
        (one.key, "record") if isinstance(one, Record)
        else (one.key, "companion") if isinstance(one, Companion)
        else (one.key, str(one.reason)) if isinstance(one, LeftOut) else (one.detail, str(one.reason))
        for one in events if not isinstance(one, JoinedCaptions)
    ]  # fmt: skip


def test_an_archive_gives_records_and_what_was_left_out(tmp_path: Path) -> None:
    content = zip_bytes([
        ("cat/a.jpg", b"A"), ("in.tar", tar_bytes([("dog/b.jpg", b"B"), ("c.txt", b"")])), (".DS_Store", b""),
        ("noext", PNG),
    ])  # fmt: skip
    events = read(tmp_path, "archive", content)
    assert told(events) == [
        ("d/x/cat/a.jpg", "record"), ("d/x/in.tar/dog/b.jpg", "record"), ("d/x/in.tar/c.txt", "unknown_type"),
        ("d/x/.DS_Store", "os_junk"), ("d/x/noext", "record"),
    ]  # fmt: skip
    labels = [one.extra for one in events if isinstance(one, Record)]
    assert labels == [{"label": "cat"}, {"label": "dog"}, None]


def test_names_are_read_in_the_given_encoding(tmp_path: Path) -> None:
    content = raw_zip([("şehir/ığdır.jpg".encode("cp857"), b"A")])
    assert told(read(tmp_path, "archive", content, encoding="cp857")) == [("d/x/şehir/ığdır.jpg", "record")]


def test_samples_of_a_tar_in_a_tar(tmp_path: Path) -> None:
    inner = tar_bytes([("1.jpg", b"A"), ("1.txt", b"bir"), ("2.jpg", b"B"), ("2.txt", b"iki")])
    events = read(tmp_path, "webdataset", tar_bytes([("._n1.tar", b""), ("n1.tar", inner), ("n2.jpg", b"C")]))
    assert told(events) == [
        ("d/x/._n1.tar", "os_junk"), ("d/x/n1.tar/1", "record"), ("d/x/n1.tar/1", "companion"),
        ("d/x/n1.tar/2", "record"), ("d/x/n1.tar/2", "companion"), ("d/x/n2", "record"),
    ]  # fmt: skip
    assert [one.text for one in events if isinstance(one, Record)] == ["bir", "iki", None]


@pytest.mark.parametrize("size", [300, 0], ids=["bytes", "members"])
def test_names_that_share_a_stem_are_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    monkeypatch.setattr(webdataset, "SAMPLE_BYTES", 10 * 1024 + 2000)
    many = [(f"x.{number}.txt", b"t" * size) for number in range(12)]
    content = tar_bytes([("a.jpg", b"A"), *many, ("b.jpg", b"B")])
    events = read(tmp_path, "webdataset", content)
    assert [type(one).__name__ for one in events] == ["Record", "Reject", "Companion", "Record"]
    assert [one.members for one in events if isinstance(one, Companion)] == [11]
    reject = events[1]
    assert isinstance(reject, Reject)
    assert (reject.reason, reject.record) == (RejectReason.TOO_MANY_BYTES, 1)
    assert reject.detail.startswith("x: 12 members with this name")
