"""A Hub on loopback: dataset info, tree, resolve with LFS redirects to a second origin, gated and private repos.

Speaks what `huggingface_hub` 2.4 asks for: `/api/datasets/{repo}[/revision/{rev}]`, paged
`/api/datasets/{repo}/tree/{rev}`, `/datasets/{repo}/resolve/{rev}/{path}`. Over plain http the client understands a
401 only with an `X-Error-Code` header.
"""

from dataclasses import dataclass, field
from hashlib import sha1, sha256
from typing import Any, Literal
from urllib.parse import quote

import orjson

from vlm_assets.demo.services.base import Reply, Request, Service

LFS_BYTES = 4096
_TREE_PAGE = 50
_LFS_SUFFIXES = (".parquet", ".arrow", ".tar", ".zip", ".jpg", ".png", ".webp")


@dataclass(slots=True)
class Commit:
    """One revision of a repository: path to content."""

    files: dict[str, bytes]
    sha: str


@dataclass(slots=True)
class HubRepo:
    """A dataset repository with its commits, newest last; `main` is the last."""

    name: str
    commits: list[Commit] = field(default_factory=list)
    access: Literal["open", "gated", "private"] = "open"
    token: str = ""
    tags: dict[str, str] = field(default_factory=dict)

    def commit(self, files: dict[str, bytes]) -> str:
        """Adds a commit with exactly these files; gives its sha."""
        digest = sha1(f"{self.name}:{len(self.commits)}".encode())  # noqa: S324  # git's own hash, no secret
        for path in sorted(files):
            digest.update(path.encode() + sha256(files[path]).digest())
        self.commits.append(Commit(dict(files), digest.hexdigest()))
        return self.commits[-1].sha

    def at(self, revision: str) -> Commit | None:
        """The commit of a branch, tag or sha."""
        if revision == "main":
            return self.commits[-1]
        sha = self.tags.get(revision, revision)
        return next((commit for commit in self.commits if commit.sha == sha), None)


def blob_id(content: bytes) -> str:
    """Git's blob hash."""
    return sha1(b"blob %d\0" % len(content) + content).hexdigest()  # noqa: S324  # git's own hash


def is_lfs(path: str, content: bytes) -> bool:
    """Whether the Hub would keep the file in LFS."""
    return path.endswith(_LFS_SUFFIXES) or len(content) > LFS_BYTES


class HubStorage(Service):
    """The other origin that LFS files redirect to."""

    def __init__(self, port: int = 0) -> None:
        super().__init__(port)
        self.objects: dict[str, bytes] = {}

    def answer(self, request: Request) -> Reply:
        """An object by its sha256."""
        content = self.objects.get(request.path.rsplit("/", 1)[-1])
        if content is None:
            return Reply(404)
        return Reply(200, content, {"Accept-Ranges": "bytes", "ETag": f'"{request.path[-64:]}"'})


