"""Lines on machines that share nothing but an S3 bucket, run through their assets."""

import os
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from vlm_assets.allocation.step import allocate, tombstones_in_force
from vlm_assets.corpus.build import build_corpus, pending_shards, write_shards
from vlm_assets.corpus.manifest import CorpusManifest
from vlm_assets.corpus.seal import seal
from vlm_assets.corpus.shards import plan_shards
from vlm_assets.ingest.listing import list_without_writing
from vlm_assets.ingest.slice import build_slice, read_run
from vlm_assets.installation.opening import Installation
from vlm_assets.orchestration.names import ALLOCATION_KEY, CORPUS_KEY
from vlm_assets.orchestration.run.pending import due_slices, target_states
from vlm_assets.remote.line import NoRemote, line_remote
from vlm_assets.remote.listings import read_remote_listing
from vlm_assets.remote.local import current_on_disk
from vlm_assets.remote.names import Name, object_key
from vlm_assets.remote.on_commit import push_tombstones
from vlm_assets.remote.shared import SharedRemote
from vlm_assets.settings import Settings
from vlm_assets.store.tombstones import Tombstone, write_tombstone
from vlm_assets.store.versions import read_manifest
from vlm_assets.words.errors import AllocationError, CorpusError, LockHeldError
from vlm_assets.words.layout import DataRoot
from vlm_assets_tests.orchestration.kit import Line, instance_in
from vlm_assets_tests.remote.s3 import BUCKET, PREFIX, REMOTE, FaultProxy, S3Server
from vlm_assets_tests.workplace import STREET, fill, ingest, install, relist

SMALL_SHARDS = {"shard": {"max_bytes": 120_000, "window_bytes": 16_000, "block_rows": 4}}


class Place:
    """A catalogue and an S3 bucket; machines with data roots of their own that share both."""

    def __init__(self, folder: Path, server: S3Server, proxy: FaultProxy, made_home: Path) -> None:
        self.folder, self.server, self.proxy, self._home = folder, server, proxy, made_home
        self._open = ExitStack()
        for number, name in enumerate(("a", "b")):
            fill(folder / "pictures" / name, 12, start=100 * number)
        self.alone = install(folder / "alone", {**STREET, "path": folder / "pictures"}, corpus=SMALL_SHARDS)

    def machine(self, name: str, **settings: object) -> Installation:
        root = self.folder / name
        root.mkdir()
        (root / ".vlm_root").touch()
        changed = self.alone.settings.model_dump() | {
            "data_root": root, "remote": REMOTE, "remote_endpoint": self.proxy.endpoint, "remote_concurrency": 4,
            **settings,
        }  # fmt: skip
        return replace(self.alone, settings=Settings(_env_file=None, **changed), root=DataRoot(root))

    def line(self, name: str, **settings: object) -> Line:
        """A machine with a Dagster instance of its own."""
        home = self.folder / f"home-{name}"
        return Line(self.machine(name, **settings), self._open.enter_context(instance_in(home, self._home)))

    def close(self) -> None:
        self._open.close()


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    with S3Server() as running:
        yield running


@pytest.fixture(scope="module")
def running_proxy(server: S3Server) -> Iterator[FaultProxy]:
    with FaultProxy(server) as running:
        yield running


@pytest.fixture(scope="module")
def shared(
    tmp_path_factory: pytest.TempPathFactory, server: S3Server, running_proxy: FaultProxy, made_home: Path
) -> Iterator[tuple[Place, Line]]:
    """A place where one line has listed and fetched; the tests of it leave the remote whole."""
    server.new_bucket()
    place = Place(tmp_path_factory.mktemp("shared"), server, running_proxy, made_home)
    first = place.line("fetcher")
    assert first.list_sources("street").success
    assert first.fetch("street").success
    yield place, first
    place.close()


def wanted_corpus(alone: Installation) -> CorpusManifest:
    """What one machine makes of it."""
    ingest(alone)
    return build_corpus(allocate(alone, "20").path, alone.root, tombstones_in_force(alone.root))


def sealed(installation: Installation) -> CorpusManifest:
    return read_manifest(installation.root.corpus("small", "20").resolve(), CorpusManifest)


def test_nothing_is_sent_again_by_a_second_run(shared: tuple[Place, Line]):
    place, first = shared
    place.proxy.log.clear()
    assert first.list_sources("street").success
    assert first.fetch("street").success
    assert place.proxy.sent() == []


