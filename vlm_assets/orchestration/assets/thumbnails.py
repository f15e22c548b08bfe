"""A few small pictures of a slice for its page in the UI: of the first rows of a version, and of rejects."""

import base64
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from vlm_assets.words.errors import RejectReason

SIDE_PX: Final = 96
COUNT: Final = 8
"""Stored in the event row of every slice: about 2 KB each."""
_MAX_SCANNED_PIXELS: Final = 2**29
"""Pixels times scans of a JPEG: those of many scans cost hours."""
_HERE: Final = frozenset({"JPEG", "PNG", "WEBP"})
_SCAN: Final = b"\xff\xda"
_END: Final = b"\xff\xd9"
_TRIED: Final = 64
"""Rejects of a slice that are decoded at most: most do not give a picture, and each takes its time."""
_NEVER: Final = frozenset({RejectReason.BOMB, RejectReason.DECODER_CRASHED, RejectReason.DECODER_TIMEOUT})


class RejectedPictures:
    """The first few rejects of a slice that decode: (reason, `data:` URL). Of what is cut short, what there is."""

    def __init__(self) -> None:
        self.found: list[tuple[str, str]] = []
        self._tried = 0

    def see(self, reason: RejectReason, images: Iterator[bytes]) -> None:
        """Takes in the images of a rejected record, one at a time, until there are enough or too many were tried."""
        if reason in _NEVER:
            return
        while self._tried < _TRIED and len(self.found) < COUNT and (data := next(images, None)) is not None:
            self._tried += 1
            url = _rejected_thumbnail(data)
            if url is not None:
                self.found.append((str(reason), url))


def _rejected_thumbnail(data: bytes) -> str | None:
    from vlm_assets.images.sniff import sniff
    from vlm_assets.images.thumbnails import may_be_drawn, thumbnail

    known = sniff(data)
    fact = None if known is None else _fact_of(data, known.name)
    if fact is None or not may_be_drawn(fact):
        return None
    if fact["width_px"] * fact["height_px"] * data.count(_SCAN) > _MAX_SCANNED_PIXELS:
        return None
    # libjpeg draws what there is, where the end is marked.
    small = thumbnail(data + _END if fact["format"] == "JPEG" else data, fact, SIDE_PX)
    return data_url(small) if small else None


def _fact_of(data: bytes, form: str) -> dict[str, Any] | None:
    """What a header says; None where nobody can read it, or the format's decoder is not for this process."""
    from PIL import Image

    if form not in _HERE:
        return None
    try:
        with Image.open(io.BytesIO(data), formats=(form,)) as image:
            return {"format": form, "width_px": image.width, "height_px": image.height}
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None


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
