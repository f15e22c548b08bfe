"""Page workers and the threads that ask them: documents in, pages out in order, a bounded way ahead.

A page that crashes or hangs its worker costs one fault; the worker is replaced and the rest of its work done again.
"""

import shutil
import threading
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from vlm_assets.pdf.ends import ProcessEnd, process_end
from vlm_assets.pdf.facts import DocumentSummary, PageFault, PageFlag, PageImage, PageOptions
from vlm_assets.pdf.fonts import renderer_environment
from vlm_assets.pdf.slots import CpuSlots
from vlm_assets.words.errors import DiskFullError, OperationError, RejectReason, StoreError
from vlm_assets.workers.errors import TaskError, WorkerClosedError, WorkerDiedError, WorkerLostError
from vlm_assets.workers.pool import WorkerPool
from vlm_assets.workers.program import Limits, Program

_FIRST_PAGES: Final = 4
_CHUNK_PAGES: Final = 16
"""Pages of one request: enough to make the start of a Poppler process cheap, few enough to share a document."""
_LEAST_PAGES: Final = 2
_AHEAD_PAGES: Final = 32
"""Pages a worker that may be under way or waiting to be taken."""
_SLOT_POLL_S: Final = 0.02
_HANDLER: Final = "vlm_assets.pdf.worker:page_worker"


