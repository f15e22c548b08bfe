import json
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest

from vlm_assets.allocation.step import allocate, tombstones_in_force
from vlm_assets.corpus.build import build_corpus
from vlm_assets.corpus.manifest import CorpusManifest
from vlm_assets.ingest.slice import SliceOptions, build_slice
from vlm_assets.installation.opening import Installation
from vlm_assets.remote.backup import backup
from vlm_assets.remote.bucket import open_remote
from vlm_assets.remote.hydrate import _fetch, hydrate_due_slice, hydrate_plan, hydrate_sources
from vlm_assets.remote.leases import PRUNE, HeldLease, Lease, hold_prune_lease, hold_work_lease
from vlm_assets.remote.memory import Memory
from vlm_assets.remote.names import Name, RemoteAddress
from vlm_assets.remote.on_commit import push_listing, push_slice, push_target
from vlm_assets.remote.pointers import Pointer
from vlm_assets.remote.push import Push, Pusher, Write
from vlm_assets.remote.restore import RestoreOptions, restore
from vlm_assets.store.listings import read_listing
from vlm_assets.store.tombstones import Tombstone, write_tombstone
from vlm_assets.store.versions import current_version, read_manifest
from vlm_assets.words.errors import LeaseLostError, LockHeldError, RemoteError
from vlm_assets_tests.remote.conftest import NewRoot, tree
from vlm_assets_tests.remote.s3 import FaultProxy, S3Server, open_bucket

POINTER = "datasets/street/a/current"


def _other_version(machine: Installation, rows: int) -> str:
    """Commits another version of slice `a`: fewer records, as if upstream had changed."""
    spec, listing = machine.catalog.source("street"), read_listing(machine.root, "street")
    assert listing is not None
    outcome = build_slice(machine, spec, listing, "a", SliceOptions(force=True, max_records=rows))
    return outcome.path.name


def test_two_machines_that_commit_a_slice_are_kept_apart(machine: NewRoot, s3: S3Server):
    base = machine("a")
    backup(base)
    one, other = machine("one"), machine("other")
    first, second = _other_version(one, 5), _other_version(other, 6)
    assert backup(one).failed == {}
    report = backup(other)
    assert report.exit_code == 1
    assert set(report.failed) == {"datasets/street/a"}
    assert first in report.failed["datasets/street/a"]
    assert "--take-over" in report.failed["datasets/street/a"]
    for _ in range(2):  # to have been refused is not to have had it
        assert set(backup(other).failed) == {"datasets/street/a"}
    assert Pointer.model_validate_json(s3.get(POINTER)).version == first
    assert backup(other, take_over=True).failed == {}
    assert Pointer.model_validate_json(s3.get(POINTER)).version == second


def test_the_race_itself_is_decided_by_the_store(machine: NewRoot, proxy: FaultProxy, s3: S3Server):
    """Both have looked, nobody has written: the second pointer is refused and the first one's holder named."""
    one = machine("one")
    rival = Pointer(version="0123456789ab", host="rival.example", pid=77)
    proxy.fault = lambda asked: (
        s3.put(POINTER, rival.model_dump_json().encode())
        if asked.method == "PUT" and asked.key == POINTER and POINTER not in s3.listed("datasets/street/a/")
        else None
    )
    with pytest.raises(LockHeldError, match=r"0123456789ab, put there by pid 77 on rival\.example"):
        push_slice(one, "street", "a")
    assert Pointer.model_validate_json(s3.get(POINTER)).version == "0123456789ab"


def test_equal_versions_of_two_machines_are_no_conflict(machine: NewRoot):
    assert push_slice(machine("one"), "street", "a")
    assert not push_slice(machine("other"), "street", "a")


def test_a_machine_may_move_on_from_what_it_had(machine: NewRoot, s3: S3Server):
    one = machine("one")
    backup(one)
    version = _other_version(one, 5)
    assert backup(one).done
    assert Pointer.model_validate_json(s3.get(POINTER)).version == version


def test_sealing_the_same_corpus_twice_is_kept_apart(machine: NewRoot):
    base = machine("base")
    backup(base)
    one, other = machine("one"), machine("other")
    for machine_, rows in ((one, 5), (other, 6)):
        _other_version(machine_, rows)
        plan = allocate(machine_, "20")
        build_corpus(plan.path, machine_.root, tombstones_in_force(machine_.root))
    assert push_target(one, "20")
    for _ in range(3):
        with pytest.raises(LockHeldError, match="small/20: the remote shows version"):
            push_target(other, "20")


def test_what_was_fetched_for_a_plan_is_not_written_over(machine: NewRoot):
    """The version lies on this machine's disk then, but it never showed it."""
    backup(machine("base"))
    one, other = machine("one"), machine("other")
    first = _other_version(one, 5)
    backup(one)
    _other_version(other, 6)
    _fetch(open_remote(other.settings), other.root, [(Name("datasets", "street", "a"), first)], 60)
    assert set(backup(other).failed) == {"datasets/street/a"}
    restore(other.settings, options=RestoreOptions(overwrite=True))
    _other_version(other, 7)
    assert backup(other).failed == {}  # after it had that one