def test_what_another_machine_fetched_is_not_fetched_again(shared: tuple[Place, Line]):
    place, first = shared
    second = place.line("other")
    assert second.list_sources("street").success
    assert second.slices("street") == ["a", "b"]
    assert second.fetch("street").success
    assert second.materialized("street") == {"a": 1, "b": 1}
    for key in ("a", "b"):
        ours, theirs = (one.installation.root.slice("street", key).resolve() for one in (second, first))
        assert (ours.name, read_run(ours)) == (theirs.name, read_run(theirs))  # of that fetch, not of another


def test_slices_by_one_machine_shards_by_the_other(shared: tuple[Place, Line]):
    place, first = shared
    builder = place.line("builder", step_storage=f"s3://{BUCKET}/steps")
    assert builder.run(ALLOCATION_KEY, CORPUS_KEY, partition_key="20").success
    wanted, found = wanted_corpus(place.alone), sealed(builder.installation)
    assert len(found.shards) > 1
    assert (found.root_hash, found.rows_hash) == (wanted.root_hash, wanted.rows_hash)
    assert not (first.installation.root.path / "corpora").exists()
    values = place.server.client().list_objects_v2(Bucket=BUCKET, Prefix="steps/")["Contents"]
    assert {one["Key"].split("/")[-1] for one in values} >= {"staging", "result"}
    shown = [key.removesuffix("/current") for key in place.server.listed() if key.endswith("/current")]
    assert shown == ["allocations/small/20", "corpora/small/20", "datasets/street/a", "datasets/street/b"]


@pytest.fixture
def place(tmp_path: Path, server: S3Server, running_proxy: FaultProxy, made_home: Path) -> Iterator[Place]:
    """A place of its own with an empty bucket. Comes after the tests of `shared`."""
    server.new_bucket()
    running_proxy.log.clear()
    place = Place(tmp_path, server, running_proxy, made_home)
    yield place
    place.close()


def share(installation: Installation) -> SharedRemote:
    """Lists, fetches and pushes, as the assets do."""
    remote = SharedRemote(installation)
    remote.before_listing(["street"])
    listing = relist(installation)
    remote.after_listing("street")
    for key in listing.slices:
        remote.before_slice(listing, key)
        build_slice(installation, installation.catalog.source("street"), listing, key)
        remote.after_slice("street", key)
    return remote


def test_a_version_for_an_older_listing_gives_its_unchanged_items(place: Place):
    share(place.machine("fetcher"))
    fill(place.folder / "pictures" / "a", 1, start=500)
    other = place.machine("other")
    share(other)
    run = read_run(other.root.slice("street", "a").resolve())
    assert run is not None
    assert run.taken_over == 12


def test_a_new_machine_keeps_the_number_of_buckets(place: Place, tmp_path: Path):
    """By the remote's listing: more files would be cut into more buckets on a machine that knows nothing."""
    buckets = {**STREET, "path": place.folder / "pictures", "files_per_slice": 12}
    place.alone = install(place.folder / "alone", buckets)
    share(place.machine("first"))
    fill(place.folder / "pictures" / "c", 30, start=700)
    second = place.machine("second")
    known = read_remote_listing(second.settings, "street")
    planned = list_without_writing(second, second.catalog.source("street"), tmp_path / "cache", known).listing
    assert not second.root.listings.exists()
    SharedRemote(second).before_listing(["street"])
    listing = relist(second)
    assert listing.buckets == planned.buckets
    assert relist(place.alone).buckets != listing.buckets  # which has never been listed


def test_a_damaged_slice_at_the_remote_comes_from_its_origin(place: Place):
    one, other = place.machine("one"), place.machine("other")
    share(one)
    stored = current_on_disk(one.root, Name("datasets", "street", "a"))
    assert stored is not None
    key = object_key(stored.files["data-00000.arrow"].blake3)
    place.server.put(key, b"X" + place.server.get(key)[1:])
    share(other)
    run = read_run(other.root.slice("street", "a").resolve())
    assert run is not None
    assert run.pid == os.getpid()
    assert run != read_run(one.root.slice("street", "a").resolve())


def test_left_to_the_backup_nothing_is_pushed_on_commit(place: Place):
    quiet = place.machine("one", remote_push="backup")
    remote = share(quiet)
    remote.before_allocation()
    allocate(quiet, "20")
    remote.after_allocation("20")
    remote.before_shards("20")
    staging, _ = plan_shards(quiet.root.allocation("small", "20"), quiet.root)
    write_shards(staging, on_shard=lambda bits: remote.after_shard(staging, bits))
    seal(remote.before_seal("20", staging))
    remote.after_seal("20")
    assert place.proxy.sent() == []
    assert place.proxy.log  # but it was asked


