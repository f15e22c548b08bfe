"""Rows = joined + those that name nothing, wherever both lie: loose, in archives, beside these, on the Hub."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vlm_assets.demo.services.huggingface import HubService
from vlm_assets.demo.services.pictures import tar_of, zip_of
from vlm_assets.sources import client_folder, hf_dataset
from vlm_assets.words.caption_rows import CaptionRows, settled
from vlm_assets.words.records import Listed
from vlm_assets_tests.sources.kit import COMMON, Fetched, canonical, fetch_context, list_context, slices_of

JPEG = b"\xff\xd8\xff\xe0"
NAMES = {
    "a.jpg": True, "x.zip/b.jpg": True, "x/k/c.jpg": True, "x.zip/d.jpg": True, "y/b.jpg": True, "y.zip/e.jpg": True,
    "no.jpg": False, "x/no.jpg": False, "y.zip/c.jpg": False,
}  # fmt: skip
"""What rows of the table beside name, and whether it is there."""
INSIDE = {"b.jpg": True, "k/c.jpg": True, "no.jpg": False, "a.jpg": False}
Rows = list[tuple[str, str]]


def rows_naming(names: Mapping[str, bool], *, least: int = 0) -> st.SearchStrategy[Rows]:
    """Rows of two images each; the first `least` of them names something."""
    one, good = st.sampled_from(sorted(names)), st.sampled_from([name for name in names if names[name]])
    some = st.lists(st.tuples(one, one), max_size=8)
    return some if not least else st.tuples(st.tuples(good, one), some).map(lambda told: [told[0], *told[1]])


def table(rows: Rows) -> bytes:
    return "\n".join(["image_file_name,mask_file_name,text", *(f"{a},{b},s" for a, b in rows), ""]).encode()


def lost(rows: Rows, names: Mapping[str, bool]) -> int:
    return sum(not (names[one] or names[other]) for one, other in rows)


def counts_of(source: Any, spec: Any, folder: Path) -> tuple[Listed, CaptionRows]:
    """Everything listed and fetched."""
    listed = source.list(spec, list_context(folder))
    told: list[Mapping[str, Any]] = []
    for name, one in slices_of(listed).items():
        events = source.fetch(spec, canonical(one), fetch_context(folder, listed, name))
        told += Fetched(events).caption_counts
    found = settled(listed.attributes.get("captions", {}), told)
    assert found is not None
    return listed, found


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(beside=rows_naming(NAMES), inside=rows_naming(INSIDE, least=1))
def test_rows_of_a_folder_are_joined_or_name_nothing(tmp_path: Path, beside: Rows, inside: Rows) -> None:
    files = {
        "a.jpg": JPEG,
        "x.zip": zip_of([*((name, JPEG + name.encode()) for name in ("b.jpg", "k/c.jpg", "d.jpg")),
                         ("metadata.csv", table(inside))]),
        "y.zip": zip_of([(name, JPEG + name.encode()) for name in ("b.jpg", "e.jpg")]),
        "metadata.csv": table(beside),
    }  # fmt: skip
    folder = tmp_path / "in"
    folder.mkdir(exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    spec = client_folder.ClientFolderSpec.model_validate(
        {**COMMON, "kind": "client_folder", "path": folder, "text": "metadata"}
    )
    _, found = counts_of(client_folder.SOURCE, spec, tmp_path)
    nothing = lost(beside, NAMES) + lost(inside, INSIDE)
    rows = len(beside) + len(inside)
    assert (found.joined, found.name_nothing, found.waiting) == (rows - nothing, nothing, 0)
    assert len(found.examples) >= min(nothing, 1)


@pytest.fixture(scope="module")
def put() -> Iterator[Callable[[Mapping[str, bytes]], Any]]:
    """Puts a repository on a Hub and gives its spec."""
    with HubService() as service, pytest.MonkeyPatch.context() as environment:
        environment.setenv("HF_ENDPOINT", service.url)
        environment.delenv("HF_TOKEN", raising=False)

        def add(files: Mapping[str, bytes], **keys: Any) -> Any:
            name = f"org/set{len(service.repos)}"
            service.add(name, dict(files))
            return hf_dataset.HfDatasetSpec.model_validate(
                {**COMMON, "kind": "hf_dataset", "repo": name, **keys}
            )

        yield add


def named(*names: str) -> bytes:
    return "\n".join(["file_name,text", *(f"{name},s" for name in names), ""]).encode()


def packed(*names: str, **more: bytes) -> bytes:
    others = [(name.replace("__", "."), data) for name, data in more.items()]
    return zip_of([*((name, JPEG + name.encode()) for name in names), *others])


CARD = b"""---
configs:
- config_name: default
  data_files:
  - {split: train, path: train.zip}
  - {split: test, path: test/*}
---
"""
HUB: dict[str, tuple[dict[str, bytes], dict[str, Any], tuple[int, int, int]]] = {
    "inside": (
        {"train.zip": packed("a.jpg", "b.jpg", metadata__csv=named("a.jpg", "no.jpg", "no2.jpg"))}, {}, (1, 2, 1),
    ),
    "beside-one": (
        {"train.zip": packed("a.jpg", "b.jpg"), "metadata.csv": named("a.jpg", "no.jpg", "train/no.jpg")}, {},
        (1, 2, 1),
    ),
    "beside-several": (
        {"data/train-0.zip": packed("0.jpg", "1.jpg"), "data/train-1.zip": packed("2.jpg"),
         "data/metadata.csv": named("0.jpg", "1.jpg", "2.jpg", "no.jpg", "no.jpg")}, {}, (3, 2, 0),
    ),
    "of-loose-and-packed": (
        {"README.md": CARD, "test/t.jpg": JPEG, "train.zip": packed("a.jpg"),
         "metadata.csv": named("test/t.jpg", "train/a.jpg", "no.jpg", "train/no.jpg")},
        {}, (2, 2, 0),
    ),
    "beside-a-tar": (
        {"train.tar": tar_of([("0.jpg", JPEG), ("1.jpg", JPEG + b"1")]), "metadata.csv": named("0.jpg", "no.jpg")},
        {}, (1, 1, 1),
    ),
    "sidecars-loose": (
        {"train/a.jpg": JPEG, "train/a.txt": b"s", "train/no.txt": b"s", "train/b.jpg": JPEG + b"b",
         "LICENSE.txt": b""}, {"text": "sidecar"}, (1, 1, 1),
    ),
    "sidecars-inside": (
        {"train.zip": packed("a.jpg", "b.jpg", a__txt=b"s", no__txt=b"s")}, {"text": "sidecar"}, (1, 1, 1),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", HUB)
def test_rows_on_the_hub_are_joined_or_name_nothing(
    put: Callable[..., Any], tmp_path: Path, name: str
) -> None:
    files, keys, expected = HUB[name]
    _, found = counts_of(hf_dataset.SOURCE, put(files, **keys), tmp_path)
    assert (found.joined, found.name_nothing, found.images_without_rows) == expected
    assert found.waiting == 0


def test_loose_sidecars_on_the_hub_that_name_nothing_are_told_at_listing(
    put: Callable[..., Any], tmp_path: Path
) -> None:
    files, keys, _ = HUB["sidecars-loose"]
    listed = hf_dataset.SOURCE.list(put(files, **keys), list_context(tmp_path))
    assert listed.captions_unused == 1
