"""Takedowns of a machine that has a remote."""

import base64
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace

import pytest

from vlm_assets.commands.takedowns import finish_restored, holds_rows
from vlm_assets.images.thumbnails import thumbnail
from vlm_assets.installation.opening import Installation, open_installation
from vlm_assets.operate.takedown import Receipt, TakedownOrder, finish_takedowns, take_down
from vlm_assets.papers.shown import SIDE_PX
from vlm_assets.remote import bucket as bucket_module
from vlm_assets.remote.backup import backup
from vlm_assets.remote.bucket import open_remote
from vlm_assets.remote.on_commit import push_slice
from vlm_assets.remote.prune import PruneOrder, prune_remote
from vlm_assets.remote.restore import restore
from vlm_assets.remote.takedowns import pull_tombstones
from vlm_assets.remote.verify import verify_remote
from vlm_assets.settings import load_settings
from vlm_assets.store.versions import commit_version, read_manifest
from vlm_assets.words.manifest import SliceManifest
from vlm_assets_tests.audit.breaking import TARGET, Broken, copy_of, good_once, sha_of
from vlm_assets_tests.remote.s3 import REMOTE, Fault, FaultProxy, S3Server
from vlm_assets_tests.workplace import picture


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    with S3Server() as running:
        yield running


@pytest.fixture(scope="module")
def running_proxy(server: S3Server) -> Iterator[FaultProxy]:
    with FaultProxy(server) as running:
        yield running


@pytest.fixture
def proxy(running_proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FaultProxy:
    monkeypatch.setattr(bucket_module, "_FIRST_WAIT_S", 0.01)
    monkeypatch.setattr("botocore.endpoint.time", SimpleNamespace(sleep=lambda _: None, time=lambda: 0.0))
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "home"))
    running_proxy.fault = lambda _: None
    return running_proxy


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


BackedUp = tuple[Path, dict[str, tuple[bytes, dict[str, str], str]]]


@pytest.fixture(scope="module")
def backed_up(
    good: Installation,
    server: S3Server,
    running_proxy: FaultProxy,
    tmp_path_factory: pytest.TempPathFactory,
) -> BackedUp:
    """A good corpus whose machine has backed everything up, and the objects of its bucket."""
    server.new_bucket()
    shared = Shared(copy_of(good, tmp_path_factory.mktemp("backed_up")).base, running_proxy.endpoint)
    assert not backup(shared.installation).failed
    return shared.base, server.everything()


@pytest.fixture
def copy(backed_up: BackedUp, server: S3Server, proxy: FaultProxy, tmp_path: Path) -> Shared:
    """That machine and that bucket, to change."""
    base, objects = backed_up
    shutil.copytree(base, tmp_path / "first", symlinks=True)
    server.put_back(objects)
    return Shared(tmp_path / "first", proxy.endpoint)


def stored_with(server: S3Server, data: bytes) -> list[str]:
    """Keys of stored versions, deleted ones included, that hold these bytes."""
    return [key for key, content in server.stored() if data in content]


def image_of(row: dict[str, object]) -> bytes:
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


def test_papers_there_go_where_the_corpus_stays_as_it_is(copy: Shared, server: S3Server):
    """A row that is in no corpus: reports show it among those that were left out."""
    image = picture(400, size=(24, 24))
    small = thumbnail(image, {"format": "JPEG", "width_px": 24, "height_px": 24}, SIDE_PX)
    assert small is not None
    shown = base64.b64encode(small)
    assert len(stored_with(server, shown)) == 2  # of two targets
    shards = {key for key in server.listed() if "/corpora/" in key and key.endswith("metadata.json")}
    receipt = take_down(copy.installation, TakedownOrder(sha256=sha256(image).hexdigest()))
    assert receipt.outstanding == ()
    assert receipt.corpora == ()
    assert stored_with(server, shown) == []
    assert shards <= set(server.listed())
    assert verify_remote(copy.installation.settings, deep=True).problems == []


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


def other_machine(copy: Shared, tmp_path: Path, name: str = "other") -> Shared:
    """A machine with the same data root as it is now."""
    shutil.copytree(copy.base, tmp_path / name, symlinks=True)
    return Shared(tmp_path / name, copy.endpoint)


def test_a_machine_that_never_heard_of_it_brings_nothing_back(copy: Shared, server: S3Server, tmp_path: Path):
    row, other = a_row(copy), other_machine(copy, tmp_path)
    image = image_of(row)
    assert take(copy.installation, row).complete
    late = other.installation
    name = "/".join(str(row["id"]).split("/")[:2])
    another_version(late, name)
    report = backup(late, take_over=True)
    assert "takedown --finish" in report.failed[f"datasets/{name}"]
    assert all(one.complete for one in finish_takedowns(late))
    assert backup(late, take_over=True).failed == {}
    assert stored_with(server, image) == []


def files_with(root: Path, data: bytes) -> list[str]:
    return [path.name for path in root.rglob("*") if path.is_file() and data in path.read_bytes()]


def test_a_restore_that_hears_of_a_takedown_carries_it_out_here(
    copy: Shared, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    row, other = a_row(copy), other_machine(copy, tmp_path)
    image, late = image_of(row), other.installation.settings
    assert take(copy.installation, row).complete
    assert holds_rows(late.root)
    restore(late)
    assert files_with(other.base / "data", image)
    assert finish_restored(late.model_copy(update={"catalog": tmp_path / "none"})) == 1
    assert "1 takedown of other machines not carried out" in capsys.readouterr().err
    assert finish_restored(late) == 0
    assert files_with(other.base / "data", image) == []
    assert finish_restored(late) == 0


def another_version(installation: Installation, name: str) -> None:
    """Commits a slice as another version than the remote has, so that something is lacking there."""
    source, key = name.split("/")
    link = installation.root.slice(source, key)
    manifest = read_manifest(link.resolve(), SliceManifest)
    staging = link.parent / "again"
    shutil.copytree(link.resolve(), staging)
    commit_version(staging, link, manifest.model_copy(update={"revision": "another"}))


@pytest.mark.slow
def test_what_came_back_between_two_looks_is_found_refused_and_purged(
    copy: Shared, server: S3Server, tmp_path: Path
):
    """The other machine pushed another version with the row just before the takedown reached the remote."""
    row, other = a_row(copy), other_machine(copy, tmp_path)
    name = "/".join(str(row["id"]).split("/")[:2])
    another_version(other.installation, name)
    push_slice(other.installation, *name.split("/"))
    receipt = take(copy.installation, row)
    assert not receipt.complete
    assert name in receipt.outstanding[0]
    fresh = tmp_path / "fresh"
    fresh.mkdir()
    (fresh / ".vlm_root").touch()
    settings = copy.installation.settings.model_copy(update={"data_root": fresh})
    refused = restore(settings, sources=[name.split("/")[0]], targets=())
    assert "taken down" in refused.failed[f"datasets/{name}"]
    assert not (fresh / "datasets" / name).exists()
    deep = verify_remote(copy.installation.settings, deep=True).problems
    assert {one.what for one in deep} == {"taken_down"}
    pull_tombstones(open_remote(other.installation.settings), other.installation.root)
    assert all(one.complete for one in finish_takedowns(other.installation))
    assert stored_with(server, image_of(row)) == []
    assert verify_remote(copy.installation.settings, deep=True).problems == []


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
