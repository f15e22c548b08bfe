"""Kaggle's API on loopback, reached through `http_proxy`, and the storage that downloads redirect to.

`kagglehub` has no endpoint variable: `KAGGLE_API_ENVIRONMENT=LOCALHOST` fixes `http://localhost/api/v1`, so this
service answers as a proxy: request lines carry the whole URL.
"""

import base64
from dataclasses import dataclass, field
from hashlib import md5
from typing import Any
from urllib.parse import urlsplit

import orjson

from vlm_assets.demo.services.base import Reply, Request, Service


@dataclass(slots=True)
class KaggleDataset:
    """A dataset's archives by version; the last is current."""

    versions: list[bytes] = field(default_factory=list)
    private: bool = False
    md5: bool = True
    """Whether the storage tells the archive's md5."""


class KaggleStorage(Service):
    """The bucket behind downloads."""

    def __init__(self, port: int = 0) -> None:
        super().__init__(port)
        self.objects: dict[str, bytes] = {}
        self.tells_md5 = True

    def answer(self, request: Request) -> Reply:
        """An archive, with the headers of Google's storage."""
        content = self.objects.get(request.path)
        if content is None or request.headers.get("Authorization"):
            return Reply(403)
        digest = md5(content, usedforsecurity=False).digest()
        headers = {"Accept-Ranges": "bytes", "ETag": f'"{digest.hex()}"', "Content-Type": "application/zip"}
        if self.tells_md5:
            headers["x-goog-hash"] = f"crc32c=AAAAAA==,md5={base64.b64encode(digest).decode()}"
        return Reply(200, content, headers)


class KaggleService(Service):
    """The API. `environment()` is what makes `kagglehub` come here."""

    def __init__(self, port: int = 0, storage_port: int = 0) -> None:
        super().__init__(port)
        self.storage = KaggleStorage(storage_port)
        self.datasets: dict[str, KaggleDataset] = {}
        self.key = ""
        """Where set, private datasets need it."""
        self._signatures = 0
        self.sites: list[Service] = []
        """Services that are asked through this one, by the origin that they are `known_as`."""

    def asked_for(self, request: Request) -> Service:
        """A site, by the request's origin; Kaggle otherwise."""
        return next((site for site in self.sites if site.known_as == request.base_url), self)

    def start(self) -> "KaggleService":
        """Serves both origins."""
        self.storage.start()
        super().start()
        return self

    def stop(self) -> None:
        """Ends both."""
        super().stop()
        self.storage.stop()

    def environment(self) -> dict[str, str]:
        """Variables under which an untouched `kagglehub` talks to this service."""
        return {
            "KAGGLE_API_ENVIRONMENT": "LOCALHOST", "http_proxy": self.url, "no_proxy": "127.0.0.1",
        }  # fmt: skip

    def add(self, handle: str, archive: bytes, **options: Any) -> KaggleDataset:
        """A new version of a dataset."""
        dataset = self.datasets.setdefault(handle, KaggleDataset(**options))
        dataset.versions.append(archive)
        return dataset

    def answer(self, request: Request) -> Reply:
        """`GetDataset` and `DownloadDataset`."""
        route = urlsplit(request.path).path.removeprefix("/api/v1/datasets.DatasetApiService/")
        asked = orjson.loads(request.body or b"{}")
        handle = f"{asked.get('ownerSlug')}/{asked.get('datasetSlug')}"
        dataset = self.datasets.get(handle)
        if dataset is None:
            return _error(404, "Dataset not found")
        signed_in = bool(self.key) and self.key in _credentials(request)
        if dataset.private and not signed_in:
            return _error(403, "Permission denied")
        if route == "GetDataset":
            number = len(dataset.versions)
            body = {"ref": handle, "currentVersionNumber": number, "isPrivate": dataset.private}
            return Reply(200, orjson.dumps(body), {"Content-Type": "application/json"})
        if route == "DownloadDataset":
            return self._download(
                handle, dataset, int(asked.get("datasetVersionNumber") or len(dataset.versions))
            )
        return _error(404, "no such route")

    def _download(self, handle: str, dataset: KaggleDataset, version: int) -> Reply:
        if not 1 <= version <= len(dataset.versions):
            return _error(404, "no such version")
        path = f"/{handle}/v{version}/archive.zip"
        self.storage.objects[path] = dataset.versions[version - 1]
        self.storage.tells_md5 = dataset.md5
        self._signatures += 1
        location = f"{self.storage.url}{path}?X-Goog-Signature=secret{self._signatures}"
        return Reply(302, b"", {"Location": location})


def _credentials(request: Request) -> str:
    kind, _, value = (request.headers.get("Authorization") or "").partition(" ")
    return base64.b64decode(value).decode() if kind == "Basic" else value


def _error(status: int, message: str) -> Reply:
    body = orjson.dumps({"code": status, "message": message})
    return Reply(status, body, {"Content-Type": "application/json"})
