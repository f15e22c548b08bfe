"""The Hub through `huggingface_hub`, with what that library leaves out: patience, verification, plain errors.

`huggingface_hub` 2.4 does not retry `dataset_info`, asks again at once after a 429 to a HEAD, has no timeout on API
calls, and stores same-size corruption under the announced hash (huggingface_hub#3643). So all its requests go
through `PoliteClient` (its public `set_client_factory`), and every file is hashed here.
"""

import json
import logging
import os
import random
import re
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import cache
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from vlm_assets.hub.repo_files import RepoFile, files_of
from vlm_assets.transfer.addresses import AddressPolicy
from vlm_assets.transfer.budget import Meter
from vlm_assets.transfer.files import FileHashes
from vlm_assets.transfer.guard import Guard
from vlm_assets.transfer.guarded_clients import guarded_transport
from vlm_assets.transfer.sync_guest import SyncGuest
from vlm_assets.transfer.tls import tls_context
from vlm_assets.transfer.urls import host_key, wire_url
from vlm_assets.words.contexts import SourceSettings
from vlm_assets.words.counts import so_many
from vlm_assets.words.errors import (
    DiskFullError,
    RejectReason,
    SourceError,
    StoreError,
    is_full,
    of_the_machine,
)
from vlm_assets.words.moving import each_moved

if TYPE_CHECKING:
    from huggingface_hub import HfApi

logger = logging.getLogger("vlm_assets.hub")

_STRICT: Final = Guard(AddressPolicy(()))
"""For requests of the library that no source asked for."""
_PREPARING: Final = threading.Lock()
DEFAULT_ENDPOINT: Final = "https://huggingface.co"
_COMMIT: Final = re.compile(r"^[0-9a-f]{40}$")


class HubFileError(SourceError):
    """One file is gone or wrong, while the repository answers: a reject where the file is one image."""

    def __init__(self, message: str, reason: RejectReason) -> None:
        self.reason = reason
        super().__init__(message)


