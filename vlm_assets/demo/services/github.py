"""GitHub's release API on loopback: releases, paged assets with digests, ETags, downloads from another origin."""

from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

import orjson

from vlm_assets.demo.services.base import Reply, Request, Service

_PAGE = 30


@dataclass(slots=True)
class Release:
    """One release with its assets by name."""

    tag: str
    assets: dict[str, bytes]
    digests: bool = True
    """Assets uploaded before mid-2025 have none."""
    updated_at: str = "2024-05-01T00:00:00Z"
    ids: dict[str, int] = field(default_factory=dict)


class GitHubStorage(Service):
    """The origin that asset downloads redirect to."""

    def __init__(self, port: int = 0) -> None:
        super().__init__(port)
        self.objects: dict[str, bytes] = {}

    def answer(self, request: Request) -> Reply:
        """An asset's bytes. Like the real one, it refuses a request that still carries credentials."""
        if request.headers.get("Authorization"):
            return Reply(400, b"only one auth mechanism allowed")
        content = self.objects.get(request.path)
        if content is None:
            return Reply(404)
        return Reply(
            200, content, {"Accept-Ranges": "bytes", "ETag": f'"{sha256(content).hexdigest()[:16]}"'}
        )


class GitHubService(Service):
    """`/api/v3/...` as an Enterprise server has it, and `/{owner}/{repo}/releases/download/...`."""

    def __init__(self, port: int = 0, storage_port: int = 0) -> None:
        super().__init__(port)
        self.storage = GitHubStorage(storage_port)
        self.releases: dict[str, list[Release]] = {}
        self.token = ""
        """Where set, every request to the API needs it."""
        self.limit_left: int | None = None
        """Requests left before 403 with rate-limit headers; None: no limit."""
        self.limit_reset_at = 0
        self._next_id = 1000

    def start(self) -> "GitHubService":
        """Serves both origins."""
        self.storage.start()
        super().start()
        return self

    def stop(self) -> None:
        """Ends both."""
        super().stop()
        self.storage.stop()

    @property
    def api_url(self) -> str:
        """What `GITHUB_API_URL` or the key `api` is set to."""
        return f"{self.url}/api/v3"

    def release(self, repo: str, tag: str, assets: dict[str, bytes], **options: Any) -> Release:
        """A new release, the latest of its repository."""
        release = Release(tag, dict(assets), **options)
        for name in assets:
            release.ids[name] = self._next_id
            self._next_id += 1
        self.releases.setdefault(repo, []).append(release)
        return release

    def answer(self, request: Request) -> Reply:
        """Routes of the API and of downloads."""
        parts = request.path.strip("/").split("/")
        if parts[:3] == ["api", "v3", "repos"]:
            return self._api(request, "/".join(parts[3:5]), parts[5:])
        if len(parts) >= 6 and parts[2:4] == ["releases", "download"] and not self.token:
            return self._download("/".join(parts[:2]), parts[4], parts[5])
        return _error(404)

    def _api(self, request: Request, repo: str, rest: list[str]) -> Reply:
        if self.token and request.headers.get("Authorization") != f"Bearer {self.token}":
            return _error(401 if request.headers.get("Authorization") else 404)
        if self.limit_left is not None:
            if self.limit_left <= 0:
                headers = {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": str(self.limit_reset_at)}
                return Reply(403, b'{"message":"API rate limit exceeded"}', headers)
            self.limit_left -= 1
        releases = self.releases.get(repo, [])
        if rest == ["releases"]:
            return _json([self._shown(request, repo, one) for one in reversed(releases)])
        if rest == ["releases", "latest"] and releases:
            return _json(self._shown(request, repo, releases[-1]))
        if rest[:2] == ["releases", "tags"]:
            found = next((one for one in releases if one.tag == "/".join(rest[2:])), None)
            return _json(self._shown(request, repo, found)) if found else _error(404)
        if rest[:2] == ["releases", "assets"]:
            return self._asset(request, repo, int(rest[2]))
        if len(rest) == 3 and rest[2] == "assets":
            return self._assets(request, repo, releases[int(rest[1]) - 1])
        return _error(404)

    def _shown(self, request: Request, repo: str, release: Release) -> dict[str, Any]:
        number = self.releases[repo].index(release) + 1
        base = f"{request.base_url}/api/v3/repos/{repo}/releases/{number}"
        return {"id": number, "tag_name": release.tag, "draft": False, "prerelease": False,
                "url": base, "assets_url": f"{base}/assets"}  # fmt: skip

    def _assets(self, request: Request, repo: str, release: Release) -> Reply:
        page = int(request.query.get("page", "1"))
        names = sorted(release.assets)
        shown = names[(page - 1) * _PAGE : page * _PAGE]
        headers = {}
        if page * _PAGE < len(names):
            headers["Link"] = f'<{request.base_url}{request.path}?per_page=100&page={page + 1}>; rel="next"'
        return _json([self._asset_shown(request, repo, release, name) for name in shown], headers)

    def _asset_shown(self, request: Request, repo: str, release: Release, name: str) -> dict[str, Any]:
        content, number = release.assets[name], release.ids[name]
        return {
            "id": number, "name": name, "size": len(content), "state": "uploaded",
            "updated_at": release.updated_at,
            "digest": f"sha256:{sha256(content).hexdigest()}" if release.digests else None,
            "url": f"{request.base_url}/api/v3/repos/{repo}/releases/assets/{number}",
            "browser_download_url": f"{request.base_url}/{repo}/releases/download/{release.tag}/{name}",
        }  # fmt: skip

    def _asset(self, request: Request, repo: str, number: int) -> Reply:
        for release in self.releases.get(repo, []):
            for name, asset_id in release.ids.items():
                if asset_id == number and request.headers.get("Accept") == "application/octet-stream":
                    return self._redirect(repo, release, name)
        return _error(404)

    def _download(self, repo: str, tag: str, name: str) -> Reply:
        release = next((one for one in self.releases.get(repo, []) if one.tag == tag), None)
        if release is None or name not in release.assets:
            return _error(404)
        return self._redirect(repo, release, name)

    def _redirect(self, repo: str, release: Release, name: str) -> Reply:
        path = f"/{repo}/{release.tag}/{name}"
        self.storage.objects[path] = release.assets[name]
        return Reply(302, b"", {"Location": f"{self.storage.url}{path}?sig=signed-and-secret"})


def _json(value: Any, headers: dict[str, str] | None = None) -> Reply:
    body = orjson.dumps(value)
    etag = f'W/"{sha256(body).hexdigest()[:16]}"'
    return Reply(200, body, {"Content-Type": "application/json", "ETag": etag, **(headers or {})})


def _error(status: int) -> Reply:
    return Reply(status, b'{"message":"Not Found"}', {"Content-Type": "application/json"})
