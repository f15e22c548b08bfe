"""Records of several images with conversations through the whole line: never torn, and the audit would say so."""

import io
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from vlm_assets.allocation.step import allocate, tombstones_in_force
from vlm_assets.audit.run import audit_corpus
from vlm_assets.cli import app
from vlm_assets.corpus.build import build_corpus
from vlm_assets.hub import tables
from vlm_assets.installation.opening import Installation
from vlm_assets.operate.takedown import TakedownOrder, take_down
from vlm_assets.words.errors import StoreError
from vlm_assets.words.records import Record
from vlm_assets_tests.workplace import ingest, install, picture

IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
LOGO = picture(900)


def rows(count: int) -> list[dict[str, Any]]:
    """Records of one to three images; the last image of those with three is a logo that many share."""
    found = []
    for number in range(count):
        images = [picture(10 * number + n) for n in range(number % 3)] + [
            LOGO if number % 3 == 2 else picture(number)
        ]
        marks = "<image>" * len(images)
        found.append(
            {
                "images": [{"bytes": one, "path": None} for one in images],
                "texts": [{"user": f"{marks} {number}. soru?", "assistant": f"{number}. yanıt"}],
            }
        )
    return found


def made(folder: Path, count: int, **corpus: Any) -> Installation:
    (folder / "rows").mkdir(parents=True)
    table = pa.Table.from_pylist(rows(count), pa.schema([("images", pa.list_(IMAGE)), ("texts", pa.list_(
        pa.struct([("user", pa.string()), ("assistant", pa.string())])))]))  # fmt: skip
    pq.write_table(table, folder / "rows" / "train.parquet")
    source = {
        "name": "talks", "kind": "hf_disk", "path": folder / "rows", "category": "photos", "subcategory": "street",
        "licence": "CC0-1.0",
    }  # fmt: skip
    installation = install(folder, source, corpus={"targets": {"20": 20}, **corpus})
    ingest(installation, "talks")
    return installation


def built(installation: Installation) -> datasets.Dataset:
    build_corpus(allocate(installation, "20").path, installation.root, tombstones_in_force(installation.root))
    name = installation.catalog.corpus.name
    return datasets.load_from_disk(str(installation.root.corpus(name, "20").resolve()))


def failed(installation: Installation, **options: Any) -> set[str]:
    return {str(one.name) for one in audit_corpus(installation, "20", **options) if one.failed}


def as_upstream(row: dict[str, Any]) -> tuple[list[bytes], str]:
    """Images and question of a row of the corpus, with its marks in their places."""
    images = [one["bytes"] for one in row["images"]]
    [asked, said] = row["messages"]
    marks = "".join("<image>" if part["type"] == "image" else f" {part['text']}" for part in asked["content"])
    return images, f"{marks} / {said['content'][0]['text']}"


def test_every_row_of_the_corpus_is_a_whole_record(tmp_path):
    installation = made(tmp_path, 60)
    corpus = built(installation).cast_column("images", datasets.List(datasets.Image(decode=False)))
    wanted = {
        (
            row["images"][0]["bytes"],
            f"{row['texts'][0]['user']} / {row['texts'][0]['assistant']}",
        )
        for row in rows(60)
    }
    found = [as_upstream(row) for row in corpus]
    assert len(found) == 20
    assert {(images[0], words) for images, words in found} <= wanted
    assert {len(images) for images, _ in found} == {1, 2, 3}
    assert failed(installation, full=True) <= {"rights"}


def test_the_corpus_opens_decoded(tmp_path):
    row = built(made(tmp_path, 30))[0]
    assert [image.size for image in row["images"]] == [(64, 48)] * len(row["images"])


def test_splitting_records_at_ingest_fails_the_finding_alone(tmp_path, monkeypatch):
    whole = tables.records_of

    def torn(*args: Any, **options: Any) -> Iterator[Any]:
        for event in whole(*args, **options):
            yield replace(event, images=event.images[:1]) if isinstance(event, Record) else event

    monkeypatch.setattr("vlm_assets.hub.readers.records_of", torn)
    installation = made(tmp_path, 60)
    built(installation)
    assert failed(installation, full=True) == {"records_whole"}


