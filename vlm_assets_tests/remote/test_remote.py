import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from vlm_assets.corpus.manifest import CorpusManifest
from vlm_assets.remote.backup import backup
from vlm_assets.remote.bucket import open_remote
from vlm_assets.remote.local import current_on_disk
from vlm_assets.remote.names import Name, RemoteAddress, name_of_key, names_on_disk, version_of_key
from vlm_assets.remote.restore import RestoreOptions, restore
from vlm_assets.settings import load_settings
from vlm_assets.store.tombstones import Tombstone, read_tombstones, write_tombstone
from vlm_assets.store.versions import current_version, read_manifest
from vlm_assets.words.errors import ConfigError, RemoteError, StoreError
from vlm_assets_tests.remote.conftest import NewRoot, tree
from vlm_assets_tests.remote.s3 import FaultProxy, S3Server

CORPUS = "corpora/small/20"


def _root_hash(root: Path) -> str:
    return read_manifest((root / CORPUS).resolve(), CorpusManifest).root_hash


@pytest.mark.parametrize(
    ("url", "told"),
    [("s3://b/x/y/", "s3://b/x/y"), ("s3://b", "s3://b"), ("s3://b/", "s3://b")],
)
def test_an_address_is_bucket_and_prefix(url: str, told: str):
    assert str(RemoteAddress.parse(url)) == told


@pytest.mark.parametrize("url", ["http://b/x", "b/x", "s3://", ""])
def test_any_other_address_is_a_configuration_fault(url: str):
    with pytest.raises(ConfigError, match=r"s3://bucket/prefix|not set"):
        open_remote(load_settings(None, remote=url or None))


def test_keys_tell_their_name_and_version():
    name = Name("datasets", "street", "current")
    assert name_of_key(name.current) == name_of_key(name.manifest("ab")) == name
    assert version_of_key(name.manifest("ab")) == "ab"
    assert version_of_key(name.beside("ab")) is None
    assert name_of_key("corpora/small/.pins/ab") is None


def test_everything_comes_back_the_same(machine: NewRoot):
    first = machine("a")
    report = backup(first)
    assert report.exit_code == 0
    assert not report.failed
    second = machine("b", empty=True)
    restored = restore(second.settings)
    assert (restored.failed, restored.exit_code) == ({}, 0)
    assert tree(second.root) == tree(first.root)
    assert restored.root_hashes[CORPUS] == _root_hash(first.root.path)
    modes = {p.stat().st_mode & 0o777 for p in (second.root.path / "corpora").rglob("*.arrow")}
    assert modes == {0o444}
    assert not (second.root.path / ".remote" / "objects").exists()
    assert not list(second.root.path.rglob("*.part"))


def test_the_remote_has_each_file_once_and_manifests_as_on_disk(machine: NewRoot, s3: S3Server):
    one = machine("a")
    backup(one)
    objects = s3.listed("objects/")
    files = {p.read_bytes() for p in one.root.path.rglob("*") if p.is_file() and "/.versions/" in str(p)}
    manifests = {p.read_bytes() for p in one.root.path.glob("*/*/.versions/*/metadata.json")}
    tables = 1
    assert len(objects) == len(files - manifests) + tables
    link = one.root.slice("street", "a")
    version = current_version(link)
    assert version is not None
    stored = s3.get(f"datasets/street/a/.versions/{version.name}/metadata.json")
    assert stored == (version / "metadata.json").read_bytes()


def test_pointers_come_after_manifests_and_manifests_after_objects(machine: NewRoot, proxy: FaultProxy):
    one = machine("a")
    backup(one)
    sent = proxy.sent()
    for name in names_on_disk(one.root):
        stored = current_on_disk(one.root, name)
        assert stored is not None
        objects = [sent.index(f"objects/{entry.blake3}") for entry in stored.every_file().values()]
        assert max(objects) < sent.index(name.manifest(stored.version)) < sent.index(name.current)


def test_a_second_backup_sends_nothing(machine: NewRoot, proxy: FaultProxy):
    one = machine("a")
    backup(one)
    proxy.log.clear()
    report = backup(one)
    assert proxy.sent() == []
    assert (report.done, report.objects, report.failed) == ([], 0, {})


