"""One bucket and prefix through boto3: small objects, conditional writes, listings. Every fault is a RemoteError.

Protocol facts: conditional PUT answers 412 when the condition fails and 409 when a write of the same key is under way
(Amazon S3 user guide, "Conditional writes"). botocore retries 5xx, throttling and broken connections; what outlasts
that is tried again here, more slowly.
"""

import base64
import logging
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from vlm_assets.remote.direct import DirectParts
from vlm_assets.remote.faults import broken_connections
from vlm_assets.remote.names import RemoteAddress
from vlm_assets.remote.pace import Pace
from vlm_assets.words.clock import unix_now
from vlm_assets.words.errors import ConfigError, Problem, RemoteError

if TYPE_CHECKING:
    from vlm_assets.settings import Settings

logger = logging.getLogger("vlm_assets.remote")

_ROUNDS: Final = 4
_FIRST_WAIT_S: Final = 1.0
_ABSENT: Final = frozenset({"404", "NoSuchKey", "NotFound"})
_CONFLICT: Final = frozenset({"409", "ConditionalRequestConflict", "OperationAborted"})
_UNMET: Final = frozenset({"412", "PreconditionFailed"})
_HINTS: Final = {
    "NoSuchBucket": "The bucket does not exist, or lies in another account; check VLM_REMOTE.",
    "AccessDenied": "The role of this machine may not do that; compare it with deploy/aws/stack.yaml.",
    "403": "The role of this machine may not do that; compare it with deploy/aws/stack.yaml.",
    "InvalidAccessKeyId": "The credentials of the standard chain are not known to this store.",
}


class ConditionUnmetError(RemoteError):
    """A conditional write found something else than it expected; nothing was written."""


@dataclass(frozen=True, slots=True)
class Content:
    """A small object, the tag of this state of it, and how old that is by the store's own clock."""

    data: bytes
    etag: str
    age_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Listed:
    """One object as a listing shows it; `key` is without the prefix."""

    key: str
    size_bytes: int
    etag: str
    modified: datetime


