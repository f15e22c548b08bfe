"""Archives among the files of a client folder."""

from pathlib import Path
from typing import Any

import pytest

from vlm_assets.demo.services.pictures import tar_of, zip_of
from vlm_assets.sources.client_folder import SOURCE, ClientFolderSpec
from vlm_assets.words.errors import SourceError
from vlm_assets.words.records import Listed
from vlm_assets_tests.archives.made import cut, raw_zip, seven_zip_bytes
from vlm_assets_tests.sources.kit import COMMON, fetch_slice, identities, list_context, slices_of

INNER = [("cat/a.jpg", b"A"), ("dog/b.jpg", b"B"), ("notes.txt", b"n")]
PARTS = cut(zip_of(INNER), 60, 200)


def put(folder: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


def spec_of(folder: Path, **keys: Any) -> ClientFolderSpec:
    return ClientFolderSpec.model_validate({**COMMON, "kind": "client_folder", "path": folder, **keys})


def listed(spec: ClientFolderSpec, tmp_path: Path) -> Listed:
    return SOURCE.list(spec, list_context(tmp_path))


FORMS = {
    "b.zip": {"b.zip": zip_of(INNER)},
    "in/b.tar.gz": {"in/b.tar.gz": tar_of(INNER, "w:gz")},
    "b.7z": {"b.7z": seven_zip_bytes(INNER)},
    "b.cbz": {"b.cbz": zip_of(INNER)},
    "in/b.zip": {f"in/b.zip.00{number}": part for number, part in enumerate(PARTS, 1)},
    "photos": {"photos": zip_of(INNER)},
    "in/scans": {"in/scans": tar_of(INNER, "w")},
    "z/b.zip": dict(zip(("z/b.z01", "z/b.z02", "z/b.zip"), PARTS, strict=True)),
}


@pytest.mark.parametrize("name", FORMS)
def test_an_archive_is_a_slice_with_its_members(tmp_path: Path, name: str) -> None:
    folder = put(tmp_path / "in", {"a.jpg": b"loose", **FORMS[name]})
    made = listed(spec_of(folder), tmp_path)
    slices = slices_of(made)
    assert {key: (len(one.items), one.container) for key, one in slices.items()} == {
        "root": (1, False), name: (1, True),
    }  # fmt: skip
    fetched = fetch_slice(SOURCE, spec_of(folder), tmp_path, made, name)
    assert [(one.key, one.images[0].data, one.origin, one.record) for one in fetched.records] == [
        (f"{name}/cat/a.jpg", b"A", f"{name}!cat/a.jpg", 0), (f"{name}/dog/b.jpg", b"B", f"{name}!dog/b.jpg", 1),
    ]  # fmt: skip
    assert [(one.key, one.reason) for one in fetched.left_out] == [(f"{name}/notes.txt", "unknown_type")]
    assert fetched.rejects == []


def test_what_is_left_out_is_told(tmp_path: Path) -> None:
    files = {
        "a.jpg": b"loose", "x.zip.001": PARTS[0], "x.zip.003": PARTS[2], "y.rar": b"Rar!", "y.r00": b"",
        "Thumbs.db": b"", "b/desktop.ini": b"", "x.zip.md5": b"", "zeros": bytes(600),
    }  # fmt: skip
    made = listed(spec_of(put(tmp_path / "in", files)), tmp_path)
    assert sorted((one.key, str(one.reason)) for one in made.left_out) == [
        ("Thumbs.db", "os_junk"), ("b/desktop.ini", "os_junk"), ("x.zip.001", "split_archive_incomplete"),
        ("x.zip.003", "split_archive_incomplete"), ("x.zip.md5", "unknown_type"), ("y.r00", "unknown_type"),
        ("y.rar", "unknown_type"), ("zeros", "unknown_type"),
    ]  # fmt: skip
    assert {item.key for one in made.slices for item in one.items} == {"a.jpg"}


def test_the_last_parts_missing_is_told_at_fetch(tmp_path: Path) -> None:
    files = {f"b.zip.00{number}": part for number, part in enumerate(PARTS[:2], 1)}
    spec = spec_of(put(tmp_path / "in", files))
    fetched = fetch_slice(SOURCE, spec, tmp_path, listed(spec, tmp_path), "b.zip")
    assert [(one.key, str(one.reason)) for one in fetched.left_out] == [
        ("b.zip/b.zip.001", "split_archive_incomplete"), ("b.zip/b.zip.002", "split_archive_incomplete"),
    ]  # fmt: skip
    assert [one.reason for one in fetched.rejects] == ["unreadable"]
    put(tmp_path / "in", {"c.zip": PARTS[0]})
    with pytest.raises(SourceError, match=r"c\.zip: not a complete zip"):
        fetch_slice(SOURCE, spec, tmp_path, listed(spec, tmp_path), "c.zip")


@pytest.mark.parametrize(
    ("keys", "wanted"),
    [
        ({}, ["b.zip/cat/a.jpg", "b.zip/dog/b.jpg"]),
        ({"include": ["b.zip"]}, ["b.zip/cat/a.jpg", "b.zip/dog/b.jpg"]),
        ({"include": ["b.zip/cat/*"]}, ["b.zip/cat/a.jpg"]),
        ({"include": ["*.jpg"], "exclude": ["*/dog/*"]}, ["b.zip/cat/a.jpg"]),
    ],
    ids=["all", "archive", "inside", "suffix"],
)
def test_globs_go_on_inside(tmp_path: Path, keys: dict[str, Any], wanted: list[str]) -> None:
    spec = spec_of(put(tmp_path / "in", {"b.zip": zip_of(INNER), "a.jpg": b""}), **keys)
    made = listed(spec, tmp_path)
    fetched = fetch_slice(SOURCE, spec, tmp_path, made, "b.zip")
    assert [one.key for one in fetched.records] == wanted
    assert len(fetched.records) + len(fetched.left_out) == 3
    other = spec_of(tmp_path / "in", include=["b.zip", "c*"])
    assert identities(made)["b.zip"] != identities(listed(other, tmp_path))["b.zip"] or not keys
    excluded = listed(spec_of(tmp_path / "in", exclude=["b.zip"]), tmp_path)
    assert list(slices_of(excluded)) == ["root"]


def test_an_archive_changes_its_own_slice_only(tmp_path: Path) -> None:
    spec = spec_of(put(tmp_path / "in", {"b.zip": zip_of(INNER), "c.zip": zip_of(INNER), "a.jpg": b""}))
    before = identities(listed(spec, tmp_path))
    put(tmp_path / "in", {"c.zip": zip_of(INNER[:1])})
    after = identities(listed(spec, tmp_path))
    assert [name for name in after if after[name] != before[name]] == ["c.zip"]


def test_many_archives_share_buckets(tmp_path: Path) -> None:
    files = {f"{number}.zip": zip_of(INNER[:1]) for number in range(201)}
    made = listed(spec_of(put(tmp_path / "in", files)), tmp_path)
    assert made.buckets["archives"] == 200
    assert all(one.container and one.name.startswith("archives--") for one in made.slices)
    assert sum(len(one.items) for one in made.slices) == 201


def test_names_that_nobody_declares_are_told(tmp_path: Path) -> None:
    content = raw_zip([("şehir/ığdır.jpg".encode("cp857"), b"A")])
    spec = spec_of(put(tmp_path / "in", {"b.zip": content, "c.zip": b"PK\x05\x06", "d.zip": zip_of(INNER)}))
    made = listed(spec, tmp_path)
    [hint] = made.hints
    assert "set `encoding` (cp857?)" in hint
    [record] = fetch_slice(SOURCE, spec, tmp_path, made, "b.zip").records
    assert record.remarks == {"guessed_name": 1}
    assert not listed(spec_of(tmp_path / "in", encoding="cp857"), tmp_path).hints


def test_names_are_read_in_the_given_encoding(tmp_path: Path) -> None:
    content = raw_zip([("şehir/ığdır.jpg".encode("cp857"), b"A")])
    spec = spec_of(put(tmp_path / "in", {"b.zip": content}), encoding="cp857")
    fetched = fetch_slice(SOURCE, spec, tmp_path, listed(spec, tmp_path), "b.zip")
    assert [one.key for one in fetched.records] == ["b.zip/şehir/ığdır.jpg"]
