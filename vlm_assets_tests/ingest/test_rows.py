"""Rows come in the order of their records, and few images are in memory before their turn."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from vlm_assets.images.probe import ImageProber, ProbePolicy
from vlm_assets.ingest.rows import (
    _AHEAD_BYTES,
    _AHEAD_CHUNKS,
    _CHUNK_BYTES,
    _CHUNK_RECORDS,
    Assignment,
    rows_of,
)
from vlm_assets.settings import Settings
from vlm_assets.words.records import Record, RecordImage
from vlm_assets_tests.workplace import STREET, install, picture

IMAGE_BYTES = 2 * 2**20


def in_memory(data: bytes, _file: Path) -> bytes | Path:
    return data


def in_a_file(data: bytes, file: Path) -> bytes | Path:
    file.write_bytes(data)
    return file


@pytest.mark.parametrize(
    ("size_bytes", "most"),
    [
        (0, (_AHEAD_CHUNKS + 1) * _CHUNK_RECORDS),
        (IMAGE_BYTES, (_AHEAD_BYTES + _CHUNK_BYTES) // IMAGE_BYTES),
    ],
    ids=["small", "large"],
)
@pytest.mark.parametrize("place", [in_memory, in_a_file])
def test_as_many_are_read_ahead_as_memory_allows(
    place: Callable[[bytes, Path], bytes | Path], size_bytes: int, most: int, tmp_path: Path
) -> None:
    image = picture(1)
    data = place(image + bytes(size_bytes), tmp_path / "image")  # what follows a JPEG is nobody's
    taken = 0

    def records() -> Iterator[Record]:
        nonlocal taken
        for number in range(2 * most):
            taken += 1
            yield Record("item", number, f"{number:06d}.jpg", [RecordImage(data)], "here")

    spec = install(tmp_path, {**STREET, "path": tmp_path, "verify": "header"}).catalog.source("street")
    prober = ImageProber(ProbePolicy(frozenset({"JPEG"}), verify="header"))
    with prober:
        rows = rows_of(records(), Assignment(spec, "a"), prober, Settings(worker_count=2))
        first, _ = next(rows)
        assert isinstance(first, Record)
        assert first.record == 0
        assert most // 2 < taken <= most
        assert [record.record for record, _ in rows if isinstance(record, Record)] == list(range(1, 2 * most))
