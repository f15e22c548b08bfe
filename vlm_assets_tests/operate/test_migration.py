"""A data root of schema 1: its rows have one image in columns of their own, and no conversation."""

from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from blake3 import blake3
from typer.testing import CliRunner

from vlm_assets.allocation.step import allocate
from vlm_assets.cli import app
from vlm_assets.corpus.build import build_corpus
from vlm_assets.ingest.due import Due
from vlm_assets.ingest.listing import byte_config, items_fingerprint
from vlm_assets.installation.opening import Installation
from vlm_assets.operate import schema_1
from vlm_assets.operate.migration import MIGRATIONS, Content, migrate
from vlm_assets.operate.takedown.slices import empty_slices
from vlm_assets.operate.verify import verify
from vlm_assets.store.slices import data_file_names, read_rows
from vlm_assets.store.versions import read_manifest, swap_link
from vlm_assets.words.errors import StoreError
from vlm_assets.words.layout import MANIFEST, VERSIONS
from vlm_assets.words.manifest import FileEntry, SliceManifest
from vlm_assets.words.records import Item, ListedSlice
from vlm_assets.words.schema import ASSIGNED_COLUMNS, Row
from vlm_assets_tests.workplace import STREET, expect_error, fill, ingest, install

_IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
_FACTS = [
    ("image_sha256", pa.string()), ("dhash", pa.uint64()), ("width_px", pa.int32()), ("height_px", pa.int32()),
    ("orientation", pa.uint8()), ("frames", pa.int32()), ("format", pa.string()), ("dpi", pa.int32()),
    ("size_bytes", pa.int64()),
]  # fmt: skip
_TEXTS = ["id", "text", "extra", "label", "category", "subcategory", "source", "slice", "origin", "licence"]
DATA_1 = pa.schema([("image", _IMAGE), *((name, pa.string()) for name in _TEXTS), *_FACTS])
INDEX_1 = pa.schema(
    [
        *(field for field in DATA_1 if field.name not in ("image", "text", "extra")),
        ("row_bytes", pa.int64()), ("text_sha256", pa.binary(32)), ("item_hash", pa.uint64()),
        ("record", pa.int64()), ("digest", pa.binary(32)),
    ]
)  # fmt: skip


def row_1(row: Row) -> Row:
    """A row as schema 1 had it."""
    [fact] = row["image_facts"]
    facts = {name: fact[name] for name, _ in _FACTS if name != "image_sha256"}
    flat = {"image_sha256": fact["sha256"], **facts}
    image = None if row["images"] is None else {"bytes": row["images"][0], "path": None}
    told = [{**row, **flat}[name] for name in DATA_1.names if name not in ("image", *ASSIGNED_COLUMNS)]
    texts = sum(len(value.encode()) for name in (*_TEXTS, "format", "image_sha256")
                if name not in ASSIGNED_COLUMNS and (value := {**row, **flat}[name]) is not None)  # fmt: skip
    digest = b"of a row that was emptied".ljust(32) if image is None else sha256(orjson.dumps(told)).digest()
    return {**row, **flat, "image": image, "row_bytes": 92 + texts + fact["size_bytes"], "digest": digest}


def make_old(installation: Installation) -> None:
    """Turns listing, slices, plans and corpora into those of schema 1."""
    root = installation.root
    for path in root.listings.glob("*.json"):
        content = orjson.loads(path.read_bytes())
        path.write_bytes(orjson.dumps(_without(content) | {"schema_version": 1}))
    for link in [p for p in root.path.glob("*/*/*") if p.is_symlink()]:
        folder = link.resolve()
        content = orjson.loads((folder / MANIFEST).read_bytes()) | {"schema_version": 1}
        if content["type"] == "slice":
            content = _slice_1(installation, folder, content)
        data = orjson.dumps(content)
        (folder / MANIFEST).unlink()
        (folder / MANIFEST).write_bytes(data)
        target = folder.with_name(blake3(data).hexdigest()[:12])
        folder.rename(target)
        swap_link(link, Path(VERSIONS) / target.name)


_NEW = {
    "listing": ("upstream", "companions", "left_out", "left_out_file", "left_out_blake3", "captions_unused"),
    "slice": (
        "images", "multi_image_rows", "rows_with_text", "rows_with_messages", "remarks", "upstream", "companions",
        "left_out", "renderer",
    ),
}  # fmt: skip


def _without(content: Content) -> Content:
    return {name: value for name, value in content.items() if name not in _NEW[content["type"]]}


def _slice_1(installation: Installation, folder: Path, content: Content) -> Content:
    names = data_file_names(content["files"])
    rows = [row_1(row) for row in read_rows(folder, names)]
    items = pq.read_table(folder / "items.parquet").select(["key", "identity", "fetched", "records", "rows"])
    written: list[tuple[str, pa.Table]] = [
        (names[0], pa.Table.from_pylist(rows, DATA_1)), ("index.arrow", pa.Table.from_pylist(rows, INDEX_1)),
    ]  # fmt: skip
    for name, table in written:
        (folder / name).unlink()
        maker = pa.ipc.new_file if name == "index.arrow" else pa.ipc.new_stream
        with pa.OSFile(str(folder / name), "w") as file, maker(file, table.schema) as writer:
            writer.write_table(table)
    (folder / "left_out.parquet").unlink()
    del content["files"]["left_out.parquet"]
    (folder / "items.parquet").unlink()
    pq.write_table(items, folder / "items.parquet")
    for name in (names[0], "index.arrow", "items.parquet"):
        data = (folder / name).read_bytes()
        content["files"][name] = {"size_bytes": len(data), "blake3": blake3(data).hexdigest()}
    spec = installation.catalog.source(content["source"])
    config = byte_config(installation, spec, 1)
    digest = sha256(orjson.dumps(config, option=orjson.OPT_SORT_KEYS)).hexdigest()
    ledger = [Item(row["key"], row["identity"]) for row in items.to_pylist()]
    listed = ListedSlice(content["slice"], ledger, content["container"], content["items_per_slice"])
    print_of = items_fingerprint(digest + ",".join(content["formats"]), listed, ledger)
    return _without(content) | {
        "kind_version": 1, "config_fingerprint": digest, "listing_fingerprint": print_of,
        "content_hash": sha256(b"".join(row["digest"] for row in rows)).hexdigest(),
    }  # fmt: skip


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
    report = migrate(old, apply=True)
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
