"""Tables that may be captions, though the catalogue names none: of every kind that joins captions, the same."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Protocol

import pytest

from vlm_assets.catalog.spec import SourceSpec
from vlm_assets.demo.services.github import GitHubService
from vlm_assets.demo.services.huggingface import HubService
from vlm_assets.demo.services.kaggle import KaggleService
from vlm_assets.demo.services.pictures import zip_of
from vlm_assets.sources.registry import source_of
from vlm_assets.words.records import Listed
from vlm_assets_tests.sources.kit import COMMON, fetch_slice, list_context

Files = dict[str, bytes]
SPECS: dict[str, dict[str, Any]] = {
    "client_folder": {},
    "hf_dataset": {"repo": "org/set"},
    "kaggle": {"handle": "org/set"},
    "github_release": {"repo": "org/set"},
}
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


class Serve(Protocol):
    """Puts files where a kind finds them."""

    def __call__(self, kind: str, files: Files, **keys: Any) -> SourceSpec:
        """The source that lists them."""


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serve]:
    """Files behind a kind, and the source that lists them."""
    home = tmp_path_factory.mktemp("home")
    with ExitStack() as stack:
        hub = stack.enter_context(HubService())
        kaggle = stack.enter_context(KaggleService())
        github = stack.enter_context(GitHubService())
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        places = {"HF_ENDPOINT": hub.url, "GITHUB_API_URL": github.api_url, **kaggle.environment()}
        for name, value in {**places, "KAGGLE_CONFIG_DIR": str(home), "HOME": str(home)}.items():
            patch.setenv(name, value)
        for name in ("HF_TOKEN", "GITHUB_TOKEN", "KAGGLE_USERNAME", "KAGGLE_KEY", "KAGGLE_API_TOKEN"):
            patch.delenv(name, raising=False)
        releases = iter(range(100))

        def serve(kind: str, files: Files, **keys: Any) -> SourceSpec:
            if kind == "hf_dataset":
                hub.add("org/set", files)
            elif kind == "kaggle":
                kaggle.add("org/set", zip_of(list(files.items())))
            elif kind == "github_release":
                github.release("org/set", f"v{next(releases)}", files)
            else:
                keys["path"] = tmp_path_factory.mktemp("in")
                for name, data in files.items():
                    (keys["path"] / name).write_bytes(data)
            model = source_of(kind).spec_type
            return model.model_validate({**COMMON, "kind": kind, **SPECS[kind], **keys})

        yield serve


def listed_of(spec: SourceSpec, folder: Path) -> Listed:
    return source_of(spec.kind).list(spec, list_context(folder))


def reasons(listed: Listed) -> dict[str, str]:
    return {one.key: str(one.reason) for one in listed.left_out}


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
