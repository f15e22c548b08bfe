"""A file on its way: `.part` beside its target, resumable where that can be proven right, then renamed."""

import fcntl
import hashlib
import logging
import os
import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Self

import orjson

from vlm_assets.transfer.http import FaultError, TransferError
from vlm_assets.transfer.politeness import Fault
from vlm_assets.words.errors import RejectReason, StoreError, write_error

_CONTENT_RANGE: Final = re.compile(r"^bytes (?:(\d+)-(\d+)|\*)/(\d+|\*)$")
_log = logging.getLogger("vlm_assets.transfer")


class PartFile:
    """The `.part` of one download, locked against other processes; a context manager.

    What is known of it lies in `<dest>.part.json`: a hash of the URL and the validators of the body it belongs to.
    """

    def __init__(self, dest: Path, url: str, *, resume: bool, declared: str) -> None:
        self._dest = dest
        self._path = dest.with_name(f"{dest.name}.part")
        self._note = dest.with_name(f"{dest.name}.part.json")
        self._url = url
        self._url_hash = hashlib.sha256(url.encode()).hexdigest()
        self._resume = resume
        self._declared = declared
        self._fd = -1
        self._hasher = hashlib.sha256()
        self._mismatches = 0
        self.size_bytes = 0
        self.received = 0
        """Bytes that came over the network in this call."""
        self.expected: int | None = None
        self.etag = self.last_modified = ""

    def __enter__(self) -> Self:
        self._dest.parent.mkdir(parents=True, exist_ok=True)
        while True:
            self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
            self._lock()
            if self._is_current():
                break
            os.close(self._fd)  # whoever held it has finished it meanwhile
        self._load()
        return self

    def __exit__(self, *_: object) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _lock(self) -> None:
        while True:
            try:
                fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                time.sleep(0.1)
            else:
                return

    def _is_current(self) -> bool:
        try:
            return os.path.samestat(os.fstat(self._fd), self._path.stat())
        except FileNotFoundError:
            return False

    def _load(self) -> None:
        """Take over an earlier beginning, if it is of the same URL and can be continued safely."""
        try:
            note = orjson.loads(self._note.read_bytes())
        except (FileNotFoundError, orjson.JSONDecodeError):
            note = {}
        if self._resume and note.get("url") == self._url_hash:
            self.etag, self.last_modified = note.get("etag", ""), note.get("last_modified", "")
        size = os.fstat(self._fd).st_size
        if size and self._can_resume() and note.get("url") == self._url_hash:
            self.size_bytes = size
            self._rehash()
        else:
            self._restart()

    def _can_resume(self) -> bool:
        return self._resume and bool(self._validator or self._declared)

    @property
    def _validator(self) -> str:
        """What `If-Range` may carry: a strong ETag, else the date (RFC 9110 13.1.5)."""
        if self.etag:
            return "" if self.etag.startswith("W/") else self.etag
        return self.last_modified

    def _restart(self) -> None:
        os.ftruncate(self._fd, 0)
        self.size_bytes = 0
        self._hasher = hashlib.sha256()

    def _rehash(self) -> None:
        self._hasher = hashlib.sha256()
        offset = 0
        while offset < self.size_bytes:
            data = os.pread(self._fd, 1 << 20, offset)
            if not data:
                raise StoreError(f"{self._path} became shorter while it was read")
            self._hasher.update(data)
            offset += len(data)

    def range_headers(self) -> dict[str, str]:
        """Headers that ask for the rest only."""
        if not self.size_bytes:
            return {}
        if not self._can_resume():
            return {}
        headers = {"Range": f"bytes={self.size_bytes}-"}
        if self._validator:
            headers["If-Range"] = self._validator
        return headers

    def begin(self, status: int, headers: Mapping[str, str]) -> None:
        """Place the answer: the rest of what is here (206), or all of it anew.

        Raises:
            FaultError: the server's range is not the one asked for; the next try starts from nothing.
        """
        match = _CONTENT_RANGE.match(headers.get("Content-Range", ""))
        if status == 416:
            if match is None or match[3] != str(self.size_bytes) or not self.size_bytes:
                self._restart()
                raise FaultError(Fault.CUT, "the server refused the range")
            self.expected = self.size_bytes
            return
        if status == 206:
            if match is None or match[1] != str(self.size_bytes):
                self._restart()
                raise FaultError(Fault.CUT, "the server sent another range")
            self.expected = None if match[3] == "*" else int(match[3])
        else:
            self._restart()
            length = headers.get("Content-Length", "")
            # Of a body that is decoded on the way, the length on the wire is another one.
            plain = headers.get("Content-Encoding", "identity").lower() == "identity"
            self.expected = int(length) if plain and length.isdigit() else None
        self.etag, self.last_modified = headers.get("ETag", ""), headers.get("Last-Modified", "")
        note = {"url": self._url_hash, "etag": self.etag, "last_modified": self.last_modified}
        self._note.write_bytes(orjson.dumps(note))

    def write(self, chunk: bytes) -> None:
        """Append what has arrived."""
        self._hasher.update(chunk)
        view = memoryview(chunk)
        try:
            while view:
                written = os.pwrite(self._fd, view, self.size_bytes)
                self.size_bytes += written
                view = view[written:]
        except OSError as error:
            raise write_error(self._path, error) from error
        self.received += len(chunk)

    @property
    def sha256(self) -> str:
        """Hex, over all bytes so far."""
        return self._hasher.hexdigest()

    def check(self) -> None:
        """Compare size and hash with what was announced.

        Raises:
            FaultError: cut, or the first mismatch of the hash: worth another try.
            TransferError: the hash differs for the second time.
        """
        if self.expected is not None and self.size_bytes != self.expected:
            detail = f"{self.size_bytes} of {self.expected} bytes"
            if self.size_bytes > self.expected:
                self._restart()
            raise FaultError(Fault.CUT, detail)
        if self._declared and self.sha256 != self._declared:
            got = self.sha256
            self._restart()
            self._mismatches += 1
            detail = f"sha256 is {got[:12]}…, {self._declared[:12]}… was declared"
            if self._mismatches > 1:
                raise TransferError(self._url, RejectReason.CHECKSUM, f"{detail}, twice")
            raise FaultError(Fault.CUT, detail)

    def finish(self) -> None:
        """Sync and give the file its name."""
        os.fsync(self._fd)
        self._path.replace(self._dest)
        self._note.unlink(missing_ok=True)
        folder = os.open(self._dest.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
