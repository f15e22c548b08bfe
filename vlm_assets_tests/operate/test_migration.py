"""A data root of schema 1: its rows have one image in columns of their own, and no conversation."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pytest
from typer.testing import CliRunner

from vlm_assets.allocation.step import allocate
from vlm_assets.cli import app
from vlm_assets.corpus.build import build_corpus
from vlm_assets.ingest.due import Due
from vlm_assets.installation.opening import Installation
from vlm_assets.locks import hold_lock
from vlm_assets.operate import schema_1
from vlm_assets.operate.migration import MIGRATIONS, Content, migrate
from vlm_assets.operate.takedown.slices import empty_slices
from vlm_assets.operate.verify import verify
from vlm_assets.sources.registry import source_of
from vlm_assets.store.slices import data_file_names, read_rows
from vlm_assets.store.versions import read_manifest
from vlm_assets.words.errors import StoreError
from vlm_assets.words.layout import MANIFEST, STAGING
from vlm_assets.words.manifest import FileEntry, SliceManifest
from vlm_assets.words.schema import NO_WORDS, Row
from vlm_assets_tests.operate.schema_1_root import DATA_1, INDEX_1, make_old
from vlm_assets_tests.pdf.builders import drawing
from vlm_assets_tests.workplace import STREET, expect_error, fill, ingest, install


@pytest.fixture
def old(tmp_path, monkeypatch) -> Installation:
    for folder in ("day", "night"):
        fill(tmp_path / "street" / folder, 4, start=len(folder) * 10)
    installation = install(tmp_path, {**STREET, "path": tmp_path / "street"}, corpus={"targets": {"5": 5}})
    ingest(installation)
    build_corpus(allocate(installation, "5").path, installation.root)
    [gone] = [row["id"] for row in index_rows(installation, "day")][:1]
    empty_slices(installation.root, frozenset(), frozenset({gone}))
    make_old(installation)
    monkeypatch.setenv("VLM_CATALOG", str(installation.catalog_dir))
    monkeypatch.setenv("VLM_DATA_ROOT", str(installation.root.path))
    return installation


def index_rows(installation: Installation, key: str) -> list[Row]:
    folder = installation.root.slice("street", key).resolve()
    return list(pa.ipc.open_file(str(folder / "index.arrow")).read_all().to_pylist())


def told(report: Any) -> list[tuple[str, str, str, bool]]:
    return [(one.kind, one.name, one.action, one.done) for one in report.found]


def test_old_data_is_refused_with_the_command_that_helps(old):
    message = expect_error(lambda: ingest(old), StoreError)
    assert "schema version 1, this program reads 2: run `vlm-assets migrate`" in message


def test_it_is_told_first_then_done_without_fetching(old):
    before = sorted(p for p in old.root.path.rglob("*") if "logs" not in p.parts)
    wanted = [
        ("listing", "street", "migrate"), ("slice", "street/day", "migrate"), ("slice", "street/night", "migrate"),
        ("corpus", "small/5", "build again"),
    ]  # fmt: skip
    assert told(migrate(old)) == [(*one, False) for one in wanted]
    assert sorted(p for p in old.root.path.rglob("*") if "logs" not in p.parts) == before
    steps: list[tuple[str, int, int]] = []
    report = migrate(old, apply=True, progress=lambda *step: steps.append(step))
    assert steps == [(f"{kind} {name}", number, 4) for number, (kind, name, _) in enumerate(wanted)]
    assert told(report) == [(*one, True) for one in wanted]
    assert report.exit_code == 0
    assert told(migrate(old)) == []
    outcomes = ingest(old)
    assert {one.due for one in outcomes.values()} == {Due.COMMITTED}
    assert [one.manifest.rows for one in outcomes.values()] == [4, 4]
    assert verify(old).problems == []
    rebuilt = build_corpus(allocate(old, "5").path, old.root)
    assert rebuilt.rows == 5


def test_what_is_migrated_is_what_a_fetch_gives(old, tmp_path):
    migrate(old, apply=True)
    fresh = install(tmp_path / "fresh", {**STREET, "path": tmp_path / "street"}, corpus={"targets": {"5": 5}})
    mine = read_manifest(old.root.slice("street", "night").resolve(), SliceManifest)
    fetched = ingest(fresh)["night"].manifest
    # Nobody knows any more what was left out when it was fetched.
    files = {name: entry for name, entry in fetched.files.items() if name != "left_out.parquet"}
    unknown = {"upstream": None, "companions": None, "left_out": None, "files": files}
    assert mine == fetched.model_copy(update=unknown)


def test_rows_that_were_taken_down_stay_empty_and_keep_their_digests(old):
    folder = old.root.slice("street", "day").resolve()
    [before] = [row for row in pa.ipc.open_file(str(folder / "index.arrow")).read_all().to_pylist()
                if row["digest"].startswith(b"of a row")]  # fmt: skip
    migrate(old, apply=True)
    folder = old.root.slice("street", "day").resolve()
    names = data_file_names(orjson.loads((folder / MANIFEST).read_bytes())["files"])
    [after] = [row for row in read_rows(folder, names) if row["images"] is None]
    assert (after["id"], after["digest"]) == (before["id"], before["digest"])
    assert after["images_sha256"].hex() == before["image_sha256"]


def test_a_cut_run_is_finished_by_the_next(old, monkeypatch):
    def cut(
        installation: Installation, folder: Path, into: Path, content: Content
    ) -> tuple[Content, dict[str, FileEntry]]:
        if content["slice"] == "night":
            raise OSError("no space left on device")
        return schema_1.migrate_slice(installation, folder, into, content)

    with monkeypatch.context() as patched:
        patched.setitem(MIGRATIONS, 1, replace(MIGRATIONS[1], slice_=cut))
        report = migrate(old, apply=True)
    assert report.exit_code == 1
    [failed] = [one for one in report.found if not one.done]
    assert (failed.name, failed.problem) == ("street/night", "OSError: no space left on device")
    assert told(migrate(old, apply=True)) == [("slice", "street/night", "migrate", True)]
    assert {one.due for one in ingest(old).values()} == {Due.COMMITTED}


def test_without_a_migration_it_is_fetched_again(old, monkeypatch):
    monkeypatch.setitem(MIGRATIONS, 1, replace(MIGRATIONS[1], slice_=None))
    links = [old.root.slice("street", key) for key in ("day", "night")]
    sizes = [orjson.loads((link / MANIFEST).read_bytes())["image_bytes"] for link in links]
    found = [one for one in migrate(old, apply=True).found if one.kind == "slice"]
    assert {one.name: one.action for one in found} == {
        "street/day": "fetch again",
        "street/night": "fetch again",
    }
    assert [one.requests for one in found] == [4, 4]
    assert [one.size_bytes for one in found] == sizes
    assert {one.due for one in ingest(old).values()} == {Due.NEW}


@pytest.mark.parametrize(
    ("row", "migrates"),
    [
        ({"id": "s/x/train.parquet/0", "extra": None}, True),
        ({"id": "s/x/train.parquet/0", "extra": '{"messages":"none"}'}, True),
        ({"id": "s/x/train.parquet/0#1", "extra": None}, False),
        ({"id": "s/x/train.parquet/0", "extra": '{"texts":[{"user":"?","assistant":"!"}]}'}, False),
        ({"id": "s/x/train.tar/0", "extra": '{"json":{"conversations":[]}}'}, False),
    ],
    ids=["single", "a word", "torn out of a list", "conversation", "conversation in a json"],
)
def test_rows_torn_off_their_record_are_not_migrated(tmp_path, row, migrates):
    table = pa.Table.from_pylist([{**dict.fromkeys(DATA_1.names), **row}], DATA_1)
    with (
        pa.OSFile(str(tmp_path / "data-00000.arrow"), "w") as file,
        pa.ipc.new_stream(file, DATA_1) as writer,
    ):
        writer.write_table(table)
    content = {"kind": "hf_dataset", "files": {"data-00000.arrow": {}}}
    assert schema_1.is_of_single_images(tmp_path, content) == migrates
    assert schema_1.is_of_single_images(tmp_path, {**content, "kind": "kaggle"})


def test_pages_that_were_drawn_are_fetched_again(tmp_path):
    """Nobody knows under which renderer identity; a page more would stand beside them under this machine's."""
    papers = tmp_path / "papers"
    papers.mkdir()
    drawing(papers / "a.pdf", size_pt=(60, 80))
    source = {**STREET, "kind": "pdf_folder", "path": papers, "dpi": 60, "buckets": 1, "renderer": "pdfium"}
    installation = install(tmp_path, source)
    [before] = ingest(installation).values()
    make_old(installation)
    for apply in (False, True):
        [one] = [one for one in migrate(installation, apply=apply).found if one.kind == "slice"]
        assert (one.action, one.requests, one.done) == ("fetch again", 1, apply)
        assert one.size_bytes == before.manifest.image_bytes
    drawing(papers / "b.pdf", size_pt=(50, 50))
    [after] = ingest(installation).values()
    assert (after.due, after.manifest.rows, after.run.taken_over) == (Due.NEW, 2, 0)
    assert (after.manifest.kind_version, after.manifest.renderer) == (
        before.manifest.kind_version,
        before.manifest.renderer,
    )


