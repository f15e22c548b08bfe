"""Parquet and Arrow files among images: those of images are read row by row, the others say why they are not."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from vlm_assets.catalog.spec import SourceSpec
from vlm_assets.demo.services.pictures import picture, zip_of
from vlm_assets.ingest.labels import LabelCheck
from vlm_assets.sources.registry import source_of
from vlm_assets.words.errors import SourceError
from vlm_assets.words.item_columns import ItemColumns
from vlm_assets_tests.captions.kit import parquet
from vlm_assets_tests.sources.hub_sets import arrow as classes_in_arrow
from vlm_assets_tests.sources.hub_sets import parquet as of_classes
from vlm_assets_tests.sources.kinds import SPECS, Serve, listed_of
from vlm_assets_tests.sources.kit import fetch_slice
from vlm_assets_tests.sources.made_upstreams import OF_IMAGES, arrow

KINDS = [kind for kind in SPECS if kind != "hf_dataset"]  # which has its own rules: a split is of one format
IMAGE = picture("a").data
OF_NONE: dict[str, tuple[bytes, str]] = {
    "cut.feather": (arrow({"image": [IMAGE]})[:-9], "cannot be read"),
    "empty.ipc": (arrow({"image": []}), "it has no rows"),
    "two.arrow": (arrow({"image": [b"x"], "jpg": [b"x"]}), "several image columns: image, jpg"),
    "words.parq": (b"words", "cannot be read"),
    "x.pq": (parquet({"x": [1]}), "no image column found"),
}
"""Data files of no images, and what is told of each."""


@pytest.mark.parametrize("kind", KINDS)
def test_of_each_form_the_rows_are_records(served: Serve, tmp_path: Path, kind: str) -> None:
    files = {f"of{suffix}": data for suffix, data in OF_IMAGES.items()} | {"keep.jpg": IMAGE}
    spec = served(kind, files)
    listed = listed_of(spec, tmp_path)
    assert list(listed.left_out) == []
    fetched = [fetch_slice(source_of(kind), spec, tmp_path, listed, one.name) for one in listed.slices]
    keys = {record.key for one in fetched for record in one.records}
    assert keys == {"keep.jpg", *(f"of{suffix}/{row}" for suffix in OF_IMAGES for row in (0, 1))}
    assert all(image == IMAGE for one in fetched for image in one.images)
    again = listed_of(spec, tmp_path)
    assert [one.items for one in again.slices] == [one.items for one in listed.slices]


@pytest.mark.parametrize("kind", KINDS)
def test_the_others_say_why_they_hold_none(served: Serve, tmp_path: Path, kind: str) -> None:
    files = {name: data for name, (data, _) in OF_NONE.items()}
    listed = listed_of(served(kind, {**files, "keep.jpg": IMAGE}), tmp_path)
    told = {one.key: one.detail for one in listed.left_out}
    assert told.keys() == files.keys()
    assert {key: told[key] for key, (_, why) in OF_NONE.items() if why not in told[key]} == {}
    [hint] = [one for one in listed.hints if "data files" in one]
    assert hint.startswith(
        "5 data files not read by this kind, the first is cut.feather (cut.feather: cannot be read"
    )


@pytest.mark.parametrize("kind", KINDS)
def test_in_an_archive_they_are_left_out_by_name(served: Serve, tmp_path: Path, kind: str) -> None:
    spec = served(kind, {"in.zip": zip_of([("keep.jpg", IMAGE), ("x.pq", OF_IMAGES[".pq"])])})
    listed = listed_of(spec, tmp_path)
    [one] = listed.slices
    left_out = fetch_slice(source_of(kind), spec, tmp_path, listed, one.name).left_out
    assert [(one.key, str(one.reason), one.detail) for one in left_out] == [
        ("in.zip/x.pq", "unknown_type", "Parquet, which is not read inside an archive: unpack it")
    ]


IMAGES = {"image": [{"bytes": IMAGE, "path": None}] * 2}
PLAIN = {**IMAGES, "tur": ["kedi", "ko\u0308pek"], "aciklama": ["bir", "iki"]}
UNCERTAIN = {**IMAGES, "tur": [[1], [2]]}
COLUMN = r"no column 'sinif' \(subcategory_from.column\); there are: .*image"
LABELS = r"knows none of the labels in column '{}'; there are: {}; the map has: at$"


def named(column: str, *labels: str) -> dict[str, Any]:
    rule = {"column": column, **({"map": dict.fromkeys(labels, "all")} if labels else {})}
    return {"subcategory": None, "subcategory_from": rule}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("name", "data", "keys", "message"),
    [
        pytest.param("t.pq", parquet(PLAIN), named("sinif"), COLUMN, id="column"),
        pytest.param("t.arrow", arrow(PLAIN), named("sinif"), COLUMN, id="arrow-column"),
        pytest.param("t.pq", parquet(PLAIN), named("tur", "at"), LABELS.format("tur", "kedi, köpek"), id="labels"),
        pytest.param("t.pq", of_classes(["a", "b"]), named("label", "at"),
                     LABELS.format("label", "0, 1, kedi, köpek"), id="classes"),
        pytest.param("t.arrow", classes_in_arrow(["a", "b"]), named("label", "at"),
                     LABELS.format("label", "0, 1, kedi, köpek"), id="arrow-classes"),
        pytest.param("t.pq", parquet({**IMAGES, "tur": pa.array([None, None], pa.string())}), named("tur"),
                     "nothing has a label in column 'tur'", id="null"),
        pytest.param("t.pq", parquet(PLAIN), {"text_column": "metin"},
                     r"t.pq: no column 'metin' \(text_column\); columns: .*aciklama", id="text"),
        pytest.param("t.arrow", arrow(PLAIN), {"text_column": "metin"},
                     r"t.arrow: no column 'metin' \(text_column\); columns: .*aciklama", id="arrow-text"),
        pytest.param("t.pq", parquet(PLAIN), {"messages_column": "soz"},
                     r"t.pq: no column 'soz' \(messages_column\)", id="messages"),
        pytest.param("t.pq", parquet(PLAIN), named("tur", "at", "köpek"), "", id="nfc"),
        pytest.param("t.pq", parquet(PLAIN), named("tur"), "", id="any"),
        pytest.param("t.pq", parquet(UNCERTAIN), named("tur", "at"), "", id="uncertain"),
        pytest.param("t.pq", parquet(PLAIN), {"text_column": "aciklama"}, "", id="text-there"),
    ],
)  # fmt: skip
def test_columns_and_labels_that_cannot_be_are_told_at_the_listing(
    served: Serve, tmp_path: Path, kind: str, name: str, data: bytes, keys: dict[str, Any], message: str
) -> None:
    spec = served(kind, {name: data, "keep.jpg": IMAGE}, **keys)
    for _ in range(2):  # what is kept in the cache tells the same
        if message:
            with pytest.raises(SourceError, match=message):
                checked(spec, tmp_path)
        else:
            checked(spec, tmp_path)


def checked(spec: SourceSpec, folder: Path) -> None:
    check = LabelCheck(spec)
    for one in listed_of(spec, folder).slices:
        check.see(one.told_by_keys, ItemColumns.of(one.items), container=one.container)
    check.check()


@pytest.mark.parametrize("kind", KINDS)
def test_one_of_several_that_has_them_is_enough(served: Serve, tmp_path: Path, kind: str) -> None:
    files = {
        "t.pq": parquet(PLAIN),
        "x.pq": parquet(IMAGES),
        "y.pq": parquet({**IMAGES, "tur": ["at", None]}),
    }
    checked(served(kind, files, **named("tur", "at"), text_column="aciklama"), tmp_path)


@pytest.mark.parametrize("kind", KINDS)
def test_no_key_is_named_that_the_kind_has_not(served: Serve, tmp_path: Path, kind: str) -> None:
    files = {
        "keep.jpg": IMAGE,
        "x.pq": parquet({"x": [1]}),
        "y.pq": parquet({"jpg": [IMAGE], "png": [IMAGE]}),
    }
    told = {one.key: one.detail for one in listed_of(served(kind, files), tmp_path).left_out}
    assert "set image_column" not in told["x.pq"]
    assert "hf_disk reads such files: set its image_column to one of them" in told["y.pq"]


@pytest.mark.parametrize("kind", SPECS)
def test_an_archive_of_pdfs_says_who_reads_them(served: Serve, tmp_path: Path, kind: str) -> None:
    spec = served(kind, {"in.zip": zip_of([("a.pdf", b"%PDF-1.7"), ("b.PDF", b"%PDF-1.7")])})
    listed = listed_of(spec, tmp_path)
    fetched = [fetch_slice(source_of(kind), spec, tmp_path, listed, one.name) for one in listed.slices]
    assert [one.detail for each in fetched for one in each.rejects] == [
        "an archive without images, but with 2 PDFs: pdf_folder reads their pages, in a folder of such archives"
    ]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("known", "labels"), [("0", ["0", "1"]), ("kedi", ["kedi", "köpek"])])
def test_a_map_of_classes_is_by_number_or_by_name(
    served: Serve, tmp_path: Path, kind: str, known: str, labels: list[str]
) -> None:
    rule = {"column": "label", "map": {known: "all"}}
    spec = served(kind, {"t.parquet": of_classes(["a", "b"])}, subcategory=None, subcategory_from=rule)
    listed = listed_of(spec, tmp_path)
    [one] = listed.slices
    records = fetch_slice(source_of(kind), spec, tmp_path, listed, one.name).records
    assert [one.label or (one.extra or {})["label"] for one in records] == labels


def test_of_an_arrow_file_elsewhere_only_the_head_is_looked_at(served: Serve, tmp_path: Path) -> None:
    checked(served("github_release", {"t.arrow": arrow(PLAIN)}, **named("tur", "at")), tmp_path)
    spec = served("kaggle", {"t.arrow": arrow(PLAIN)}, **named("tur", "at"))
    with pytest.raises(SourceError, match=LABELS.format("tur", "kedi, köpek")):
        checked(spec, tmp_path)