class Bucket:
    """A bucket under a prefix. Safe to share between threads."""

    def __init__(
        self, address: RemoteAddress, client: Any, *, concurrency: int = 8, bytes_per_s: float = 0.0
    ) -> None:
        self.address = address
        self.concurrency = concurrency
        self.pace = Pace(bytes_per_s)
        self._client = client
        self._direct = DirectParts(client)
        self._counted: Counter[str] = Counter()
        self._store_time: tuple[float, float] | None = None
        """As an answer told it, and when that was by a clock that nobody sets."""
        self._lock = threading.Lock()

    @property
    def requests(self) -> dict[str, int]:
        """Requests so far by operation, as this class asked for them; retries inside botocore do not show."""
        with self._lock:
            return dict(sorted(self._counted.items()))

    def full_key(self, key: str) -> str:
        """The key with the prefix."""
        return self.address.prefix + key

    def call(self, operation: str, key: str | None = None, **arguments: Any) -> Any:
        """One request of the boto3 client on this bucket, tried again while that can help.

        Raises:
            ConditionUnmetError: a condition of the request failed.
            RemoteError: any other refusal, with operation and key.
        """
        if key is not None:
            arguments["Key"] = self.full_key(key)
        with self._lock:
            self._counted[operation] += 1
        method = getattr(self._client, operation)
        where = f"{operation} {self.address}" + (f" {key}" if key is not None else "")
        answer = retried(lambda: method(Bucket=self.address.bucket, **arguments), where)
        self._note_time(answer)
        return answer

    def now(self) -> float:
        """Unix seconds by the store's clock, which stamps what lies there: never behind it, nor a second ahead.

        Clocks of machines are set ahead and back: by theirs, what another has just written may be of last year. Where
        no answer told the time it is this machine's.
        """
        if self._store_time is None:
            return unix_now()
        told, at = self._store_time
        return told + 1.0 + time.monotonic() - at

    def _note_time(self, answer: Any) -> None:
        try:
            told = parsedate_to_datetime(answer["ResponseMetadata"]["HTTPHeaders"]["date"])
        except (KeyError, TypeError, ValueError):
            return
        self._store_time = told.timestamp(), time.monotonic()

    def get(self, key: str) -> Content | None:
        """A small object; None where there is none."""

        def read() -> Content:
            answer = self._client.get_object(Bucket=self.address.bucket, Key=self.full_key(key))
            self._note_time(answer)
            age_s = max(self.now() - answer["LastModified"].timestamp(), 0.0)
            return Content(answer["Body"].read(), answer["ETag"], age_s)

        with self._lock:
            self._counted["get_object"] += 1
        content: Content | None = absent_as_none(lambda: retried(read, f"get_object {self.address} {key}"))
        return content

    def get_part(self, key: str, begin: int, end: int, size_bytes: int) -> bytes:
        """These bytes of an object of so many; see `fill_part`."""
        part = bytearray(end - begin)
        self.fill_part(key, begin, [memoryview(part)], size_bytes)
        return bytes(part)

    def fill_part(self, key: str, begin: int, targets: Sequence[memoryview], size_bytes: int) -> None:
        """Fills memory, one piece after the other, with an object of so many bytes from a place on.

        Raises:
            RemoteError: there is none, or it has another size.
        """
        end = begin + sum(map(len, targets))
        wanted = f"bytes {begin}-{end - 1}/{size_bytes}"
        where = f"get_object {self.address} {key} [{begin}:{end}]"
        with self._lock:
            self._counted["get_object"] += 1
        found = self._direct.fill(self.address.bucket, self.full_key(key), begin, targets)
        if found is None:
            part, found = retried(lambda: self._part(key, begin, end, wanted), where)
            if found == wanted:
                if len(part) != end - begin:
                    raise RemoteError(f"{where}: {len(part)} bytes came")
                place = 0
                for target in targets:
                    target[:] = part[place : place + len(target)]
                    place += len(target)
        if found != wanted:
            told = found.rpartition("/")[2]
            raise RemoteError(f"{where}: the object has {told} bytes, expected {size_bytes}")
        self.pace.wait(end - begin)

    def _part(self, key: str, begin: int, end: int, wanted: str) -> tuple[bytes, str]:
        """The bytes, and the answer's `Content-Range`; no bytes where that is not the one wanted."""
        answer = self._client.get_object(
            Bucket=self.address.bucket, Key=self.full_key(key), Range=f"bytes={begin}-{end - 1}"
        )
        found = str(answer.get("ContentRange", f"/{answer['ContentLength']}"))
        with closing(answer["Body"]) as body:
            return (body.read() if found == wanted else b""), found

    def put(self, key: str, data: bytes, *, replaces: str | None = None, new: bool = False) -> str:
        """Writes a small object; returns its tag. `replaces`: only over that tag. `new`: only where nothing is.

        A conditional write whose answer was lost and which is then refused to its own repetition has succeeded.

        Raises:
            ConditionUnmetError: the condition failed; nothing was written.
        """
        condition = {"IfMatch": replaces} if replaces else {"IfNoneMatch": "*"} if new else {}
        try:
            answer = self.call(
                "put_object", key, Body=data, ContentLength=len(data),
                ChecksumSHA256=checksum(sha256(data).digest()), **condition,
            )  # fmt: skip
        except ConditionUnmetError:
            found = self.get(key)
            if found is not None and found.data == data:
                return found.etag
            raise
        return str(answer["ETag"])

    def size_of(self, key: str) -> int | None:
        """Size of an object; None where there is none."""
        answer = self.head(key)
        return None if answer is None else int(answer["ContentLength"])

    def head(self, key: str) -> Any:
        """What the store says of an object; None where there is none."""
        return absent_as_none(lambda: self.call("head_object", key))

    def send_file(self, key: str, path: Path, metadata: Mapping[str, str]) -> None:
        """Makes a file the object, in parts where it is large (boto3's own transfer), compared by SHA-256.

        Raises:
            RemoteError: it was refused.
        """
        from boto3.exceptions import Boto3Error  # noqa: PLC0415 - half a second, where a remote is asked
        from boto3.s3.transfer import TransferConfig  # noqa: PLC0415 - half a second, where a remote is asked

        config = TransferConfig(
            max_concurrency=self.concurrency, max_bandwidth=int(self.pace.bytes_per_s) or None
        )
        extra = {"Metadata": dict(metadata), "ChecksumAlgorithm": "SHA256"}
        where = f"upload {self.address} {key}"
        try:
            retried(
                lambda: self._client.upload_file(
                    str(path), self.address.bucket, self.full_key(key), ExtraArgs=extra, Config=config
                ),
                where,
            )
        except Boto3Error as error:
            raise RemoteError(f"{where}: {error}") from error

    def abort_uploads(self, prefix: str) -> None:
        """Ends uploads in parts below a prefix that nobody will go on with, and frees their bytes."""
        start: dict[str, str] = {}
        while True:
            answer = self.call("list_multipart_uploads", Prefix=self.full_key(prefix), **start)
            for one in answer.get("Uploads", ()):
                key = one["Key"].removeprefix(self.address.prefix)
                self.call("abort_multipart_upload", key, UploadId=one["UploadId"])
            if not answer.get("IsTruncated"):
                return
            start = {
                "KeyMarker": answer["NextKeyMarker"], "UploadIdMarker": answer["NextUploadIdMarker"],
            }  # fmt: skip

    def list(self, prefix: str) -> Iterator[Listed]:
        """Every object below a prefix, sorted by key."""
        start: dict[str, str] = {}
        while True:
            answer = self.call("list_objects_v2", Prefix=self.full_key(prefix), **start)
            for one in answer.get("Contents", ()):
                key = one["Key"].removeprefix(self.address.prefix)
                yield Listed(key, one["Size"], one["ETag"], one["LastModified"])
            if not answer.get("IsTruncated"):
                return
            start = {"ContinuationToken": answer["NextContinuationToken"]}