@pytest.mark.parametrize(
    ("content", "row", "proven"),
    [
        ({"kind": "client_folder"}, {}, True),
        ({"kind": "client_folder"}, {"text_sha256": b"w" * 32}, False),
        ({"kind": "kaggle"}, {"extra": '{"by":"a"}'}, False),
        ({"kind": "kaggle", "container": True}, {}, False),
        ({"kind": "github_release", "items_rejected": 1}, {}, False),
        ({"kind": "github_release", "records_rejected": 1}, {}, False),
        ({"kind": "image_urls", "items_rejected": 1}, {"text_sha256": b"w" * 32}, True),
        ({"kind": "hf_image_urls"}, {}, True),
        ({"kind": "hf_dataset"}, {}, False),
        ({"kind": "hf_disk"}, {}, False),
        ({"kind": "newspapers"}, {}, False),
        ({"kind": "of_yesterday"}, {}, False),
    ],
    ids=[
        "folder",
        "folder-words",
        "kaggle-extra",
        "kaggle-archive",
        "release-item",
        "release-record",
        "urls",
        "hub-urls",
        "hub",
        "disk",
        "pages",
        "unknown",
    ],
)
def test_a_fetch_is_due_unless_it_is_proven_to_give_the_same(tmp_path, content, row, proven):
    for name, schema, maker in (
        ("data-00000.arrow", DATA_1, pa.ipc.new_stream), ("index.arrow", INDEX_1, pa.ipc.new_file),
    ):  # fmt: skip
        told = {**dict.fromkeys(schema.names), "text_sha256": NO_WORDS, **row}
        table = pa.Table.from_pylist([told], schema)
        with pa.OSFile(str(tmp_path / name), "w") as file, maker(file, schema) as writer:
            writer.write_table(table)
    none = {"container": False, "items_rejected": 0, "records_rejected": 0}
    given = {**none, **content, "files": {"data-00000.arrow": {}}}
    assert schema_1.is_what_a_fetch_gives(tmp_path, given) == proven


