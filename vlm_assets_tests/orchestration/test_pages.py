"""What stands on the pages of assets: sentences first, owners, links, places in the catalogue, nothing too wide."""

from typing import Any

import dagster as dg
import pytest

from vlm_assets.demo.services.pictures import zip_of
from vlm_assets.ingest.due import Due
from vlm_assets.ingest.listing import refresh_listing
from vlm_assets.orchestration.assets import metadata
from vlm_assets.orchestration.assets.metadata import (
    listing_metadata,
    placed,
    rejected_metadata,
    shortened,
    slice_metadata,
)
from vlm_assets.orchestration.define import build_definitions
from vlm_assets.orchestration.names import CORPUS_KEY, REJECTED, dataset_key, listing_key
from vlm_assets_tests.orchestration.kit import rows_of
from vlm_assets_tests.workplace import STREET, fill, ingest, install, picture

SOURCES: list[dict[str, Any]] = [
    STREET,
    {**STREET, "name": "hub", "kind": "hf_dataset", "repo": "owner/pictures"},
    {**STREET, "name": "cats", "kind": "kaggle", "handle": "owner/cats/versions/3"},
    {**STREET, "name": "release", "kind": "github_release", "repo": "owner/tool", "tag": "v1"},
]
URLS = {
    "street": None,
    "hub": "https://huggingface.co/datasets/owner/pictures",
    "cats": "https://www.kaggle.com/datasets/owner/cats/versions/3",
    "release": "https://github.com/owner/tool/releases/tag/v1",
}


@pytest.fixture
def graph(tmp_path):
    fill(tmp_path / "street", 1)
    sources = [{**SOURCES[0], "path": tmp_path / "street"}, *SOURCES[1:]]
    installation = install(tmp_path, *sources, contact="data@example.org")
    return build_definitions(installation).get_repository_def().asset_graph


def test_every_source_is_described_by_itself_and_leads_to_its_entry(graph, tmp_path):
    first = {name: graph.get(dataset_key(name)).description.splitlines()[0] for name in URLS}
    assert len(set(first.values())) == len(URLS)
    assert first["hub"] == "**hub**: hf_dataset from `owner/pictures`, for photos/street, under CC0-1.0."
    lines = (tmp_path / "catalog" / "sources" / "all.yaml").read_text("utf-8").splitlines()
    for name, url in URLS.items():
        for node in (graph.get(dataset_key(name)), graph.get(listing_key(name))):
            assert node.owners == ["data@example.org"]
            [place] = node.metadata["dagster/code_references"].code_references
            assert lines[place.line_number - 1].strip(" -") == f"name: {name}"
            shown = node.metadata.get("upstream")
            assert (shown.value if shown else None) == url
    assert graph.get(CORPUS_KEY).owners == ["data@example.org"]


def test_pages_of_a_listing_and_a_slice_show_the_first_ledger_and_captions(tmp_path):
    folder = fill(tmp_path / "street", 1)
    for name in ("0000.txt", "lost.txt"):
        (folder / name).write_text("bir", "utf-8")
    (folder / "a.zip").write_bytes(zip_of([("a.jpg", picture(7)), ("Thumbs.db", b"junk")]))
    installation = install(tmp_path, {**STREET, "path": folder, "text": "sidecar"})
    change = refresh_listing(installation, installation.catalog.source("street"))
    listing = listing_metadata(change, "listings/street.json")
    sums = ("upstream", "items", "companions", "left out")
    assert [listing[name] for name in sums] == [4, 2, 1, 1]
    assert rows_of(listing["left out, the first"].value) == [["lost.txt: unused_companion (names no image)"]]
    assert rows_of(listing["captions"].value) == [["captions that joined no image: 1"]]
    pages = {key: slice_metadata(outcome) for key, outcome in ingest(installation).items()}
    packed = next(page for key, page in pages.items() if "zip" in key)
    assert [packed[name] for name in ("upstream", "records", "companions", "left out")] == [2, 1, 0, 1]
    told = sorted(rows_of(page["captions"].value)[0][0] for page in pages.values())
    assert told == [f"of 1 row with text {n}, with messages 0, with neither {1 - n}" for n in range(2)]


@pytest.mark.parametrize("contact", ["", "https://example.org/bot", "nobody"])
def test_a_contact_that_is_no_address_owns_nothing(tmp_path, contact):
    fill(tmp_path / "street", 1)
    installation = install(tmp_path, {**STREET, "path": tmp_path / "street"}, contact=contact)
    graph = build_definitions(installation).get_repository_def().asset_graph
    assert graph.get(dg.AssetKey(["dataset", "street"])).owners == []


def test_every_reason_for_a_fetch_has_words():
    assert set(metadata._WHY) == set(map(str, Due))


@pytest.mark.parametrize(
    ("shown", "whole"),
    [
        ("0123456789abcdef01234567…", "0123456789abcdef" * 4),
        ("0123456789abcdef01234567…", "0123456789abcdef0123456701234567abcdef01"),
        ("versions/3", "versions/3"),
        ("release-can…01-15-linux", "release-candidate-of-the-year-2026-01-15-linux"),
        (
            "main, as the person who wrote this revision calls it",
            "main, as the person who wrote this revision calls it",
        ),
    ],
    ids=["sha256", "commit", "version", "tag", "words"],
)
def test_long_hashes_are_cut(shown, whole):
    assert shortened(whole) == shown


def test_paths_are_shown_from_the_data_root():
    assert placed("/a/very/long/way/data/datasets/street/.versions/0123") == "datasets/street/.versions/0123"
    assert placed("elsewhere/file") == "elsewhere/file"


def test_rejects_stand_in_lines_by_their_reason():
    shown = rejected_metadata([("truncated", "data:1"), ("corrupt", "data:2"), ("truncated", "data:3")])
    told = "**truncated** ![truncated](data:1) ![truncated](data:3)\n\n**corrupt** ![corrupt](data:2)"
    assert shown == {REJECTED: dg.MetadataValue.md(told)}
    assert rejected_metadata([]) == {}
