"""Archives of a Hub repository: split ones, and formats that `datasets` does not read."""

from pathlib import Path
from typing import Any

import pytest

from vlm_assets.demo.services.huggingface import HubService
from vlm_assets.demo.services.pictures import picture, tar_of, zip_of
from vlm_assets.sources.hf_dataset import SOURCE, HfDatasetSpec
from vlm_assets.words.records import Listed
from vlm_assets_tests.archives.made import cut, raw_zip, seven_zip_bytes
from vlm_assets_tests.sources.kit import COMMON, Fetched, fetch_slice, list_context

INNER = [("a.jpg", picture("a").data), ("b.jpg", picture("b").data)]
SPLIT: dict[str, dict[str, bytes]] = {
    "d/p.zip": {f"d/p.zip.00{number}": part for number, part in enumerate(cut(zip_of(INNER), 700, 900), 1)},
    "p.tar.gz": {
        f"p.tar.gz.part{number}": part for number, part in enumerate(cut(tar_of(INNER, "w:gz"), 700))
    },
    "p.tar": dict(zip(("p.tar.aa", "p.tar.ab"), cut(tar_of(INNER), 1000), strict=True)),
    "s.zip": dict(
        zip(
            ("s.z01", "s.zip"),
            cut(raw_zip([(n.encode(), d) for n, d in INNER], disks=[800]), 800),
            strict=True,
        )
    ),
    "t.7z": {"t.7z": seven_zip_bytes(INNER)},
    "u.cbz": {"u.cbz": zip_of(INNER)},
    "v.txz": {"v.txz": tar_of(INNER, "w:xz")},
}


def spec_of(**keys: Any) -> HfDatasetSpec:
    return HfDatasetSpec(**{**COMMON, "kind": "hf_dataset", "repo": "org/set", **keys})


def listed_of(folder: Path) -> Listed:
    return SOURCE.list(spec_of(), list_context(folder))


def fetched_of(folder: Path) -> Fetched:
    return fetch_slice(SOURCE, spec_of(), folder, listed_of(folder), "default--train")


@pytest.mark.parametrize("name", SPLIT)
def test_they_are_read(hub: HubService, tmp_path: Path, name: str) -> None:
    hub.add("org/set", SPLIT[name])
    fetched = fetched_of(tmp_path)
    assert fetched.images == [picture("a").data, picture("b").data]
    assert {record.item for record in fetched.records} == {name}
    assert fetched.records[0].origin.startswith(f"hf://datasets/org/set/{name}")


def test_parts_that_are_missing_are_told(hub: HubService, tmp_path: Path) -> None:
    hub.add("org/set", {"p.zip.001": b"x", "p.zip.003": b"x", "q.zip": zip_of(INNER)})
    assert sorted((one.key, str(one.reason)) for one in listed_of(tmp_path).left_out) == [
        ("p.zip.001", "split_archive_incomplete"), ("p.zip.003", "split_archive_incomplete"),
    ]  # fmt: skip
    assert {record.item for record in fetched_of(tmp_path).records} == {"q.zip"}


def test_last_parts_that_are_missing_are_told(hub: HubService, tmp_path: Path) -> None:
    hub.add(
        "org/set",
        {f"p.zip.00{number}": part for number, part in enumerate(cut(zip_of(INNER), 300, 600)[:2], 1)},
    )
    fetched = fetched_of(tmp_path)
    assert [(one.key, str(one.reason)) for one in fetched.left_out] == [
        ("p.zip/p.zip.001", "split_archive_incomplete"), ("p.zip/p.zip.002", "split_archive_incomplete"),
    ]  # fmt: skip
    assert [str(one.reason) for one in fetched.rejects] == ["unreadable"]
