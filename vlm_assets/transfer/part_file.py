"""A file on its way: `.part` beside its target, resumable where that can be proven right, then renamed."""

import hashlib
import logging
import os
import re
from pathlib import Path
from typing import Final, Self

import orjson

from vlm_assets.locks import lock, open_file
from vlm_assets.transfer.answers import Headers, length_said
from vlm_assets.transfer.encodings import NotCodedError, OverCapError, codings_of, decoded_pieces
from vlm_assets.transfer.http import FaultError, TransferError
from vlm_assets.transfer.politeness import Fault
from vlm_assets.words.disk import naming
from vlm_assets.words.errors import RejectReason, StoreError, write_error

_CONTENT_RANGE: Final = re.compile(r"^bytes (?:(\d+)-(\d+)|\*)/(\d+|\*)$")
_CODED_NAMES: Final = (".gz", ".tgz", ".z", ".br", ".zst")
"""Files that are meant to be coded: servers name their compression as if it were the transfer's."""
_log = logging.getLogger("vlm_assets.transfer")


_MOST_EXPANSION: Final = 200
_SLACK_BYTES: Final = 64 * 2**20
"""A coded file may hold so many times its bytes on the wire, and so much more."""


class PartFile:
    """The `.part` of one download, locked against other processes; a context manager.

    What is known of it lies in `<dest>.part.json`: a hash of the URL and the validators of the body it belongs to.
    The `.part` holds the bytes of the wire, so that it can be continued; a content coding is undone at the end.
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
        self._codings: tuple[str, ...] = ()
        self._plain: Path | None = None
        """Where the content lies without its codings, if it had some; `_digest` is its sha256."""
        self._digest = ""

    def __enter__(self) -> Self:
        while True:
            self._fd = open_file(self._path)
            lock(self._fd, wait=True)
            if self._is_current():
                break
            os.close(self._fd)  # whoever held it has finished it meanwhile
        self._load()
        return self

    def __exit__(self, *_: object) -> None:
        self._forget_plain()
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

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
        self._forget_plain()
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

    def begin(self, status: int, headers: Headers) -> None:
        """Place the answer: the rest of what is here (206), or all of it anew.

        Raises:
            FaultError: the server's range is not the one asked for; the next try starts from nothing.
        """
        named = headers.get("Content-Range", "")
        match = _CONTENT_RANGE.match(named)
        if status == 416:
            if match is None or match[3] != str(self.size_bytes) or not self.size_bytes:
                self._restart()
                raise FaultError(Fault.CUT, "the server refused the range")
            self.expected = self.size_bytes
            return
        if status == 206 and (named or self.size_bytes):
            if match is None or match[1] != str(self.size_bytes):
                self._restart()
                raise FaultError(Fault.CUT, "the server sent another range")
            self.expected = None if match[3] == "*" else int(match[3])
        else:
            self._restart()
            self.expected = length_said(headers)
        self._codings = () if self._dest.name.lower().endswith(_CODED_NAMES) else codings_of(headers)
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
        """Hex, over the content so far."""
        return self._digest or self._hasher.hexdigest()

    @property
    def content_bytes(self) -> int:
        """Size of the content."""
        return self.size_bytes if self._plain is None else self._plain.stat().st_size

    def _undo_codings(self) -> None:
        """Put the content without its codings beside the part, as far as they turn out to be there."""
        for number, coding in enumerate(reversed(self._codings)):
            source = self._plain or self._path
            target = self._dest.with_name(f"{self._dest.name}.plain{number}")
            try:
                digest = _decode(source, coding, target, self.size_bytes * _MOST_EXPANSION + _SLACK_BYTES)
            except NotCodedError:
                target.unlink(missing_ok=True)
                return
            except OverCapError:
                target.unlink(missing_ok=True)
                raise TransferError(
                    self._url, RejectReason.TOO_MANY_BYTES, f"{coding} expands without end"
                ) from None
            self._forget_plain()
            self._plain, self._digest = target, digest

    def _forget_plain(self) -> None:
        if self._plain is not None:
            self._plain.unlink(missing_ok=True)
        self._plain, self._digest = None, ""

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
        if self._codings and self.sha256 != self._declared:
            self._undo_codings()
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
        with naming(self._path):
            os.fsync(self._fd)
        if self._plain is not None:
            self._plain.replace(self._dest)
            self._plain = None
            self._path.unlink()
        else:
            self._path.replace(self._dest)
        self._note.unlink(missing_ok=True)
        folder = os.open(self._dest.parent, os.O_RDONLY)
        try:
            with naming(self._dest.parent):
                os.fsync(folder)
        finally:
            os.close(folder)


def _decode(source: Path, coding: str, target: Path, cap: int) -> str:
    """Write what a file holds below its coding, synced; its sha256 in hex."""
    hasher, size = hashlib.sha256(), 0
    try:
        with source.open("rb") as coded, target.open("wb") as plain:
            for piece in decoded_pieces(coded, coding):
                size += len(piece)
                if size > cap:
                    raise OverCapError
                hasher.update(piece)
                plain.write(piece)
            plain.flush()
            os.fsync(plain.fileno())
    except OSError as error:
        raise write_error(target, error) from error
    return hasher.hexdigest()
