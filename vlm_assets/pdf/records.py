"""Documents to records: every page of every document is a record or a reject, in order."""

import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from vlm_assets.pdf.facts import PageFault, PageFlag, PageImage, PageOptions
from vlm_assets.pdf.pool import PagePool, PdfPages
from vlm_assets.words.caption_counts import NO_TEXT_LAYER
from vlm_assets.words.contexts import FetchContext
from vlm_assets.words.counts import so_many
from vlm_assets.words.errors import Reject, RejectReason
from vlm_assets.words.records import Record, RecordImage

_DOCUMENTS_AHEAD: Final = 4
"""Documents a worker that are submitted before they are read: short ones must not leave a worker idle."""


@dataclass(frozen=True, slots=True)
class Document:
    """One PDF on disk, and what its pages carry. `name` is what `origin` shows before `#page=`."""

    item: str
    path: Path
    name: str
    extra: Mapping[str, Any] = field(default_factory=dict)
    text: str | None = None


def page_records(
    documents: Iterable[Document | Reject], options: PageOptions, context: FetchContext
) -> Iterator[Record | Reject]:
    """Every page of the documents as a record or a reject; rejects among the documents pass through in place.

    `documents` may be an iterator that downloads: it is read a few documents ahead. Figures go to
    `context.measure`: documents, pages by way and flag, worker seconds (also one figure a document,
    `document_s:<item>`), pages per second.

    Raises:
        OperationError: no page worker can be started.
    """
    workers = context.settings.worker_count
    pool = PagePool(options, workers, context.spool_dir / "pages", context.locks_dir / "page-slots")
    waiting: deque[tuple[Document, PdfPages] | Reject] = deque()
    started, pages = time.monotonic(), 0
    source = iter(documents)
    try:
        while True:
            while len(waiting) < workers * _DOCUMENTS_AHEAD:
                coming = next(source, None)
                if coming is None:
                    break
                waiting.append(coming if isinstance(coming, Reject) else (coming, pool.submit(coming.path)))
            if not waiting or context.cancelled.is_set():
                break
            head = waiting.popleft()
            if isinstance(head, Reject):
                yield head
                continue
            for event in _events(*head):
                pages += isinstance(event, Record)
                yield event
            _measure(*head, context)
    finally:
        pool.close()
        if pages:
            context.measure("pages_per_s", round(pages / (time.monotonic() - started), 3))


def _events(document: Document, submitted: PdfPages) -> Iterator[Record | Reject]:
    nothing = True
    for result in submitted.pages():
        nothing = False
        if isinstance(result, PageFault):
            yield Reject(document.item, result.reason, result.detail, result.page, transient=result.transient)
        else:
            yield _record(document, submitted, result)
    if nothing:
        detail = f"none of its {so_many(submitted.summary.pages, 'page')} is wanted (pages)"
        yield Reject(document.item, RejectReason.EMPTY, detail)


def _record(document: Document, submitted: PdfPages, page: PageImage) -> Record:
    """The page as a record. Its file is read and removed here: one page is in memory, and few reach the disk."""
    image = page.file.read_bytes()
    page.file.unlink()
    number = page.page + 1
    extra: dict[str, Any] = {
        **document.extra,
        "document": document.name,
        "page": number,
        "pages": submitted.summary.pages,
        "page_width_pt": round(page.box_pt[0], 2),
        "page_height_pt": round(page.box_pt[1], 2),
        "page_image": page.method,
    }
    if page.flags:
        extra["flags"] = [str(flag) for flag in page.flags]
    if page.repeats is not None:
        extra["repeats_page"] = page.repeats + 1
    return Record(
        item=document.item,
        record=page.page,
        key=f"{document.item}#page={number}",
        images=(RecordImage(image, dpi=page.dpi),),
        origin=f"{document.name}#page={number}",
        text=document.text if page.text is None else page.text,
        extra=extra,
        remarks={NO_TEXT_LAYER: 1} if PageFlag.NO_TEXT in page.flags else {},
    )


def _measure(document: Document, submitted: PdfPages, context: FetchContext) -> None:
    summary = submitted.summary
    context.measure("documents", 1)
    context.measure("pages", summary.pages)
    context.measure("pages_embedded", summary.embedded)
    context.measure("pages_encoded", summary.encoded)
    context.measure("pages_rendered", summary.images - summary.embedded)
    context.measure("pages_rejected", summary.faults)
    context.measure("pages_not_wanted", summary.skipped)
    for flag, count in summary.flags.items():
        context.measure(f"pages_{flag}", count)
    context.measure("page_worker_s", round(summary.seconds, 3))
    context.measure(f"document_s:{document.item}", round(summary.seconds, 3))
