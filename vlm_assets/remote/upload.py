"""Sends files as objects: hashed while read, part by part, resumed by what the remote holds of an upload.

Each byte is read once. blake3 over the file must be what the manifest says before the object appears; SHA-256 of
every part is compared by the store (`x-amz-checksum-sha256`) and again here over the whole.
"""

import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import md5, sha256
from pathlib import Path
from typing import Any, Final, Self

from blake3 import blake3

from vlm_assets.remote.bucket import Bucket, checksum
from vlm_assets.remote.names import OBJECTS, object_key
from vlm_assets.words.errors import RemoteError, StoreError
from vlm_assets.words.manifest import FileEntry

PART_BYTES: Final = 16 * 2**20
"""Larger files go in parts of this size; the smallest that S3 takes is 5 MiB."""
_MOST_PARTS: Final = 9_000  # S3 takes 10,000

OnSent = Callable[[int], None]
"""Told the bytes of each part that is at the remote, sent now or found there. Called from worker threads."""


@dataclass(frozen=True, slots=True)
class _Part:
    number: int
    etag: str
    sha256: bytes


@dataclass(frozen=True, slots=True)
class _StoredPart:
    size_bytes: int
    etag: str
    checksum: str

    def holds(self, data: bytes, digest: bytes) -> bool:
        """Whether these are the bytes; told by SHA-256, or by MD5 where the store names no checksum."""
        if self.size_bytes != len(data):
            return False
        if self.checksum:
            return self.checksum == checksum(digest)
        return self.etag.strip('"') == md5(data, usedforsecurity=False).hexdigest()


