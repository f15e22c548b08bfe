"""Tables that may be captions, though the catalogue names none: of every kind that joins captions, the same."""

from pathlib import Path

import pytest

from vlm_assets.demo.services.pictures import zip_of
from vlm_assets.operate.authoring.looks import look_at
from vlm_assets.sources.registry import source_of
from vlm_assets_tests.sources.kinds import SPECS, Files, Serve, listed_of, reasons
from vlm_assets_tests.sources.kit import fetch_slice, settings_of

IMAGES: Files = {f"{name}.jpg": b"\xff\xd8\xff\xe0" + name.encode() for name in "abcd"}
ARCHIVES: Files = {f"{number}.zip": zip_of(list(IMAGES.items())) for number in range(4)}
TABLE: Files = {"t.csv": b"photo,of\na.jpg,x\nb.jpg,y\nc.jpg,z\n"}
OTHERS: Files = {"stats.csv": b"x,y\n1,2\n", "a.json": b'{"x": 1}', "notes.xml": b"<x/>"}
LOOSE = {
    "t.csv": "unused_companion",
    "stats.csv": "unused_companion",
    "a.json": "unknown_type",
    "notes.xml": "unknown_type",
}
BESIDE_ARCHIVES = {name: LOOSE[name] for name in ("t.csv", "stats.csv", "notes.xml")}
NAMES_IMAGES = (
    "t.csv is not used, and its column 'photo' names 3 images: say text: t.csv and file_name_column: photo"
)


@pytest.mark.parametrize("kind", SPECS)
@pytest.mark.parametrize(
    ("images", "expected", "named"),
    [
        pytest.param(IMAGES, LOOSE, 3, id="loose"),
        pytest.param(
            {f"{number}.zip": zip_of(list(IMAGES.items())) for number in range(4)},
            BESIDE_ARCHIVES,
            0,
            id="beside archives",
        ),
    ],
)
def test_of_a_listing_it_costs_no_tolerance_and_the_hint_says_the_key(
    served: Serve, tmp_path: Path, kind: str, images: Files, expected: dict[str, str], named: int
) -> None:
    files = {**images, **TABLE, **{name: data for name, data in OTHERS.items() if name in expected}}
    listed = listed_of(served(kind, files), tmp_path)
    assert reasons(listed) == expected
    assert any("say text: " in hint and "t.csv" in hint for hint in listed.hints)
    assert (NAMES_IMAGES in listed.hints) == (
        bool(named) and kind != "hf_dataset"
    )  # whose tables are not fetched
    assert listed.upstream == len(files) == sum(len(one.items) for one in listed.slices) + len(expected)


@pytest.mark.parametrize("kind", SPECS)
def test_with_the_keys_of_the_hint_it_is_joined(served: Serve, tmp_path: Path, kind: str) -> None:
    spec = served(kind, {**IMAGES, **TABLE}, text="t.csv", file_name_column="photo")
    listed = listed_of(spec, tmp_path)
    assert (reasons(listed), listed.companions) == ({}, 1)
    [one] = listed.slices
    records = fetch_slice(source_of(kind), spec, tmp_path, listed, one.name).records
    assert len(records) == len(IMAGES)
    said = {record.key: record.extra or {} for record in records}
    assert {name: said[name]["of"] for name in ("a.jpg", "b.jpg", "c.jpg")} == {
        "a.jpg": "x", "b.jpg": "y", "c.jpg": "z",
    }  # fmt: skip


@pytest.mark.parametrize("kind", SPECS)
def test_in_an_archive_it_costs_no_tolerance_either(served: Serve, tmp_path: Path, kind: str) -> None:
    members = {**IMAGES, **TABLE, "words.json": b"[]", "notes.xml": b"<x/>"}
    spec = served(kind, {"in.zip": zip_of(list(members.items()))})
    listed = listed_of(spec, tmp_path)
    [one] = listed.slices
    fetched = fetch_slice(source_of(kind), spec, tmp_path, listed, one.name)
    assert len(fetched.records) == len(IMAGES)
    assert {one.key.rpartition("/")[2]: (str(one.reason), one.detail) for one in fetched.left_out} == {
        "t.csv": ("unused_companion", "may hold captions: say text: t.csv"),
        "words.json": ("unknown_type", "JSON or text"),  # could be the words of an image words.*
        "notes.xml": ("unknown_type", "text"),
    }


@pytest.mark.parametrize(
    ("kind", "place"), [("kaggle", {"handle": "org/set"}), ("github_release", {"repo": "org/set"})]
)
def test_add_writes_the_keys_as_it_does_for_folders(
    served: Serve, tmp_path: Path, kind: str, place: dict[str, str]
) -> None:
    served(kind, {**IMAGES, **TABLE})
    look = look_at(kind, place, settings_of(tmp_path), "one")
    assert {name: look.keys[name] for name in ("text", "file_name_column")} == {
        "text": "t.csv", "file_name_column": "photo",
    }  # fmt: skip
    assert "captions by text: t.csv and file_name_column: photo" in look.told
    assert not any("is not used" in line for line in look.told)
