"""The first ledger over made upstreams: what an independent walk counts = items + companions + left out."""

import os
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from vlm_assets.demo.services.huggingface import HubService
from vlm_assets.demo.services.pictures import picture, zip_of
from vlm_assets.sources import (
    client_folder,
    hf_dataset,
    hf_disk,
    hf_image_urls,
    image_urls,
    pdf_folder,
)
from vlm_assets.words.records import Listed
from vlm_assets_tests.captions.kit import parquet
from vlm_assets_tests.sources.kit import COMMON, list_context

IMAGE = picture("a").data
SUFFIXES = (
    "",
    ".jpg",
    ".JPG",
    ".mpo",
    ".dib",
    ".j2c",
    ".txt",
    ".json",
    ".pdf",
    ".rar",
    ".bin",
    ".svg",
    ".z01",
)
STEMS = ("a", "b", ".hidden", "._a", "Thumbs", "ışık", "metadata", "x.zip", "x.tar.gz.part0")
FOLDERS = ("", "in/", "in/deep/", "__MACOSX/", ".git/", "ağaç/")
NAMES = (
    st.builds("{}{}{}".format, st.sampled_from(FOLDERS), st.sampled_from(STEMS), st.sampled_from(SUFFIXES))
    | st.sampled_from(FOLDERS).map("{}.DS_Store".format)
    | st.sampled_from(FOLDERS).map("{}Thumbs.db".format)
)
INNER = zip_of([("a.jpg", IMAGE), ("notes.md", b"n"), ("__MACOSX/._a.jpg", b"j"), ("b", IMAGE), ("c", b"no")])
CONTENTS = st.sampled_from((IMAGE, b"", b"words", b"%PDF-1.7\n", b"\0\1\2"))
TREES = st.dictionaries(NAMES, CONTENTS, max_size=12)
RULES: tuple[dict[str, Any], ...] = (
    {}, {"text": "sidecar"}, {"include": ["*.jpg", "*.zip"]}, {"exclude": ["in/*"]},
    {"text": "sidecar", "include": ["in/*", "keep.jpg"], "exclude": ["*.bin"]},
)  # fmt: skip
MADE = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def put(folder: Path, files: Mapping[str, bytes]) -> Path:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


def words_in(tree: Mapping[str, bytes]) -> dict[str, bytes]:
    """Files that may be sidecars, with something that can be read."""
    return {name: b"{}" for name in tree if name.endswith((".txt", ".json"))}


def walked(folder: Path) -> int:
    """Files of a tree, as the operating system counts them."""
    return sum(len(files) for _, _, files in os.walk(folder))


def holds(listed: Listed, upstream: int) -> None:
    """The sums, and that nothing stands on both sides."""
    slices = list(listed.slices)
    items = [item.key for one in slices for item in one.items]
    left_out = [one.key for one in listed.left_out]
    assert listed.upstream == upstream
    assert len(items) + listed.companions + len(left_out) == upstream
    assert not set(items) & set(left_out)


@MADE
@given(TREES, st.sampled_from(RULES))
@example({"in/a": IMAGE, "in/a.txt": b"words", "b.txt": b"words"}, {"text": "sidecar"})
@example({"x.zip": INNER, "x.tar.gz.part0": b"", "y.zip.002": b""}, {})
def test_of_a_client_folder(tree: dict[str, bytes], keys: dict[str, Any]) -> None:
    with TemporaryDirectory() as base:
        folder = put(Path(base, "in"), {**tree, **words_in(tree), "keep.jpg": IMAGE})
        spec = client_folder.ClientFolderSpec.model_validate(
            {**COMMON, "kind": "client_folder", "path": folder, **keys}
        )
        holds(client_folder.SOURCE.list(spec, list_context(Path(base))), walked(folder))


@MADE
@given(TREES)
def test_of_a_folder_of_documents(tree: dict[str, bytes]) -> None:
    with TemporaryDirectory() as base:
        folder = put(Path(base, "in"), {**tree, "keep.pdf": b"%PDF-1.7\n"})
        spec = pdf_folder.PdfFolderSpec(**{**COMMON, "kind": "pdf_folder", "path": folder})
        holds(pdf_folder.SOURCE.list(spec, list_context(Path(base))), walked(folder))


