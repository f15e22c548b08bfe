"""The first few rejects of a slice that decode, made small while they pass by: their bytes are kept nowhere."""

import io
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from hashlib import sha256
from typing import Any, Final

from PIL import Image

from vlm_assets.images.sniff import sniff
from vlm_assets.images.thumbnails import may_be_drawn, thumbnail
from vlm_assets.ingest.rows import Outcome, readable_images
from vlm_assets.store.rejected_pictures import A_SLICE, RejectedPicture, keep_rejected, kept_rejected
from vlm_assets.store.slices import RejectEntry
from vlm_assets.store.tombstones import StoredTombstones
from vlm_assets.words.errors import Reject, RejectReason
from vlm_assets.words.layout import DataRoot, sample_id
from vlm_assets.words.records import Record
from vlm_assets.words.schema import Row

SIDE_PX: Final = 96
A_REASON: Final = 4
"""Pictures of one reason: a slice has more than one fault to show."""
_MAX_SCANNED_PIXELS: Final = 2**29
"""Pixels times scans of a JPEG: those of many scans cost hours."""
_HERE: Final = frozenset({"JPEG", "PNG", "WEBP"})
_SCAN: Final = b"\xff\xda"
_END: Final = b"\xff\xd9"
_TRIED: Final = 64
"""Rejects of a slice that are decoded at most: most do not give a picture, and each takes its time."""
_NEVER: Final = frozenset({RejectReason.BOMB, RejectReason.DECODER_CRASHED, RejectReason.DECODER_TIMEOUT})


class RejectedPictures:
    """Takes pictures in, of what is cut short what there is; none of an image or of an id that is taken down."""

    def __init__(
        self,
        told: Callable[[RejectedPicture], None] = lambda _: None,
        takedowns: StoredTombstones | None = None,
        max_bytes: int = 0,
        slice_name: str = "",
    ) -> None:
        """`told` hears of each that is kept; images above `max_bytes` are not read. `slice_name`: begins ids."""
        self.found: list[RejectedPicture] = []
        self._told = told
        self._takedowns = takedowns or StoredTombstones.none()
        self._slice_name = slice_name
        self._max_bytes = max_bytes
        self._tried = 0
        self._of_reason: Counter[RejectReason] = Counter()

    def among(self, outcomes: Iterable[Outcome]) -> Iterator[Outcome]:
        """Passes outcomes on, and sees the rejects among them."""
        for event, result in outcomes:
            if isinstance(event, Record) and isinstance(result, Reject) and not self._is_taken(event):
                self.see(result, readable_images(event, self._max_bytes))
            yield event, result

    def drifted(self, item: str, row: Row) -> None:
        """Sees the row that an item's address gives instead of the one before."""
        if row["id"] not in self._takedowns.ids:
            self.see(Reject(item, RejectReason.DRIFTED, record=row["record"]), iter(row["images"]))

    def see(self, reject: Reject, images: Iterator[bytes]) -> None:
        """Takes in the images of a rejected record, one at a time, until there are enough or too many were tried."""
        if reject.reason in _NEVER:
            return
        while self._wants(reject.reason) and (data := next(images, None)) is not None:
            digest = sha256(data).hexdigest()
            if digest in self._takedowns.image_sha256:
                continue
            self._tried += 1
            if (small := _small(data)) is not None:
                self._keep(reject, digest, small)

    def settle(
        self, root: DataRoot, source: str, key: str, kept: Collection[str], rejects: Iterable[RejectEntry]
    ) -> None:
        """Keeps, of a slice that is committed, what is of its rejects: new ones, then those of items it `kept`."""
        places = {(one.key, one.record, one.reason) for one in rejects}
        before = (one for one in (kept_rejected(root, source, key) if kept else ()) if one.key in kept)
        every = (*self.found, *before)
        keep_rejected(
            root, source, key, [one for one in every if (one.key, one.record, one.reason) in places]
        )

    def _is_taken(self, record: Record) -> bool:
        """By its id: a picture that is cut short now has another hash than when it was taken down."""
        if not self._takedowns.ids:
            return False
        source, slice_key = self._slice_name.split("/")
        return sample_id(source, slice_key, record.key) in self._takedowns.ids

    def _wants(self, reason: RejectReason) -> bool:
        return self._tried < _TRIED and len(self.found) < A_SLICE and self._of_reason[reason] < A_REASON

    def _keep(self, reject: Reject, digest: str, small: bytes) -> None:
        picture = RejectedPicture(
            key=reject.item, record=reject.record, reason=reject.reason, image_sha256=digest, jpeg=small
        )
        self.found.append(picture)
        self._of_reason[reject.reason] += 1
        self._told(picture)


def _small(data: bytes) -> bytes | None:
    known = sniff(data)
    fact = None if known is None else _fact_of(data, known.name)
    if fact is None or not may_be_drawn(fact):
        return None
    if fact["width_px"] * fact["height_px"] * data.count(_SCAN) > _MAX_SCANNED_PIXELS:
        return None
    # libjpeg draws what there is, where the end is marked.
    return thumbnail(data + _END if fact["format"] == "JPEG" else data, fact, SIDE_PX)


def _fact_of(data: bytes, form: str) -> dict[str, Any] | None:
    """What a header says; None where nobody can read it, or the format's decoder is not for this process."""
    if form not in _HERE:
        return None
    try:
        with Image.open(io.BytesIO(data), formats=(form,)) as image:
            return {"format": form, "width_px": image.width, "height_px": image.height}
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None
