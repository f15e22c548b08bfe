"""A corpus in the formats of others: row by row the same, read by the formats' own libraries."""

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import datasets
import pyarrow.parquet as pq
import pytest

from vlm_assets.exports import files, parquet, run
from vlm_assets.exports.formats import Format
from vlm_assets.exports.manifest import MANIFEST, ExportManifest
from vlm_assets.exports.run import Exported, export_corpus
from vlm_assets.exports.where import Where
from vlm_assets.operate.takedown import TakedownOrder, take_down
from vlm_assets.operate.takedown.order import tombstone_of
from vlm_assets.store.tombstones import write_tombstone
from vlm_assets.words.errors import CorpusError, StoreError, TakenDownError
from vlm_assets_tests.exports.corpora import COUNT, add_rows, corpus_rows, seal
from vlm_assets_tests.exports.reading import ROWS, contents
from vlm_assets_tests.workplace import expect_error

FORMATS = tuple(Format)


@pytest.mark.parametrize("form", FORMATS)
def test_every_row_is_that_of_the_corpus(sealed, tmp_path, form):
    done = export_corpus(sealed, "t", form, tmp_path / "out", workers=2)
    assert ROWS[form](tmp_path / "out") == corpus_rows(sealed)
    assert (done.manifest.rows, done.manifest.complete) == (COUNT, True)
    assert len(done.manifest.files) > 3


def test_datasets_opens_the_folder(sealed, tmp_path):
    export_corpus(sealed, "t", Format.PARQUET, tmp_path / "out")
    loaded = datasets.load_dataset(str(tmp_path / "out"), cache_dir=str(tmp_path / "cache"))
    whole = datasets.load_from_disk(str(sealed.root.corpus("small", "t").resolve()))
    assert {name: part.num_rows for name, part in loaded.items()} == {"train": COUNT}
    assert loaded["train"].features == whole.features


@pytest.mark.parametrize("form", FORMATS)
def test_the_same_bytes_twice_and_nothing_written_where_all_is_there(sealed, tmp_path, form):
    for name in "ab":
        export_corpus(sealed, "t", form, tmp_path / name, workers=2)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    again = export_corpus(sealed, "t", form, tmp_path / "a")
    assert (again.written, again.kept) == (0, len(again.manifest.files))


class Cut(BaseException):
    """Ends an export where a kill would."""


@pytest.mark.parametrize("form", FORMATS)
def test_a_cut_export_goes_on_and_ends_with_the_same_bytes(sealed, tmp_path, monkeypatch, form):
    whole = export_corpus(sealed, "t", form, tmp_path / "whole")
    files = []

    def cut(self: run._Export, *args: Any) -> Any:
        files.append(args)
        if len(files) == 4:
            raise Cut
        return write(self, *args)

    write = run._Export._write
    with monkeypatch.context() as patch:
        patch.setattr(run._Export, "_write", cut)
        with pytest.raises(Cut):
            export_corpus(sealed, "t", form, tmp_path / "out")
    for name in ("data/.r000.parquet.tmp", ".export.json.0a1b2c3d.tmp", ".README.md.0a1b2c3d.tmp"):
        (tmp_path / "out" / name).write_bytes(b"half")
    told = ExportManifest.model_validate_json((tmp_path / "out" / MANIFEST).read_bytes())
    assert (told.complete, len(told.files)) == (False, 3)
    done = export_corpus(sealed, "t", form, tmp_path / "out")
    assert (done.kept, done.written) == (3, len(whole.manifest.files) - 3)
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


@pytest.fixture
def by_processes(monkeypatch):
    """However few rows there are."""
    monkeypatch.setattr(files, "_ROWS_OF_A_PROCESS", 0)


@pytest.mark.usefixtures("by_processes")
def test_processes_write_the_bytes_that_threads_do(sealed, tmp_path, monkeypatch):
    where = Where.parse(SOME)
    alone = export_corpus(sealed, "t", Format.WEBDATASET, tmp_path / "alone", where=where)
    monkeypatch.setattr(files, "write_file", None)  # of this process
    done = export_corpus(sealed, "t", Format.WEBDATASET, tmp_path / "out", where=where, workers=2)
    assert done.manifest == alone.manifest
    assert contents(tmp_path / "out") == contents(tmp_path / "alone")


