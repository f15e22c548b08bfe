"""`lock check` and `lock diff`: what is otherwise in the catalogue, in the lock, in the data, or upstream."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vlm_assets.allocation.step import allocate
from vlm_assets.corpus.build import build_corpus
from vlm_assets.operate.lock import check_lock, write_lock
from vlm_assets.operate.lock_diff import diff_lock
from vlm_assets.store.corpus_lock import items_path
from vlm_assets_tests.operate.lock.locked import (
    CORPUS,
    SOURCE,
    Again,
    Made,
    corpus_of,
    image_changed,
    image_gone,
    later,
    mended,
)
from vlm_assets_tests.workplace import STREET, fill, ingest, install


def test_diff_names_what_upstream_changed(again: Again):
    assert diff_lock(again.installation).slices == []
    for change in (later, mended, image_gone):
        change(again.folder)
    found = diff_lock(again.installation)
    assert [(one.slice, one.added, one.gone, one.changed) for one in found.slices] == [
        ("a", ["a/0050.jpeg"], ["a/0003.jpeg"], []),
        ("b", [], [], ["b/bad.jpg"]),
        ("new", ["new/0300.jpeg", "new/0301.jpeg", "new/0302.jpeg"], [], []),
    ]
    assert found.totals == {"added": 4, "gone": 1, "changed": 1}
    assert not again.installation.root.listings.exists()
    shutil.rmtree(again.folder)
    assert diff_lock(again.installation).unlisted.keys() == {"street"}


@pytest.mark.parametrize(
    ("keys", "corpus", "told"),
    [
        ({}, {}, []),
        ({"category": "photos", "weight": 2}, {}, ["target 10: rows, quotas, policies, lists or labels"]),
        ({}, {"seed": 8}, ["target 10: rows, quotas, policies, lists or labels"]),
        ({"verify": "header"}, {}, ["source street: its kind, or keys and limits that change bytes"]),
        ({}, {"targets": {"1k": 1000}}, ["target 10: locked, not in the catalogue"]),
        ({"enabled": False}, {}, ["source street: locked, not enabled"]),
    ],
    ids=["as it is", "weight", "seed", "verify", "targets", "sources"],
)  # fmt: skip
def test_check_needs_no_data_to_see_that_the_catalogue_is_another(
    made: Made, tmp_path: Path, keys: dict[str, Any], corpus: dict[str, Any], told: list[str]
):
    shutil.copytree(made.base / "catalog", tmp_path / "catalog")
    shutil.rmtree(tmp_path / "catalog" / "sources")
    other = install(tmp_path, {**SOURCE, "path": made.base / "in", **keys}, corpus={**CORPUS, **corpus})
    report = check_lock(other)
    assert [
        one for one, start in zip(report.differences, told, strict=True) if not one.startswith(start)
    ] == []
    assert report.exit_code == bool(told)


STRANGE = (
    "rows, quotas, policies, lists or labels are others than when it was locked, or the lock's slices are"
)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An installation with two sources and two targets, all built and locked; nobody changes it."""
    base = tmp_path_factory.mktemp("pair")
    installation = install(base, *two_sources(base), corpus=TWO_TARGETS)
    for name in ("roads", "street"):
        ingest(installation, name)
    for target in TWO_TARGETS["targets"]:
        build_corpus(allocate(installation, target).path, installation.root)
    write_lock(installation)
    return base


TWO_TARGETS: dict[str, Any] = {"targets": {"4": 4, "6": 6}}


def two_sources(base: Path) -> list[dict[str, Any]]:
    return [
        {**STREET, "name": name, "path": fill(base / name / "a", 4, start=start).parent}
        for name, start in (("street", 0), ("roads", 20))
    ]


Changed = tuple[list[dict[str, Any]], dict[str, Any]]


def reordered(sources: list[dict[str, Any]]) -> Changed:
    return sources[::-1], {"targets": {"6": 6, "4": 4}}


def renamed(sources: list[dict[str, Any]]) -> Changed:
    return [sources[0], {**sources[1], "name": "lanes"}], TWO_TARGETS


def removed(sources: list[dict[str, Any]]) -> Changed:
    return sources[:1], TWO_TARGETS