@dataclass(frozen=True, slots=True)
class HubRepo:
    """One dataset repository as this source may see it. The token is used by the client alone."""

    name: str
    endpoint: str
    settings: SourceSettings
    guest: SyncGuest

    @classmethod
    def open(cls, name: str, settings: SourceSettings, guest: SyncGuest) -> "HubRepo":
        """Prepares the client library; asks nothing yet. `HF_ENDPOINT` is read now, not at import."""
        prepare(settings.ca_bundle)
        return cls(name, os.environ.get("HF_ENDPOINT", DEFAULT_ENDPOINT).rstrip("/"), settings, guest)

    def resolve(self, revision: str | None) -> str:
        """The commit sha of a branch, tag or sha (None: the default branch). A full sha costs no request.

        Raises:
            SourceError: gated, private, missing, or unreachable; says what to do.
        """
        if revision is not None and _COMMIT.match(revision):
            return revision
        info = self._ask(lambda api: api.dataset_info(self.name, revision=revision), revision)
        if not _COMMIT.match(str(info.sha)):  # it becomes part of paths
            raise SourceError(f"Hugging Face dataset {self.name}: {info.sha!r:.100} is no commit")
        return str(info.sha)

    def tree(self, sha: str, cache_dir: Path, *, force: bool = False) -> list[RepoFile]:
        """Every file at a commit, sorted by path. Kept in `cache_dir`: a commit never changes.

        Raises:
            SourceError: as `resolve`.
        """
        kept = cache_dir / f"tree-{self.name.replace('/', '--')}-{sha}.json"
        if kept.exists() and not force:
            try:
                return [RepoFile(**entry) for entry in json.loads(kept.read_bytes())]
            except (ValueError, TypeError):
                kept.unlink(missing_ok=True)  # torn by a crash
        where = f"Hugging Face dataset {self.name}@{sha[:12]}"
        files: list[RepoFile] = self._ask(lambda api: files_of(each_moved(api.list_repo_tree(
            self.name, recursive=True, revision=sha, repo_type="dataset")), where), sha)  # fmt: skip
        cache_dir.mkdir(parents=True, exist_ok=True)
        partial = kept.with_suffix(f".{os.getpid()}.tmp")
        partial.write_bytes(json.dumps([asdict(file) for file in files]).encode())
        partial.replace(kept)
        return files

    def fetch(
        self, file: RepoFile, sha: str, folder: Path, hashes: FileHashes, *, force: bool = False
    ) -> Path:
        """The file's verified local copy: from the cache if it is right, else downloaded, forced once if wrong.

        Raises:
            SourceError: wrong again after being forced, or it cannot be downloaded.
        """
        for forced in (force, True):
            path = self._download(file, sha, folder, force=forced)
            if verified(path, file, hashes):
                return path
            logger.warning("%s@%s: %s does not match its hash", self.name, sha[:12], file.path)
        path.resolve().unlink(missing_ok=True)
        raise HubFileError(
            f"{self.name}@{sha[:12]}: {file.path} does not hash to {file.identity} though downloaded again; "
            "the file on the Hub is damaged or was replaced. Pin another revision, or report it there",
            RejectReason.CHECKSUM,
        )

    def read_range(self, file: RepoFile, sha: str, start: int, end: int) -> bytes:
        """Bytes `start` to `end` of a file, unverified: to look at it before it is fetched.

        Raises:
            SourceError: it cannot be read; or the server gives another range.
        """
        from huggingface_hub import hf_hub_url
        from huggingface_hub.utils import (  # type: ignore[attr-defined]  # re-exported untyped
            build_hf_headers,
            get_session,
            hf_raise_for_status,
        )

        url = hf_hub_url(self.name, file.path, repo_type="dataset", revision=sha, endpoint=self.endpoint)

        def read() -> bytes:
            headers = {**build_hf_headers(token=self._token), "Range": f"bytes={start}-{end - 1}"}
            answer = get_session().get(url, headers=headers, follow_redirects=True)
            hf_raise_for_status(answer)
            return bytes(answer.content if answer.status_code == 206 else answer.content[start:end])

        with self.guest.slot(host_key(wire_url(self.endpoint))):
            data: bytes = self._patiently(read, file.path)
        if len(data) != end - start:
            raise SourceError(
                f"{self.name}@{sha[:12]}: {file.path}: asked for {end - start} bytes, got {len(data)}"
            )
        return data

    def _download(self, file: RepoFile, sha: str, folder: Path, *, force: bool) -> Path:
        from huggingface_hub import hf_hub_download

        def download() -> str:
            return hf_hub_download(
                self.name, file.path, repo_type="dataset", revision=sha, cache_dir=folder,
                force_download=force, token=self._token, endpoint=self.endpoint,
            )  # fmt: skip

        with self.guest.slot(host_key(wire_url(self.endpoint))):
            return Path(self._patiently(download, file.path))

    @property
    def _token(self) -> str | bool:
        secret = self.settings.hf_token
        value = secret.get_secret_value() if secret else os.environ.get("HF_TOKEN", "")
        return value or False

    def _ask(self, call: "Callable[[HfApi], Any]", revision: str | None) -> Any:
        from huggingface_hub import HfApi

        api = HfApi(endpoint=self.endpoint, token=self._token)
        what = f"revision {revision or 'default'}"

        def ask() -> Any:
            try:
                return call(api)
            except (
                LookupError,
                TypeError,
                AttributeError,
            ) as error:  # of the library, over JSON of another shape
                raise SourceError(
                    f"Hugging Face dataset {self.name} ({what}): the answer has another shape "
                    f"({type(error).__name__}: {one_line(str(error))})"
                ) from error

        return self._patiently(ask, what)

    def _patiently(self, call: Callable[[], Any], what: str) -> Any:
        """Calls until it succeeds: cut and stalled bodies surface here, statuses were waited out by the client."""
        import httpx2

        patience, began = self.guest.patience, time.monotonic()
        for tries in range(1, patience.attempts + 1):
            try:
                with as_guest(self.guest):
                    return call()
            except SourceError:
                raise
            except (httpx2.HTTPError, OSError, ValueError, RuntimeError) as error:
                # hf_hub_download wraps: LocalEntryNotFoundError, ValueError with the reason as __cause__.
                chain = list(causes_of(error))
                full = next((e for e in chain if isinstance(e, OSError) and is_full(e)), None)
                if full is not None:
                    raise DiskFullError(f"no room for {what} of {self.name}: {full.strerror}") from None
                cause = next((e for e in chain if status_of(e) is not None), error)
                # RuntimeError: another thread's failed connection closes the client that all threads share.
                passing = status_of(cause) is None and any(
                    isinstance(e, (httpx2.TransportError, OSError, RuntimeError)) for e in chain
                )
                if not passing or tries == patience.attempts:
                    raise self._explain(cause, what, tries, time.monotonic() - began) from None
                if tries == 1:
                    logger.warning(
                        "%s: %s does not answer: %s; it is tried %d times",
                        self.name, self.endpoint, type(cause).__name__, patience.attempts,
                    )  # fmt: skip
                time.sleep(patience.backoff_s(tries, random.random()))
        raise AssertionError("attempts is at least 1")

    def _explain(self, error: BaseException, what: str, tries: int, waited_s: float) -> SourceError:
        """An error that says what to do and quotes no URL, header or token."""
        status, name = status_of(error), type(error).__name__
        where = f"Hugging Face dataset {self.name} ({what})"
        signed_in = "with the given token" if self._token else "and no token is set"
        if name == "GatedRepoError":
            return SourceError(
                f"{where} is gated {signed_in}: accept its terms at {self.endpoint}/datasets/{self.name}, "
                "then set VLM_HF_TOKEN (or HF_TOKEN) to a token of that account with read access"
            )
        if status == 401 and name != "RepositoryNotFoundError":
            return SourceError(
                f"{where}: the token is refused; set VLM_HF_TOKEN (or HF_TOKEN) anew, or unset it"
            )
        if name == "RepositoryNotFoundError":
            return SourceError(
                f"{where} does not exist or is private {signed_in}: check the spelling of `repo`, or set "
                "VLM_HF_TOKEN (or HF_TOKEN) to a token that may read it"
            )
        if name == "RevisionNotFoundError":
            return SourceError(f"{where}: no such revision; give a branch, a tag or a commit sha")
        if name in ("EntryNotFoundError", "RemoteEntryNotFoundError"):
            return HubFileError(
                f"{where}: the file is gone from that revision; list the source again", RejectReason.NOT_FOUND
            )
        if status == 403:
            return SourceError(f"{where}: forbidden {signed_in}; the token needs read access to gated repos")
        got = f"status {status}" if status else f"{name}: {one_line(str(error))}"
        tried = f"Tried {self.guest.patience.attempts} times"
        if status is None:
            tried = (
                f"Tried {so_many(tries, 'time')} in {waited_s:.0f} s"
                f"; is {self.endpoint} within reach? HF_ENDPOINT names a mirror, and a copy of the dataset on this "
                "machine is read by the kind hf_disk, its image files by client_folder"
            )
        return SourceError(f"{where} cannot be read: {got}. {tried}")