def test_of_a_later_version_of_a_kind_nothing_is_proven(tmp_path, monkeypatch):
    monkeypatch.setattr(type(source_of("image_urls")), "version", 3)
    assert not schema_1.is_what_a_fetch_gives(tmp_path, {"kind": "image_urls"})


def test_data_of_a_newer_program_is_left_alone(old):
    path = old.root.listing("street")
    path.write_bytes(orjson.dumps({**orjson.loads(path.read_bytes()), "schema_version": 7}))
    content = path.read_bytes()
    report = migrate(old, apply=True)
    assert (report.found[0].action, report.found[0].done, report.exit_code) == ("newer", False, 1)
    assert path.read_bytes() == content


@pytest.mark.usefixtures("old")
def test_the_command_tells_and_does():
    done = CliRunner().invoke(app, ["migrate"])
    assert done.exit_code == 1
    assert "vlm-assets migrate --apply does it" in done.output
    done = CliRunner().invoke(app, ["migrate", "--apply", "--json"])
    assert done.exit_code == 0, done.output
    assert [one["done"] for one in orjson.loads(done.stdout)["found"]] == [True] * 4
    assert CliRunner().invoke(app, ["migrate"]).exit_code == 0


def test_what_a_cut_rewrite_left_goes_unless_somebody_is_at_it(tmp_path):
    installation = install(tmp_path, {**STREET, "path": fill(tmp_path / "photos", 1)})
    root = installation.root
    left, held = (root.source("street") / STAGING / f"{name}.migrate" for name in ("cut", "busy"))
    for folder in (left, held):
        (folder / "2").mkdir(parents=True)
    with hold_lock(root.locks / "slice.street.busy", "another migration"):
        migrate(installation, apply=True)
    assert (left.exists(), held.exists()) == (False, True)