class Uploader:
    """Sends files with a bounded number of parts in flight, whatever the number of files.

    Use as a context manager; `send` may be called from as many threads as the bucket's concurrency.
    """

    def __init__(
        self, bucket: Bucket, *, part_bytes: int = PART_BYTES, on_sent: OnSent | None = None
    ) -> None:
        self._bucket = bucket
        self._part_bytes = part_bytes
        self._on_sent = on_sent or (lambda _: None)
        self._pool = ThreadPoolExecutor(bucket.concurrency, "vlm-part")
        # Read ahead by half: enough to keep all senders busy, and the memory is parts in flight times their size.
        self._in_flight = threading.BoundedSemaphore(bucket.concurrency + bucket.concurrency // 2 + 1)
        self._pending: dict[str, str] | None = None
        self._lock = threading.Lock()

    def send(self, path: Path, entry: FileEntry) -> int:
        """Makes the file an object; returns the bytes that went over the wire.

        Raises:
            StoreError: the file is not what the manifest says; nothing appeared.
            RemoteError: the remote refused.
        """
        if entry.size_bytes <= self._part_bytes:
            return self._send_whole(path, entry)
        return self._send_parts(path, entry)

    def _send_whole(self, path: Path, entry: FileEntry) -> int:
        with self._taken():
            data = _read_file(path)
            _check(path, entry, len(data), blake3(data).hexdigest())
            self._bucket.pace.wait(len(data))
            self._bucket.call(
                "put_object", object_key(entry.blake3), Body=data, ContentLength=len(data),
                ChecksumSHA256=checksum(sha256(data).digest()),
            )  # fmt: skip
        self._on_sent(len(data))
        return len(data)

    @contextmanager
    def _taken(self) -> Iterator[None]:
        with self._in_flight:
            yield

    def _send_parts(self, path: Path, entry: FileEntry) -> int:
        key = object_key(entry.blake3)
        upload_id = self._unfinished().get(key)
        stored = self._stored_parts(key, upload_id) if upload_id else {}
        if upload_id is None:
            upload_id = self._begin(key)
        size = max(self._part_bytes, -(-entry.size_bytes // _MOST_PARTS))
        parts: list[Future[tuple[_Part, int]]] = []
        try:
            parts = self._submit_parts(path, entry, key, upload_id, stored, size)
            done = [future.result() for future in parts]
        except StoreError:
            self._settle(parts)
            self._bucket.call("abort_multipart_upload", key, UploadId=upload_id)
            raise
        except BaseException:
            self._settle(parts)
            raise
        self._complete(key, upload_id, [part for part, _ in done], entry)
        return sum(sent for _, sent in done)

    def _submit_parts(
        self,
        path: Path,
        entry: FileEntry,
        key: str,
        upload_id: str,
        stored: dict[int, _StoredPart],
        size: int,
    ) -> list[Future[tuple[_Part, int]]]:
        """Reads the file from front to back and hands its parts out.

        Raises:
            StoreError: the file is not what the manifest says.
        """
        parts: list[Future[tuple[_Part, int]]] = []
        digest, total = blake3(), 0
        try:
            with path.open("rb", buffering=0) as file:
                while data := self._read_next(file, size):
                    digest.update(data)
                    total += len(data)
                    number = len(parts) + 1
                    arguments = (key, upload_id, number, data, stored.get(number))
                    parts.append(self._pool.submit(self._send_part, *arguments))
                    failed = next((one for one in parts if one.done() and one.exception()), None)
                    if failed is not None:
                        failed.result()
            _check(path, entry, total, digest.hexdigest())
        except BaseException:
            self._settle(parts)
            raise
        return parts

    def _read_next(self, file: Any, size: int) -> bytes:
        """The next part, once there is room for it in memory; `_send_part` gives the room back."""
        self._in_flight.acquire()
        data = b""
        try:
            data = _read(file, size)
        finally:
            if not data:
                self._in_flight.release()
        return data

    def _send_part(
        self, key: str, upload_id: str, number: int, data: bytes, stored: _StoredPart | None
    ) -> tuple[_Part, int]:
        try:
            digest = sha256(data).digest()
            if stored is not None and stored.holds(data, digest):
                self._on_sent(len(data))
                return _Part(number, stored.etag, digest), 0
            self._bucket.pace.wait(len(data))
            answer = self._bucket.call(
                "upload_part", key, UploadId=upload_id, PartNumber=number, Body=data,
                ContentLength=len(data), ChecksumSHA256=checksum(digest),
            )  # fmt: skip
            self._on_sent(len(data))
            return _Part(number, answer["ETag"], digest), len(data)
        finally:
            self._in_flight.release()

    @staticmethod
    def _settle(parts: list[Future[tuple[_Part, int]]]) -> None:
        """Waits for what is under way, so that the next run finds those parts."""
        for future in parts:
            future.exception()

    def _begin(self, key: str) -> str:
        answer = self._bucket.call("create_multipart_upload", key, ChecksumAlgorithm="SHA256")
        return str(answer["UploadId"])

    def _complete(self, key: str, upload_id: str, parts: list[_Part], entry: FileEntry) -> None:
        listed = [
            {"PartNumber": p.number, "ETag": p.etag, "ChecksumSHA256": checksum(p.sha256)} for p in parts
        ]
        try:
            answer = self._bucket.call(
                "complete_multipart_upload", key, UploadId=upload_id, MultipartUpload={"Parts": listed}
            )
        except RemoteError:
            # Another machine, or a repetition of this very request, may have completed the same upload.
            if self._bucket.size_of(key) == entry.size_bytes:
                return
            raise
        wanted = checksum(sha256(b"".join(p.sha256 for p in parts)).digest())
        told = str(answer.get("ChecksumSHA256") or wanted).split("-")[0]
        if told != wanted:
            raise RemoteError(f"{key}: the store computed SHA-256 {told}, the parts sent give {wanted}")

    def _unfinished(self) -> dict[str, str]:
        """Uploads under way by key; the latest begun of each. Asked for once."""
        with self._lock:
            if self._pending is None:
                self._pending = _unfinished_uploads(self._bucket)
            return self._pending

    def _stored_parts(self, key: str, upload_id: str) -> dict[int, _StoredPart]:
        found: dict[int, _StoredPart] = {}
        start: dict[str, int] = {}
        while True:
            answer = self._bucket.call("list_parts", key, UploadId=upload_id, **start)
            for part in answer.get("Parts", ()):
                found[part["PartNumber"]] = _StoredPart(
                    part["Size"], part["ETag"], part.get("ChecksumSHA256", "")
                )
            if not answer.get("IsTruncated"):
                return found
            start = {"PartNumberMarker": answer["NextPartNumberMarker"]}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(wait=True, cancel_futures=False)


def _unfinished_uploads(bucket: Bucket) -> dict[str, str]:
    begun: defaultdict[str, list[tuple[Any, str]]] = defaultdict(list)
    start: dict[str, str] = {}
    while True:
        answer = bucket.call("list_multipart_uploads", Prefix=bucket.full_key(OBJECTS), **start)
        for one in answer.get("Uploads", ()):
            key = one["Key"].removeprefix(bucket.address.prefix)
            begun[key].append((one["Initiated"], one["UploadId"]))
        if not answer.get("IsTruncated"):
            return {key: max(uploads)[1] for key, uploads in begun.items()}
        start = {
            "KeyMarker": answer["NextKeyMarker"], "UploadIdMarker": answer["NextUploadIdMarker"],
        }  # fmt: skip


def _read_file(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise StoreError(f"{path}: missing, though its manifest names it") from None


def _read(file: Any, size: int) -> bytes:
    """So many bytes, fewer only at the end of the file."""
    data: bytes = file.read(size)
    while data and len(data) < size:
        more = file.read(size - len(data))
        if not more:
            break
        data += more
    return data


def _check(path: Path, entry: FileEntry, size_bytes: int, digest: str) -> None:
    if (size_bytes, digest) != (entry.size_bytes, entry.blake3):
        raise StoreError(
            f"{path}: {size_bytes} bytes with blake3 {digest[:16]}…, the manifest says {entry.size_bytes} with "
            f"{entry.blake3[:16]}…; the file was damaged on disk and is not backed up. Restore it from the remote, "
            "or delete the version and build it again."
        )