def verified(path: Path, file: RepoFile, hashes: FileHashes) -> bool:
    """Whether a local file is the tree's file: size, then sha256 (or git's blob hash for small files).

    Raises:
        StoreError: the disk fails over it.
    """
    try:
        if path.stat().st_size != file.size_bytes:
            return False
        if file.sha256 is not None:
            return hashes.sha256(path.resolve()) == file.sha256
        return file.is_made_of(path.read_bytes())
    except OSError as error:
        if of_the_machine(error):  # no fault of the Hub's file, which would be a reject for good
            raise StoreError(f"{path}: cannot be read: {error.strerror}") from error
        return False


_current = threading.local()


class as_guest:  # noqa: N801 - reads as a verb in `with`
    """Whose patience and limits the requests of this thread follow."""

    def __init__(self, guest: SyncGuest) -> None:
        self._guest = guest

    def __enter__(self) -> None:
        _current.guest = self._guest

    def __exit__(self, *_: object) -> None:
        _current.guest = None


def _present() -> SyncGuest | None:
    return getattr(_current, "guest", None)


def prepare(ca_bundle: Path | None) -> None:
    """Once a process, whatever threads ask: another factory would close the client that one of them reads from."""
    with _PREPARING:
        _prepare(ca_bundle)


@cache
def _prepare(ca_bundle: Path | None) -> None:
    """Requests through the polite client; no Xet, no telemetry, no counters, no URLs in logs.

    Xet is off because its transfers pass by the client's patience and keep a second cache under ~/.cache; `writer`
    has it on while it sends.
    """
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("HF_UPDATE_DOWNLOAD_COUNTS", "FALSE")
    import huggingface_hub
    from huggingface_hub import constants
    from huggingface_hub.utils import disable_progress_bars  # type: ignore[attr-defined]  # re-exported untyped

    # The variables are read at import, which may have happened already.
    constants.HF_HUB_DISABLE_XET = True
    constants.HF_HUB_DISABLE_TELEMETRY = True
    disable_progress_bars()
    # Signed storage URLs are secrets for as long as they live; these loggers print them. Levels would not do: the
    # library sets its own anew with every submodule that it imports.
    for name in ("huggingface_hub.file_download", "huggingface_hub.utils._http"):
        logging.getLogger(name).addFilter(_without_queries)
    logging.getLogger("httpx2").setLevel(logging.WARNING)
    logging.getLogger("httpcore2").setLevel(logging.WARNING)
    context = tls_context(ca_bundle)
    huggingface_hub.set_client_factory(lambda: _polite_client(context))


