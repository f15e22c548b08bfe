import os
import shutil

from vlm_assets.allocation.step import allocate
from vlm_assets.locks import hold_lock
from vlm_assets.operate.prune import prune_data_root
from vlm_assets.operate.status import read_status
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
    steps: list[tuple[str, int, int]] = []
    removed = prune_data_root(installation, progress=lambda *step: steps.append(step)).removed
    assert steps == [("street/root", 0, 1)]
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


def test_sources_that_the_catalogue_has_no_more_are_seen_and_go_when_asked_for(tmp_path):
    source = {**STREET, "path": fill(tmp_path / "in", 12)}
    before = install(tmp_path, {**source, "name": "gone"})
    version = ingest(before, "gone")["root"].path
    allocate(before, "10")
    installation = install(tmp_path, source)
    ingest(installation)
    [seen] = read_status(installation).removed
    assert (seen.name, seen.slices, seen.rows) == ("gone", 1, 12)
    root = installation.root
    prune_data_root(installation)
    assert read_status(installation).removed == [seen]

    names = sorted(root.path.rglob("*"))
    told = prune_data_root(installation, removed=True, dry_run=True)
    assert sorted(root.path.rglob("*")) == names
    assert (told.removed, told.kept) == (
        [one for one in told.removed if one.startswith(("listings/gone", "cache/gone", "datasets/gone"))],
        ["datasets/gone: 1 version kept for the plans in force; build, then prune"],
    )
    assert prune_data_root(installation, removed=True).removed == told.removed
    assert version.exists()
    assert read_status(installation).removed == []
    allocate(installation, "10")
    prune_data_root(installation)
    assert not version.exists()
    assert not list(root.listings.glob("gone*"))
    assert root.listing("street").exists()
