"""What a second publication sends after a growth of 1 %: hf_xet itself chunks, compares and stores, on this disk."""

from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vlm_assets.allocation.step import allocate, tombstones_in_force
from vlm_assets.corpus.build import build_corpus
from vlm_assets.exports.publishing.run import publish_corpus
from vlm_assets.installation.opening import Installation
from vlm_assets_tests.exports.publishing.conftest import SETTINGS
from vlm_assets_tests.exports.publishing.hub import WritableHub
from vlm_assets_tests.workplace import STREET, ingest, install


@pytest.fixture
def chunked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[WritableHub]:
    """A Hub whose files are stored as chunks under `chunks`."""
    monkeypatch.setenv("HF_XET_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("HF_HUB_DISABLE_XET", raising=False)
    with WritableHub(xet=tmp_path / "chunks") as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        yield hub


def noise(folder: Path, numbers: range, kilobytes: int) -> None:
    """Pictures that nothing compresses, of about so many kilobytes."""
    folder.mkdir(exist_ok=True)
    side = int((kilobytes * 1000 / 3) ** 0.5)
    for number in numbers:
        pixels = np.random.default_rng(number).integers(0, 256, (side, side, 3), np.uint8)
        out = BytesIO()
        Image.fromarray(pixels).save(out, "PNG", compress_level=0)
        (folder / f"{number}.png").write_bytes(out.getvalue())


def built(base: Path) -> Installation:
    corpus = {
        "targets": {"t": 100_000},
        "shortfall": "report",
        "shard": {"max_bytes": 20_000_000, "block_rows": 16, "window_bytes": 2_000_000},
    }
    source = {**STREET, "path": base / "pictures", "files_per_slice": 50}
    installation = install(base, source, corpus=corpus, **SETTINGS)
    ingest(installation)
    build_corpus(allocate(installation, "t").path, installation.root, tombstones_in_force(installation.root))
    return installation


def stored(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def measured(base: Path, rows: int, kilobytes: int) -> tuple[int, int]:
    """Bytes that the first publication stored, and those of the second, after 1 % more pictures."""
    noise(base / "pictures", range(rows), kilobytes)
    publish_corpus(built(base), "t", "a/b")
    first = stored(base / "chunks")
    noise(base / "pictures", range(rows, rows + rows // 100), kilobytes)
    publish_corpus(built(base), "t", "a/b")
    return first, stored(base / "chunks") - first


@pytest.mark.usefixtures("chunked")
def test_a_growth_of_one_percent_sends_less_than_two(tmp_path, record_property):
    first, second = measured(tmp_path, 100, 150)
    record_property("told", f"published again after 1 % growth: {second / first:.2%} of {first:,} bytes")
    assert first > 100 * 150_000
    assert second < 0.02 * first  # in the corpus's order, or by Arrow's own sizes of pages, it is more


@pytest.mark.slow
@pytest.mark.usefixtures("chunked")
@pytest.mark.parametrize("kilobytes", [100, 300])
def test_larger_corpora_and_other_sizes(tmp_path, record_property, kilobytes):
    first, second = measured(tmp_path, 1_000, kilobytes)
    record_property("told", f"{kilobytes} kB an image, 1 % growth: {second / first:.2%} of {first:,} bytes")
    assert second <= 0.03 * first
