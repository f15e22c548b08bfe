import json
import shutil
import time
from pathlib import Path

import datasets
import pyarrow.parquet as pq
import pytest

from vlm_assets.allocation.committed import gather_supply
from vlm_assets.ingest.due import Due
from vlm_assets.ingest.slice import SliceOptions
from vlm_assets.ingest.summary import summarise_source
from vlm_assets.store.slices import read_rows
from vlm_assets.words.errors import ListingShrunkError, RejectToleranceError
from vlm_assets_tests.workplace import STREET, expect_error, fill, ingest, install, picture, relist


def snapshot(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Inode and content of every file of a version but its history."""
    history = {"run.json", "rejects.parquet"}
    return {p.name: (p.stat().st_ino, p.read_bytes()) for p in folder.iterdir() if p.name not in history}


def contents(folder: Path) -> dict[str, bytes]:
    return {name: content for name, (_, content) in snapshot(folder).items()}


def test_a_folder_becomes_a_slice_that_datasets_opens(tmp_path):
    installation = install(tmp_path, {**STREET, "path": fill(tmp_path / "in", 5)})
    outcome = ingest(installation)["root"]
    opened = datasets.load_from_disk(str(installation.root.slice("street", "root")))
    assert opened.num_rows == outcome.manifest.rows == 5
    assert {image.size for row in opened for image in row["images"]} == {(64, 48)}
    assert {row["id"] for row in opened} == {f"street/root/{i:04d}.jpeg" for i in range(5)}
    whole = datasets.load_from_disk(str(installation.root.source("street")))
    assert list(whole) == ["root"]


def test_every_item_is_a_row_or_a_reject_with_a_reason(tmp_path):
    folder = fill(tmp_path / "in", 4)
    (folder / "a.html").write_text("<html><body>no picture</body></html>")
    (folder / "b.jpg").write_bytes(picture(9, size=(640, 480))[:2000])
    (folder / "c.jpg").write_bytes(b"")
    (folder / "d.jpg").symlink_to("nowhere")
    (folder / "e.eps").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n")
    installation = install(tmp_path, {**STREET, "path": folder, "reject_tolerance": 1})
    outcome = ingest(installation)["root"]
    manifest = outcome.manifest
    assert (manifest.items, manifest.records, manifest.rows, manifest.records_rejected) == (7, 7, 4, 3)
    assert sum(manifest.rejects.values()) == 3
    rejects = {
        row["key"]: row["reason"] for row in pq.read_table(outcome.path / "rejects.parquet").to_pylist()
    }
    assert rejects == {
        "b.jpg": "truncated", "c.jpg": "empty", "d.jpg": "not_found",
    }  # fmt: skip
    assert relist(installation).left_out == {"unknown_type": 2}, "a page, and a format that is never read"


def test_too_many_rejects_fail_the_slice_and_nothing_is_committed(tmp_path):
    folder = fill(tmp_path / "in", 4)
    (folder / "bad.jpg").write_bytes(b"nothing like an image")
    installation = install(tmp_path, {**STREET, "path": folder, "reject_tolerance": 0.1})
    told = expect_error(lambda: ingest(installation), RejectToleranceError)
    assert "1 of 5 records are rejects (not_an_image 1), more than reject_tolerance 0.1;" in told
    assert "\n  bad.jpg: not_an_image: it is text\n" in told
    assert "write `reject_tolerance: 0.2` to the entry street in catalog/sources/all.yaml" in told
    assert summarise_source(installation.root, "street").slices == {}
    assert gather_supply(installation).incomplete == ("source street: 1 of 1 slice never committed: root",)


def test_a_second_run_writes_nothing(tmp_path):
    installation = install(tmp_path, {**STREET, "path": fill(tmp_path / "in", 5)})
    first = ingest(installation)["root"]
    before = {p: p.stat().st_mtime_ns for p in installation.root.path.rglob("*") if "locks" not in str(p)}
    assert ingest(installation)["root"].due is Due.COMMITTED
    after = {p: p.stat().st_mtime_ns for p in installation.root.path.rglob("*") if "locks" not in str(p)}
    folders = {
        installation.root.cache_of("street"),
        installation.root.listings,
    }  # an item table came and went
    assert {p for p in after if after[p] != before.get(p)} - folders <= {
        installation.root.cache_of("street") / "sha256.db",
        installation.root.listing("street"),  # touched: when it was last looked at
    }
    assert first.due is Due.NEW


@pytest.mark.parametrize("workers", [1, 3])
def test_the_same_bytes_with_other_workers_and_folders(tmp_path, workers):
    folder = fill(tmp_path / "in", 40)
    one = ingest(install(tmp_path / "one", {**STREET, "path": folder}))["root"]
    shutil.copytree(folder, tmp_path / "copy")
    other = ingest(install(tmp_path / "two", {**STREET, "path": tmp_path / "copy"}, workers=workers))["root"]
    assert contents(one.path) == contents(other.path)
    assert one.path.name == other.path.name


def test_one_file_more_changes_one_bucket_and_keeps_the_other_rows(tmp_path):
    folder = fill(tmp_path / "in", 60)
    source = {**STREET, "path": folder, "files_per_slice": 20}
    installation = install(tmp_path, source)
    first = ingest(installation)
    fill(folder, 1, start=60)
    second = ingest(installation)
    assert len(first) == len(second) == 3
    fetched = [one for one in second.values() if one.due is Due.CHANGED]
    assert len(fetched) == 1
    assert fetched[0].run.taken_over == fetched[0].manifest.items - 1
    fresh = ingest(install(tmp_path / "fresh", {**source, "buckets": 3}))
    assert {key: one.path.name for key, one in fresh.items()} == {
        key: one.path.name for key, one in second.items()
    }


def test_a_changed_file_replaces_its_row_alone(tmp_path):
    folder = fill(tmp_path / "in", 10)
    installation = install(tmp_path, {**STREET, "path": folder})
    ingest(installation)
    (folder / "0003.jpeg").write_bytes(picture(99))
    outcome = ingest(installation)["root"]
    assert outcome.run.taken_over == 9
    fresh = ingest(install(tmp_path / "fresh", {**STREET, "path": folder}))["root"]
    assert contents(fresh.path) == contents(outcome.path)


def test_a_changed_category_licence_or_label_map_fetches_nothing(tmp_path):
    for name in ("cat", "dog"):
        fill(tmp_path / "in" / name, 3, start=len(name) * 10 + (name == "dog"))
    source = {**STREET, "path": tmp_path / "in", "subcategory_from": {"folder": 1, "map": {"cat": "street"}}}
    del source["subcategory"]
    installation = install(tmp_path, source)
    assert {key: o.manifest.subcategories for key, o in ingest(installation).items()} == {
        "cat": {"street": 3}, "dog": {"": 3}
    }  # fmt: skip
    source["licence"] = "MIT"
    source["subcategory_from"] = {"folder": 1, "map": {"cat": "street", "dog": "street"}}
    assert {o.due for o in ingest(install(tmp_path, source)).values()} == {Due.COMMITTED}


def test_a_changed_format_list_makes_only_its_items_due(tmp_path):
    folder = fill(fill(tmp_path / "in", 4), 3, start=10, form="PNG")
    source = {**STREET, "path": folder, "reject_tolerance": 1}
    only_jpeg = ingest(install(tmp_path, source, corpus={"formats": ["JPEG"]}))["root"]
    assert only_jpeg.manifest.rejects == {"format_not_allowed": 3}
    both = ingest(install(tmp_path, source, corpus={"formats": ["JPEG", "PNG"]}))["root"]
    assert (both.manifest.rows, both.run.taken_over) == (7, 4)
    png = ingest(install(tmp_path, source, corpus={"formats": ["PNG"]}))["root"]
    assert (png.manifest.rows, png.run.taken_over) == (3, 3)


def test_transient_rejects_are_due_again_later_and_only_they(tmp_path):
    folder = fill(tmp_path / "in", 4)
    (folder / "late.jpeg").symlink_to(folder / "late")
    installation = install(tmp_path, {**STREET, "path": folder, "reject_tolerance": 1})
    first = ingest(installation)["root"]
    assert first.manifest.transient_rejects == 1
    assert first.run.next_retry > time.time() + 3000
    assert ingest(installation)["root"].due is Due.COMMITTED
    run = json.loads((first.path / "run.json").read_text())
    (first.path / "run.json").unlink()
    (first.path / "run.json").write_text(json.dumps(run | {"next_retry": 1}))
    second = ingest(installation)["root"]
    assert (second.due, second.run.taken_over) == (Due.RETRY, 4)
    rejects = pq.read_table(second.path / "rejects.parquet").to_pylist()
    assert [(r["key"], r["attempts"]) for r in rejects] == [("late.jpeg", 2)]


def test_a_shrunken_listing_stops_until_it_is_accepted(tmp_path):
    folder = fill(tmp_path / "in", 20)
    installation = install(tmp_path, {**STREET, "path": folder})
    relist(installation)
    for number in range(3):
        (folder / f"{number:04d}.jpeg").unlink()
    told = expect_error(lambda: relist(installation), ListingShrunkError)
    assert "17 items listed, 20 before" in told
    assert relist(installation, accept_shrink=True).items == 17


def test_retired_slices_leave_the_supply_and_return_when_listed_again(tmp_path):
    for name in ("a", "b"):
        fill(tmp_path / "in" / name, 3, start=ord(name))
    installation = install(tmp_path, {**STREET, "path": tmp_path / "in", "shrink_tolerance": 1})
    ingest(installation)
    (tmp_path / "in" / "b").rename(tmp_path / "b")
    listing = relist(installation)
    assert listing.retired == ("b",)
    splits = json.loads((installation.root.source("street") / "dataset_dict.json").read_text())
    assert splits == {"splits": ["a"]}
    assert [s.slice for s in gather_supply(installation).slices] == ["a"]
    (tmp_path / "b").rename(tmp_path / "in" / "b")
    assert {o.due for o in ingest(installation).values()} == {Due.COMMITTED}
    assert [s.slice for s in gather_supply(installation).slices] == ["a", "b"]


def test_a_large_summary_is_not_written_for_each_slice_and_misses_none(tmp_path, monkeypatch):
    monkeypatch.setattr("vlm_assets.ingest.summary._LARGE_BYTES", 0)
    for name in ("a", "b", "c"):
        fill(tmp_path / "in" / name, 2, start=ord(name))
    installation = install(tmp_path, {**STREET, "path": tmp_path / "in"})
    ingest(installation)
    splits = installation.root.source("street") / "dataset_dict.json"
    assert json.loads(splits.read_text()) != {"splits": ["a", "b", "c"]}
    assert set(summarise_source(installation.root, "street").slices) == {"a", "b", "c"}
    assert [one.slice for one in gather_supply(installation).slices] == ["a", "b", "c"]
    relist(installation)  # ends with `refresh_summary`, as a run does
    assert json.loads(splits.read_text()) == {"splits": ["a", "b", "c"]}


def test_force_fetches_all_again_to_the_same_version(tmp_path):
    installation = install(tmp_path, {**STREET, "path": fill(tmp_path / "in", 5)})
    first = ingest(installation)["root"]
    forced = ingest(installation, options=SliceOptions(force=True))["root"]
    assert (forced.due, forced.run.taken_over) == (Due.FORCED, 0)
    assert forced.path == first.path


def test_test_mode_caps_the_rows_and_says_what_it_left_out(tmp_path):
    installation = install(tmp_path, {**STREET, "path": fill(tmp_path / "in", 50)})
    manifest = ingest(installation, options=SliceOptions(max_records=10))["root"].manifest
    assert (manifest.rows, manifest.rejects, manifest.items) == (10, {"test_mode": 40}, 50)


def test_a_slice_without_rows_is_committed_and_left_out_of_the_dataset_dict(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "no.jpg").write_bytes(b"nothing")
    installation = install(tmp_path, {**STREET, "path": tmp_path / "in", "reject_tolerance": 1})
    outcome = ingest(installation)["root"]
    assert outcome.manifest.rows == 0
    assert list(read_rows(outcome.path, ["data-00000.arrow"])) == []
    assert json.loads((installation.root.source("street") / "dataset_dict.json").read_text()) == {
        "splits": []
    }


def test_texts_come_from_sidecars_and_metadata_files(tmp_path):
    folder = fill(tmp_path / "in", 2)
    (folder / "0000.txt").write_text("Bir köprü\n", "utf-8")
    installation = install(tmp_path, {**STREET, "path": folder, "text": "sidecar"})
    rows = list(read_rows(ingest(installation)["root"].path, ["data-00000.arrow"]))
    assert {row["id"][-9:]: row["text"] for row in rows} == {"0000.jpeg": "Bir köprü", "0001.jpeg": None}
    (folder / "0000.txt").unlink()
    (folder / "metadata.jsonl").write_text(
        '{"file_name": "0001.jpeg", "text": "Vapur", "year": 1935}\n', "utf-8"
    )
    installation = install(tmp_path, {**STREET, "path": folder, "text": "metadata.jsonl"})
    rows = list(read_rows(ingest(installation)["root"].path, ["data-00000.arrow"]))
    assert {(row["id"][-9:], row["text"], row["extra"]) for row in rows} == {
        ("0000.jpeg", None, None), ("0001.jpeg", "Vapur", '{"year":1935}')
    }  # fmt: skip
