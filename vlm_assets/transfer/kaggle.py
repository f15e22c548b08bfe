"""Kaggle through `kagglehub`, with what it leaves out: retries, Retry-After, timeouts, archives left unextracted.

`kagglehub` 1.0.2 authenticates, resolves versions and signs the download; the bytes come through this package's own
client: kagglehub's resume appends whatever a refused range answers, and its extraction trusts the archive.
"""

import base64
import hashlib
import logging
import random
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

import requests
from kagglehub.config import get_kaggle_credentials
from kagglehub.exceptions import KaggleApiHTTPError, handle_call
from kagglehub.integrity import get_md5_checksum_from_response
from kagglesdk.datasets.types import dataset_api_service as types
from kagglesdk.kaggle_client import KaggleClient
from kagglesdk.kaggle_env import get_env
from requests.adapters import HTTPAdapter

from vlm_assets.transfer.agent import user_agent
from vlm_assets.transfer.client import Client
from vlm_assets.transfer.guarded_clients import guard_adapter
from vlm_assets.transfer.http import TransferError
from vlm_assets.transfer.sync_guest import SyncGuest
from vlm_assets.transfer.tls import tls_context_of_requests
from vlm_assets.transfer.urls import host_key, wire_url
from vlm_assets.words.errors import SourceError
from vlm_assets.words.seekable import SeekableFile

T = TypeVar("T")
_TAIL_BYTES: Final = 2**20
_SIGNATURES: Final = 3
"""Signed URLs to ask for, one after the other, before a download is given up: they expire."""


@dataclass(frozen=True, slots=True)
class SignedArchive:
    """Where a dataset's archive lies for the next minutes. The URL is a secret for as long."""

    url: str
    size_bytes: int
    md5: str
    """Base64, as Google's storage tells it; "" where it does not."""
    ranges: bool


@dataclass(frozen=True, slots=True)
class KaggleDataset:
    """One dataset at one version (None: the current one, to be resolved)."""

    owner: str
    name: str
    version: int | None

    @classmethod
    def parse(cls, handle: str) -> "KaggleDataset":
        """`owner/dataset` or `owner/dataset/versions/N`."""
        parts = handle.split("/")
        return cls(parts[0], parts[1], int(parts[3]) if len(parts) == 4 else None)

    def __str__(self) -> str:
        """The handle."""
        return f"{self.owner}/{self.name}" + (f"/versions/{self.version}" if self.version else "")


class Kaggle:
    """Calls to Kaggle's API as this machine's user, one source's manners kept."""

    def __init__(self, guest: SyncGuest) -> None:
        self._guest = guest

    def resolve(self, dataset: KaggleDataset) -> KaggleDataset:
        """The dataset at its current version; no request where a version is given.

        Raises:
            SourceError: missing, forbidden or unreachable; says what to do.
        """
        if dataset.version is not None:
            return dataset
        request = types.ApiGetDatasetRequest()
        request.owner_slug, request.dataset_slug = dataset.owner, dataset.name
        version = self._call(lambda api: int(api.get_dataset(request).current_version_number or 0), dataset)
        if version < 1:
            raise SourceError(f"Kaggle dataset {dataset}: the answer has another shape (no current version)")
        return KaggleDataset(dataset.owner, dataset.name, version)

    def sign(self, dataset: KaggleDataset) -> SignedArchive:
        """Where the archive of a version lies.

        Raises:
            SourceError: as `resolve`.
        """
        request = types.ApiDownloadDatasetRequest()
        request.owner_slug, request.dataset_slug = dataset.owner, dataset.name
        request.dataset_version_number = dataset.version

        def ask(api: Any) -> SignedArchive:
            response = api.download_dataset(request)
            with response:  # only its headers are wanted
                return SignedArchive(
                    str(response.url), int(response.headers.get("Content-Length") or 0),
                    get_md5_checksum_from_response(response) or "",
                    response.headers.get("Accept-Ranges") == "bytes",
                )  # fmt: skip

        return self._call(ask, dataset)

    def _call(self, ask: Callable[[Any], T], dataset: KaggleDataset) -> T:
        """Asks until it is answered: cut bodies surface here, statuses are waited out by the adapter."""
        patience = self._guest.patience
        tries = 0
        while True:
            tries += 1
            try:
                with _polite_client(self._guest) as client:
                    answer: T = handle_call(lambda api=client.datasets.dataset_api_client: ask(api))
                    return answer
            except KaggleApiHTTPError as error:
                raise _explain(dataset, error.response.status_code) from None
            except (requests.RequestException, OSError) as error:
                if tries >= patience.attempts:
                    kind = type(error).__name__
                    raise SourceError(
                        f"Kaggle dataset {dataset}: no answer after {tries} tries ({kind})"
                    ) from None
                time.sleep(patience.backoff_s(tries, random.random()))
            except (ValueError, LookupError, TypeError, AttributeError) as error:  # of the library
                told = f"{type(error).__name__}: {error}"[:200]
                raise SourceError(
                    f"Kaggle dataset {dataset}: the answer has another shape ({told})"
                ) from error