def test_a_bad_image_rejects_its_record_and_is_named(tmp_path):
    (tmp_path / "rows").mkdir()
    table = rows(3)
    table[2]["images"][1]["bytes"] = b"no image"
    pq.write_table(pa.Table.from_pylist(table), tmp_path / "rows" / "train.parquet")
    source = {
        "name": "talks", "kind": "hf_disk", "path": tmp_path / "rows", "category": "photos", "subcategory": "street",
        "licence": "CC0-1.0", "reject_tolerance": 0.5,
    }  # fmt: skip
    installation = install(tmp_path, source, corpus={"targets": {"20": 20}})
    [outcome] = ingest(installation, "talks").values()
    assert (outcome.manifest.rows, outcome.manifest.rejects) == (2, {"not_an_image": 1})
    [reject] = pq.read_table(outcome.path / "rejects.parquet").to_pylist()
    assert reject["detail"].startswith("image 2 of 3 (images[1]): ")


def test_a_logo_in_many_records_must_be_named_to_take_it_down(tmp_path):
    installation = made(tmp_path, 30)
    built(installation)
    with pytest.raises(
        StoreError, match=r"say which is meant.*\n.*image 1: .*, in 1 record\n.*\n.*in 10 records"
    ):
        take_down(installation, TakedownOrder(id="talks/train/train.parquet/2"))
    receipt = take_down(installation, TakedownOrder(id="talks/train/train.parquet/2", image=1))
    assert receipt.ids == ("talks/train/train.parquet/2",)
    receipt = take_down(installation, TakedownOrder(id="talks/train/train.parquet/5", all_images=True))
    assert len(receipt.ids) == 10
    assert failed(installation, full=True) <= {"rights", "staleness"}
    held = [path for path in installation.root.path.rglob("*.arrow") if LOGO in path.read_bytes()]
    assert held == []


def test_the_command_says_which_image_is_meant(tmp_path, monkeypatch):
    installation = made(tmp_path, 30)
    monkeypatch.setenv("VLM_CATALOG", str(installation.catalog_dir))
    monkeypatch.setenv("VLM_DATA_ROOT", str(installation.root.path))
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "home"))

    def taken(*words: str) -> Any:
        order = ["takedown", "--id", "talks/train/train.parquet/2", "--json", *words]
        return CliRunner().invoke(app, order)

    assert "say which is meant" in str(taken().exception)
    assert json.loads(taken("--image", "1").stdout)["ids"] == ["talks/train/train.parquet/2"]
    everywhere = json.loads(taken("--all-images").stdout)["ids"]
    assert len(everywhere) == 11  # ten with the logo, one with another of its images


def test_the_same_pictures_with_other_words_are_other_records(tmp_path):
    (tmp_path / "rows").mkdir()
    table = [
        {"images": [{"bytes": picture(1), "path": None}], "texts": [{"user": f"{n}?", "assistant": "yanıt"}]}
        for n in (1, 2, 2)
    ]
    pq.write_table(pa.Table.from_pylist(table), tmp_path / "rows" / "train.parquet")
    source = {
        "name": "talks", "kind": "hf_disk", "path": tmp_path / "rows", "category": "photos", "subcategory": "street",
        "licence": "CC0-1.0",
    }  # fmt: skip
    for exact, kept, excluded in (
        ("record", 2, {"duplicate": 1}), ("image", 1, {"duplicate_other_words": 2}), ("none", 3, {}),
    ):  # fmt: skip
        folder = tmp_path / exact
        folder.mkdir()
        installation = install(folder, source, corpus={"targets": {"20": 20}, "dedup": {"exact": exact}})
        ingest(installation, "talks")
        plan = allocate(installation, "20").manifest
        assert plan.granted_rows == kept
        assert {str(reason): rows for reason, rows in plan.excluded.items() if rows} == excluded
        built(installation)
        assert failed(installation) <= {"rights"}


def test_images_stay_encoded_as_they_were(tmp_path):
    corpus = built(made(tmp_path, 30)).with_format("arrow")
    for batch in corpus.iter(5):
        for images, facts in zip(batch["images"].to_pylist(), batch["image_facts"].to_pylist(), strict=True):
            assert [len(one["bytes"]) for one in images] == [fact["size_bytes"] for fact in facts]
            assert all(io.BytesIO(one["bytes"]).read(2) == b"\xff\xd8" for one in images)
