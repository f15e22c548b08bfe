"""Records to rows: read, hash, probe and describe, in threads, in order."""

import json
import os
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from stat import S_ISREG
from typing import Any

import orjson

from vlm_assets.catalog.spec import SourceSpec
from vlm_assets.images.probe import ImageFault, ImageProber
from vlm_assets.settings import Settings
from vlm_assets.words.errors import Reject, RejectReason
from vlm_assets.words.layout import key_hash, nfc, sample_id
from vlm_assets.words.records import Record, RecordImage
from vlm_assets.words.schema import Row, flat_columns

_CHUNK_RECORDS = 32
_CHUNK_BYTES = 16 * 2**20
MAX_RECORD_BYTES = 2**30
Outcome = tuple[Record | Reject, Row | Reject]


@dataclass(frozen=True, slots=True)
class Assignment:
    """What every row of a slice carries from the catalogue."""

    spec: SourceSpec
    slice_key: str

    def label_of(self, record: Record) -> str | None:
        """Raw upstream label: the source's own, the n-th folder of the key, or a column of `extra`."""
        rule = self.spec.subcategory_from
        if record.label is not None or rule is None:
            return record.label
        if rule.folder is not None:
            folders = record.key.split("/")[:-1]
            return folders[rule.folder - 1] if len(folders) >= rule.folder else None
        value = (record.extra or {}).get(rule.column or "")
        return None if value is None else str(value)


def rows_of(
    events: Iterable[Record | Reject], assignment: Assignment, prober: ImageProber, settings: Settings
) -> Iterator[Outcome]:
    """Each event with its row or reject, in the order given. Few chunks are in memory."""
    workers = settings.worker_count
    with ThreadPoolExecutor(workers, thread_name_prefix="probe") as pool:
        waiting: deque[Future[list[Outcome]]] = deque()
        try:
            for chunk in _chunks(events):
                waiting.append(
                    pool.submit(_describe_chunk, chunk, assignment, prober, settings.max_image_bytes)
                )
                if len(waiting) > workers + 1:
                    yield from waiting.popleft().result()
            while waiting:
                yield from waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def _chunks(events: Iterable[Record | Reject]) -> Iterator[list[Record | Reject]]:
    chunk: list[Record | Reject] = []
    size_bytes = 0
    for event in events:
        chunk.append(event)
        if isinstance(event, Record):
            for image in event.images:
                size_bytes += len(image.data) if isinstance(image.data, bytes) else 0
        if len(chunk) >= _CHUNK_RECORDS or size_bytes >= _CHUNK_BYTES:
            yield chunk
            chunk, size_bytes = [], 0
    if chunk:
        yield chunk


def _describe_chunk(
    chunk: list[Record | Reject], assignment: Assignment, prober: ImageProber, max_bytes: int
) -> list[Outcome]:
    return [
        (event, event if isinstance(event, Reject) else describe(event, assignment, prober, max_bytes))
        for event in chunk
    ]


def describe(record: Record, assignment: Assignment, prober: ImageProber, max_bytes: int) -> Row | Reject:
    """The row of a record with all its images, or why there is none: one bad image rejects the record whole."""
    images: list[bytes] = []
    facts: list[Row] = []
    for number, image in enumerate(record.images):
        try:
            data, known = _admitted(image, prober, max_bytes)
        except _BadImageError as fault:
            return _rejected(record, number, image, fault)
        images.append(data)
        facts.append(known)
        if sum(map(len, images)) > MAX_RECORD_BYTES:
            detail = f"over {MAX_RECORD_BYTES} bytes of images in one record"
            return Reject(record.item, RejectReason.TOO_MANY_BYTES, detail, record.record)
    if not images and not assignment.spec.words_only():
        return Reject(record.item, RejectReason.NO_IMAGE, "a record without images", record.record)
    row = _row(record, assignment, images, facts)
    return {**row, **flat_columns(row)}


class _BadImageError(Exception):
    """One image of a record is no image, or cannot be read."""

    def __init__(self, reason: RejectReason, detail: str, *, transient: bool = False) -> None:
        self.reason = reason
        self.detail = detail
        self.transient = transient
        super().__init__(detail)


