"""Parquet and Arrow files among images: those of images are read row by row, the others say why they are not."""

from pathlib import Path

import pytest

from vlm_assets.demo.services.pictures import picture, zip_of
from vlm_assets.sources.registry import source_of
from vlm_assets_tests.captions.kit import parquet
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
