"""A few small pictures of a slice for its page in the UI. Reads the first rows of a committed version only."""

import base64
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Final

SIDE_PX: Final = 96
COUNT: Final = 8
"""Stored in the event row of every slice: about 2 KB each."""
_MAX_PIXELS: Final = 40_000_000
_SAFE_FORMATS: Final = ("JPEG", "PNG", "WEBP")
"""Formats whose decoders run in this process anyway; the exotic ones get no thumbnail."""


def corpus_thumbnails(version: Path, data_files: Sequence[str]) -> list[str]:
    """`data:` URLs of pictures from shards all over a corpus: rows of a shard are a fair mix."""
    step = max(1, len(data_files) // COUNT)
    chosen = data_files[::step][:COUNT]
    each = [slice_thumbnails(version, name)[: -(-COUNT // len(chosen))] for name in chosen]
    return [one for found in each for one in found][:COUNT]


def slice_thumbnails(version: Path, data_file: str) -> list[str]:
    """`data:` URLs of the first pictures of a data file that are quick and safe to decode."""
    import pyarrow as pa

    with pa.memory_map(str(version / data_file)) as mapped, pa.ipc.open_stream(mapped) as reader:
        batch = next(iter(reader), None)
        if batch is None:
            return []
        found: list[str] = []
        for row in batch.slice(0, COUNT * 4).select(["images", "image_facts"]).to_pylist():
            for image, fact in zip(row["images"] or (), row["image_facts"], strict=False):
                if fact["format"] in _SAFE_FORMATS and fact["width_px"] * fact["height_px"] <= _MAX_PIXELS:
                    url = _thumbnail(image["bytes"], fact["format"])
                    found += [url] if url else []
            if len(found) >= COUNT:
                break
    return found[:COUNT]


def _thumbnail(encoded: bytes, image_format: str) -> str | None:
    from PIL import Image

    try:
        with Image.open(io.BytesIO(encoded), formats=(image_format,)) as image:
            image.draft("RGB", (SIDE_PX, SIDE_PX))
            small = image.convert("RGB")
            small.thumbnail((SIDE_PX, SIDE_PX))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None  # verified as far as `verify` asks; a picture less on a page is no failure
    sink = io.BytesIO()
    small.save(sink, "JPEG", quality=50)
    return "data:image/jpeg;base64," + base64.b64encode(sink.getvalue()).decode()
