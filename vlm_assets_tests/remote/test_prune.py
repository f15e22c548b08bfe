import pytest

from vlm_assets.remote import inventory
from vlm_assets.remote.backup import backup
from vlm_assets.remote.leases import hold_work_lease
from vlm_assets.remote.local import current_on_disk
from vlm_assets.remote.names import Name, object_key
from vlm_assets.remote.prune import PruneOrder, prune_remote
from vlm_assets.remote.restore import restore
from vlm_assets.store.listings import read_listing
from vlm_assets.words.errors import LockHeldError
from vlm_assets_tests.remote.conftest import NewRoot, tree
from vlm_assets_tests.remote.s3 import BUCKET, PREFIX, FaultProxy, S3Server, open_bucket
from vlm_assets_tests.remote.test_machines import _other_version

SLICE = Name("datasets", "street", "a")


def _stored(s3: S3Server, digest: str) -> int:
    """Stored versions and delete markers of an object."""
    answer = s3.client().list_object_versions(Bucket=BUCKET, Prefix=f"{PREFIX}/{object_key(digest)}")
    return len(answer.get("Versions", ())) + len(answer.get("DeleteMarkers", ()))


def _two_versions(machine: NewRoot):
    one = machine("a")
    backup(one)
    old = current_on_disk(one.root, SLICE)
    assert old is not None
    _other_version(one, 5)
    backup(one)
    return one, old


def test_a_backup_never_deletes(machine: NewRoot, s3: S3Server, proxy: FaultProxy):
    _, old = _two_versions(machine)
    assert SLICE.manifest(old.version) in s3.listed()
    assert not [asked for asked in proxy.log if asked.method == "DELETE" or "delete" in asked.query]


def test_a_version_that_a_shown_plan_uses_stays(machine: NewRoot, s3: S3Server):
    one, old = _two_versions(machine)
    report = prune_remote(one.settings, PruneOrder(keep_versions=0, grace_s=0))
    assert report.versions == []
    assert SLICE.manifest(old.version) in s3.listed()


def test_old_versions_go_and_what_is_left_is_whole(
    machine: NewRoot, s3: S3Server, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(inventory, "_TOLD_EACH", 1)
    one, old = _two_versions(machine)
    order = PruneOrder(keep_versions=0, grace_s=0, drop=frozenset({"allocations"}))
    told: dict[str, list[tuple[int, int | None]]] = {}
    report = prune_remote(
        one.settings, order, progress=lambda name, *steps: told.setdefault(name, []).append(steps)
    )
    assert list(told) == ["keys listed", "manifests read", "keys deleted"]
    assert max(keys for keys, _ in told["keys listed"]) > 10
    assert told["manifests read"][0][0] == told["keys deleted"][0][0] == 0
    assert all(done < (total or 0) for done, total in told["manifests read"] + told["keys deleted"])
    assert f"{SLICE}@{old.version}" in report.versions
    assert SLICE.manifest(old.version) not in s3.listed()
    assert object_key(old.files["data-00000.arrow"].blake3) not in s3.listed()
    assert not [key for key in s3.listed() if key.startswith("allocations/")]
    other = machine("b", empty=True)
    assert restore(other.settings).failed == {}
    kept = {
        p: c for p, c in tree(one.root).items() if not p.startswith("allocations/") and old.version not in p
    }
    assert tree(other.root) == kept


def test_a_dry_run_deletes_nothing(machine: NewRoot, s3: S3Server):
    one, old = _two_versions(machine)
    before = s3.listed()
    order = PruneOrder(keep_versions=0, purge=frozenset({str(SLICE)}), dry_run=True)
    report = prune_remote(one.settings, order)
    assert report.versions == [f"{SLICE}@{old.version}"]
    assert report.objects > 0
    assert s3.listed() == before


def test_a_purge_removes_every_stored_version(machine: NewRoot, s3: S3Server):
    one, old = _two_versions(machine)
    data, index = (old.files[name].blake3 for name in ("data-00000.arrow", "index.arrow"))
    prune_remote(one.settings, PruneOrder(purge=frozenset({str(SLICE)})))
    assert (_stored(s3, data), _stored(s3, index)) == (0, 0)
    shown = current_on_disk(one.root, SLICE)
    assert shown is not None
    assert _stored(s3, shown.files["data-00000.arrow"].blake3) == 1


def test_a_purge_also_takes_what_an_earlier_prune_left_to_the_lifecycle(machine: NewRoot, s3: S3Server):
    one, old = _two_versions(machine)
    data = old.files["data-00000.arrow"].blake3
    prune_remote(one.settings, PruneOrder(keep_versions=0, drop=frozenset({"allocations"})))
    assert _stored(s3, data) == 2  # the version and its delete marker
    prune_remote(one.settings, PruneOrder(purge=frozenset({str(SLICE)})))
    assert _stored(s3, data) == 0


def test_pins_hold_and_are_told(machine: NewRoot, s3: S3Server):
    one = machine("a")
    name = Name("corpora", "small", "20")
    version = name.link(one.root).readlink().name
    pin = one.root.path / "corpora/small/.pins" / version
    pin.parent.mkdir()
    pin.write_text("", "utf-8")
    backup(one)
    report = prune_remote(one.settings, PruneOrder(drop=frozenset({"corpora/small/20"})))
    assert report.outstanding == [f"{name}@{version}"]
    assert report.exit_code == 1
    assert name.manifest(version) in s3.listed()
    pin.unlink()
    report = prune_remote(one.settings, PruneOrder(drop=frozenset({"corpora/small/20"}), release_pins=True))
    assert report.exit_code == 0
    assert name.manifest(version) not in s3.listed()


def test_young_objects_that_nothing_names_may_be_an_upload(machine: NewRoot, s3: S3Server):
    one = machine("a")
    backup(one)
    s3.put("objects/" + "ab" * 32, b"on its way")
    assert prune_remote(one.settings).young_objects == 1
    assert "objects/" + "ab" * 32 in s3.listed()
    assert prune_remote(one.settings, PruneOrder(grace_s=0)).objects == 1
    assert "objects/" + "ab" * 32 not in s3.listed()


def test_no_prune_while_someone_uploads(machine: NewRoot, proxy: FaultProxy):
    one = machine("a")
    with hold_work_lease(open_bucket(proxy.endpoint), "backup"), pytest.raises(LockHeldError):
        prune_remote(one.settings)


def test_a_source_that_goes_altogether_takes_its_listing_along(machine: NewRoot, s3: S3Server):
    one = machine("a")
    backup(one)
    listing = read_listing(one.root, "street")
    assert listing is not None
    tables = [object_key(digest) for digest in listing.tables.values()]
    assert {"listings/street.json", *tables} <= set(s3.listed())
    gone = frozenset({"datasets/street/", "allocations", "corpora"})
    prune_remote(one.settings, PruneOrder(grace_s=0, drop=gone))
    left = set(s3.listed())
    assert not [key for key in left if key.startswith(("datasets/street/", "listings/street"))]
    assert not left & set(tables)
