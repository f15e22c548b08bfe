"""A source under a new name: the same as a fetch under it, without one; takedowns mean its rows under both."""

from pathlib import Path
from typing import Any

import pytest

from vlm_assets.allocation.step import allocate
from vlm_assets.annotate.run import annotate
from vlm_assets.audit.run import audit_corpus
from vlm_assets.corpus.build import build_corpus
from vlm_assets.ingest.due import Due
from vlm_assets.installation.opening import Installation
from vlm_assets.operate import rename
from vlm_assets.operate.lineage import show_row
from vlm_assets.operate.rename import rename_source
from vlm_assets.operate.takedown import TakedownOrder, finish_takedowns, take_down
from vlm_assets.store.slices import data_file_names, read_rows
from vlm_assets.store.tombstones import Tombstone, read_tombstones, write_tombstone
from vlm_assets.store.versions import current_version, read_manifest
from vlm_assets.words.errors import StoreError
from vlm_assets.words.manifest import SliceManifest
from vlm_assets_tests.annotate.in_process import annotate_in_process
from vlm_assets_tests.workplace import STREET, fill, ingest, install, relist


def folder_of(base: Path) -> dict[str, Any]:
    """Two slices with captions, one with a reject and something left out."""
    fill(base / "in" / "day", 3)
    fill(base / "in" / "night", 3, start=10)
    (base / "in" / "day" / "0000.txt").write_text("sokak", "utf-8")
    (base / "in" / "night" / "bad.jpeg").write_bytes(b"rubbish")
    (base / "in" / "Thumbs.db").write_bytes(b"junk")
    return {**STREET, "path": base / "in", "text": "sidecar", "reject_tolerance": 1}


def renamed(base: Path, **corpus: Any) -> Installation:
    """Fetched as `old_street`, called `street` in the catalogue now."""
    source = folder_of(base)
    ingest(install(base, {**source, "name": "old_street"}, corpus=corpus), "old_street")
    return install(base, source, corpus=corpus)


def versions(installation: Installation, source: str) -> dict[str, str]:
    """Version by slice: the hash of everything in it."""
    return {
        path.name: version.name
        for path in installation.root.source(source).iterdir()
        if path.is_symlink() and (version := current_version(path)) is not None
    }


def rows_of(installation: Installation) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key in versions(installation, "street"):
        version = installation.root.slice("street", key).resolve()
        names = data_file_names(read_manifest(version, SliceManifest).files)
        found |= {row["id"]: row for row in read_rows(version, names)}
    return found


def test_it_is_what_a_fetch_under_the_new_name_gives(tmp_path: Path):
    fetched = install(tmp_path / "b", folder_of(tmp_path / "b"))
    ingest(fetched)
    installation = renamed(tmp_path / "b" / "again")
    report = rename_source(installation, "old_street", "street")
    assert report.moved == ["day", "night"]
    assert versions(installation, "street") == versions(fetched, "street")
    assert versions(installation, "old_street") == {}
    assert not installation.root.listing("old_street").exists()
    outcomes = ingest(installation)
    assert {one.due for one in outcomes.values()} == {Due.COMMITTED}
    assert outcomes["day"].run.details["renamed_from"] == "old_street"
    installation = install(
        tmp_path / "b" / "again", folder_of(tmp_path / "b" / "again"), corpus={"shortfall": "report"}
    )
    build_corpus(allocate(installation, "10").path, installation.root)
    assert [one.name for one in audit_corpus(installation, "10", full=True) if one.failed] == []


def test_no_annotator_looks_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    annotate_in_process(monkeypatch)
    source, corpus = folder_of(tmp_path), {"annotations": [{"name": "blur"}, {"name": "length"}]}
    before = install(tmp_path, {**source, "name": "old_street"}, corpus=corpus)
    ingest(before, "old_street")
    assert annotate(before).seen == 7
    installation = install(tmp_path, source, corpus=corpus)
    rename_source(installation, "old_street", "street")
    report = annotate(installation)
    assert (report.files, report.seen, report.exit_code) == ({"blur": 2, "length": 2}, 0, 0)
    files = {path: path.read_bytes() for path in installation.root.annotations.rglob("*.parquet")}
    assert {path.parent.name for path in files} == {"street"}
    annotate(installation, force=True)
    assert {path: path.read_bytes() for path in files} == files


