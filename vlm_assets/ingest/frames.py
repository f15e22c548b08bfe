"""Pictures of several frames: a TIFF's pages as records of their own, or what is beyond the first on record."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Final

from vlm_assets.images.sniff import sniff
from vlm_assets.images.tiff_pages import PageError, TiffPage, tiff_pages
from vlm_assets.ingest.rows import Outcome
from vlm_assets.words.errors import LeftOut, LeftOutReason, Reject, RejectReason
from vlm_assets.words.records import Record, RecordImage

_HEAD_BYTES: Final = 16
_TOLD_FRAMES: Final = 1000
"""Frames of one picture that have a line each; the others share one."""
_MOST_TIMES: Final = 4
"""Pages that are together this many times as large as their file name the same strips again and again."""


class Frames:
    """What became of frames beyond the first of each picture."""

    def __init__(self) -> None:
        self.left_out: defaultdict[str, list[LeftOut]] = defaultdict(list)
        """Frames that are no records, by item, in the order of the records."""

    def pages(self, events: Iterable[Record | Reject], max_bytes: int) -> Iterator[Record | Reject]:
        """Each page of a TIFF that is a record's only image as a record of its own; all else as it comes.

        A page that cannot be taken out is a reject. Later records of the item are numbered on.
        """
        item, shift = "", 0
        for event in events:
            if event.item != item:
                item, shift = event.item, 0
            if isinstance(event, Reject):
                yield event if event.record is None else replace(event, record=event.record + shift)
                continue
            moved = replace(event, record=event.record + shift)
            pages, size_bytes = self._pages_of(moved, max_bytes)
            yield from _taken_out(moved, pages, size_bytes * _MOST_TIMES) if pages else [moved]
            shift += max(len(pages), 1) - 1

    def told(self, outcomes: Iterable[Outcome]) -> Iterator[Outcome]:
        """Passes outcomes on, and puts on record what pictures have beyond their first frame."""
        for event, result in outcomes:
            if isinstance(event, Record) and not isinstance(result, Reject):
                for number, fact in enumerate(result["image_facts"], 1):
                    if fact["frames"] > 1:
                        which = f"#image={number}" if len(result["image_facts"]) > 1 else ""
                        self.left_out[event.item] += _beyond_first(event.key + which, fact["frames"])
            yield event, result

    def _pages_of(self, record: Record, max_bytes: int) -> tuple[list[TiffPage], int]:
        """A TIFF's pages and its bytes; no pages where the record is to stay as it is."""
        data = _tiff_of(record, max_bytes)
        found = [] if data is None else list(tiff_pages(data))
        pages = [page for page in found if page.is_page]
        if data is None or len(pages) < 2:
            return [], 0
        for page in found:
            if not page.is_page:
                key = f"{record.key}#frame={page.number}"
                copy = LeftOut(key, LeftOutReason.FRAME, "a reduced copy or a mask of another page")
                self.left_out[record.item].append(copy)
        return pages, len(data)


def _taken_out(record: Record, pages: Sequence[TiffPage], budget_bytes: int) -> Iterator[Record | Reject]:
    for place, page in enumerate(pages):
        number = record.record + place
        try:
            data = page.taken_out()
        except PageError as error:
            detail = f"page {page.number}: {error}"
            yield Reject(record.item, RejectReason.CORRUPT, detail, number)
            continue
        budget_bytes -= len(data)
        if budget_bytes < 0:
            detail = f"page {page.number}: its pages are over {_MOST_TIMES} times as large as the file"
            yield Reject(record.item, RejectReason.BOMB, detail, number)
            continue
        [image] = record.images
        yield replace(
            record,
            record=number,
            key=f"{record.key}#frame={page.number}",
            origin=f"{record.origin}#frame={page.number}",
            images=(RecordImage(data, image.name, image.origin, image.dpi),),
            vouched=record.vouched or place > 0,  # another page is no other picture of the same address
        )


def _tiff_of(record: Record, max_bytes: int) -> bytes | None:
    """The bytes of a record's only image, where that is a TIFF, and the one that was listed."""
    if len(record.images) != 1:
        return None
    image = record.images[0]
    data = image.data if isinstance(image.data, bytes) else _read_tiff(image.data, max_bytes)
    if data is None or not _is_tiff(data[:_HEAD_BYTES]):
        return None
    return data if image.sha256 in {"", sha256(data).hexdigest()} else None


def _read_tiff(path: Path, max_bytes: int) -> bytes | None:
    try:
        if path.stat().st_size > max_bytes:
            return None
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
            return head + file.read() if _is_tiff(head) else None
    except OSError:  # reading it again tells
        return None


def _is_tiff(head: bytes) -> bool:
    found = sniff(head)
    return found is not None and found.name == "TIFF"


def _beyond_first(key: str, frames: int) -> list[LeftOut]:
    told = [LeftOut(f"{key}#frame={n}", LeftOutReason.FRAME) for n in range(2, min(frames, _TOLD_FRAMES) + 1)]
    if frames > _TOLD_FRAMES:
        last = f"{key}#frame={_TOLD_FRAMES + 1}-{frames}"
        told.append(LeftOut(last, LeftOutReason.FRAME, f"{frames - _TOLD_FRAMES} frames"))
    return told
