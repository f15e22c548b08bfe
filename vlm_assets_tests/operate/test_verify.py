import pytest

from vlm_assets.operate import verify as module
from vlm_assets.operate.verify import PROGRESS_FILE, verify
from vlm_assets.store.slices import INDEX_FILE
from vlm_assets_tests.audit.breaking import copy_of, good_once


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    return good_once(tmp_path_factory)


@pytest.fixture
def copy(good, tmp_path):
    return copy_of(good, tmp_path)


def test_a_good_root_has_no_problem(good):
    report = verify(good)
    assert report.problems == []
    assert report.exit_code == 0
    assert report.files > 50
    assert not (good.root.path / PROGRESS_FILE).exists()


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def spoil(path):
    path.write_bytes(path.read_bytes().replace(b'"rows"', b'"rowz"'))


DAMAGE = {
    "slice data": (lambda b: flip(b.slice("street") / "data-00000.arrow"), "hash", "data-00000.arrow"),
    "slice index": (lambda b: flip(b.slice("street") / INDEX_FILE), "hash", INDEX_FILE),
    "items ledger": (lambda b: flip(b.slice("street") / "items.parquet"), "hash", "items.parquet"),
    "rejects": (lambda b: flip(b.slice("street") / "rejects.parquet"), "hash", "rejects.parquet"),
    "slice manifest": (lambda b: spoil(b.slice("street") / "metadata.json"), "manifest", "metadata.json"),
    "plan": (lambda b: flip(b.plan / "plan.arrow"), "hash", "plan.arrow"),
    "shard": (lambda b: flip(b.corpus / f"data-r{b.bits[0]}.arrow"), "hash", "data-r"),
    "shard gone": (lambda b: (b.corpus / f"data-r{b.bits[0]}.arrow").unlink(), "missing", "data-r"),
    "shard cut": (lambda b: (b.corpus / f"data-r{b.bits[0]}.arrow").write_bytes(b"x"), "size", "data-r"),
    "listing": (lambda b: flip(next(b.installation.root.listings.glob("wild.*.arrow"))), "hash", "wild."),
    "takedown": (lambda b: flip(next(b.installation.root.tombstones.glob("*.json"))), "manifest", ".json"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damage_is_found_and_named(copy, name):
    break_it, what, file = DAMAGE[name]
    installation = copy.installation
    break_it(copy)
    report = verify(installation)
    assert {one.what for one in report.problems} == {what}
    assert all(file in one.path for one in report.problems)
    assert report.exit_code == 1
    assert report.to_json()["problems"][0]["advice"]


def test_a_cut_run_goes_on_where_it_was(copy, monkeypatch):
    installation = copy.installation
    read = module._hash
    calls = []

    def dies_after_ten(path):
        calls.append(path)
        if len(calls) > 10:
            raise KeyboardInterrupt
        return read(path)

    monkeypatch.setattr(module, "_hash", dies_after_ten)
    with pytest.raises(KeyboardInterrupt):
        verify(installation, workers=1)
    calls.clear()

    def counts(path):
        calls.append(path)
        return read(path)

    monkeypatch.setattr(module, "_hash", counts)
    report = verify(installation, workers=1)
    assert report.problems == []
    assert report.resumed_files >= 8
    assert len(calls) < report.files
    assert not (installation.root.path / PROGRESS_FILE).exists()


def test_damage_found_by_a_cut_run_is_told_by_the_next(copy, monkeypatch):
    installation = copy.installation
    flip(copy.slice("street") / "data-00000.arrow")
    read = module._hash
    count = []

    def dies_late(path):
        count.append(path)
        if len(count) > 60:
            raise KeyboardInterrupt
        return read(path)

    monkeypatch.setattr(module, "_hash", dies_late)
    with pytest.raises(KeyboardInterrupt):
        verify(installation, workers=1)
    monkeypatch.setattr(module, "_hash", read)
    assert len(verify(installation, workers=1).problems) == 1