def test_a_second_backup_without_its_memory_sends_nothing_either(machine: NewRoot, proxy: FaultProxy):
    one = machine("a")
    backup(one)
    for path in (one.root.path / ".remote").glob("*.json"):
        path.unlink()
    proxy.log.clear()
    backup(one)
    assert proxy.sent() == []


def test_chosen_sources_and_targets_alone(machine: NewRoot):
    one = machine("a")
    backup(one)
    by_source = machine("b", empty=True)
    restore(by_source.settings, sources=["street"])
    assert (by_source.root.slice("street", "a") / "metadata.json").is_file()
    assert not (by_source.root.path / "corpora").exists()
    by_target = machine("c", empty=True)
    restore(by_target.settings, targets=["20"])
    assert not by_target.root.slice("street", "a").exists()
    assert {p.name for p in (by_target.root.path / "corpora/small").iterdir() if p.is_symlink()} == {"20"}


def test_an_unknown_choice_names_what_there_is(machine: NewRoot):
    backup(machine("a"))
    with pytest.raises(ConfigError, match="source roads: the remote has none; there are: street"):
        restore(machine("b", empty=True).settings, sources=["roads"])


def test_a_restore_into_a_full_root_fetches_nothing(machine: NewRoot, proxy: FaultProxy):
    one = machine("a")
    backup(one)
    proxy.log.clear()
    report = restore(one.settings)
    assert (report.done, report.objects) == ([], 0)
    assert not [asked for asked in proxy.log if asked.key.startswith("objects/")]


def test_a_damaged_file_is_not_backed_up(machine: NewRoot, s3: S3Server):
    one = machine("a")
    version = current_version(one.root.slice("street", "a"))
    assert version is not None
    data = version / "data-00000.arrow"
    data.chmod(0o644)
    data.write_bytes(b"X" + data.read_bytes()[1:])
    report = backup(one)
    assert report.exit_code == 1
    assert "damaged on disk" in report.failed["datasets/street/a"]
    assert "datasets/street/a/current" not in s3.listed()
    assert "datasets/street/b/current" in s3.listed()


def test_a_damaged_file_on_disk_is_mended(machine: NewRoot):
    one = machine("a")
    backup(one)
    before = tree(one.root)
    version = current_version(one.root.slice("street", "a"))
    assert version is not None
    data, index = version / "data-00000.arrow", version / "index.arrow"
    data.chmod(0o644)
    data.write_bytes(b"X" + data.read_bytes()[1:])
    index.unlink()
    restore(one.settings)
    assert index.is_file()
    assert tree(one.root) != before  # of the right size: only a thorough look finds it
    assert "datasets/street/a" in restore(one.settings, options=RestoreOptions(thorough=True)).done
    assert tree(one.root) == before


