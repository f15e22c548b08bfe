"""The first ledger over made upstreams: what an independent walk counts = items + companions + left out."""

import os
from collections.abc import Iterator, Mapping
from io import BytesIO
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
    github_release,
    hf_dataset,
    hf_disk,
    hf_image_urls,
    image_urls,
    kaggle,
    newspapers,
    pdf_folder,
)
from vlm_assets.sources._kaggle_members import KaggleMember, owners_of, sort_out
from vlm_assets.sources._listed_captions import Sorted, with_captions
from vlm_assets.spiders.model import Issue, Title
from vlm_assets.words.layout import nfc
from vlm_assets.words.records import Listed
from vlm_assets_tests.captions.kit import parquet
from vlm_assets_tests.sources.kit import COMMON, Fetched, canonical, fetch_context, list_context

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


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[HubService]:
    with HubService() as service:
        monkeypatch.setenv("HF_ENDPOINT", service.url)
        monkeypatch.delenv("HF_TOKEN", raising=False)
        yield service


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


@MADE
@given(
    st.dictionaries(NAMES.filter(lambda name: "metadata" not in name), CONTENTS, max_size=12),
    st.sampled_from(("none", "sidecar")),
)
@example({"in/a": IMAGE, "in/a.txt": b"words", "b.txt": b"words"}, "sidecar")
def test_of_the_inside_of_an_archive(tree: dict[str, bytes], text: str) -> None:
    files = {**tree, **words_in(tree), "keep.jpg": IMAGE}
    with TemporaryDirectory() as base:
        folder = put(Path(base, "in"), {"x.zip": zip_of(list(files.items()))})
        keys = {**COMMON, "kind": "client_folder", "path": folder, "text": text}
        spec = client_folder.ClientFolderSpec.model_validate(keys)
        listed = client_folder.SOURCE.list(spec, list_context(Path(base)))
        [one] = listed.slices
        context = fetch_context(Path(base), listed, one.name)
        events = Fetched(client_folder.SOURCE.fetch(spec, canonical(one), context))
        companions = sum(one.members for one in events.companions)
        assert len(events.events) + companions + len(events.left_out) == len(files)


@MADE
@given(TREES, st.sampled_from(RULES))
@example({"in/a": IMAGE, "in/a.txt": b"words", "b.txt": b"words"}, {"text": "sidecar"})
@example({"x.zip": INNER, "x.tar.gz.part0": b"", "y.zip.002": b""}, {})
def test_of_a_directory_of_kaggle(tree: dict[str, bytes], keys: dict[str, Any]) -> None:
    spec = kaggle.KaggleSpec.model_validate({**COMMON, "kind": "kaggle", "handle": "a/b", **keys})
    members = [
        KaggleMember(number, name, 0, len(content), "", guessed=False)
        for number, (name, content) in enumerate({**tree, "keep.jpg": IMAGE}.items())
    ]
    rule = spec.caption_rule()
    items, archives, left_out = sort_out(members, spec.globs)
    said = with_captions(
        rule, Sorted(items, archives, left_out), owners_of(members, rule, spec.globs), lambda _: BytesIO(),
        images=[item.key for item in items], where="kaggle", spool_dir=Path(),
    )  # fmt: skip
    parts = sum(len(one.payload["parts"]) for one in said.sorted.archives)
    assert len(said.sorted.items) + parts + said.companions + len(said.sorted.left_out) == len(members)
    keys_of_items = {item.key for item in said.sorted.items}
    assert not keys_of_items & {one.key for one in said.sorted.left_out}
    sidecars = {name for item in said.sorted.items for name in item.payload.get("sidecars", ())}
    assert len(sidecars) == said.companions
    assert not sidecars & (keys_of_items | {one.key for one in said.sorted.left_out})


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


@FEWER
@given(TREES)
@example({"x.zip.001": b"", "x.zip.002": b"", "y.zip.002": b"", "a.jpg.gz": b""})
def test_of_the_assets_of_a_release(tree: dict[str, bytes]) -> None:
    """Assets have no folders; what their names do not tell is looked at afterwards, each once."""
    names = sorted({nfc(name.rpartition("/")[2]) for name in tree})
    assets = [
        {
            "name": name,
            "id": n,
            "size": 1,
            "url": "",
            "browser_download_url": "",
            "updated_at": "",
            "held_to": {},
        }
        for n, name in enumerate(names)
    ]
    archives, loose, left_out, unknown = github_release._sorted_out(assets)
    files = [part for one in archives for part in one.payload.get("parts", [one.payload])]
    assert len(files) + len(loose) + len(left_out) + len(unknown) == len(assets)
    sides = [*(one.key for one in loose), *(one.key for one in left_out), *(one["name"] for one in unknown)]
    assert len(set(sides)) == len(sides)


ISSUES = st.lists(
    st.builds(Issue, st.sampled_from([f"http://127.0.0.1/{n}.pdf" for n in range(6)]),
              st.sampled_from(("1934", "1935", "")), st.just("1 Mart"), st.sampled_from((None, "1936-03-01"))),
    max_size=8,
).map(tuple)  # fmt: skip


@given(st.lists(st.tuples(ISSUES, st.integers(0, 2)), max_size=4), st.sampled_from((None, (1934, 1935))))
def test_of_an_archive_of_newspapers(made: list[tuple[Any, int]], years: tuple[int, int] | None) -> None:
    titles = [Title(f"t{n}", f"T {n}", issues, missing) for n, (issues, missing) in enumerate(made)]
    spec = newspapers.NewspapersSpec.model_validate({**COMMON, "kind": "newspapers", "years": years})
    slices, left_out, twice = newspapers._slices(spec, "http://127.0.0.1/", titles)
    items = [item.key for one in slices for item in one.items]
    assert len(items) + len(left_out) + twice == sum(len(issues) for issues, _ in made)
    assert len(set(items)) == len(items)
    assert not set(items) & {one.key for one in left_out}
    assert len(list(newspapers._without_link(titles))) == sum(missing for _, missing in made)


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
