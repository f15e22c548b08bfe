"""A lock's items are published with it, found by whoever has the lock, and no prune takes them."""

from vlm_assets.operate.lock import write_lock
from vlm_assets.remote.backup import backup
from vlm_assets.remote.bucket import open_remote
from vlm_assets.remote.line import line_remote
from vlm_assets.remote.names import object_key
from vlm_assets.remote.prune import PruneOrder, prune_remote
from vlm_assets.remote.verify import verify_remote
from vlm_assets.store.corpus_lock import items_path, keep_lock, kept_lock, read_lock
from vlm_assets_tests.remote.conftest import NewRoot


def test_a_lock_is_pushed_and_found_by_others(machine: NewRoot):
    first = machine("a")
    report = write_lock(first, ["20"])
    line_remote(first).after_lock(report.name)
    second = machine("b", empty=True)
    line_remote(second).before_locked(report.name)  # as a run on a disk of its own has it
    assert kept_lock(second.root, report.name).items("street", "a") == kept_lock(
        first.root, report.name
    ).items("street", "a")
    third = machine("c", empty=True)
    keep_lock(third.root, first.catalog_dir / "corpus.lock")
    line_remote(third).after_keeping(report.name)  # nothing lacks
    lock_file = second.root.path / "elsewhere.lock"
    line_remote(second).before_keeping(
        lock_file, read_lock(first.catalog_dir / "corpus.lock")
    )  # with git alone
    assert items_path(lock_file).read_bytes() == items_path(first.catalog_dir / "corpus.lock").read_bytes()


def test_items_of_a_lock_stay_and_are_verified(machine: NewRoot):
    first = machine("a")
    report = write_lock(first, ["20"])
    assert backup(first).exit_code == 0
    assert [one for one in backup(first).done if one.startswith("locks/")] == []
    prune_remote(first.settings, PruneOrder(grace_s=0))
    assert verify_remote(first.settings).exit_code == 0
    bucket = open_remote(first.settings)
    key = object_key(kept_lock(first.root, report.name).lock.items_file.blake3)
    bucket.call("delete_object", key)
    problems = verify_remote(first.settings, repair=True).problems
    assert [(one.key, one.what, one.mended) for one in problems] == [(key, "missing", True)]