def test_a_bit_flipped_in_the_remote_is_found_and_nothing_is_shown(machine: NewRoot, s3: S3Server):
    one = machine("a")
    backup(one)
    version = current_version(one.root.slice("street", "a"))
    assert version is not None
    digest = read_hash(version, "data-00000.arrow")
    body = bytearray(s3.get(f"objects/{digest}"))
    body[len(body) // 2] ^= 1
    s3.put(f"objects/{digest}", bytes(body))
    other = machine("b", empty=True)
    report = restore(other.settings)
    assert report.exit_code == 1
    assert set(report.failed) == {"datasets/street/a"}
    assert digest in report.failed["datasets/street/a"]
    assert "damaged" in report.failed["datasets/street/a"]
    assert not other.root.slice("street", "a").exists()
    assert other.root.slice("street", "b").exists()


def read_hash(version: Path, file: str) -> str:
    from vlm_assets.words.manifest import SliceManifest

    return read_manifest(version, SliceManifest).files[file].blake3


def test_a_manifest_changed_in_the_remote_is_found(machine: NewRoot, s3: S3Server):
    one = machine("a")
    backup(one)
    version = current_version(one.root.slice("street", "a"))
    assert version is not None
    key = f"datasets/street/a/.versions/{version.name}/metadata.json"
    s3.put(key, s3.get(key).replace(b"CC0-1.0", b"CC-BY-9"))
    report = restore(machine("b", empty=True).settings)
    assert "does not hash to its version" in report.failed["datasets/street/a"]


def test_manifests_that_lead_out_of_their_folder_are_refused(machine: NewRoot, s3: S3Server):
    from vlm_assets.remote.local import Beside
    from vlm_assets.words.manifest import FileEntry

    one = machine("a")
    backup(one)
    version = current_version(one.root.slice("street", "a"))
    assert version is not None
    evil = Beside(files={"../../../evil": FileEntry(size_bytes=2, blake3="00" * 32)})
    s3.put(f"datasets/street/a/.versions/{version.name}/beside.json", evil.to_bytes())
    report = restore(machine("b", empty=True).settings)
    assert "outside its folder" in report.failed["datasets/street/a"]


def test_takedowns_travel_both_ways_and_first(machine: NewRoot, proxy: FaultProxy):
    one, other = machine("a"), machine("b", empty=True)
    name = write_tombstone(one.root, Tombstone(asked="url:http://x/1", urls=("http://x/1",)))
    backup(one)
    proxy.log.clear()
    restore(other.settings, sources=["street"])
    assert read_tombstones(other.root).names == (name,)
    reads = [asked.key for asked in proxy.log if asked.method == "GET" and asked.key]
    assert reads[0] == f"tombstones/{name}.json"


def test_a_tombstone_that_is_none_stops_everything(machine: NewRoot, s3: S3Server):
    backup(machine("a"))
    s3.put("tombstones/abcdefabcdef.json", b"{}")
    with pytest.raises(RemoteError, match="not a tombstone"):
        restore(machine("b", empty=True).settings)


def test_pinned_versions_go_too(machine: NewRoot):
    one = machine("a")
    pins = one.root.path / "corpora/small/.pins"
    pins.mkdir()
    version = (one.root.path / CORPUS).readlink().name
    (pins / version).write_text("epoch 3", "utf-8")
    (one.root.path / CORPUS).unlink()  # no longer shown
    backup(one)
    other = machine("b", empty=True)
    report = restore(other.settings)
    assert not report.failed
    assert (other.root.path / "corpora/small/.pins" / version).read_text("utf-8") == "epoch 3"
    assert (other.root.path / "corpora/small/.versions" / version / "metadata.json").is_file()
    assert not (other.root.path / CORPUS).exists()


def test_dagsters_storage_is_copied_while_it_is_written_to(machine: NewRoot, tmp_path: Path, monkeypatch):
    home = tmp_path / "dagster_home"
    (home / "history").mkdir(parents=True)
    with closing(sqlite3.connect(home / "history/runs.db")) as writer:
        writer.execute("PRAGMA journal_mode=WAL")
        writer.execute("CREATE TABLE runs (id TEXT)")
        writer.execute("INSERT INTO runs VALUES ('one')")
        writer.commit()
        writer.execute("INSERT INTO runs VALUES ('not committed')")
        one = machine("a")
        assert backup(one).exit_code == 0
        again = backup(one)
        assert (again.done, again.objects) == ([], 0)
        writer.commit()
        assert [name.rsplit("/", 1)[1] for name in backup(one).done] == ["storage"]
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "other_home"))
    other = machine("b", empty=True)
    restore(other.settings)
    with closing(sqlite3.connect(tmp_path / "other_home/history/runs.db")) as reader:
        assert reader.execute("SELECT count(*) FROM runs").fetchone() == (2,)
    kept = restore(other.settings).kept
    assert [why for why in kept.values() if "its own storage" in why]


def test_backup_needs_a_remote(machine: NewRoot):
    with pytest.raises(ConfigError, match="VLM_REMOTE"):
        backup(machine("a", remote=None))


def test_a_folder_that_was_changed_after_its_commit_is_named(machine: NewRoot):
    from vlm_assets.remote.local import read_version

    one = machine("a")
    version = current_version(one.root.slice("street", "a"))
    assert version is not None
    (version / "metadata.json").chmod(0o644)
    (version / "metadata.json").write_bytes((version / "metadata.json").read_bytes() + b" ")
    with pytest.raises(StoreError, match="changed after the commit"):
        read_version(Name("datasets", "street", "a"), version)
    assert "datasets/street/a" in backup(one).failed