FEWER = settings(MADE, max_examples=20)
TABLE = parquet({"url": [f"http://127.0.0.1/{name}" for name in "aba"], "image": [IMAGE] * 3})


@FEWER
@given(TREES)
def test_of_a_folder_of_data_files(tree: dict[str, bytes]) -> None:
    with TemporaryDirectory() as base:
        folder = put(Path(base, "in"), {**tree, "train.parquet": TABLE})
        keys = {**COMMON, "kind": "hf_disk", "path": folder, "image_column": "image"}
        spec = hf_disk.HfDiskSpec.model_validate(keys)
        holds(hf_disk.SOURCE.list(spec, list_context(Path(base))), walked(folder))


def test_of_a_list_in_a_repository(hub: HubService, tmp_path: Path) -> None:
    files = {"train.parquet": TABLE, "notes.md": b"", "x.bin": b"\0\1", ".hidden": b""}
    hub.add("org/set", files)
    keys = {**COMMON, "kind": "hf_image_urls", "repo": "org/set"}
    listed = hf_image_urls.SOURCE.list(hf_image_urls.HfImageUrlsSpec(**keys), list_context(tmp_path))
    added = {one.key for one in listed.left_out} - files.keys()
    holds(listed, 3 + len(files) - 1 + len(added))


LINES = st.lists(
    st.sampled_from(("http://127.0.0.1/a", "http://127.0.0.1/b", "http://127.0.0.1/c", "", "nonsense")),
    max_size=12,
)


@MADE
@given(LINES)
def test_of_a_list(lines: list[str]) -> None:
    with TemporaryDirectory() as base:
        path = Path(base, "urls.txt")
        path.write_text("\n".join([*lines, "http://127.0.0.1/z"]), "utf-8")
        spec = image_urls.ImageUrlsSpec.model_validate({**COMMON, "kind": "image_urls", "urls": path})
        listed = image_urls.SOURCE.list(spec, list_context(Path(base)))
        holds(listed, sum(bool(line) for line in lines) + 1)


REPOSITORIES: dict[str, tuple[dict[str, bytes], dict[str, Any], dict[str, str]]] = {
    "loose": (
        {"train/a/1.jpg": IMAGE, "train/b/2.jpg": IMAGE, "LICENSE": b"", "load.py": b"", "train/notes.doc": b"",
         "train/._1.jpg": b"", "thumb/x.zip": INNER},
        {},
        {"train/._1.jpg": "os_junk", "train/notes.doc": "unknown_type", "thumb/x.zip": "unknown_type"},
    ),
    "metadata": (
        {"train/1.jpg": IMAGE, "train/metadata.csv": b"file_name,text\n1.jpg,bir\n9.jpg,dokuz\n"}, {}, {},
    ),
    "splits": (
        {"train/1.jpg": IMAGE, "test/2.jpg": IMAGE, ".hidden": b""},
        {"splits": ["train"]},
        {"test/2.jpg": "excluded", ".hidden": "hidden"},
    ),
    "archives": (
        {"x.zip": INNER, "y.zip.002": b"", "README.md": b"# set"}, {}, {"y.zip.002": "split_archive_incomplete"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REPOSITORIES)
def test_of_a_repository(hub: HubService, tmp_path: Path, name: str) -> None:
    files, keys, told = REPOSITORIES[name]
    hub.add("org/set", files)
    spec = hf_dataset.HfDatasetSpec(**{**COMMON, "kind": "hf_dataset", "repo": "org/set", **keys})
    listed = hf_dataset.SOURCE.list(spec, list_context(tmp_path))
    missing = sum("missing" in item.payload for one in listed.slices for item in one.items)
    added = {one.key for one in listed.left_out} - files.keys()  # what the service adds of its own
    holds(listed, len(files) + len(added) + missing)
    assert {one.key: str(one.reason) for one in listed.left_out if one.key in files} == told