def test_a_cut_rename_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    installation = renamed(tmp_path)
    move = rename._move_slice

    def cut(root: Any, key: str, old: str, new: str) -> bool:
        if key == "night":
            raise KeyboardInterrupt
        return move(root, key, old, new)

    monkeypatch.setattr(rename, "_move_slice", cut)
    with pytest.raises(KeyboardInterrupt):
        rename_source(installation, "old_street", "street")
    monkeypatch.undo()
    relist(installation)
    assert rename_source(installation, "old_street", "street").moved == ["night"]
    assert {one.due for one in ingest(installation).values()} == {Due.COMMITTED}


def test_a_takedown_means_the_row_under_every_name(tmp_path: Path):
    source = folder_of(tmp_path)
    before = install(tmp_path, {**source, "name": "old_street"})
    ingest(before, "old_street")
    assert take_down(before, TakedownOrder(id="old_street/day/day/0000.jpeg", only_row=True)).complete
    installation = install(tmp_path, source)
    [moved] = rename_source(installation, "old_street", "street").takedowns
    assert "street/day/day/0000.jpeg" in read_tombstones(installation.root).ids
    assert rows_of(installation)["street/day/day/0000.jpeg"]["images"] is None
    assert rows_of(installation)["street/day/day/0000.jpeg"]["text"] is None
    assert [one.tombstone for one in finish_takedowns(installation) if one.complete] == [moved]

    receipt = take_down(installation, TakedownOrder(id="street/day/day/0001.jpeg", only_row=True))
    assert receipt.ids == ("old_street/day/day/0001.jpeg", "street/day/day/0001.jpeg")
    assert any(one.startswith("datasets/old_street/day/") for one in receipt.versions_deleted)

    elsewhere = Tombstone(asked="id:…", only_row=True, ids=("old_street/night/night/0010.jpeg",))
    write_tombstone(installation.root, elsewhere)  # of a machine that knows the old name alone
    assert len(finish_takedowns(installation)) == 2
    assert rows_of(installation)["street/night/night/0010.jpeg"]["images"] is None
    assert rows_of(installation)["street/night/night/0011.jpeg"]["images"] is not None

    met = Tombstone(asked="met:old_street/day", only_row=True, met={"old_street/day/day/0002.jpeg": "then"})
    write_tombstone(installation.root, met)
    assert len(finish_takedowns(installation)) == 2
    assert read_tombstones(installation.root).met["street/day/day/0002.jpeg"] == {"then"}


def test_a_row_is_found_by_the_id_that_it_had(tmp_path: Path):
    installation = renamed(tmp_path)
    rename_source(installation, "old_street", "street")
    assert show_row(installation, "old_street/day/day/0000.jpeg")[0].id == "street/day/day/0000.jpeg"


@pytest.mark.parametrize(
    ("old", "changed", "told"),
    [
        ("street", {}, "is in the catalogue"),
        ("old_stret", {}, "did you mean old_street?"),
        ("old_street", {"kind": "hf_disk", "text": None}, "keeps the kind"),
    ],
    ids=["still there", "another name", "another kind"],
)
def test_what_cannot_be_the_same_source_is_refused(
    tmp_path: Path, old: str, changed: dict[str, Any], told: str
):
    renamed(tmp_path)
    source = {**folder_of(tmp_path), **changed}
    installation = install(tmp_path, {key: value for key, value in source.items() if value is not None})
    before = versions(installation, "old_street")
    with pytest.raises(StoreError, match=told):
        rename_source(installation, old, "street")
    assert versions(installation, "old_street") == before


def test_one_that_was_fetched_in_other_buckets_is_refused(tmp_path: Path):
    source = {**STREET, "path": fill(tmp_path / "in", 8)}
    ingest(install(tmp_path, {**source, "name": "old_street", "buckets": 2}), "old_street")
    installation = install(tmp_path, {**source, "buckets": 4})
    ingest(installation)
    with pytest.raises(StoreError, match="other buckets"):
        rename_source(installation, "old_street", "street")