def _without_queries(record: logging.LogRecord) -> bool:
    """Takes the query off every URL in a log record."""
    record.msg, record.args = _QUERY.sub(r"\1?…", record.getMessage()), ()
    return True


def _polite_client(context: ssl.SSLContext) -> Any:
    """An `httpx2.Client` that waits its turn, honours Retry-After, and has a timeout on everything."""
    import httpx2
    from huggingface_hub.utils import parse_ratelimit_headers  # type: ignore[attr-defined]  # re-exported untyped

    class PoliteClient(httpx2.Client):
        def build_request(self, method: str, url: Any, **options: Any) -> httpx2.Request:
            """Files that are sent go by the name that httpx2 still has for them; huggingface_hub uses the old one."""
            if options.get("data") is not None and not isinstance(options["data"], Mapping):
                options["content"] = options.pop("data")
            return super().build_request(method, url, **options)

        def send(self, request: httpx2.Request, **options: Any) -> httpx2.Response:
            guest = _present()
            if guest is None:
                return super().send(request, **options)
            timeout_s = guest.settings.http_timeout_s
            request.extensions["timeout"] = dict.fromkeys(("connect", "read", "write", "pool"), timeout_s)
            for tries in count(1):
                response = super().send(request, **options)
                host = _host(response.url)
                headers = response.headers
                limit = parse_ratelimit_headers(headers)
                if response.status_code == 429 and limit is not None and "Retry-After" not in headers:
                    headers = httpx2.Headers({"Retry-After": str(limit.reset_in_seconds + 1)})
                whole = isinstance(request.stream, httpx2.ByteStream)  # a file that is sent is read once
                if not whole or not guest.tries_again(host, response.status_code, headers, tries):
                    break
                response.close()
            if response.is_closed:
                guest.meter.received(len(response.content))
            else:
                response.stream = Counted(response.stream, guest.meter)
            return response

    class Counted(httpx2.SyncByteStream):
        """A body that is counted while it arrives; the library continues a cut one from its `.incomplete` file."""

        def __init__(self, stream: Any, meter: Meter) -> None:
            self._stream = stream
            self._meter = meter

        def __iter__(self) -> Iterator[bytes]:
            for chunk in self._stream:
                yield chunk
                self._meter.received(len(chunk), cut=True)

        def close(self) -> None:
            self._stream.close()

    def wait_turn(request: httpx2.Request) -> None:
        guest = _present()
        if guest is not None:
            guest.wait(_host(request.url))

    return PoliteClient(
        event_hooks={"request": [wait_turn]}, follow_redirects=True, timeout=None,
        transport=guarded_transport(_present_guard, context),
    )  # fmt: skip


def _present_guard() -> Guard:
    guest = _present()
    return _STRICT if guest is None else guest.guard


def _host(url: Any) -> str:
    return host_key(wire_url(str(url)))


def causes_of(error: BaseException) -> Iterator[BaseException]:
    """The error and what led to it, each once."""
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = current.__cause__


def status_of(error: BaseException) -> int | None:
    """Of the answer that the error is about; None where there was none."""
    response = getattr(error, "response", None)
    return None if response is None else int(response.status_code)


_URL: Final = re.compile(r"https?://\S+")
_QUERY: Final = re.compile(r"(https?://[^\s?]+)\?\S+")


def one_line(text: str) -> str:
    """At most 200 characters, without URLs."""
    return _URL.sub("<url>", " ".join(text.split()))[:200]