def _rejected(record: Record, number: int, image: RecordImage, fault: _BadImageError) -> Reject:
    """The reject of the whole record; of several images it names which one and why."""
    named = f" ({image.name})" if image.name else ""
    which = f"image {number + 1} of {len(record.images)}{named}: " if len(record.images) > 1 else ""
    return Reject(
        record.item, fault.reason, f"{which}{fault.detail}", record.record, transient=fault.transient
    )


def _admitted(image: RecordImage, prober: ImageProber, max_bytes: int) -> tuple[bytes, Row]:
    """The encoded bytes and the facts of one image.

    Raises:
        _BadImageError: it is none, or cannot be read.
    """
    data = _read(image.data, max_bytes)
    digest = sha256(data).hexdigest()
    if image.sha256 not in {"", digest}:
        detail = f"sha256 {image.sha256[:12]}… when it was listed, now {digest[:12]}…"
        raise _BadImageError(RejectReason.CHANGED, detail, transient=True)
    found = prober.probe(data)
    if isinstance(found, ImageFault):
        raise _BadImageError(found.reason, found.detail, transient=found.transient)
    return data, {
        "name": None if image.name is None else nfc(image.name),
        "origin": None if image.origin is None else nfc(image.origin),
        "sha256": digest,
        "dhash": found.dhash,
        "width_px": found.width_px,
        "height_px": found.height_px,
        "orientation": found.orientation,
        "frames": found.frames,
        "format": found.format,
        "dpi": image.dpi if image.dpi is not None else found.dpi,
        "size_bytes": len(data),
    }


def _read(data: bytes | Path, max_bytes: int) -> bytes:
    if isinstance(data, bytes):
        return data
    try:
        # A pipe that took the file's place would never open, a device never end.
        with os.fdopen(os.open(data, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            stat = os.fstat(file.fileno())
            if not S_ISREG(stat.st_mode):
                raise _BadImageError(RejectReason.UNREADABLE, "no regular file")
            if stat.st_size > max_bytes:
                raise _BadImageError(
                    RejectReason.TOO_MANY_BYTES, f"{stat.st_size} bytes, at most {max_bytes}"
                )
            return file.read(max_bytes + 1)[:max_bytes] if stat.st_size == 0 else file.read()
    except OSError as error:
        gone = isinstance(error, FileNotFoundError)
        reason = RejectReason.NOT_FOUND if gone else RejectReason.UNREADABLE
        raise _BadImageError(reason, error.strerror or str(error), transient=True) from error


def readable_images(record: Record, max_bytes: int) -> Iterator[bytes]:
    """The encoded bytes of a record's images, without those that cannot be read; one at a time."""
    for image in record.images:
        try:
            yield _read(image.data, max_bytes)
        except _BadImageError:
            continue


def _row(record: Record, assignment: Assignment, images: list[bytes], facts: list[Row]) -> Row:
    spec = assignment.spec
    label = assignment.label_of(record)
    label = None if label is None else nfc(label)
    return {
        "images": images,
        "text": None if record.text is None else nfc(record.text),
        "messages": None if record.messages is None else list(record.messages),
        "extra": _json(record.extra),
        "id": sample_id(spec.name, assignment.slice_key, record.key),
        "label": label,
        "category": spec.category,
        "subcategory": spec.subcategory_of(label),
        "source": spec.name,
        "slice": assignment.slice_key,
        "origin": nfc(record.origin),
        "licence": spec.licence,
        "image_facts": facts,
        "images_upstream": record.images_upstream,
        "item_hash": key_hash(record.item),
        "record": record.record,
        "remarks": dict(record.remarks),
    }


def _json(extra: Mapping[str, Any] | None) -> str | None:
    """Canonical JSON of the other upstream columns; what JSON has no form for becomes its text."""
    if not extra:
        return None
    options = orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS
    try:
        return orjson.dumps(extra, option=options, default=str).decode()
    except TypeError:  # integers over 64 bits, lone surrogates
        return json.dumps(extra, sort_keys=True, ensure_ascii=True, default=str, separators=(",", ":"))