def disabled(sources: list[dict[str, Any]]) -> Changed:
    return [sources[0], {**sources[1], "enabled": False}], TWO_TARGETS


def held(sources: list[dict[str, Any]]) -> Changed:
    return [sources[0], {**sources[1], "hold": True}], TWO_TARGETS


def added(sources: list[dict[str, Any]]) -> Changed:
    return [*sources, {**sources[1], "name": "lanes"}], TWO_TARGETS


NEW, AWAY = "source lanes: in the catalogue, not locked", "source roads: locked, not in the catalogue"


@pytest.mark.parametrize(
    ("change", "checked", "diffed", "unlisted"),
    [
        (reordered, [], [], []),
        (renamed, [NEW, AWAY], ["lanes"], [AWAY]),
        (removed, [AWAY], [], [AWAY]),
        (disabled, ["source roads: locked, not enabled"], [], ["source roads: locked, not enabled"]),
        (held, [], [], ["source roads: locked, held by the catalogue"]),
        (added, [NEW], ["lanes"], []),
    ],
    ids=lambda one: one.__name__ if callable(one) else "",
)
def test_a_catalogue_that_changed_since_is_told_in_a_sentence_a_source(
    pair: Path,
    tmp_path: Path,
    change: Callable[[list[dict[str, Any]]], Changed],
    checked: list[str],
    diffed: list[str],
    unlisted: list[str],
):
    sources, corpus = change(two_sources(pair))
    shutil.copytree(pair / "data", tmp_path / "data", symlinks=True)
    installation = install(tmp_path, *sources, corpus=corpus)
    for name in ("corpus.lock", "corpus.lock.items.parquet"):
        shutil.copyfile(pair / "catalog" / name, tmp_path / "catalog" / name)
    report, difference = check_lock(installation), diff_lock(installation)
    assert (report.differences, report.exit_code) == (checked, int(bool(checked)))
    assert (difference.slices, difference.not_locked) == ([], diffed)
    assert [*difference.unlisted.values()] == unlisted
    assert difference.exit_code == bool(unlisted)


def other_order(lock: dict[str, Any]) -> None:
    for part in (lock, lock["sources"], lock["targets"]):
        for name in [*part]:
            part[name] = part.pop(name) if name == min(part) else part[name]


def other_root_hash(lock: dict[str, Any]) -> None:
    lock["targets"]["4"]["root_hash"] = "0" * 64


def other_slice_hash(lock: dict[str, Any]) -> None:
    lock["sources"]["street"]["slices"]["a"]["content_hash"] = "0" * 64


def other_items_hash(lock: dict[str, Any]) -> None:
    lock["items_file"]["blake3"] = "0" * 64


@pytest.mark.parametrize(
    ("edit", "told"),
    [
        (other_order, []),
        (other_root_hash, ["target 4: root hash {root} here, locked is " + "0" * 64]),
        (
            other_slice_hash,
            [f"target 4: {STRANGE}", f"target 6: {STRANGE}", "street/a: the slice here has other rows"],
        ),
        (other_items_hash, ["corpus.lock.items.parquet: not the items file of this lock"]),
    ],
    ids=lambda one: one.__name__ if callable(one) else "",
)
def test_an_edited_lock_is_told(
    pair: Path, tmp_path: Path, edit: Callable[[dict[str, Any]], None], told: list[str]
):
    shutil.copytree(pair, tmp_path / "pair", symlinks=True)
    installation = install(tmp_path / "pair", *two_sources(pair), corpus=TWO_TARGETS)
    path = installation.catalog_dir / "corpus.lock"
    lock = json.loads(path.read_bytes())
    root = lock["targets"]["4"]["root_hash"]
    edit(lock)
    path.write_text(json.dumps(lock), "utf-8")
    report = check_lock(installation)
    assert report.differences == [one.format(root=root) for one in told]
    assert report.exit_code == bool(told)


def test_check_compares_what_is_here(again: Again):
    image_changed(again.folder)
    corpus_of(again.installation)
    told = check_lock(again.installation).differences
    assert told[0] == "street/a: the slice here has other rows"
    assert told[1].startswith("target 10: root hash ")
    items_path(again.installation.catalog_dir / "corpus.lock").write_bytes(b"")
    assert "not the items file of this lock" in check_lock(again.installation).differences[-1]
