"""Records to rows: read, hash, probe and describe, in threads, in order."""

import json
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import orjson

from vlm_assets.catalog.spec import SourceSpec
from vlm_assets.images.probe import ImageFault, ImageProber
from vlm_assets.settings import Settings
from vlm_assets.store.slices import Row
from vlm_assets.words.errors import Reject, RejectReason
from vlm_assets.words.layout import key_hash, nfc, sample_id
from vlm_assets.words.records import Record
from vlm_assets.words.schema import row_bytes, row_digest

_CHUNK_RECORDS = 32
_CHUNK_BYTES = 16 * 2**20
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
        if isinstance(event, Record) and isinstance(event.image, bytes):
            size_bytes += len(event.image)
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
    """The row of a record, or why there is none."""
    try:
        if isinstance(record.image, Path):
            size_bytes = record.image.stat().st_size
            if size_bytes > max_bytes:
                detail = f"{size_bytes} bytes, at most {max_bytes}"
                return Reject(record.item, RejectReason.TOO_MANY_BYTES, detail, record.record)
            image = record.image.read_bytes()
        else:
            image = record.image
    except OSError as error:
        gone = isinstance(error, FileNotFoundError)
        reason = RejectReason.NOT_FOUND if gone else RejectReason.UNREADABLE
        return Reject(record.item, reason, error.strerror or str(error), record.record, transient=True)
    facts = prober.probe(image)
    if isinstance(facts, ImageFault):
        return Reject(record.item, facts.reason, facts.detail, record.record, transient=facts.transient)
    spec = assignment.spec
    label = assignment.label_of(record)
    label = None if label is None else nfc(label)
    text = None if record.text is None else nfc(record.text)
    row: Row = {
        "image": image,
        "id": sample_id(spec.name, assignment.slice_key, record.key),
        "text": text,
        "extra": _json(record.extra),
        "label": label,
        "category": spec.category,
        "subcategory": spec.subcategory_of(label),
        "source": spec.name,
        "slice": assignment.slice_key,
        "origin": nfc(record.origin),
        "licence": spec.licence,
        "image_sha256": sha256(image).hexdigest(),
        "dhash": facts.dhash,
        "width_px": facts.width_px,
        "height_px": facts.height_px,
        "orientation": facts.orientation,
        "frames": facts.frames,
        "format": facts.format,
        "dpi": record.dpi if record.dpi is not None else facts.dpi,
        "size_bytes": len(image),
        "text_sha256": sha256((text or "").encode()).digest(),
        "item_hash": key_hash(record.item),
        "record": record.record,
    }
    row["row_bytes"] = row_bytes(row)
    row["digest"] = row_digest(row)
    return row


def _json(extra: Mapping[str, Any] | None) -> str | None:
    """Canonical JSON of the other upstream columns; what JSON has no form for becomes its text."""
    if not extra:
        return None
    options = orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS
    try:
        return orjson.dumps(extra, option=options, default=str).decode()
    except TypeError:  # integers over 64 bits, lone surrogates
        return json.dumps(extra, sort_keys=True, ensure_ascii=True, default=str, separators=(",", ":"))
