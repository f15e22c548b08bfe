import os
import shutil

from vlm_assets.allocation.step import allocate
from vlm_assets.locks import hold_lock
from vlm_assets.operate.prune import prune_data_root
from vlm_assets_tests.workplace import STREET, fill, ingest, install, picture


def test_old_versions_go_unless_a_plan_draws_from_them(tmp_path):
    folder = fill(tmp_path / "in", 12)
    installation = install(tmp_path, {**STREET, "path": folder})
    first = ingest(installation)["root"].path
    allocate(installation, "10")
    (folder / "0000.jpeg").write_bytes(picture(77))
    second = ingest(installation)["root"].path
    assert prune_data_root(installation).removed == ["cache/street/spool"]
    assert first.exists()
    allocate(installation, "10")
    removed = prune_data_root(installation).removed
    assert f"datasets/street/.versions/{first.name}" in removed
    assert not first.exists()
    assert second.exists()


def test_caches_and_leftovers_go_but_not_those_in_use(tmp_path):
    installation = install(tmp_path, {**STREET, "path": fill(tmp_path / "in", 3)})
    ingest(installation)
    spool = installation.root.cache_of("street") / "spool" / "root"
    spool.mkdir(parents=True)
    (spool / "part").write_bytes(b"x" * 1000)
    with hold_lock(installation.root.locks / "slice.street.root", "a build"):
        report = prune_data_root(installation)
        assert report.removed == []
        assert "held by pid" in report.kept[0]
        assert spool.exists()
    report = prune_data_root(installation)
    assert report.freed_bytes == 1000
    assert not spool.exists()
    assert (installation.root.cache_of("street") / "sha256.db").exists()


def test_retired_slices_go_only_when_asked_for(tmp_path):
    for name in ("a", "b"):
        fill(tmp_path / "in" / name, 3, start=ord(name))
    installation = install(tmp_path, {**STREET, "path": tmp_path / "in", "shrink_tolerance": 1})
    version = ingest(installation)["b"].path
    shutil.rmtree(tmp_path / "in" / "b")
    ingest(installation)
    prune_data_root(installation)
    assert version.exists()
    before = sorted(installation.root.source("street").rglob("*"))
    told = prune_data_root(installation, retired=True, dry_run=True).removed
    assert sorted(installation.root.source("street").rglob("*")) == before
    assert f"datasets/street/.versions/{version.name}" in told
    assert prune_data_root(installation, retired=True).removed == told
    assert not version.exists()
    assert not os.path.lexists(installation.root.slice("street", "b"))
