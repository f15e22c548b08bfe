"""Takedowns of a machine that has a remote."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest

from vlm_assets.installation.opening import Installation, open_installation
from vlm_assets.operate.takedown import Receipt, TakedownOrder, take_down
from vlm_assets.remote import bucket as bucket_module
from vlm_assets.remote.backup import backup
from vlm_assets.remote.prune import PruneOrder, prune_remote
from vlm_assets.remote.restore import restore
from vlm_assets.settings import load_settings
from vlm_assets_tests.audit.breaking import TARGET, Broken, copy_of, good_once, sha_of
from vlm_assets_tests.remote.s3 import BUCKET, PREFIX, REMOTE, Fault, FaultProxy, S3Server
from vlm_assets_tests.workplace import picture


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    with S3Server() as running:
        yield running


@pytest.fixture
def proxy(server: S3Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FaultProxy]:
    server.new_bucket()
    monkeypatch.setattr(bucket_module, "_FIRST_WAIT_S", 0.01)
    monkeypatch.setattr("botocore.endpoint.time", SimpleNamespace(sleep=lambda _: None, time=lambda: 0.0))
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "home"))
    with FaultProxy(server) as running:
        yield running


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Installation:
    return good_once(tmp_path_factory)


@dataclass
class Shared(Broken):
    """A copied installation that has a remote."""

    endpoint: str

    @property
    def installation(self) -> Installation:
        settings = load_settings(
            None, catalog=self.base / "catalog", data_root=self.base / "data", workers=1, remote=REMOTE,
            remote_endpoint=self.endpoint, remote_concurrency=4,
        )  # fmt: skip
        return open_installation(settings)


@pytest.fixture
def copy(good: Installation, tmp_path: Path, proxy: FaultProxy) -> Shared:
    """A good corpus whose machine has backed everything up."""
    shared = Shared(copy_of(good, tmp_path).base, proxy.endpoint)
    assert not backup(shared.installation).failed
    return shared


def stored_with(server: S3Server, data: bytes) -> list[str]:
    """Keys of stored versions, deleted ones included, that hold these bytes."""
    client = server.client()
    versions = client.list_object_versions(Bucket=BUCKET, Prefix=PREFIX).get("Versions", ())
    return [
        one["Key"]
        for one in versions
        if data in client.get_object(Bucket=BUCKET, Key=one["Key"], VersionId=one["VersionId"])["Body"].read()
    ]


def image_of(row: dict[str, object]) -> bytes:
    from hashlib import sha256

    return next(data for n in range(1000) if sha256(data := picture(n)).hexdigest() == sha_of(row))


def a_row(broken: Broken) -> dict[str, object]:
    return next(row for bits in broken.bits for row in broken.rows(bits)[1] if row["source"] == "street")


def take(installation: Installation, row: dict[str, object]) -> Receipt:
    return take_down(installation, TakedownOrder(id=str(row["id"])))


def test_no_stored_version_at_the_remote_has_the_bytes_any_more(
    copy: Shared, server: S3Server, tmp_path: Path
):
    row = a_row(copy)
    image = image_of(row)
    assert len(stored_with(server, image)) >= 2  # the slice's and the shard's
    before = {key for key in server.listed() if key.endswith("metadata.json")}
    receipt = take(copy.installation, row)
    assert receipt.outstanding == ()
    assert stored_with(server, image) == []
    # What it does not cover stays.
    gone = {key.removesuffix("/metadata.json") for key in before - set(server.listed())}
    told = [one.removeprefix("remote ") for one in receipt.versions_deleted if one.startswith("remote ")]
    assert {key.replace("/.versions/", "@") for key in gone} == set(told)
    names = {one.split("@")[0] for one in told}
    rewritten = {f"corpora/good/{one.target}" for one in receipt.corpora}
    assert names == rewritten | {f"datasets/{one}" for one in receipt.slices_emptied}
    fresh = tmp_path / "fresh"
    fresh.mkdir()
    (fresh / ".vlm_root").touch()
    settings = copy.installation.settings.model_copy(update={"data_root": fresh})
    restored = restore(settings)
    assert restored.failed == {}
    assert (fresh / f"tombstones/{receipt.tombstone}.json").is_file()
    assert f"corpora/good/{TARGET}" in restored.root_hashes


def test_a_remote_that_refuses_stands_on_the_receipt_with_the_command(
    copy: Shared, server: S3Server, proxy: FaultProxy
):
    row = a_row(copy)
    proxy.fault = lambda asked: Fault(status=403, code="AccessDenied") if "delete" in asked.query else None
    receipt = take(copy.installation, row)
    assert receipt.exit_code == 1
    [told] = receipt.outstanding
    assert "AccessDenied" in told
    assert "AllowPrune=true" in told
    assert f"vlm-assets takedown --id {row['id']}" in told
    assert f"tombstones/{receipt.tombstone}.json" in server.listed()
    proxy.fault = lambda _: None
    again = take(copy.installation, row)
    assert again.outstanding == ()
    assert any(one.startswith("remote datasets/street/") for one in again.versions_deleted)


def test_a_remote_that_is_down_keeps_the_takedown_from_nothing_else(copy: Shared, proxy: FaultProxy):
    row = a_row(copy)
    proxy.fault = lambda _: Fault(status=503, code="SlowDown")
    receipt = take(copy.installation, row)
    assert receipt.exit_code == 1
    assert receipt.slices_emptied
    assert receipt.corpora
    assert "still hold the rows" in receipt.outstanding[0]


def test_slices_of_other_machines_are_told(copy: Shared):
    row = a_row(copy)
    root = copy.installation.root
    link = next(p for p in root.source("wild").iterdir() if p.is_symlink())
    link.unlink()
    receipt = take(copy.installation, row)
    assert receipt.exit_code == 1
    assert f"datasets/wild/{link.name}" in receipt.outstanding[0]
    assert "not on this machine" in receipt.outstanding[0]


def test_shards_that_nobody_sealed_go_too(copy: Shared, server: S3Server):
    from vlm_assets.corpus.manifest import CorpusManifest
    from vlm_assets.remote.staged import StagedShard, staged_prefix
    from vlm_assets.store.versions import read_manifest

    version = copy.installation.root.corpus("good", TARGET).resolve()
    bits, shard = next(iter(read_manifest(version, CorpusManifest).shards.items()))
    sidecar = StagedShard(inputs_digest="x", data=shard.data, index=shard.index).to_bytes()
    key = f"{staged_prefix('good', 'some-plan')}r{bits}.json"
    server.put(key, sidecar)
    prune_remote(copy.installation.settings, PruneOrder())
    assert key in server.listed()
    take(copy.installation, a_row(copy))
    assert key not in server.listed()