def checksum(digest: bytes) -> str:
    """A digest as the checksum headers carry it."""
    return base64.b64encode(digest).decode("ascii")


def absent_as_none(ask: Callable[[], Any]) -> Any:
    """The answer; None where the object does not exist."""
    try:
        return ask()
    except _AbsentError:
        return None


class _AbsentError(RemoteError):
    """The object does not exist."""


def retried(ask: Callable[[], Any], where: str) -> Any:
    """The answer, asked for again after faults that pass.

    Raises:
        RemoteError: it was refused, or the fault did not pass.
    """
    from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError  # noqa: PLC0415 - half a second, where a remote is asked

    passing = broken_connections()
    for round_number in range(_ROUNDS):
        last = round_number == _ROUNDS - 1
        try:
            return ask()
        except ClientError as error:
            if last or not _passes(error):
                raise _refusal(error, where) from error
            told: Exception = error
        except NoCredentialsError as error:
            raise RemoteError(
                f"{where}: no credentials in the standard chain (environment, shared files, instance role)"
            ) from error
        except passing as error:
            if last:
                raise RemoteError(f"{where}: {error}") from error
            told = error
        except BotoCoreError as error:
            raise RemoteError(f"{where}: {error}") from error
        wait_s = _FIRST_WAIT_S * 3**round_number * random.uniform(0.7, 1.3)
        logger.warning("%s: %s; again in %.0f s", where, told, wait_s)
        time.sleep(wait_s)
    raise RemoteError(f"{where}: not tried")


def _passes(error: Any) -> bool:
    code, status = _code(error), _status(error)
    return status >= 500 or status == 429 or code in _CONFLICT or code in {"SlowDown", "RequestTimeout"}


def _refusal(error: Any, where: str) -> RemoteError:
    code = _code(error)
    if code in _UNMET:
        return ConditionUnmetError(f"{where}: changed by someone else")
    if code in _ABSENT:
        return _AbsentError(f"{where}: there is no such object")
    message = error.response.get("Error", {}).get("Message", "")
    return RemoteError(" ".join(filter(None, (f"{where}: {code}: {message}.", _HINTS.get(code)))))


def _code(error: Any) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))


def _status(error: Any) -> int:
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def open_remote(settings: "Settings") -> Bucket:
    """The remote that the settings name. Asks nothing of it yet; credentials come from the standard chain alone.

    Raises:
        ConfigError: none is named, or not as `s3://bucket/prefix`.
    """
    if not settings.remote:
        raise ConfigError(Problem("settings", "VLM_REMOTE", "not set; name s3://bucket/prefix"))
    address = RemoteAddress.parse(settings.remote)
    client = s3_client(settings.remote_endpoint, settings.remote_concurrency)
    rate = settings.remote_mb_per_s * 1e6
    return Bucket(address, client, concurrency=settings.remote_concurrency, bytes_per_s=rate)


def look_at_remote(settings: "Settings") -> None:
    """Returns where the remote answers one small request; tries twice, some ten seconds each at most.

    Raises:
        ConfigError: none is named, or not as `s3://bucket/prefix`.
        RemoteError: it cannot be reached, or refuses; says why.
    """
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415 - half a second, where a remote is asked

    address = open_remote(settings).address
    where = f"{address} does not answer as it should"
    try:
        s3_client(settings.remote_endpoint, 1, attempts=2).list_objects_v2(
            Bucket=address.bucket, Prefix=address.prefix, MaxKeys=1
        )
    except ClientError as error:
        raise _refusal(error, where) from error
    except BotoCoreError as error:
        raise RemoteError(f"{where}: {error}") from error


@cache
def s3_client(endpoint: str | None, concurrency: int, *, attempts: int = 5) -> Any:
    """A boto3 client for large transfers; one a process, since making it takes a quarter of a second.

    Bodies carry a SHA-256 of ours, which the store compares; botocore's own checksums and the signature over the body
    would hash each byte again.
    """
    import boto3  # noqa: PLC0415 - half a second, where a remote is asked
    from botocore.config import Config  # noqa: PLC0415 - half a second, where a remote is asked

    config = Config(
        retries={"mode": "standard", "max_attempts": attempts},
        max_pool_connections=2 * concurrency + 2,
        connect_timeout=10,
        read_timeout=60,
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        signature_version="s3v4",
        s3={"payload_signing_enabled": False, "addressing_style": "path" if endpoint else "auto"},
        user_agent_extra="vlm-assets",
    )
    return boto3.session.Session().client("s3", endpoint_url=endpoint, config=config)
