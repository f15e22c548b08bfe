"""Folders of `save_to_disk` from a stranger: nothing leads out of them, and their JSON has shapes."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from vlm_assets.demo.services.pictures import picture
from vlm_assets.sources import _saved_folders
from vlm_assets.sources.hf_disk import SOURCE, HfDiskSpec
from vlm_assets.words.errors import LeftOutReason, SourceError
from vlm_assets.words.records import Listed
from vlm_assets_tests.sources.kit import COMMON, fetch_slice, list_context, slices_of

SECRET = pa.table({"image": [{"bytes": picture("secret").data, "path": None}]})
OWN = pa.table({"image": [{"bytes": picture("own").data, "path": None}]})


def arrow(table: pa.Table, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with pa.ipc.new_stream(str(path), table.schema) as writer:
        writer.write_table(table)
    return path


def told(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def state(*names: Any) -> dict[str, Any]:
    return {"_data_files": [{"filename": name} for name in names]}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """One split of one file; beside the folder lies another whole dataset."""
    for place, table in (("in/train", OWN), ("outside", SECRET)):
        arrow(table, tmp_path / place / "own.arrow")
        told(tmp_path / place / "state.json", state("own.arrow"))
    told(tmp_path / "in" / "dataset_dict.json", {"splits": ["train"]})
    return tmp_path / "in"


def list_of(folder: Path, **keys: Any) -> Listed:
    spec = HfDiskSpec(**{**COMMON, "kind": "hf_disk", "path": folder, **keys})
    return SOURCE.list(spec, list_context(folder.parent))


def images_of(folder: Path, **keys: Any) -> list[bytes]:
    spec = HfDiskSpec(**{**COMMON, "kind": "hf_disk", "path": folder, **keys})
    listed = list_of(folder, **keys)
    return [
        one
        for name in slices_of(listed)
        for one in fetch_slice(SOURCE, spec, folder.parent, listed, name).images
    ]


@pytest.mark.parametrize(
    "spelling", ["../../outside/own.arrow", "{}/outside/own.arrow", "a/../../../outside/own.arrow"]
)
def test_no_name_of_a_data_file_leads_out(folder: Path, spelling: str) -> None:
    told(folder / "train/state.json", state("own.arrow", spelling.format(folder.parent)))
    for follow_links in (False, True):
        with pytest.raises(
            SourceError, match=r"train/state\.json: _data_files names '.*own\.arrow', which is no"
        ):
            list_of(folder, follow_links=follow_links)


@pytest.mark.parametrize("spelling", ["../outside", "{}/outside", "", ".", "..", "train\0"])
def test_no_name_of_a_split_leads_out(folder: Path, spelling: str) -> None:
    told(folder / "dataset_dict.json", {"splits": ["train", spelling.format(folder.parent)]})
    with pytest.raises(SourceError, match=r"dataset_dict\.json: splits names '.*', which is no name within"):
        list_of(folder)


Link = Callable[[Path], None]


def _data_file(folder: Path) -> None:
    (folder / "train/own.arrow").unlink()
    (folder / "train/own.arrow").symlink_to(folder.parent / "outside/own.arrow")


def _split(folder: Path) -> None:
    (folder / "more").symlink_to(folder.parent / "outside")
    told(folder / "dataset_dict.json", {"splits": ["more"]})


def _below_a_link(folder: Path) -> None:
    (folder / "train/more").symlink_to(folder.parent / "outside")
    told(folder / "train/state.json", state("more/own.arrow"))


@pytest.mark.parametrize("link", [_data_file, _split, _below_a_link])
def test_what_json_names_is_no_link_that_leads_out(folder: Path, link: Link) -> None:
    link(folder)
    with pytest.raises(
        SourceError, match=r"json: \w+ names '.*', a link that leads out to '.*outside.*follow_links"
    ):
        list_of(folder)
    assert picture("secret").data in images_of(folder, follow_links=True)


def _plain(folder: Path) -> None:
    for path in (folder / "train/state.json", folder / "dataset_dict.json"):
        path.unlink()
    (folder / "train/x.arrow").symlink_to(folder.parent / "outside/own.arrow")


def _unnamed(folder: Path) -> None:
    (folder / "dataset_dict.json").unlink()
    (folder / "test").symlink_to(folder.parent / "outside")


@pytest.mark.parametrize(
    ("link", "key"), [(_plain, "train/x.arrow"), (_unnamed, "test")], ids=["file", "split"]
)
def test_a_link_that_leads_out_is_on_record(folder: Path, link: Link, key: str) -> None:
    link(folder)
    left = {one.key: one.reason for one in list_of(folder).left_out}
    assert left[key] is LeftOutReason.LINK_OUTSIDE
    assert images_of(folder) == [picture("own").data]
    both = images_of(folder, follow_links=True)
    assert sorted(both) == sorted(picture(name).data for name in ("own", "secret"))


def test_a_folder_of_nothing_but_such_links_says_how_to_take_them_in(folder: Path) -> None:
    """As the Hub's cache on this machine is."""
    _plain(folder)
    (folder / "train/own.arrow").unlink()
    with pytest.raises(
        SourceError, match=r"no Arrow .*; 1 link out of it, as 'train/x\.arrow'; follow_links"
    ):
        list_of(folder)


