"""What `verify --remote` finds and mends, and the options of the commands about the remote."""

import json

import pytest
from typer.testing import CliRunner

from vlm_assets.cli import app
from vlm_assets.installation.opening import Installation
from vlm_assets.remote.backup import backup
from vlm_assets.remote.local import StoredVersion, current_on_disk
from vlm_assets.remote.names import Name, object_key
from vlm_assets.remote.restore import restore
from vlm_assets.remote.verify import verify_remote
from vlm_assets.words.manifest import FileEntry
from vlm_assets_tests.remote.conftest import NewRoot, tree
from vlm_assets_tests.remote.s3 import BUCKET, PREFIX, Fault, FaultProxy, S3Server, nth
from vlm_assets_tests.remote.test_machines import _other_version

SLICE = Name("datasets", "street", "a")


def data_of(machine: Installation) -> tuple[StoredVersion, FileEntry]:
    stored = current_on_disk(machine.root, SLICE)
    assert stored is not None
    return stored, stored.files["data-00000.arrow"]


def flip(s3: S3Server, entry: FileEntry) -> str:
    """Turns one bit of an object; its key."""
    key = object_key(entry.blake3)
    body = bytearray(s3.get(key))
    body[len(body) // 2] ^= 1
    s3.put(key, bytes(body))
    return key


def test_a_flipped_bit_is_found_by_a_deep_look_and_mended(machine: NewRoot, s3: S3Server):
    one = machine("a")
    backup(one)
    key = flip(s3, data_of(one)[1])
    assert verify_remote(one.settings).problems == []  # of its size: only its bytes tell
    report = verify_remote(one.settings, deep=True, repair=True)
    assert [(found.key, found.what, found.mended) for found in report.problems] == [(key, "hash", True)]
    assert verify_remote(one.settings, deep=True).problems == []
    other = machine("b", empty=True)
    assert restore(other.settings).failed == {}
    assert tree(other.root) == tree(one.root)


def test_other_damage_is_found_named_and_mended(machine: NewRoot, s3: S3Server):
    one = machine("a")
    backup(one)
    stored = data_of(one)[0]
    keys = [object_key(stored.files[name].blake3) for name in ("data-00000.arrow", "index.arrow")]
    s3.put(keys[0], s3.get(keys[0])[:-1])
    s3.client().delete_object(Bucket=BUCKET, Key=f"{PREFIX}/{keys[1]}")
    manifest = Name("datasets", "street", "b").manifest(
        Name("datasets", "street", "b").link(one.root).readlink().name
    )
    s3.put(manifest, s3.get(manifest).replace(b"CC0-1.0", b"CC-BY-9"))
    report = verify_remote(one.settings)
    assert report.exit_code == 1
    found = {problem.key: problem.what for problem in report.problems}
    assert found == {keys[0]: "size", keys[1]: "missing", manifest: "content"}
    assert verify_remote(one.settings, repair=True).exit_code == 0
    assert verify_remote(one.settings, deep=True).problems == []


def test_what_no_machine_has_whole_is_not_mended(machine: NewRoot, s3: S3Server):
    one = machine("a")
    backup(one)
    stored, entry = data_of(one)
    flip(s3, entry)
    path = SLICE.versions(one.root) / stored.version / "data-00000.arrow"
    path.chmod(0o644)
    path.write_bytes(b"X" + path.read_bytes()[1:])
    report = verify_remote(one.settings, deep=True, repair=True)
    assert report.exit_code == 1
    [problem] = report.problems
    assert "damaged on disk" in problem.told
    assert problem.names == [f"{SLICE}@{stored.version}"]


def test_an_object_of_another_size_is_sent_again_by_a_backup(machine: NewRoot, s3: S3Server):
    one = machine("a")
    backup(one)
    key = object_key(data_of(one)[1].blake3)
    s3.put(key, s3.get(key)[:-1])
    assert backup(one).objects == 1


def test_a_cut_connection_is_no_damage(machine: NewRoot, proxy: FaultProxy):
    one = machine("a")
    backup(one)
    proxy.fault = nth(
        lambda asked: asked.method == "GET" and asked.key.startswith("objects/"),
        range(2),
        Fault(cut_after=10),
    )
    assert verify_remote(one.settings, deep=True).problems == []


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch):
    """Runs a command on a machine; (exit code, JSON)."""

    def invoke(machine: Installation, *words: str) -> tuple[int, dict[str, object]]:
        for name in ("catalog", "data_root", "remote", "remote_endpoint"):
            monkeypatch.setenv(f"VLM_{name.upper()}", str(getattr(machine.settings, name)))
        result = CliRunner().invoke(app, [*words, "--json"])
        return result.exit_code, json.loads(result.stdout or "{}")

    return invoke


def test_the_commands(machine: NewRoot, s3: S3Server, run):
    base = machine("a")
    backup(base)
    one, other = machine("one"), machine("other")
    _other_version(one, 5)
    _other_version(other, 6)
    assert run(one, "backup")[0] == 0
    assert run(other, "backup")[0] == 1
    assert run(other, "backup", "--take-over")[0] == 0
    code, told = run(other, "verify", "--remote", "--deep")
    assert (code, told["problems"], told["deep"]) == (0, [], True)
    flip(s3, data_of(other)[1])
    assert run(other, "verify", "--remote", "--deep")[0] == 1
    assert run(other, "verify", "--remote", "--deep", "--repair")[0] == 0
    before = s3.listed()
    code, told = run(other, "prune", "--remote", "--keep", "0", "--drop", "allocations/small/20", "--dry-run")
    assert code == 0
    assert [name for name in told["versions"] if name.startswith("allocations/small/20@")]
    assert s3.listed() == before
    assert run(other, "prune", "--remote", "--drop", "allocations/small/20", "--release-pins")[0] == 0
    assert "allocations/small/20/current" not in s3.listed()
    assert CliRunner().invoke(app, ["pin", "--target", "10"]).exit_code == 0  # of the machine that ran last
    version = other.root.corpus("small", "10").readlink().name
    assert f"corpora/small/.pins/{version}" in s3.listed()


@pytest.mark.parametrize("words", [["verify", "--deep"], ["verify", "--repair"], ["prune", "--keep", "1"]])
def test_options_about_the_remote_need_it_named(words: list[str]):
    assert CliRunner().invoke(app, words).exit_code == 2