@pytest.mark.parametrize(
    ("form", "rows", "workers", "count"),
    [
        (Format.WEBDATASET, [50_000, 50_000], 2, 2),
        (Format.WEBDATASET, [50_000, 50_000], 1, None),
        (Format.WEBDATASET, [1, 2], 2, None),
        (Format.WEBDATASET, [500_000], 4, None),
        (Format.WEBDATASET, [], 4, None),
        (Format.PARQUET, [500_000, 500_000], 2, None),
    ],
)
def test_processes_start_where_they_pay(monkeypatch, form, rows, workers, count):
    monkeypatch.setattr(files, "WritingProcesses", lambda count: count)
    assert files.writing_processes(form, rows, workers) == count


def test_a_file_that_rotted_is_written_again(sealed, tmp_path):
    done = export_corpus(sealed, "t", Format.PARQUET, tmp_path / "out")
    name = next(iter(done.manifest.files))
    data = bytearray((tmp_path / "out" / name).read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / "out" / name).write_bytes(data)
    assert export_corpus(sealed, "t", Format.PARQUET, tmp_path / "out").written == 1
    assert ROWS[Format.PARQUET](tmp_path / "out") == corpus_rows(sealed)


def test_growth_writes_the_shards_that_changed(fresh, tmp_path):
    before = export_corpus(fresh, "t", Format.PARQUET, tmp_path / "out")
    add_rows(tmp_path, range(COUNT, COUNT + 1), "b")
    grown = export_corpus(seal(tmp_path), "t", Format.PARQUET, tmp_path / "out")
    assert grown.manifest.rows == COUNT + 1
    assert grown.kept >= len(before.manifest.files) - 2
    assert ROWS[Format.PARQUET](tmp_path / "out") == corpus_rows(fresh)


@pytest.mark.parametrize("form", FORMATS)
def test_a_takedown_names_the_exports_and_the_next_one_is_without_the_row(fresh, tmp_path, form):
    export_corpus(fresh, "t", form, tmp_path / "out")
    gone = ROWS[form](tmp_path / "out")[0]
    receipt = take_down(fresh, TakedownOrder(id=gone["id"]))
    assert [one for one in receipt.remarks if str(tmp_path / "out") in one]
    export_corpus(fresh, "t", form, tmp_path / "out")
    assert gone["id"] not in {row["id"] for row in ROWS[form](tmp_path / "out")}
    image = gone["images"][0]["bytes"]
    assert not [p for p in (tmp_path / "out").rglob("*") if p.is_file() and image in p.read_bytes()]
    other = take_down(fresh, TakedownOrder(id=gone["id"]))
    assert not [one for one in other.remarks if str(tmp_path / "out") in one]


def test_what_holds_a_row_that_was_taken_down_is_not_exported(fresh, tmp_path):
    row = corpus_rows(fresh)[0]["id"]
    write_tombstone(fresh.root, tombstone_of(fresh.root, TakedownOrder(id=row)))
    told = expect_error(lambda: export_corpus(fresh, "t", Format.PARQUET, tmp_path / "out"), TakenDownError)
    assert row in told
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("by_processes")
@pytest.mark.parametrize(
    ("form", "workers"), [(Format.PARQUET, 1), (Format.PARQUET, 2), (Format.WEBDATASET, 2)]
)
def test_a_damaged_shard_is_named(fresh, tmp_path, form, workers):
    version = fresh.root.corpus("small", "t").resolve()
    path = sorted(version.glob("data-r*.arrow"))[1]
    data = bytearray(path.read_bytes())
    data[-200] ^= 1
    path.chmod(0o644)
    path.write_bytes(data)
    told = expect_error(
        lambda: export_corpus(fresh, "t", form, tmp_path / "out", workers=workers), StoreError
    )
    assert path.name in told
    assert "vlm-assets verify" in told


def test_one_that_was_killed_before_its_manifest_goes_on(sealed, tmp_path):
    (tmp_path / "out" / "data").mkdir(parents=True)
    (tmp_path / "out" / ".export.json.0a1b2c3d.tmp").write_bytes(b"half")
    done = export_corpus(sealed, "t", Format.PARQUET, tmp_path / "out")
    assert contents(tmp_path / "out").keys() == {
        "README.md",
        "croissant.json",
        MANIFEST,
        *done.manifest.files,
    }