def download_archive(
    kaggle: Kaggle, client: Client, dataset: KaggleDataset, path: Path, *,
    progress: Callable[[int], None] = lambda size_bytes: None,  # noqa: ARG005  # a callback's shape
) -> None:  # fmt: skip
    """`path` holds the archive, complete and with the md5 that Kaggle's storage tells; resumes after a kill.

    A wrong archive is fetched once more.

    Raises:
        SourceError: wrong again, or it cannot be had.
    """
    mismatches = refusals = 0
    while True:
        signed = kaggle.sign(dataset)
        partial = path.with_name(f"{path.name}.unverified")
        try:
            client.download_file(signed.url, partial, known_as=f"kaggle://{dataset}", progress=progress)
        except TransferError as error:
            refusals += 1
            if error.status not in (400, 403) or refusals >= _SIGNATURES:
                raise error.told(f"Kaggle dataset {dataset}: the archive cannot be had") from None
            continue
        size = partial.stat().st_size
        if (not signed.size_bytes or size == signed.size_bytes) and signed.md5 in ("", _md5(partial)):
            partial.replace(path)
            return
        partial.unlink()
        mismatches += 1
        if mismatches == 2:
            raise SourceError(
                f"Kaggle dataset {dataset}: the archive does not have its md5 though downloaded again"
            )


class RemoteFile(SeekableFile):
    """A file behind Range requests, for reading a zip's directory without the zip.

    The last MiB comes with the first request; a directory seldom needs a second one.
    """

    def __init__(self, client: Client, signed: SignedArchive) -> None:
        super().__init__(signed.size_bytes)
        self._client = client
        self._url = signed.url
        self._tail_start = max(signed.size_bytes - _TAIL_BYTES, 0)
        self._tail = self._get(self._tail_start, signed.size_bytes)

    def read_at(self, start: int, end: int) -> bytes:
        """From the tail, or by a request for exactly what is asked."""
        if start >= self._tail_start:
            return self._tail[start - self._tail_start : end - self._tail_start]
        return self._get(start, end)

    def _get(self, start: int, end: int) -> bytes:
        answer = self._client.request(self._url, headers={"Range": f"bytes={start}-{end - 1}"})
        if answer.status != 206 or len(answer.body) != end - start:
            raise OSError(
                f"asked for {end - start} bytes, got {len(answer.body)} with status {answer.status}"
            )
        return answer.body


def _polite_client(guest: SyncGuest) -> AbstractContextManager[Any]:
    """The client of kagglehub, its session's requests with a timeout, a turn and patience."""
    logging.getLogger("urllib3").setLevel(logging.INFO)  # its debug lines show signed URLs

    class PoliteAdapter(HTTPAdapter):
        def init_poolmanager(self, *args: Any, **options: Any) -> None:
            tls = tls_context_of_requests(guest.settings.ca_bundle)
            super().init_poolmanager(*args, **options, ssl_context=tls)

        def proxy_manager_for(self, proxy: str, **options: Any) -> Any:
            tls = tls_context_of_requests(guest.settings.ca_bundle)
            return super().proxy_manager_for(proxy, **options, ssl_context=tls)

        def send(self, request: Any, *args: Any, **options: Any) -> Any:
            url = wire_url(request.url)
            host, proxy = host_key(url), guest.guard.proxy_for(url)
            options["proxies"] = {} if proxy is None else {url.scheme: str(proxy)}
            options["timeout"] = (guest.settings.http_timeout_s, guest.settings.http_timeout_s)
            tries = 0
            while True:
                tries += 1
                guest.wait(host)
                response = super().send(request, *args, **options)
                if not guest.tries_again(host, response.status_code, response.headers, tries):
                    return response
                response.close()

    client = _signed_in(guest)
    http = client.http_client()
    http.__enter__()
    session = http._session  # noqa: SLF001  # the library offers no other way to a timeout
    for scheme in ("http://", "https://"):
        adapter = PoliteAdapter()
        guard_adapter(adapter, guest.guard)
        session.mount(scheme, adapter)
    return client  # type: ignore[no-any-return]  # untyped library


def _signed_in(guest: SyncGuest) -> Any:
    """A client of Kaggle's API as the user whom kagglehub finds, or as nobody.

    kagglehub's own `build_kaggle_client` searches the whole call stack for its user agent, 0.2 s and more each time,
    and prints to standard output when there is a newer release.
    """
    found = get_kaggle_credentials()
    return KaggleClient(
        env=get_env(),
        username=found.username if found else None,
        password=found.key if found else None,
        api_token=found.api_key if found else None,
        user_agent=user_agent(guest.settings),
    )


def _explain(dataset: KaggleDataset, status: int) -> SourceError:
    if status in (401, 403):
        return SourceError(
            f"Kaggle dataset {dataset} is forbidden (status {status}): set KAGGLE_USERNAME and KAGGLE_KEY, or "
            "KAGGLE_API_TOKEN, to an account that may read it, and accept its terms on its page"
        )
    if status == 404:
        return SourceError(
            f"Kaggle dataset {dataset} does not exist at that version, or is private: check `handle`; for a private "
            "one set KAGGLE_USERNAME and KAGGLE_KEY, or KAGGLE_API_TOKEN"
        )
    return SourceError(f"Kaggle dataset {dataset}: status {status}")


def _md5(path: Path) -> str:
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False))
    return base64.b64encode(digest.digest()).decode()
