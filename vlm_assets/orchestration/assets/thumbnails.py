"""A few small pictures of the first rows of a version, for its page in the UI."""

import base64
from collections.abc import Sequence
from pathlib import Path
from typing import Final

SIDE_PX: Final = 96
COUNT: Final = 8
"""Stored in the event row of every slice: about 2 KB each."""


def corpus_thumbnails(version: Path, data_files: Sequence[str]) -> list[str]:
    """`data:` URLs of pictures from shards all over a corpus: rows of a shard are a fair mix."""
    step = max(1, len(data_files) // COUNT)
    chosen = data_files[::step][:COUNT]
    each = [slice_thumbnails(version, name)[: -(-COUNT // len(chosen))] for name in chosen]
    return [one for found in each for one in found][:COUNT]


def slice_thumbnails(version: Path, data_file: str) -> list[str]:
    """`data:` URLs of the first pictures of a data file that are quick and safe to decode."""
    import pyarrow as pa

    from vlm_assets.images.thumbnails import thumbnail

    with pa.memory_map(str(version / data_file)) as mapped, pa.ipc.open_stream(mapped) as reader:
        batch = next(iter(reader), None)
        if batch is None:
            return []
        found: list[str] = []
        for row in batch.slice(0, COUNT * 4).select(["images", "image_facts"]).to_pylist():
            for image, fact in zip(row["images"] or (), row["image_facts"], strict=False):
                small = thumbnail(image["bytes"], fact, SIDE_PX)
                found += [data_url(small)] if small else []
            if len(found) >= COUNT:
                break
    return found[:COUNT]


def data_url(jpeg: bytes) -> str:
    """As it stands in Markdown of an event."""
    return "data:image/jpeg;base64," + base64.b64encode(jpeg).decode()
