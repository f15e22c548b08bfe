"""Page workers and the thread that drives them: documents in, pages out in order, a bounded way ahead.

A page that crashes or hangs its worker costs one fault; the worker is replaced and the rest of its work done again.
"""

import contextlib
import os
import selectors
import shutil
import threading
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, cast

from vlm_assets.images.cpu_time import USED_UP_STATUS
from vlm_assets.pdf.ends import process_end
from vlm_assets.pdf.facts import DocumentSummary, PageFault, PageFlag, PageImage, PageOptions
from vlm_assets.pdf.fonts import renderer_environment
from vlm_assets.pdf.process import START_TIMEOUT_S, Request, WorkerProcess
from vlm_assets.pdf.slots import CpuSlots
from vlm_assets.words.errors import OperationError, RejectReason

_FIRST_PAGES: Final = 4
_CHUNK_PAGES: Final = 16
"""Pages of one request: enough to make the start of a Poppler process cheap, few enough to share a document."""
_LEAST_PAGES: Final = 2
_AHEAD_PAGES: Final = 32
"""Pages a worker that may be under way or waiting to be taken."""
_SLOT_POLL_S: Final = 0.02


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

    def pages(self) -> Iterator[PageImage | PageFault]:
        """Every wanted page as an image or a fault, in order; or one fault with `page` None.

        The files of the images are the caller's to remove.

        Raises:
            OperationError: no worker can be started, or the pool was closed.
        """
        yield from self._pool.pages_of(self)

    def next_request(self, options: PageOptions, workers: int, *, last: bool) -> "Request[PdfPages] | None":
        """The next part to ask for, None while there is nothing (left) to ask.

        Parts of the last document shrink towards its end, so that no worker is left with a long part alone.
        """
        if self.fault is not None:
            return None
        if self.redo:
            return Request(self, *self.redo.popleft())
        if self.count is None:
            if self.scheduled:
                return None
            self.scheduled = _FIRST_PAGES if last else _CHUNK_PAGES
            return Request(self, 0, self.scheduled)
        while self.scheduled < self.count and not options.wants(self.scheduled):
            self.scheduled += 1
        left = self.count - self.scheduled
        if left <= 0:
            return None
        share = max(_LEAST_PAGES, -(-left // (2 * workers))) if last else _CHUNK_PAGES
        start, self.scheduled = self.scheduled, min(self.scheduled + min(share, _CHUNK_PAGES), self.count)
        return Request(self, start, self.scheduled)


Worker = WorkerProcess[PdfPages]


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
        self._workers: list[Worker] = []
        self._started = 0
        self._error: OperationError | None = None
        self._closed = False
        self._wake_pipe: tuple[int, ...] = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        self._environment = renderer_environment(folder / "fonts")
        # Workers ask the kernel to be killed when the thread that started them ends: so one thread starts them all.
        self._thread = threading.Thread(target=self._drive, name="page-pool", daemon=True)
        self._thread.start()

    def submit(self, path: Path) -> PdfPages:
        """Queues a document. Documents must be read in the order of submission."""
        document = PdfPages(path, self)
        with self._condition:
            self._documents.append(document)
        self._wake()
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
            self._wake()
            yield _counted(result, summary, seen)
        self._wait(lambda: document.under_way == 0)  # its last figures
        with self._condition:
            self._documents.remove(document)
        self._wake()
        if document.fault is not None:
            yield document.fault

    def close(self) -> None:
        """Ends all workers and removes the folder. May be called twice."""
        if not self._wake_pipe:
            return
        with self._condition:
            self._closed = True
        self._wake()
        self._thread.join()
        for descriptor in self._wake_pipe:
            os.close(descriptor)
        self._wake_pipe = ()
        shutil.rmtree(self._folder, ignore_errors=True)

    def pids(self) -> list[int]:
        """Process ids of the workers that live now."""
        return sorted(worker.process.pid for worker in list(self._workers))

    def _wait(self, condition: Any) -> None:
        with self._condition:
            self._condition.wait_for(lambda: condition() or self._error or self._closed)
            if not condition():
                raise self._error or OperationError("the page pool was closed")

    def _wake(self) -> None:
        with contextlib.suppress(BlockingIOError):  # it is being woken already
            os.write(self._wake_pipe[1], b"x")

    def _drive(self) -> None:
        """The thread that starts, feeds and hears the workers; from here on, all runs in it."""
        selector = selectors.DefaultSelector()
        selector.register(self._wake_pipe[0], selectors.EVENT_READ)
        try:
            while not self._closed:
                starved = self._hand_out(selector)
                for key, _ in selector.select(self._patience_s(starved=starved)):
                    if key.data is None:
                        os.read(self._wake_pipe[0], 65536)
                    else:
                        self._listen(selector, key.data)
                for worker in [w for w in self._workers if time.monotonic() > w.deadline]:
                    self._lose(selector, worker, hung=True)
        except OperationError as error:
            self._error = error
        except Exception as error:  # noqa: BLE001 - boundary of the thread; the reader raises it
            self._error = OperationError(f"the page pool failed: {error!r}")
        finally:
            for worker in self._workers:
                worker.end()
                self._slots.give_back(worker.number)
            self._workers.clear()
            selector.close()
            with self._condition:
                self._closed = True
                self._condition.notify_all()

    def _patience_s(self, *, starved: bool) -> float | None:
        deadline = min((w.deadline for w in self._workers), default=float("inf"))
        patience = max(0.0, deadline - time.monotonic())
        if starved:
            patience = min(patience, _SLOT_POLL_S)
        return None if patience == float("inf") else patience

    def _hand_out(self, selector: selectors.BaseSelector) -> bool:
        """Gives requests to free workers; True when there was work but no slot.

        Keeps one worker more than are at work (up to the limit): how much work a document is shows only when the
        first has opened it, and the second should be ready by then.
        """
        while self._documents:
            idle = next((worker for worker in self._workers if worker.request is None), None)
            if idle is None and len(self._workers) < self._limit:
                idle = self._start(selector)
            if idle is None:
                return False
            if not self._slots.take(idle.number):
                return True
            request = self._next_request()
            if request is None:
                self._slots.give_back(idle.number)
                return False
            idle.ask(request)
        return False

    def _next_request(self) -> Request[PdfPages] | None:
        """The first request in document order that the bound on pages ahead allows.

        The document that is being read may always go on, or readers and workers would wait for each other.
        """
        with self._condition:
            room = self._limit * _AHEAD_PAGES
            for place, document in enumerate(self._documents):
                held = document.under_way + len(document.ready)
                if room <= held and place:
                    return None
                if held < self._limit * _AHEAD_PAGES:
                    last = place == len(self._documents) - 1
                    request = document.next_request(self._options, self._limit, last=last)
                    if request is not None:
                        document.under_way += request.stop - request.start
                        return request
                room -= held
        return None

    def _start(self, selector: selectors.BaseSelector) -> Worker:
        folder = self._folder / f"{self._started:04d}"
        folder.mkdir()
        worker = WorkerProcess[PdfPages](self._started, self._options, folder, self._environment)
        self._started += 1
        self._workers.append(worker)
        selector.register(worker.answers, selectors.EVENT_READ, worker)
        return worker

    def _listen(self, selector: selectors.BaseSelector, worker: Worker) -> None:
        answers = worker.read()
        if answers is None:
            self._lose(selector, worker, hung=False)
            return
        for answer in answers:
            self._take(worker, answer)

    def _take(self, worker: Worker, answer: dict[str, Any]) -> None:
        if "ready" in answer:
            worker.deadline = float("inf") if worker.request is None else time.monotonic() + START_TIMEOUT_S
            worker.is_ready = True
            return
        request = cast("Request[PdfPages]", worker.request)
        document = request.document
        with self._condition:
            if "step" in answer:
                worker.step, worker.deadline = answer["step"], time.monotonic() + answer["limit_s"]
            elif "pages" in answer:
                document.count = answer["pages"]
            elif "page" in answer:
                worker.answered.add(answer["page"])
                document.ready[answer["page"]] = _result(worker.folder, answer)
            elif "fault" in answer:
                document.fault = _fault(None, answer["fault"])
            elif "done" in answer:
                document.summary.seconds += answer["done"]
                document.under_way -= request.stop - request.start
                self._check_complete(worker, request)
                worker.free()
                self._slots.give_back(worker.number)
            self._condition.notify_all()

    def _check_complete(self, worker: Worker, request: Request[PdfPages]) -> None:
        """A page that a worker forgot is a fault, never a gap."""
        for page in self._unanswered(worker, request):
            request.document.ready[page] = PageFault(
                page, RejectReason.RENDER_FAILED, "no answer for the page"
            )

    def _unanswered(self, worker: Worker, request: Request[PdfPages]) -> list[int]:
        document = request.document
        if document.count is None or document.fault is not None:
            return []
        pages = range(request.start, min(request.stop, document.count))
        return [page for page in pages if self._options.wants(page) and page not in worker.answered]

    def _lose(self, selector: selectors.BaseSelector, worker: Worker, *, hung: bool) -> None:
        """A worker died or hung: blames the page at work, has the rest done again by another."""
        selector.unregister(worker.answers)
        self._workers.remove(worker)
        status = worker.end()
        self._slots.give_back(worker.number)
        if not worker.is_ready:
            raise OperationError(
                f"a page worker did not start (exit status {status}); to see why: {worker.command}"
            )
        if worker.request is None:
            return
        request, step = worker.request, worker.step
        document = request.document
        with self._condition:
            document.under_way -= request.stop - request.start
            hang_s = self._options.hang_s + self._options.grace_s
            end = process_end("its worker", None if hung else status, self._options.page_cpu_s, hang_s)
            used_up = hung or status == USED_UP_STATUS
            first_death = not used_up and step not in document.crashed
            document.crashed.add(step)
            transient = end.transient or status > 0  # an error in the worker itself: a full disk, mostly
            if first_death:
                self._redo(document, worker, request)
            elif document.count is None:
                detail = f"it cannot be opened: {end.detail}"
                document.fault = PageFault(None, RejectReason.UNREADABLE, detail, transient)
            else:
                blamed = self._unanswered(worker, request) if step is None else [step]
                for page in blamed:
                    worker.answered.add(page)
                    document.ready[page] = PageFault(page, RejectReason.RENDER_FAILED, end.detail, transient)
                self._redo(document, worker, request)
            self._condition.notify_all()

    def _redo(self, document: PdfPages, worker: Worker, request: Request[PdfPages]) -> None:
        """Has what the worker had not answered done by another, page by page where the pages are known."""
        if document.count is None:
            document.redo.append((request.start, request.stop))
        else:
            document.redo.extend((page, page + 1) for page in self._unanswered(worker, request))


def _result(folder: Path, answer: dict[str, Any]) -> PageImage | PageFault:
    page = answer["page"]
    if "fault" in answer:
        return _fault(page, answer["fault"])
    return PageImage(
        page=page,
        file=folder / answer["file"],
        width_px=answer["size_px"][0],
        height_px=answer["size_px"][1],
        dpi=answer["dpi"],
        method=answer["method"],
        box_pt=(answer["box_pt"][0], answer["box_pt"][1]),
        digest=answer["digest"],
        size_bytes=answer["size_bytes"],
        flags=tuple(PageFlag(flag) for flag in answer["flags"]),
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
