"""A data root of a made-up older version, 0: its slices lack a column, its manifests a key."""

import os
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pytest
from blake3 import blake3
from typer.testing import CliRunner

from vlm_assets.allocation.step import allocate
from vlm_assets.cli import app
from vlm_assets.corpus.build import build_corpus
from vlm_assets.ingest.due import Due
from vlm_assets.installation.opening import Installation
from vlm_assets.operate.migration import MIGRATIONS, Content, Files, Migration, migrate
from vlm_assets.operate.verify import verify
from vlm_assets.store.slices import data_file_names
from vlm_assets.store.versions import swap_link
from vlm_assets.words.errors import StoreError
from vlm_assets.words.layout import MANIFEST, VERSIONS
from vlm_assets.words.manifest import FileEntry
from vlm_assets.words.schema import INDEX_SCHEMA, SAMPLE_SCHEMA
from vlm_assets_tests.workplace import STREET, expect_error, fill, ingest, install

COLUMN = "frames"


def rewritten(path: Path, into: Path, schema: pa.Schema, *, stream: bool) -> FileEntry:
    """An Arrow file with the columns of `schema`; `frames` is 1 where it was not there."""
    opener, maker = (pa.ipc.open_stream, pa.ipc.new_stream) if stream else (pa.ipc.open_file, pa.ipc.new_file)
    with pa.OSFile(str(path)) as file:
        table = opener(file).read_all()
    missing = pa.array([1] * table.num_rows, pa.int32())
    columns = [table.column(f.name) if f.name in table.column_names else missing for f in schema]
    with pa.OSFile(str(into), "w") as file, maker(file, schema) as writer:
        for batch in pa.Table.from_arrays(columns, schema=schema).to_batches():
            writer.write_batch(batch)
    return FileEntry(size_bytes=into.stat().st_size, blake3=blake3(into.read_bytes()).hexdigest())


def without(schema: pa.Schema) -> pa.Schema:
    return schema.remove(schema.get_field_index(COLUMN))


def files_of(folder: Path, into: Path, content: Content, data: pa.Schema, index: pa.Schema) -> Files:
    written = {"index.arrow": rewritten(folder / "index.arrow", into / "index.arrow", index, stream=False)}
    for name in data_file_names(content["files"]):
        written[name] = rewritten(folder / name, into / name, data, stream=True)
    return written


def add_frames(folder: Path, into: Path, content: Content) -> tuple[Content, Files]:
    """The migration 0 → 1."""
    return {**content, "image_bytes": 0}, files_of(folder, into, content, SAMPLE_SCHEMA, INDEX_SCHEMA)


def make_old(installation: Installation) -> None:
    """Turns listing, slices, plans and corpora into those of version 0."""
    root = installation.root
    for path in root.listings.glob("*.json"):
        content = orjson.loads(path.read_bytes())
        path.write_bytes(orjson.dumps({**content, "schema_version": 0}))
    for link in [p for p in root.path.glob("*/*/*") if p.is_symlink()]:
        folder = link.resolve()
        content = orjson.loads((folder / MANIFEST).read_bytes()) | {"schema_version": 0}
        if content["type"] == "slice":
            del content["image_bytes"]
            into = folder.parent / "old"
            into.mkdir()
            written = files_of(folder, into, content, without(SAMPLE_SCHEMA), without(INDEX_SCHEMA))
            content["files"].update({name: entry.model_dump() for name, entry in written.items()})
            for name in written:
                os.replace(into / name, folder / name)  # noqa: PTH105 - over a read-only file
            into.rmdir()
        data = orjson.dumps(content)
        (folder / MANIFEST).unlink()
        (folder / MANIFEST).write_bytes(data)
        target = folder.with_name(blake3(data).hexdigest()[:12])
        folder.rename(target)
        swap_link(link, Path(VERSIONS) / target.name)