class HubService(Service):
    """The Hub itself. `storage` is a second service, started by whoever starts this one."""

    def __init__(self, port: int = 0, storage_port: int = 0, storage: HubStorage | None = None) -> None:
        super().__init__(port)
        self.storage = storage or HubStorage(storage_port)
        self.repos: dict[str, HubRepo] = {}

    def start(self) -> "HubService":
        """Serves both origins."""
        self.storage.start()
        super().start()
        return self

    def stop(self) -> None:
        """Ends both."""
        super().stop()
        self.storage.stop()

    def add(self, name: str, files: dict[str, bytes], **options: Any) -> HubRepo:
        """A new repository with one commit."""
        repo = self.repos[name] = HubRepo(name, **options)
        repo.commit(files)
        return repo

    def answer(self, request: Request) -> Reply:
        """Routes of the API and of file downloads."""
        parts = request.path.strip("/").split("/")
        if parts[:2] == ["api", "datasets"] and len(parts) >= 4:
            repo, rest = self.repos.get("/".join(parts[2:4])), parts[4:]
        elif parts[0] == "datasets" and len(parts) >= 6 and parts[3] == "resolve":
            repo, rest = self.repos.get("/".join(parts[1:3])), parts[3:]
        else:
            return _error(404, "EntryNotFound")
        refused = _refusal(repo, request)
        if repo is None or refused is not None:
            return refused or _error(401, "RepoNotFound")
        verb, revision = (rest[0], rest[1]) if len(rest) >= 2 else ("revision", "main")
        commit = repo.at(revision)
        if commit is None:
            return _error(404, "RevisionNotFound")
        if verb == "tree":
            return _tree(request, repo, commit, "/".join(rest[2:]))
        if verb == "resolve":
            return self._resolve(commit, "/".join(rest[2:]))
        return _json({"id": repo.name, "sha": commit.sha, "gated": repo.access == "gated", "tags": [],
                      "private": repo.access == "private", "disabled": False,
                      "siblings": [{"rfilename": path} for path in sorted(commit.files)]})  # fmt: skip

    def _resolve(self, commit: Commit, path: str) -> Reply:
        content = commit.files.get(path)
        if content is None:
            return _error(404, "EntryNotFound", {"X-Repo-Commit": commit.sha})
        headers = {"X-Repo-Commit": commit.sha, "Accept-Ranges": "bytes"}
        if not is_lfs(path, content):
            return Reply(200, content, {**headers, "ETag": f'"{blob_id(content)}"'})
        digest = sha256(content).hexdigest()
        self.storage.objects[digest] = content
        return Reply(302, b"", {
            "X-Repo-Commit": commit.sha, "X-Linked-ETag": f'"{digest}"', "X-Linked-Size": str(len(content)),
            "Location": f"{self.storage.url}/lfs/{digest}?X-Amz-Signature=signed-and-secret",
        })  # fmt: skip


def _refusal(repo: HubRepo | None, request: Request) -> Reply | None:
    if repo is None:
        return _error(401, "RepoNotFound")
    known = bool(repo.token) and request.headers.get("Authorization") == f"Bearer {repo.token}"
    if repo.access == "open" or known:
        return None
    if repo.access == "gated":
        is_info = request.path.startswith("/api/") and "/tree/" not in request.path
        return None if is_info else _error(403 if request.headers.get("Authorization") else 401, "GatedRepo")
    return _error(401, "RepoNotFound")


def _tree(request: Request, repo: HubRepo, commit: Commit, folder: str) -> Reply:
    entries: list[dict[str, Any]] = []
    for path in sorted(commit.files):
        if folder and not path.startswith(folder + "/"):
            continue
        content = commit.files[path]
        entry: dict[str, Any] = {"type": "file", "path": path, "size": len(content), "oid": blob_id(content)}
        if is_lfs(path, content):
            pointer = (
                f"version https://git-lfs\noid sha256:{sha256(content).hexdigest()}\nsize {len(content)}\n"
            )
            entry["oid"] = blob_id(pointer.encode())
            entry["lfs"] = {
                "oid": sha256(content).hexdigest(),
                "size": len(content),
                "pointerSize": len(pointer),
            }
        entries.append(entry)
    start = int(request.query.get("cursor", "0"))
    headers = {}
    if start + _TREE_PAGE < len(entries):
        query = "&".join(f"{k}={quote(v)}" for k, v in request.query.items() if k != "cursor")
        url = f"{request.base_url}/api/datasets/{repo.name}/tree/{commit.sha}?{query}&cursor={start + _TREE_PAGE}"
        headers["Link"] = f'<{url}>; rel="next"'
    return _json(entries[start : start + _TREE_PAGE], headers)


def _json(value: Any, headers: dict[str, str] | None = None) -> Reply:
    return Reply(200, orjson.dumps(value), {"Content-Type": "application/json", **(headers or {})})


def _error(status: int, code: str, headers: dict[str, str] | None = None) -> Reply:
    body = orjson.dumps({"error": code})
    return Reply(status, body, {"X-Error-Code": code, "Content-Type": "application/json", **(headers or {})})
