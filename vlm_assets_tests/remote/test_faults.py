from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace

import pytest
from blake3 import blake3

from vlm_assets.remote import bucket as bucket_module
from vlm_assets.remote.backup import backup
from vlm_assets.remote.bucket import Bucket, ConditionUnmetError
from vlm_assets.remote.download import fetch_object
from vlm_assets.remote.names import object_key
from vlm_assets.remote.pace import Pace
from vlm_assets.remote.restore import restore
from vlm_assets.remote.upload import Uploader
from vlm_assets.words.errors import RemoteError, StoreError
from vlm_assets.words.manifest import FileEntry
from vlm_assets_tests.remote.conftest import NewRoot, tree
from vlm_assets_tests.remote.s3 import (
    BUCKET,
    PREFIX,
    Asked,
    Fault,
    FaultProxy,
    S3Server,
    first_of_each,
    nth,
    open_bucket,
)

PART = 5 * 2**20


def _made_file(path: Path, size: int = 3 * PART + 1234) -> FileEntry:
    data = sha256(path.name.encode()).digest() * (size // 32 + 1)
    path.write_bytes(data[:size])
    return FileEntry(size_bytes=size, blake3=blake3(data[:size]).hexdigest())


def _uploader(bucket: Bucket) -> Uploader:
    return Uploader(bucket, part_bytes=PART)


def _is_part(asked: Asked) -> bool:
    return asked.method == "PUT" and "partNumber" in asked.query


def _is_object_read(asked: Asked) -> bool:
    return asked.method == "GET" and asked.key.startswith("objects/")


SLOW_DOWN = Fault(503, "SlowDown")
BROKEN = Fault(500)
LOST_ANSWER = Fault(drop=True, forward_first=True)


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(SLOW_DOWN, id="slow-down"),
        pytest.param(BROKEN, id="500", marks=pytest.mark.slow),
        pytest.param(Fault(drop=True), id="drop", marks=pytest.mark.slow),
        pytest.param(LOST_ANSWER, id="lost-answer"),
        pytest.param(Fault(500, forward_first=True), id="500-after-the-deed", marks=pytest.mark.slow),
    ],
)
def test_a_backup_survives_every_third_request_failing(machine: NewRoot, proxy: FaultProxy, fault: Fault):
    one = machine("a")
    proxy.fault = nth(lambda _: True, range(0, 1000, 3), fault)
    report = backup(one)
    assert report.failed == {}
    proxy.fault = lambda _: None
    other = machine("b", empty=True)
    assert restore(other.settings).failed == {}
    assert tree(other.root) == tree(one.root)


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(SLOW_DOWN, id="slow-down", marks=pytest.mark.slow),
        pytest.param(Fault(cut_after=0), id="cut-at-once", marks=pytest.mark.slow),
        pytest.param(Fault(cut_after=700), id="cut"),
        pytest.param(Fault(drop=True), id="drop", marks=pytest.mark.slow),
        pytest.param(Fault(flip=True), id="flip-in-transit"),
    ],
)
def test_a_restore_survives_the_first_read_of_every_object_failing(
    machine: NewRoot, proxy: FaultProxy, fault: Fault
):
    one = machine("a")
    backup(one)
    proxy.fault = first_of_each(_is_object_read, fault)
    other = machine("b", empty=True)
    report = restore(other.settings)
    assert report.failed == {}
    assert tree(other.root) == tree(one.root)


def test_a_remote_that_is_down_is_told_after_a_few_tries(machine: NewRoot, proxy: FaultProxy):
    proxy.fault = lambda _: BROKEN
    with pytest.raises(RemoteError, match="InternalError"):
        backup(machine("a"))