@pytest.fixture
def old(tmp_path, monkeypatch) -> Installation:
    monkeypatch.setitem(MIGRATIONS, 0, Migration("adds `frames`", lambda content: content, add_frames))
    for folder in ("day", "night"):
        fill(tmp_path / "street" / folder, 4, start=len(folder) * 10)
    installation = install(tmp_path, {**STREET, "path": tmp_path / "street"}, corpus={"targets": {"5": 5}})
    ingest(installation)
    build_corpus(allocate(installation, "5").path, installation.root)
    make_old(installation)
    monkeypatch.setenv("VLM_CATALOG", str(installation.catalog_dir))
    monkeypatch.setenv("VLM_DATA_ROOT", str(installation.root.path))
    return installation


def told(report: Any) -> list[tuple[str, str, str, bool]]:
    return [(one.kind, one.name, one.action, one.done) for one in report.found]


def test_old_data_is_refused_with_the_command_that_helps(old):
    message = expect_error(lambda: ingest(old), StoreError)
    assert "schema version 0, this program reads 1: run `vlm-assets migrate`" in message


def test_it_is_told_first_then_done_without_fetching(old):
    before = sorted(p for p in old.root.path.rglob("*") if "logs" not in p.parts)
    wanted = [
        ("listing", "street", "migrate"), ("slice", "street/day", "migrate"), ("slice", "street/night", "migrate"),
        ("allocation", "small/5", "build again"), ("corpus", "small/5", "build again"),
    ]  # fmt: skip
    assert told(migrate(old.root)) == [(*one, False) for one in wanted]
    assert sorted(p for p in old.root.path.rglob("*") if "logs" not in p.parts) == before
    report = migrate(old.root, apply=True)
    assert told(report) == [(*one, True) for one in wanted]
    assert report.exit_code == 0
    assert told(migrate(old.root)) == []
    outcomes = ingest(old)
    assert {one.due for one in outcomes.values()} == {Due.COMMITTED}
    assert [one.manifest.rows for one in outcomes.values()] == [4, 4]
    assert verify(old).problems == []
    rebuilt = build_corpus(allocate(old, "5").path, old.root)
    assert rebuilt.rows == 5


def test_a_cut_run_is_finished_by_the_next(old, monkeypatch):
    def cut(folder: Path, into: Path, content: Content) -> tuple[Content, Files]:
        if content["slice"] == "night":
            raise OSError("no space left on device")
        return add_frames(folder, into, content)

    with monkeypatch.context() as patched:
        patched.setitem(MIGRATIONS, 0, Migration("adds `frames`", lambda content: content, cut))
        report = migrate(old.root, apply=True)
    assert report.exit_code == 1
    [failed] = [one for one in report.found if not one.done]
    assert (failed.name, failed.problem) == ("street/night", "OSError: no space left on device")
    assert told(migrate(old.root, apply=True)) == [("slice", "street/night", "migrate", True)]
    assert {one.due for one in ingest(old).values()} == {Due.COMMITTED}


def test_without_a_migration_it_is_fetched_again(old, monkeypatch):
    monkeypatch.setitem(MIGRATIONS, 0, Migration("cannot be", lambda content: content, None))
    actions = {one.name: one.action for one in migrate(old.root, apply=True).found if one.kind == "slice"}
    assert actions == {"street/day": "fetch again", "street/night": "fetch again"}
    assert {one.due for one in ingest(old).values()} == {Due.NEW}


def test_data_of_a_newer_program_is_left_alone(old):
    path = old.root.listing("street")
    path.write_bytes(orjson.dumps({**orjson.loads(path.read_bytes()), "schema_version": 7}))
    content = path.read_bytes()
    report = migrate(old.root, apply=True)
    assert (report.found[0].action, report.found[0].done, report.exit_code) == ("newer", False, 1)
    assert path.read_bytes() == content


@pytest.mark.usefixtures("old")
def test_the_command_tells_and_does():
    done = CliRunner().invoke(app, ["migrate"])
    assert done.exit_code == 1
    assert "vlm-assets migrate --apply does it" in done.output
    done = CliRunner().invoke(app, ["migrate", "--apply", "--json"])
    assert done.exit_code == 0, done.output
    assert [one["done"] for one in orjson.loads(done.stdout)["found"]] == [True] * 5
    assert CliRunner().invoke(app, ["migrate"]).exit_code == 0