def test_facts_that_a_link_brings_from_outside_are_not_read(folder: Path) -> None:
    told(
        folder.parent / "outside/info.json",
        {"features": {"image": {"_type": "ClassLabel", "names": ["secret"]}}},
    )
    (folder / "train/dataset_info.json").symlink_to(folder.parent / "outside/info.json")
    assert "features" not in str(list_of(folder).attributes) or list_of(folder).attributes["features"] == {}


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        ("dataset_dict.json", {"splits": "train"}, "splits: "),
        ("dataset_dict.json", {"splits": [1, None]}, "splits.0: "),
        ("dataset_dict.json", {"splits": {"train": 1}}, "splits: "),
        ("dataset_dict.json", ["train"], "the whole: "),
        ("dataset_dict.json", 7, "the whole: "),
        ("train/state.json", {"_data_files": 5}, "_data_files: "),
        ("train/state.json", {"_data_files": None}, "_data_files: "),
        ("train/state.json", {"_data_files": ["x"]}, "_data_files.0: "),
        ("train/state.json", {"_data_files": [{"name": "own.arrow"}]}, "_data_files.0.filename: "),
        ("train/state.json", state("own.arrow", 7), "_data_files.1.filename: "),
        ("train/state.json", state(["own.arrow"]), "_data_files.0.filename: "),
        ("train/state.json", None, "the whole: "),
        ("train/state.json", {}, "_data_files: Field required"),
        ("train/dataset_info.json", {"features": [1, 2]}, "features: "),
        ("train/dataset_info.json", {"features": "image"}, "features: "),
        ("train/dataset_info.json", [], "the whole: "),
    ],
)  # fmt: skip
def test_json_of_another_shape_is_an_error_that_names_file_and_key(
    folder: Path, file: str, content: Any, said: str
) -> None:
    told(folder / file, content)
    with pytest.raises(SourceError) as caught:
        list_of(folder)
    assert f"{folder / file} cannot be read: {said}" in str(caught.value)


@pytest.mark.parametrize(
    "content", [b"", b"\xff\xfe{}", b"{", b'{"a":' * 100_000, b'{"splits":["\\ud800"]}'],
    ids=["nothing", "utf-16", "cut", "deep", "half"],
)  # fmt: skip
def test_what_is_no_json_is_an_error_that_names_the_file(folder: Path, content: bytes) -> None:
    (folder / "dataset_dict.json").write_bytes(content)
    with pytest.raises(SourceError, match=r"dataset_dict\.json cannot be read: the whole: "):
        list_of(folder)


@pytest.mark.parametrize("column", [5, None, "image", [], {"_type": 7}, {"_type": "ClassLabel", "names": 5},
                                    {"_type": "ClassLabel", "names": [1, None]},
                                    {"_type": ["Image"]}, {"_type": {"a": 1}}], ids=str)  # fmt: skip
def test_features_of_any_shape_change_nothing(folder: Path, column: Any) -> None:
    told(folder / "train/dataset_info.json", {"features": {"image": column, "\0": column}})
    assert images_of(folder) == [picture("own").data]  # the file itself says what the column is


def test_a_file_that_is_named_again_and_again_is_one(folder: Path) -> None:
    (folder / "train/d").symlink_to(".")
    spellings = [f"{'./' * (n % 7)}{'d/' * (n % 30)}own.arrow" for n in range(100)]
    told(folder / "train/state.json", state(*spellings, *["own.arrow"] * 20_000))
    assert images_of(folder) == [picture("own").data]
    told(folder / "dataset_dict.json", {"splits": ["train", *(f"{'d/' * n}train" for n in range(30))]})
    (folder / "d").symlink_to(".")
    assert images_of(folder) == [picture("own").data]


def test_json_without_end_is_not_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_saved_folders, "_MAX_JSON_BYTES", 64)
    told(folder / "train/state.json", state(*["own.arrow"] * 9))
    with pytest.raises(SourceError, match=r"state\.json cannot be read: larger than 64 bytes"):
        list_of(folder)


@pytest.mark.parametrize("name", ["x" * 300, "x/" * 3_000 + "y", "no\0such", "dir"])
def test_names_of_no_file_are_missing_or_refused(folder: Path, name: str) -> None:
    (folder / "train/dir").mkdir()
    told(folder / "train/state.json", state("own.arrow", name))
    with pytest.raises(SourceError, match=r"1 of 2 data files are missing|is no name within its folder"):
        list_of(folder)
