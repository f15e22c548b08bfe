"""Downloads of newspaper issues ahead of their reader, and which of their rejects are due again."""

import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Final, Self

import orjson

from vlm_assets.catalog.spec import SourceSpec
from vlm_assets.pdf.records import Document
from vlm_assets.transfer.client import Client
from vlm_assets.transfer.http import TransferError
from vlm_assets.transfer.politeness import HostLimits
from vlm_assets.words.contexts import FetchContext
from vlm_assets.words.errors import Reject, RejectReason
from vlm_assets.words.records import Item, Record

_AHEAD: Final = 4
"""Issues a connection that are asked for before they are read."""
_MAX_ISSUE_BYTES: Final = 2 * 2**30
_MENDABLE: Final = frozenset({RejectReason.EMPTY, RejectReason.TRUNCATED, RejectReason.UNREADABLE})
"""A server that sent an error page or half a file may have the whole one later."""
_MENDABLE_TRIES: Final = 5


@dataclass(frozen=True, slots=True)
class _Got:
    result: Document | Reject
    size_bytes: int = 0
    downloaded_bytes: int = 0


class IssueDownloads:
    """Iterates the issues in order, each as a document on disk or a reject; downloads a bounded way ahead.

    Files lie in the slice's spool until it is committed: a file that is there is whole, so a fetch that was killed
    goes on where it stopped.
    """

    def __init__(self, spec: SourceSpec, items: Sequence[Item], context: FetchContext) -> None:
        limits = HostLimits.of(spec).tightened(context.settings)
        self._items = iter(items)
        self._context = context
        self._connections = limits.concurrency or 1
        self._client = Client(context.settings, context.locks_dir, limits, cancelled=context.cancelled)
        self._folder = context.spool_dir / "pdf"
        self._threads = ThreadPoolExecutor(self._connections, thread_name_prefix="issues")
        self._waiting: deque[Future[_Got]] = deque()

    def __enter__(self) -> Self:
        self._folder.mkdir(parents=True, exist_ok=True)
        return self

    def __exit__(self, *_: object) -> None:
        self._threads.shutdown(cancel_futures=True)
        self._context.measure("requests", self._client.requests)
        self._client.close()

    def __iter__(self) -> Iterator[Document | Reject]:
        return self

    def __next__(self) -> Document | Reject:
        while len(self._waiting) < self._connections * _AHEAD and not self._context.cancelled.is_set():
            item = next(self._items, None)
            if item is None:
                break
            self._waiting.append(self._threads.submit(self._get, item))
        if not self._waiting:
            raise StopIteration
        got = self._waiting.popleft().result()
        self._context.progress(1, got.size_bytes)
        self._context.measure("download_bytes", got.downloaded_bytes)
        return got.result

    def path_of(self, item: str) -> Path:
        """Where the PDF of an issue lies, or will."""
        return self._folder / f"{sha256(item.encode()).hexdigest()[:32]}.pdf"

    def _refused_before(self, item: str) -> Reject | None:
        """The verdict of an earlier visit of this slice that ended in a long pause of the host."""
        if self._context.force or item in self._context.retried:
            return None
        try:
            fields = orjson.loads(self.path_of(item).with_suffix(".refused").read_bytes())
        except (FileNotFoundError, orjson.JSONDecodeError):
            return None
        return Reject(**{**fields, "reason": RejectReason(fields["reason"])})

    def _get(self, item: Item) -> "_Got":
        """In a thread of its own: whatever calls back into the context is left to the reader's thread."""
        url, path, context = item.payload["url"], self.path_of(item.key), self._context
        downloaded_bytes = 0
        if context.force or not path.exists():
            if (known := self._refused_before(item.key)) is not None:
                return _Got(known)
            try:
                done = self._client.download_file(url, path, max_bytes=_MAX_ISSUE_BYTES, robots=True)
            except TransferError as error:
                reject = error.as_reject(item.key)
                if reject.not_before > time.time():
                    # The host is left alone for long now, and the slice with it. Asked first again, this issue
                    # could keep all others from ever being asked.
                    path.with_suffix(".refused").write_bytes(orjson.dumps(asdict(reject)))
                return _Got(reject)
            downloaded_bytes = done.size_bytes
        extra = {name: value for name, value in item.payload.items() if name != "url"}
        return _Got(Document(item.key, path, url, extra), path.stat().st_size, downloaded_bytes)


def with_retries(events: Iterable[Record | Reject], downloads: IssueDownloads) -> Iterator[Record | Reject]:
    """Passes events on; an issue whose file is no whole PDF becomes transient, for a few times, and its file goes."""
    for event in events:
        if isinstance(event, Reject) and event.record is None and event.reason in _MENDABLE:
            path = downloads.path_of(event.item)
            if path.exists():
                path.unlink()
                yield replace(event, transient=True, tries=_MENDABLE_TRIES)
                continue
        yield event