def test_a_slice_that_cannot_be_pushed_is_pushed_the_next_time(place: Place):
    one, key = place.machine("one"), "datasets/street/a/current"
    place.server.put(
        key, b'{"type": "current", "version": "0123456789ab", "host": "rival.example", "pid": 7, "since": ""}'
    )
    ingest(one)
    with pytest.raises(LockHeldError, match="0123456789ab"):
        SharedRemote(one).after_slice("street", "a")
    place.server.client().delete_object(Bucket=BUCKET, Key=f"{PREFIX}/{key}")
    share(one)
    assert place.server.get(key)


@pytest.mark.slow
def test_each_step_on_a_machine_of_its_own(place: Place):
    """As tasks do it: every step begins with an empty data root."""
    share(place.machine("fetcher"))
    planner = place.machine("planner")
    SharedRemote(planner).before_allocation()
    allocate(planner, "20")
    SharedRemote(planner).after_allocation("20")
    staging, bits = _plan(place.machine("shards"))
    assert len(bits) > 1
    for one in bits:
        worker = place.machine(f"worker{one}")
        there = SharedRemote(worker).staging_here("20", staging)
        assert there != staging
        write_shards(there, [one], on_shard=partial(SharedRemote(worker).after_shard, there))
    assert _plan(place.machine("again"))[1] == []  # a run that was lost goes on where it was
    sealer = place.machine("sealer")
    here = SharedRemote(sealer).before_seal("20", staging)
    assert not pending_shards(here)
    found, wanted = seal(here), wanted_corpus(place.alone)
    SharedRemote(sealer).after_seal("20")
    assert (found.root_hash, found.rows_hash) == (wanted.root_hash, wanted.rows_hash)
    reader = place.machine("reader")
    SharedRemote(reader).before_reading("20")
    assert sealed(reader) == found


def _plan(installation: Installation) -> tuple[Path, list[str]]:
    remote = SharedRemote(installation)
    remote.before_shards("20")
    staging, _ = plan_shards(installation.root.allocation("small", "20"), installation.root)
    return staging, [shard.bits for shard in remote.to_write(staging, pending_shards(staging))]


def test_what_is_due_can_be_decided_by_the_remotes_manifests(place: Place):
    """As the services do where runs are tasks: their own data root has nothing."""
    watcher = place.machine("watcher", manifests_from="remote")
    spec = watcher.catalog.source("street")

    def due() -> dict[str, str]:
        return {key: str(why) for key, why in due_slices(watcher, spec, now=0).items()}

    def stale() -> bool:
        return not target_states(watcher, ("20",))[0].up_to_date

    assert due() == {}
    one = place.machine("one")
    listing = relist(one)
    remote = SharedRemote(one)
    remote.after_listing("street")
    assert due() == {"a": "new", "b": "new"}
    with pytest.raises(AllocationError, match="2 of 2 slices never committed"):
        stale()
    share(one)
    assert due() == {}
    assert stale()
    build_corpus(allocate(one, "20").path, one.root)
    remote.after_seal("20")
    assert not stale()
    fill(place.folder / "pictures" / "a", 1, start=600)
    share(one)
    assert stale()
    place.proxy.log.clear()
    assert stale()
    assert {asked.key for asked in place.proxy.log} == {""}  # listings of keys alone
    assert len(listing.slices) == 2
    assert not (watcher.root.path / "datasets").exists()
    data = [path for path in watcher.root.path.rglob("*.arrow") if path.is_file()]
    assert data == []


def test_nothing_is_sealed_past_a_takedown_of_another_machine(place: Place):
    builder, other = place.machine("builder"), place.machine("other")
    ingest(builder)
    allocate(builder, "20")
    staging, _ = plan_shards(builder.root.allocation("small", "20"), builder.root)
    write_tombstone(other.root, Tombstone(asked="id:street/a/0000.jpeg", ids=("street/a/0000.jpeg",)))
    assert push_tombstones(other)
    assert not push_tombstones(other)
    with pytest.raises(CorpusError, match="takedown arrived"):
        SharedRemote(builder).before_seal("20", staging)


def test_without_a_remote_a_line_works_alone(tmp_path: Path):
    alone = install(tmp_path, {**STREET, "path": tmp_path})
    assert type(line_remote(alone)) is NoRemote
    moments = {name for name in vars(NoRemote) if not name.startswith("_")}
    assert moments == {name for name in vars(SharedRemote) if not name.startswith("_")}
