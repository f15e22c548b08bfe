"""Data that leaves a disk once the remote has it, and no sooner; what a remote is told to have lost."""

from pathlib import Path

import pytest

from vlm_assets.installation.opening import Installation
from vlm_assets.operate.takedown import TakedownOrder, finish_takedowns, take_down
from vlm_assets.operate.verify import verify
from vlm_assets.remote.backup import backup
from vlm_assets.remote.names import object_key
from vlm_assets.remote.on_commit import push_slice
from vlm_assets.remote.shared import SharedRemote
from vlm_assets.remote.verify import verify_remote
from vlm_assets.store.away import away_in
from vlm_assets.store.slices import data_file_names, read_rows
from vlm_assets.store.versions import current_version, read_manifest
from vlm_assets.words.errors import RemoteError
from vlm_assets.words.manifest import SliceManifest
from vlm_assets_tests.remote.conftest import NewRoot
from vlm_assets_tests.remote.s3 import BUCKET, PREFIX, Fault, FaultProxy, S3Server


def pushed(machine: NewRoot, name: str = "a", **settings: object) -> Installation:
    one = machine(name, **settings)
    push_slice(one, "street", "a")
    return one


def version(installation: Installation) -> Path:
    found = current_version(installation.root.slice("street", "a"))
    assert found is not None
    return found


def data_of(installation: Installation) -> tuple[Path, str]:
    """The only data file of the slice, and its object."""
    folder = version(installation)
    files = read_manifest(folder, SliceManifest).files
    [name] = data_file_names(files)
    return folder / name, object_key(files[name].blake3)


def delete(s3: S3Server, key: str) -> None:
    s3.client().delete_object(Bucket=BUCKET, Key=f"{PREFIX}/{key}")


def silence(proxy: FaultProxy, key: str) -> None:
    proxy.fault = lambda asked: Fault(status=403) if (asked.method, asked.key) == ("HEAD", key) else None


@pytest.mark.parametrize(
    "harm",
    [
        lambda s3, _, key: delete(s3, key),
        lambda s3, _, key: s3.put(key, s3.get(key)[:-1]),
        lambda _, proxy, key: silence(proxy, key),
    ],
    ids=["the object is gone", "it has another size", "the store does not tell"],
)
def test_what_the_remote_is_not_seen_to_have_stays(machine: NewRoot, s3: S3Server, proxy: FaultProxy, harm):
    one = pushed(machine, rows_from="remote")
    path, key = data_of(one)
    harm(s3, proxy, key)
    SharedRemote(one).slice_told("street", "a")
    assert path.is_file()
    assert away_in(path.parent) == {}


@pytest.mark.parametrize(
    ("settings", "stays"),
    [({"rows_from": "remote"}, False), ({}, True), ({"rows_from": "remote", "remote_push": "backup"}, True)],
    ids=["rows from the remote", "rows from disk", "pushed by backup alone"],
)
def test_the_settings_say_whether_data_stays(machine: NewRoot, settings: dict[str, str], *, stays: bool):
    one = pushed(machine, **settings)
    SharedRemote(one).slice_told("street", "a")
    path, _ = data_of(one)
    assert path.is_file() is stays
    assert bool(away_in(path.parent)) is not stays


def test_a_remote_that_lost_the_data_is_told(machine: NewRoot, s3: S3Server):
    one = pushed(machine, rows_from="remote")
    SharedRemote(one).slice_told("street", "a")
    path, key = data_of(one)
    delete(s3, key)
    assert "this remote lacks them" in backup(one, storage=False).failed["datasets/street/a"]
    with pytest.raises(RemoteError, match=key):
        list(read_rows(path.parent, [path.name]))
    assert key in [problem.key for problem in verify_remote(one.settings).problems]


def test_a_machine_that_does_without_data_fetches_none(machine: NewRoot, proxy: FaultProxy):
    whole = pushed(machine)
    bare = machine("bare", empty=True, rows_from="remote")
    proxy.log.clear()
    SharedRemote(bare).before_allocation()
    path, key = data_of(whole)
    [(name, noted)] = away_in(version(bare)).items()
    assert (version(bare).name, name, object_key(noted.entry.blake3)) == (path.parent.name, path.name, key)
    assert key not in [asked.key for asked in proxy.log]
    assert verify(bare).problems == []


def test_what_another_machine_emptied_is_followed(machine: NewRoot):
    one, other = (pushed(machine, name=name, rows_from="remote") for name in ("one", "other"))
    for each in (one, other):
        SharedRemote(each).slice_told("street", "a")
    path, _ = data_of(one)
    gone = next(read_rows(path.parent, [path.name]))["id"]
    assert take_down(other, TakedownOrder(id=gone)).exit_code == 0
    SharedRemote(one).before_slices()
    [receipt] = finish_takedowns(one)
    assert receipt.exit_code == 0, receipt.outstanding
    assert version(one).name == version(other).name != path.parent.name
    assert next(read_rows(version(one), [path.name]))["images"] is None
    assert verify(one).problems == []