def test_places_that_cannot_be_are_told(sealed, tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "holiday.jpg").touch()
    told = expect_error(lambda: export_corpus(sealed, "t", Format.PARQUET, tmp_path / "photos"), StoreError)
    assert "holiday.jpg" in told
    assert (tmp_path / "photos" / "holiday.jpg").exists()
    told = expect_error(lambda: export_corpus(sealed, "10", Format.PARQUET, tmp_path / "out"), CorpusError)
    assert "build --target 10" in told


def test_another_format_in_the_same_folder_leaves_nothing_of_the_first(sealed, tmp_path):
    export_corpus(sealed, "t", Format.PARQUET, tmp_path / "out")
    done: Exported = export_corpus(sealed, "t", Format.WEBDATASET, tmp_path / "out")
    assert done.removed == len(done.manifest.files)
    assert {path.suffix for path in (tmp_path / "out" / "data").iterdir()} == {".tar"}


SOME = "image_count > 1 and has_messages"


@pytest.mark.parametrize("form", FORMATS)
def test_only_rows_that_are_asked_for(sealed, tmp_path, form):
    where = Where.parse(SOME)
    wanted = [row for row in corpus_rows(sealed) if len(row["images"]) > 1 and row["messages"]]
    done = export_corpus(sealed, "t", form, tmp_path / "out", where=where)
    assert ROWS[form](tmp_path / "out") == wanted
    assert (done.manifest.rows, done.manifest.where) == (len(wanted), SOME)
    again = export_corpus(sealed, "t", form, tmp_path / "out", where=where)
    assert (again.written, again.kept) == (0, len(done.manifest.files))
    other = export_corpus(sealed, "t", form, tmp_path / "out")
    assert (other.kept, other.manifest.rows) == (0, COUNT)
    assert ROWS[form](tmp_path / "out") == corpus_rows(sealed)


def test_rows_that_nobody_has_are_an_error(sealed, tmp_path):
    where = Where.parse("category == 'art'")
    told = expect_error(
        lambda: export_corpus(sealed, "t", Format.PARQUET, tmp_path / "out", where=where), CorpusError
    )
    assert "category == 'art'" in told
    assert not (tmp_path / "out").exists()


def test_parquet_has_what_stores_and_viewers_ask_for(sealed, tmp_path, monkeypatch):
    monkeypatch.setattr(parquet, "ROW_GROUP_BYTES", 20_000)
    export_corpus(sealed, "t", Format.PARQUET, tmp_path / "out")
    for path in (tmp_path / "out" / "data").iterdir():
        told = pq.read_metadata(path)
        groups = [told.row_group(number) for number in range(told.num_row_groups)]
        assert all(group.total_byte_size < 60_000 or group.num_rows == 1 for group in groups)
        columns = [group.column(number) for group in groups for number in range(group.num_columns)]
        assert all(column.has_column_index or "bytes" in column.path_in_schema for column in columns)
        assert all(column.has_offset_index for column in columns)
        images = [one for one in columns if one.path_in_schema == "images.list.element.bytes"]
        assert {one.compression for one in images} == {"UNCOMPRESSED"}
    assert ROWS[Format.PARQUET](tmp_path / "out") == corpus_rows(sealed)


def killed_at(
    installation, out: Path, form: Format, step: int, processes: str
) -> "subprocess.CompletedProcess[str]":
    words = [installation.root.path, installation.catalog_dir, out, form, step, processes]
    command = [sys.executable, "-m", "vlm_assets_tests.exports.killed_export", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.slow
@pytest.mark.timeout(1_200)
@pytest.mark.parametrize(
    ("form", "processes"),
    [(Format.PARQUET, ""), (Format.WEBDATASET, ""), (Format.WEBDATASET, "processes")],
)
def test_killed_anywhere_it_ends_with_the_same_bytes(sealed, tmp_path, form, processes):
    """A real SIGKILL before and after writes, syncs and renames; twelve places along the way."""
    steps = int(killed_at(sealed, tmp_path / "whole", form, 0, processes).stdout)
    for step in range(1, steps, steps // 12):
        out = tmp_path / f"killed-{step}"
        assert killed_at(sealed, out, form, step, processes).returncode == -signal.SIGKILL
        export_corpus(sealed, "t", form, out)
        assert contents(out) == contents(tmp_path / "whole"), step