@dataclass(eq=False, slots=True)
class PdfPages:
    """One submitted document. `pages()` gives its pages in order and may be called once."""

    path: Path
    _pool: "PagePool"
    summary: DocumentSummary = field(default_factory=DocumentSummary)
    count: int | None = None
    fault: PageFault | None = None
    ready: dict[int, PageImage | PageFault] = field(default_factory=dict)
    redo: deque[tuple[int, int]] = field(default_factory=deque)
    scheduled: int = 0
    """Pages below this were asked for at least once."""
    under_way: int = 0
    crashed: set[int | None] = field(default_factory=set)
    """Pages (None: opening) that a worker died over once: they are tried again alone."""
    plain: set[int] = field(default_factory=set)
    """Pages that it died over twice: Poppler draws them, in a process of its own, and nobody looks at them before."""

    def pages(self) -> Iterator[PageImage | PageFault]:
        """Every wanted page as an image or a fault, in order; or one fault with `page` None.

        The files of the images are the caller's to remove.

        Raises:
            OperationError: no worker can be started, or the pool was closed.
        """
        yield from self._pool.pages_of(self)

    def left(self, options: PageOptions) -> bool:
        """Whether there is something to ask for now."""
        if self.fault is not None:
            return False
        if self.redo or self.count is None:
            return bool(self.redo) or not self.scheduled
        while self.scheduled < self.count and not options.wants(self.scheduled):
            self.scheduled += 1
        return self.scheduled < self.count

    def next_request(self, workers: int, *, last: bool) -> "_Request":
        """The next part to ask for, where something is `left`.

        Parts of the last document shrink towards its end, so that no worker is left with a long part alone.
        """
        if self.redo:
            return _Request(self, *self.redo.popleft())
        if self.count is None:
            self.scheduled = _FIRST_PAGES if last else _CHUNK_PAGES
            return _Request(self, 0, self.scheduled)
        share = max(_LEAST_PAGES, -(-(self.count - self.scheduled) // (2 * workers)))
        start, self.scheduled = (
            self.scheduled,
            min(self.scheduled + min(share if last else _CHUNK_PAGES, _CHUNK_PAGES), self.count),
        )
        return _Request(self, start, self.scheduled)


@dataclass(eq=False, slots=True)
class _Request:
    """Zero-based pages `start`..`stop` (half-open) of a document; `stop` may lie behind its end."""

    document: PdfPages
    start: int
    stop: int
    step: int | None = None
    """The page at work; None while the document is being opened."""
    answered: set[int] = field(default_factory=set)


class PagePool:
    """Worker processes for the pages of many documents, as many as there are free CPU slots on the machine.

    `folder` holds page files until the receiver removes them; it is emptied at the start and at the end.

    Raises:
        OperationError: the renderer is not installed, or a font of the product is missing.
    """

    def __init__(self, options: PageOptions, workers: int, folder: Path, slots_dir: Path) -> None:
        if options.renderer == "poppler" and shutil.which("pdftoppm") is None:
            raise OperationError(
                "Poppler is not installed: apt-get install poppler-utils, or set renderer: pdfium for the source"
            )
        self._options = options
        self._limit = workers
        self._folder = folder
        self._slots = CpuSlots(slots_dir, workers)
        self._condition = threading.Condition()
        self._documents: deque[PdfPages] = deque()
        """Submitted and not wholly handed out; the first is the one that is being read."""
        self._at_work = 0
        self._error: OperationError | None = None
        self._closed = threading.Event()
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        limits = Limits(memory_bytes=options.memory_bytes, silent_s=options.hang_s + options.grace_s)
        self._workers = WorkerPool(
            Program(
                "page", _HANDLER, (options, folder), limits, answers="json", quiet=True,
                environment=renderer_environment(folder / "fonts"),
            ),
            workers,
        )  # fmt: skip
        self._threads = [
            threading.Thread(target=self._drive, args=(number,), name=f"pages-{number}", daemon=True)
            for number in range(workers)
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, path: Path) -> PdfPages:
        """Queues a document. Documents must be read in the order of submission."""
        document = PdfPages(path, self)
        with self._condition:
            self._documents.append(document)
            self._condition.notify_all()
        return document

    def pages_of(self, document: PdfPages) -> Iterator[PageImage | PageFault]:
        """See `PdfPages.pages`."""
        summary, seen = document.summary, dict[str, int]()
        self._wait(lambda: document.count is not None or document.fault is not None)
        summary.pages = document.count or 0
        for page in range(summary.pages):
            if document.fault is not None:
                break
            if not self._options.wants(page):
                summary.skipped += 1
                continue
            self._wait(lambda page=page: page in document.ready or document.fault is not None)
            if page not in document.ready:
                break
            with self._condition:
                result = document.ready.pop(page)
                self._condition.notify_all()
            yield _counted(result, summary, seen)
        self._wait(lambda: document.under_way == 0)  # its last figures
        with self._condition:
            self._documents.remove(document)
            self._condition.notify_all()
        if document.fault is not None:
            yield document.fault

    def close(self) -> None:
        """Ends all workers and removes the folder. May be called twice."""
        with self._condition:
            self._closed.set()
            self._condition.notify_all()
        self._workers.close()
        for thread in self._threads:
            thread.join()
        shutil.rmtree(self._folder, ignore_errors=True)

    def pids(self) -> list[int]:
        """Process ids of the workers that live now."""
        return self._workers.pids()

    def _wait(self, condition: Any) -> None:
        with self._condition:
            self._condition.wait_for(lambda: condition() or self._error or self._closed.is_set())
            if not condition():
                raise self._error or OperationError("the page pool was closed")

    def _drive(self, number: int) -> None:
        """Asks one worker after another request, while there is a slot for it: a thread of its own."""
        try:
            while self._wait_for_work():
                self._workers.warm(self._at_work + 1)
                if self._take_slot(number):
                    try:
                        self._ask_once()
                    finally:
                        self._slots.give_back(number)
        except WorkerClosedError:
            pass
        except OperationError as error:
            self._fail(error)
        except Exception as error:  # noqa: BLE001 - boundary of the thread; the reader raises it
            self._fail(OperationError(f"the page pool failed: {error!r}"))

    def _fail(self, error: OperationError) -> None:
        with self._condition:
            self._error = self._error or error
            self._condition.notify_all()

    def _wait_for_work(self) -> bool:
        """True once there is something to ask; False when there will be nothing any more."""
        with self._condition:
            self._condition.wait_for(lambda: self._over or self._askable() is not None)
            return not self._over

    @property
    def _over(self) -> bool:
        return self._closed.is_set() or self._error is not None

    def _take_slot(self, number: int) -> bool:
        """True with a slot of the machine; False when the pool was closed before."""
        while not self._slots.take(number):
            if self._closed.wait(_SLOT_POLL_S):
                return False
        return True

    def _ask_once(self) -> None:
        """One request, if nobody else has taken it meanwhile; what its worker's end means for it."""
        with self._condition:
            request = self._next_request()
        if request is None:
            return
        document = request.document
        asked = {
            "path": str(document.path), "start": request.start, "stop": request.stop,
            "plain": request.start in document.plain,
        }  # fmt: skip
        try:
            # One more than are at work is ready: how much work a document is shows when the first has opened it
            self._workers.warm(self._at_work + 1)
            seconds = self._workers.ask(asked, lambda answer: self._take(request, answer))
        except (WorkerLostError, TaskError) as error:
            self._lose(request, error)
        else:
            with self._condition:
                document.summary.seconds += seconds
                if self._error is None:
                    self._check_complete(request)
        finally:
            with self._condition:
                self._at_work -= 1
                document.under_way -= request.stop - request.start
                self._condition.notify_all()

    def _next_request(self) -> _Request | None:
        document = self._askable()
        if document is None:
            return None
        request = document.next_request(self._limit, last=document is self._documents[-1])
        document.under_way += request.stop - request.start
        self._at_work += 1
        return request

    def _askable(self) -> PdfPages | None:
        """The first document, in their order, with something to ask that the bound on pages ahead allows.

        The document that is being read may always go on, or readers and workers would wait for each other.
        """
        room = self._limit * _AHEAD_PAGES
        for place, document in enumerate(self._documents):
            held = document.under_way + len(document.ready)
            if room <= held and place:
                return None
            if held < self._limit * _AHEAD_PAGES and document.left(self._options):
                return document
            room -= held
        return None

    def _take(self, request: _Request, answer: dict[str, Any]) -> None:
        """A message of the worker that is at a request."""
        document = request.document
        with self._condition:
            if "step" in answer:
                request.step = answer["step"]
            elif "pages" in answer:
                document.count = answer["pages"]
            elif "page" in answer:
                request.answered.add(answer["page"])
                document.ready[answer["page"]] = _result(answer)
            elif "fault" in answer:
                document.fault = _fault(None, answer["fault"])
            elif "error" in answer:
                self._fail((DiskFullError if answer["full"] else StoreError)(answer["error"]))
            self._condition.notify_all()

    def _check_complete(self, request: _Request) -> None:
        """A page that a worker forgot is a fault, never a gap."""
        for page in self._unanswered(request):
            request.document.ready[page] = PageFault(
                page, RejectReason.RENDER_FAILED, "no answer for the page"
            )

    def _unanswered(self, request: _Request) -> list[int]:
        document = request.document
        if document.count is None or document.fault is not None:
            return []
        pages = range(request.start, min(request.stop, document.count))
        return [page for page in pages if self._options.wants(page) and page not in request.answered]

    def _lose(self, request: _Request, error: WorkerLostError | TaskError) -> None:
        """A worker died, hung, or failed itself: blames the page at work, has the rest done again by another."""
        document, step, end = request.document, request.step, self._end_of(error)
        with self._condition:
            first_death = end.died and step not in document.crashed
            document.crashed.add(step)
            if first_death:
                self._redo(request)
            elif end.repeats and step is not None and step not in document.plain:
                document.plain.add(step)
                self._redo(request)
            elif document.count is None:
                detail = f"it cannot be opened: {end.detail}"
                document.fault = PageFault(None, RejectReason.UNREADABLE, detail, end.transient)
            else:
                for page in self._unanswered(request) if step is None else [step]:
                    request.answered.add(page)
                    document.ready[page] = PageFault(
                        page, RejectReason.RENDER_FAILED, end.detail, end.transient
                    )
                self._redo(request)
            self._condition.notify_all()

    def _end_of(self, error: WorkerLostError | TaskError) -> ProcessEnd:
        if isinstance(error, TaskError):  # a full disk, mostly
            told = str(error).strip().rpartition("\n")[2]
            return ProcessEnd(f"its worker failed twice: {told}"[:300], died=True, transient=True)
        status = error.status if isinstance(error, WorkerDiedError) else None
        hang_s = self._options.hang_s + self._options.grace_s
        end = process_end("its worker", status, self._options.page_cpu_s, hang_s)
        return replace(end, died=True, transient=True, repeats=False) if (status or 0) > 0 else end

    def _redo(self, request: _Request) -> None:
        """Has what the worker had not answered done by another, page by page where the pages are known."""
        document = request.document
        if document.count is None:
            document.redo.append((request.start, request.stop))
        else:
            document.redo.extend((page, page + 1) for page in self._unanswered(request))


def _result(answer: dict[str, Any]) -> PageImage | PageFault:
    page = answer["page"]
    if "fault" in answer:
        return _fault(page, answer["fault"])
    return PageImage(
        page=page,
        file=Path(answer["file"]),
        width_px=answer["size_px"][0],
        height_px=answer["size_px"][1],
        dpi=answer["dpi"],
        method=answer["method"],
        box_pt=(answer["box_pt"][0], answer["box_pt"][1]),
        digest=answer["digest"],
        size_bytes=answer["size_bytes"],
        flags=tuple(PageFlag(flag) for flag in answer["flags"]),
        text=answer["text"],
    )


def _fault(page: int | None, told: list[Any]) -> PageFault:
    reason, detail, transient = told
    return PageFault(page, RejectReason(reason), detail, transient)


def _counted(
    result: PageImage | PageFault, summary: DocumentSummary, seen: dict[str, int]
) -> PageImage | PageFault:
    """Adds a page to its document's figures, and flags it when an earlier page had the same bytes."""
    if isinstance(result, PageFault):
        summary.faults += 1
        return result
    summary.images += 1
    summary.embedded += result.method == "embedded"
    summary.encoded += result.method == "embedded" and result.file.suffix == ".png"
    first = seen.setdefault(result.digest[:16], result.page)
    if first != result.page:
        result = replace(result, flags=(*result.flags, PageFlag.REPEATED), repeats=first)
    for flag in result.flags:
        summary.flags[flag] = summary.flags.get(flag, 0) + 1
    return result