def test_refused_writes_stop_the_rest(machine: NewRoot, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("vlm_assets.remote.push._FAILURES", 2)
    proxy.fault = lambda asked: Fault(403, "AccessDenied") if asked.sends_object else None
    report = backup(machine("a"))
    assert report.exit_code == 1
    assert any("compare it with deploy/aws" in why for why in report.failed.values())
    assert not [key for key in proxy.sent() if key.endswith("/current")]


def test_a_cut_download_goes_on_where_it_was(proxy: FaultProxy, tmp_path: Path):
    bucket = open_bucket(proxy.endpoint)
    entry = _made_file(tmp_path / "big")
    with _uploader(bucket) as uploader:
        uploader.send(tmp_path / "big", entry)
    proxy.log.clear()
    proxy.fault = nth(_is_object_read, range(3), Fault(cut_after=2_000_000))
    received: list[int] = []
    fetch_object(bucket, entry, tmp_path / "copy", received.append)
    assert (tmp_path / "copy").read_bytes() == (tmp_path / "big").read_bytes()
    assert sum(received) == entry.size_bytes  # nothing twice
    assert len([asked for asked in proxy.log if _is_object_read(asked)]) == 4


def test_a_killed_download_goes_on_where_it_was(proxy: FaultProxy, tmp_path: Path):
    bucket = open_bucket(proxy.endpoint)
    entry = _made_file(tmp_path / "big")
    with _uploader(bucket) as uploader:
        uploader.send(tmp_path / "big", entry)
    (tmp_path / "copy.part").write_bytes((tmp_path / "big").read_bytes()[:PART])
    fetch_object(bucket, entry, tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == (tmp_path / "big").read_bytes()
    assert not (tmp_path / "copy.part").exists()


def test_an_upload_in_parts_is_the_same_object(proxy: FaultProxy, s3: S3Server, tmp_path: Path):
    entry = _made_file(tmp_path / "big")
    sent: list[int] = []
    with Uploader(open_bucket(proxy.endpoint), part_bytes=PART, on_sent=sent.append) as uploader:
        assert uploader.send(tmp_path / "big", entry) == entry.size_bytes
    assert s3.get(object_key(entry.blake3)) == (tmp_path / "big").read_bytes()
    assert len([asked for asked in proxy.log if _is_part(asked)]) == 4
    assert sum(sent) == entry.size_bytes


def test_parts_carry_a_checksum_that_the_store_keeps(proxy: FaultProxy, s3: S3Server, tmp_path: Path):
    entry = _made_file(tmp_path / "big")
    with _uploader(open_bucket(proxy.endpoint)) as uploader:
        uploader.send(tmp_path / "big", entry)
    head = s3.client().head_object(
        Bucket=BUCKET, Key=f"{PREFIX}/{object_key(entry.blake3)}", ChecksumMode="ENABLED"
    )
    assert head["ChecksumSHA256"]


def test_an_interrupted_upload_sends_only_what_is_missing(
    proxy: FaultProxy, s3: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(bucket_module, "_ROUNDS", 1)
    entry = _made_file(tmp_path / "big", 6 * PART)
    proxy.fault = nth(_is_part, range(3, 100), BROKEN)
    with _uploader(open_bucket(proxy.endpoint, concurrency=1)) as uploader, pytest.raises(RemoteError):
        uploader.send(tmp_path / "big", entry)
    assert s3.listed("objects/") == []
    proxy.fault = lambda _: None
    proxy.log.clear()
    with _uploader(open_bucket(proxy.endpoint, concurrency=1)) as uploader:
        assert uploader.send(tmp_path / "big", entry) == 3 * PART
    assert sorted(int(a.query["partNumber"][0]) for a in proxy.log if _is_part(a)) == [4, 5, 6]
    assert s3.get(object_key(entry.blake3)) == (tmp_path / "big").read_bytes()


def test_a_stored_part_with_other_bytes_is_sent_again(proxy: FaultProxy, s3: S3Server, tmp_path: Path):
    entry = _made_file(tmp_path / "big", 2 * PART)
    key = f"{PREFIX}/{object_key(entry.blake3)}"
    client = s3.client()
    upload = client.create_multipart_upload(Bucket=BUCKET, Key=key)["UploadId"]
    client.upload_part(Bucket=BUCKET, Key=key, UploadId=upload, PartNumber=1, Body=b"\0" * PART)
    with _uploader(open_bucket(proxy.endpoint)) as uploader:
        assert uploader.send(tmp_path / "big", entry) == entry.size_bytes
    assert s3.get(object_key(entry.blake3)) == (tmp_path / "big").read_bytes()


@pytest.mark.parametrize("size", [1000, 2 * PART], ids=["whole", "parts"])
def test_a_file_that_is_not_what_its_manifest_says_never_appears(
    proxy: FaultProxy, s3: S3Server, tmp_path: Path, size: int
):
    entry = _made_file(tmp_path / "big", size)
    data = bytearray((tmp_path / "big").read_bytes())
    data[-1] ^= 1
    (tmp_path / "big").write_bytes(data)
    with (
        _uploader(open_bucket(proxy.endpoint)) as uploader,
        pytest.raises(StoreError, match="damaged on disk"),
    ):
        uploader.send(tmp_path / "big", entry)
    assert s3.listed("objects/") == []
    assert not s3.client().list_multipart_uploads(Bucket=BUCKET).get("Uploads")


def test_the_lost_answer_of_a_completion_is_no_failure(proxy: FaultProxy, s3: S3Server, tmp_path: Path):
    entry = _made_file(tmp_path / "big", 2 * PART)
    completes = nth(lambda asked: asked.method == "POST" and "uploadId" in asked.query, range(1), LOST_ANSWER)
    proxy.fault = completes
    with _uploader(open_bucket(proxy.endpoint)) as uploader:
        uploader.send(tmp_path / "big", entry)
    assert s3.get(object_key(entry.blake3)) == (tmp_path / "big").read_bytes()


def test_an_interrupted_backup_is_resumed(machine: NewRoot, proxy: FaultProxy, s3: S3Server, monkeypatch):
    monkeypatch.setattr(bucket_module, "_ROUNDS", 1)
    monkeypatch.setattr("vlm_assets.remote.push._FAILURES", 1)
    one = machine("a")
    proxy.fault = nth(lambda asked: asked.sends_object, range(8, 1000), BROKEN)
    assert backup(one).exit_code == 1
    there = set(s3.listed("objects/"))
    assert 0 < len(there) < 12
    proxy.fault = lambda _: None
    proxy.log.clear()
    assert backup(one).failed == {}
    assert not there & {asked.key for asked in proxy.log if asked.sends_object}
    other = machine("b", empty=True)
    restore(other.settings)
    assert tree(other.root) == tree(one.root)


def test_an_interrupted_restore_is_resumed(machine: NewRoot, proxy: FaultProxy, monkeypatch):
    monkeypatch.setattr(bucket_module, "_ROUNDS", 1)
    one = machine("a")
    backup(one)
    proxy.fault = nth(_is_object_read, range(8, 1000), Fault(403, "AccessDenied"))
    other = machine("b", empty=True)
    assert restore(other.settings).exit_code == 1
    there = {path.name for path in (other.root.path / ".remote/objects").iterdir()}
    assert len(there) >= 7
    proxy.fault = lambda _: None
    proxy.log.clear()
    assert restore(other.settings).failed == {}
    assert not there & {asked.key.removeprefix("objects/") for asked in proxy.log if _is_object_read(asked)}
    assert tree(other.root) == tree(one.root)


def test_the_rate_is_a_mean_over_all_threads(monkeypatch: pytest.MonkeyPatch):
    waits: list[float] = []
    clock = SimpleNamespace(monotonic=lambda: 7.0 + sum(waits), sleep=waits.append)
    monkeypatch.setattr("vlm_assets.remote.pace.time", clock)
    pace = Pace(1_000_000)
    for _ in range(5):
        pace.wait(500_000)
    assert waits == pytest.approx([0.0, 0.5, 0.5, 0.5, 0.5])
    waits.clear()
    Pace(0).wait(10**12)
    assert waits == []


def test_a_conditional_write_whose_answer_is_lost_has_succeeded(proxy: FaultProxy, s3: S3Server):
    proxy.fault = nth(lambda asked: asked.method == "PUT", range(1), LOST_ANSWER)
    bucket = open_bucket(proxy.endpoint)
    etag = bucket.put("listings/x.json", b"one", new=True)
    assert s3.get("listings/x.json") == b"one"
    proxy.fault = nth(lambda asked: asked.method == "PUT", range(1), LOST_ANSWER)
    bucket.put("listings/x.json", b"two", replaces=etag)
    assert s3.get("listings/x.json") == b"two"
    with pytest.raises(ConditionUnmetError):
        bucket.put("listings/x.json", b"three", new=True)
