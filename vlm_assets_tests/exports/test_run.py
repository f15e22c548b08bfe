"""A corpus in the formats of others: row by row the same, read by the formats' own libraries."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from webdataset.tariterators import group_by_keys, tar_file_expander

from vlm_assets.allocation.step import allocate, tombstones_in_force
from vlm_assets.corpus.build import build_corpus
from vlm_assets.exports import run
from vlm_assets.exports.formats import Format
from vlm_assets.exports.manifest import MANIFEST, ExportManifest
from vlm_assets.exports.run import Exported, export_corpus
from vlm_assets.installation.opening import Installation
from vlm_assets.operate.takedown import TakedownOrder, take_down
from vlm_assets.operate.takedown.order import tombstone_of
from vlm_assets.store.tombstones import write_tombstone
from vlm_assets.words.errors import CorpusError, StoreError, TakenDownError
from vlm_assets_tests.workplace import expect_error, ingest, install, picture

FORMATS = tuple(Format)
COUNT = 60
IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
TURNS = pa.list_(pa.struct([("user", pa.string()), ("assistant", pa.string())]))


def upstream(number: int) -> dict[str, Any]:
    """One to three pictures, a conversation over them in every second row."""
    forms = ("JPEG", "PNG", "WEBP")[: 1 + number % 3]
    pictures = [picture(10 * number + n, size=(64, 48), form=form) for n, form in enumerate(forms)]
    turns = [{"user": "<image>" * len(pictures) + " kaç?", "assistant": f"{number} — ğİş"}]
    return {
        "images": [{"bytes": one, "path": None} for one in pictures],
        "texts": turns if number % 2 else None,
        "note": f"not {number}",
    }


def add_rows(base: Path, numbers: range, name: str) -> None:
    schema = pa.schema([("images", pa.list_(IMAGE)), ("texts", TURNS), ("note", pa.string())])
    table = pa.Table.from_pylist([upstream(n) for n in numbers], schema)
    (base / "upstream").mkdir(exist_ok=True)
    pq.write_table(table, base / "upstream" / f"{name}.parquet")


def seal(base: Path) -> Installation:
    source = {
        "name": "talks", "kind": "hf_disk", "path": str(base / "upstream"), "category": "photos",
        "subcategory": "street", "licence": "CC0-1.0",
    }  # fmt: skip
    corpus = {
        "targets": {"t": 1000},
        "shortfall": "report",
        "shard": {"max_bytes": 150_000, "block_rows": 4, "window_bytes": 30_000},
    }
    installation = install(base, source, corpus=corpus)
    ingest(installation, "talks")
    plan = allocate(installation, "t")
    build_corpus(plan.path, installation.root, tombstones_in_force(installation.root))
    return installation


@pytest.fixture(scope="module")
def sealed(tmp_path_factory: pytest.TempPathFactory) -> Installation:
    base = tmp_path_factory.mktemp("sealed")
    add_rows(base, range(COUNT), "a")
    return seal(base)


@pytest.fixture
def fresh(tmp_path: Path) -> Installation:
    add_rows(tmp_path, range(COUNT), "a")
    return seal(tmp_path)


def corpus_rows(installation: Installation) -> list[dict[str, Any]]:
    corpus = datasets.load_from_disk(str(installation.root.corpus("small", "t").resolve()))
    return list(corpus.cast_column("images", datasets.List(datasets.Image(decode=False))))


def parquet_rows(out: Path) -> list[dict[str, Any]]:
    return [row for path in sorted((out / "data").iterdir()) for row in pq.read_table(path).to_pylist()]


def webdataset_rows(out: Path) -> list[dict[str, Any]]:
    rows = []
    for path in sorted((out / "data").iterdir()):
        with path.open("rb") as stream:  # the library's own opener leaves files open
            samples = list(group_by_keys(tar_file_expander([{"url": path.name, "stream": stream}])))
        for sample in samples:
            row = json.loads(sample["json"])
            row["images"] = [{"bytes": sample[suffix], "path": None} for suffix in row["images"]]
            assert sample.get("txt", b"").decode() == (row["text"] or "")
            rows.append(row)
    return rows


ROWS: dict[Format, Callable[[Path], list[dict[str, Any]]]] = {
    Format.PARQUET: parquet_rows,
    Format.WEBDATASET: webdataset_rows,
}


def contents(out: Path) -> dict[str, str]:
    files = (path for path in out.rglob("*") if path.is_file() and path.name != ".lock")
    return {path.relative_to(out).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


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
    (tmp_path / "out" / "data" / ".r000.parquet.tmp").write_bytes(b"half")
    told = ExportManifest.model_validate_json((tmp_path / "out" / MANIFEST).read_bytes())
    assert (told.complete, len(told.files)) == (False, 3)
    done = export_corpus(sealed, "t", form, tmp_path / "out")
    assert (done.kept, done.written) == (3, len(whole.manifest.files) - 3)
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


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


@pytest.mark.parametrize("workers", [1, 2])
def test_a_damaged_shard_is_named(fresh, tmp_path, workers):
    version = fresh.root.corpus("small", "t").resolve()
    path = sorted(version.glob("data-r*.arrow"))[1]
    data = bytearray(path.read_bytes())
    data[-200] ^= 1
    path.chmod(0o644)
    path.write_bytes(data)
    told = expect_error(
        lambda: export_corpus(fresh, "t", Format.PARQUET, tmp_path / "out", workers=workers), StoreError
    )
    assert path.name in told
    assert "vlm-assets verify" in told


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