def _stopped_for_long(lease: HeldLease, _: S3Server) -> None:
    lease._renewed_s -= 3600


def _taken_by_another(lease: HeldLease, s3: S3Server) -> None:
    s3.put(lease._key, b"another's")
    lease.renew()


def _store_unreachable(lease: HeldLease, _: S3Server) -> None:
    lease._bucket = open_bucket("http://127.0.0.1:9")
    lease._renewed_s -= 800
    lease.renew()


@pytest.mark.parametrize("harm", [_stopped_for_long, _taken_by_another, _store_unreachable])
def test_work_stops_when_its_lease_is_lost(proxy: FaultProxy, s3: S3Server, machine: NewRoot, harm):
    bucket, root = open_bucket(proxy.endpoint), machine("one").root
    with hold_work_lease(bucket, "backup") as lease:
        lease.check()
        harm(lease, s3)
        pushed = Pusher(bucket, Memory(root, bucket.address), lease).run(
            [Push("x", writes=(Write("x", b"x"),))]
        )
        assert isinstance(pushed.failed["x"], LeaseLostError)
    assert "x" not in s3.listed()
    if harm is _taken_by_another:
        assert s3.get(lease._key) == b"another's"


def test_what_two_processes_learn_of_the_remote_is_kept(machine: NewRoot):
    root = machine("one").root
    address = RemoteAddress.parse("s3://a/b")
    one, other = Memory(root, address), Memory(root, address)
    one.note("x", "1", "first", own=True)
    other.note("y", "2", "second")
    one.save()
    other.save()
    kept = Memory(root, address)
    assert (kept.had("x"), kept.had("y"), kept.content("y", "2")) == ("first", None, "second")


def test_a_restore_follows_the_remote_but_not_over_unpushed_work(machine: NewRoot):
    base = machine("base")
    backup(base)
    one, other, third = machine("one"), machine("other"), machine("third")
    first = _other_version(one, 5)
    backup(one)
    restore(other.settings)
    assert other.root.slice("street", "a").readlink().name == first
    mine = _other_version(third, 6)
    report = restore(third.settings)
    assert "never pushed" in report.kept["datasets/street/a"]
    assert third.root.slice("street", "a").readlink().name == mine
    restore(third.settings, options=RestoreOptions(overwrite=True))
    assert third.root.slice("street", "a").readlink().name == first


def test_two_workers_make_the_corpus_of_one(machine: NewRoot):
    """Slices by one, plan, shards and seal by the other, then back: nothing shared but the remote."""
    alone = machine("alone")
    fetcher, builder = machine("fetcher"), machine("builder", empty=True)
    for area in ("allocations", "corpora"):
        shutil.rmtree(fetcher.root.path / area)
    backup(fetcher)
    hydrate_sources(builder)
    plan = allocate(builder, "20")
    sealed = build_corpus(plan.path, builder.root, tombstones_in_force(builder.root))
    push_target(builder, "20")
    wanted = read_manifest(alone.root.corpus("small", "20").resolve(), CorpusManifest)
    assert (sealed.root_hash, sealed.rows_hash) == (wanted.root_hash, wanted.rows_hash)
    report = restore(fetcher.settings, targets=["20"])
    assert report.root_hashes == {"corpora/small/20": wanted.root_hash}


def test_shards_are_written_where_only_the_plan_is(machine: NewRoot):
    base, worker = machine("base"), machine("worker", empty=True)
    backup(base)
    restore(worker.settings, targets=["20"])
    shutil.rmtree(worker.root.path / "corpora")
    fetched = hydrate_plan(worker, "20")
    assert {path.parent.parent.name for path in fetched} == {"street"}
    assert hydrate_plan(worker, "20") == []
    built = build_corpus(worker.root.allocation("small", "20"), worker.root)
    assert (
        built.root_hash == read_manifest(base.root.corpus("small", "20").resolve(), CorpusManifest).root_hash
    )


def test_a_slice_is_fetched_when_it_is_missing(machine: NewRoot, proxy: FaultProxy):
    base, worker = machine("base"), machine("worker", empty=True)
    backup(base)
    listing = read_listing(base.root, "street")
    assert listing is not None
    path = hydrate_due_slice(worker, listing, "a")
    assert path is not None
    assert path == current_version(worker.root.slice("street", "a"))
    proxy.log.clear()
    assert hydrate_due_slice(worker, listing, "a") is None
    assert proxy.log == []


def test_takedowns_arrive_before_a_slice_does(machine: NewRoot):
    base, worker = machine("base"), machine("worker", empty=True)
    write_tombstone(base.root, Tombstone(asked="id:street/a/x", ids=("street/a/x",)))
    backup(base)
    hydrate_sources(worker)
    assert tombstones_in_force(worker.root).ids == {"street/a/x"}


