"""Committed files with some bytes changed: read, or an error that names the file; never a raw one or a signal."""

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from vlm_assets.allocation.columns import index_batches
from vlm_assets.installation.opening import Installation
from vlm_assets.store.listings import read_items, read_listing
from vlm_assets.store.slices import (
    INDEX_FILE,
    ITEMS_FILE,
    REJECTS_FILE,
    data_file_names,
    read_items_ledger,
    read_rejects,
    read_rows,
)
from vlm_assets.store.taken_down import taken_down_in
from vlm_assets.store.tombstones import StoredTombstones
from vlm_assets.words.errors import OperationError
from vlm_assets_tests.workplace import STREET, fill, ingest, install

DATA = "data-00000.arrow"
EVERYTHING = StoredTombstones(("one",), frozenset(), frozenset(), frozenset(("street/root/0001.jpeg",)))


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Installation:
    base = tmp_path_factory.mktemp("sound")
    folder = fill(base / "in", 4)
    (folder / "no.jpeg").write_bytes(b"no image")
    (folder / "metadata.csv").write_text("file_name,text\n0001.jpeg,bir\n0002.jpeg,üç\n", "utf-8")
    made = install(base, {**STREET, "path": folder, "text": "metadata.csv", "reject_tolerance": 1})
    ingest(made)
    return made


def rows(version: Path) -> object:
    return list(read_rows(version, data_file_names([DATA])))


def columns(version: Path) -> object:
    return [batch.to_pylist() for batch in index_batches(version, ("id", "image_facts", "digest"))]


@pytest.mark.parametrize(
    ("name", "read"),
    [
        pytest.param(DATA, rows, id="rows"),
        pytest.param(INDEX_FILE, rows, id="rows-by-index"),
        pytest.param(INDEX_FILE, columns, id="allocation"),
        pytest.param(DATA, lambda version: taken_down_in(version, EVERYTHING), id="takedown"),
        pytest.param(INDEX_FILE, lambda version: taken_down_in(version, EVERYTHING), id="takedown-by-index"),
        pytest.param(ITEMS_FILE, read_items_ledger, id="items"),
        pytest.param(REJECTS_FILE, read_rejects, id="rejects"),
    ],
)
def test_a_damaged_file_of_a_slice_is_read_or_named(
    installation: Installation, tmp_path: Path, name: str, read: Callable[[Path], object]
):
    version = installation.root.slice("street", "root").resolve()
    copy = tmp_path / "copy"
    copy.mkdir()
    for path in version.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    assert_read_or_named(copy / name, lambda: read(copy), (copy / name).read_bytes())


def test_a_damaged_table_of_items_is_read_or_named(installation: Installation):
    listing = read_listing(installation.root, "street")
    assert listing is not None
    path = installation.root.listings / listing.items_file
    data = path.read_bytes()
    try:
        assert_read_or_named(path, lambda: read_items(installation.root, listing, "root"), data)
    finally:
        path.unlink()
        path.write_bytes(data)


def assert_read_or_named(path: Path, read: Callable[[], object], data: bytes) -> None:
    refused: list[str] = []
    for seed in range(120):
        rng = random.Random(seed)
        damaged = bytearray(data)
        for _ in range(rng.randint(1, 40)):
            damaged[rng.randrange(len(damaged))] = rng.choice((0, 255, 127, rng.randrange(256)))
        path.unlink()
        path.write_bytes(damaged[: rng.randrange(len(data))] if seed % 10 == 0 else damaged)
        try:
            read()
        except OperationError as error:
            refused.append(str(error))
    assert refused
    assert [told for told in refused if path.name not in told] == []