def test_listings_alone(machine: NewRoot):
    base, worker = machine("base"), machine("worker", empty=True)
    backup(base)
    hydrate_sources(worker, slices=False)
    assert read_listing(worker.root, "street") == read_listing(base.root, "street")
    assert not (worker.root.path / "datasets").exists()


def test_what_cannot_be_fetched_stops_the_hydration(machine: NewRoot, s3: S3Server):
    base = machine("base")
    backup(base)
    for key in s3.listed("objects/"):
        s3.client().delete_object(Bucket="corpus-remote", Key=f"team/a/{key}")
    with pytest.raises(RemoteError, match="did not come over"):
        hydrate_sources(machine("worker", empty=True))


def test_a_listing_of_another_machine_is_not_written_over(machine: NewRoot):
    base = machine("base")
    backup(base)
    one, other = machine("one"), machine("other")
    for machine_, tag in ((one, "x"), (other, "y")):
        path = machine_.root.listing("street")
        listing = json.loads(path.read_bytes())
        table = path.parent / listing["items_file"]
        shutil.copyfile(table, path.parent / f"street.{tag}.items.arrow")
        path.write_text(json.dumps(listing | {"items_file": f"street.{tag}.items.arrow"}), "utf-8")
    assert backup(one).failed == {}
    report = backup(other)
    assert "has not seen" in report.failed["listings/street.json"]
    assert tree(other.root)["listings/street.json"] != tree(one.root)["listings/street.json"]


def test_nothing_is_pruned_under_an_upload(proxy: FaultProxy):
    bucket = open_bucket(proxy.endpoint)
    with hold_work_lease(bucket, "backup"), pytest.raises(LockHeldError, match="backup, pid"):  # noqa: SIM117
        with hold_prune_lease(bucket):
            pytest.fail("got the lease")
    with hold_prune_lease(bucket), pytest.raises(LockHeldError, match="prune, pid"):  # noqa: SIM117
        with hold_work_lease(bucket, "backup"):
            pytest.fail("got the lease")
    with hold_work_lease(bucket, "backup"), hold_work_lease(bucket, "another"):
        pass


def test_the_lease_of_a_dead_process_runs_out(proxy: FaultProxy, s3: S3Server):
    dead = Lease(purpose="prune", host="gone", pid=1, since="2026-01-01", until=time.time() - 1)
    s3.put(PRUNE, dead.to_bytes(), age_s=1_000)
    bucket = open_bucket(proxy.endpoint)
    with hold_work_lease(bucket, "backup"):
        pass
    with hold_prune_lease(bucket):
        pass


def test_listings_of_one_run_are_pushed_side_by_side(machine: NewRoot, s3: S3Server):
    """Twelve threads that write one catalogue, one memory and one remote, as the first build of many sources does."""
    one = machine("one")
    shutil.rmtree(one.root.path / ".catalogs", ignore_errors=True)
    with ThreadPoolExecutor(12) as pool:
        list(pool.map(lambda _: push_listing(one, "street"), range(12)))
    assert "listings/street.json" in s3.listed("listings/")
    assert list(one.root.path.rglob(".*.tmp")) == []


YEARS_S = 20 * 365 * 86_400.0


@pytest.mark.parametrize(
    ("age_s", "ahead_s", "held"),
    [
        pytest.param(0, 900, True, id="just-taken"),
        pytest.param(890, 10, True, id="to-be-renewed"),
        pytest.param(910, -10, False, id="of-a-dead-process"),
        pytest.param(0, 900 - 86_400, True, id="of-a-clock-a-day-behind"),
        pytest.param(0, YEARS_S, True, id="of-a-clock-years-ahead"),
        pytest.param(910, 900 + YEARS_S, False, id="of-a-dead-process-with-a-clock-years-ahead"),
        pytest.param(0, None, False, id="given-back"),
    ],
)
def test_a_lease_holds_for_as_long_as_one_may_live(
    proxy: FaultProxy, s3: S3Server, *, age_s: float, ahead_s: float | None, held: bool
):
    """By the store's clock: its holder's may be any, and so may ours."""
    until = 0.0 if ahead_s is None else time.time() + ahead_s
    left = Lease(purpose="backup", host="other", pid=1, since="", until=until)
    s3.put("leases/work/other.1.x.0", left.to_bytes(), age_s=age_s)
    s3.put(PRUNE, left.to_bytes(), age_s=age_s)
    bucket = open_bucket(proxy.endpoint)
    for hold in (hold_prune_lease, lambda bucket: hold_work_lease(bucket, "backup")):
        with ExitStack() as stack:
            if held:
                stack.enter_context(pytest.raises(LockHeldError, match="pid 1 on other"))
            with hold(bucket) as lease:
                lease.check()
