"""A Hub on loopback that can be written to: repositories, LFS uploads to a second origin, commits, old files.

Speaks what `huggingface_hub` 2.4 sends: `/api/repos/create`, `/api/validate-yaml`, and of a repository `preupload`,
`commit` (lines of JSON), the LFS batch API, `lfs-files`. With `xet` a folder, it answers that chunks go there: hf_xet
then chunks, compares and stores them by itself, on this disk.
"""

import base64
from hashlib import sha256
from pathlib import Path
from typing import Any

import orjson

from vlm_assets.demo.services.base import Reply, Request
from vlm_assets.demo.services.huggingface import HubRepo, HubService, HubStorage, is_lfs

TOKEN = "hf_written"
PUSHED = "2026-01-01T00:00:00.000Z"


class WritableStorage(HubStorage):
    """Takes objects, and counts what came."""

    size_bytes = 0

    def answer(self, request: Request) -> Reply:
        if request.method != "PUT":
            return super().answer(request)
        digest = request.path.rsplit("/", 1)[-1]
        if sha256(request.body).hexdigest() != digest:
            return Reply(400, b"other bytes than announced")
        self.objects[digest] = request.body
        self.size_bytes += len(request.body)
        return Reply(200)


class WritableHub(HubService):
    """Whoever has `TOKEN` may write, and see what is private."""

    def __init__(self, *, xet: Path | None = None) -> None:
        self.received = WritableStorage()
        super().__init__(storage=self.received)
        self.xet = xet

    def answer(self, request: Request) -> Reply:
        parts = request.path.strip("/").split("/")
        if request.method == "POST" and request.headers.get("Authorization") != f"Bearer {TOKEN}":
            return _refused(401, "")
        if request.path == "/api/repos/create":
            return self._create(orjson.loads(request.body))
        if request.path == "/api/validate-yaml":
            return _json({})
        if parts[0] == "datasets" and request.path.endswith(".git/info/lfs/objects/batch"):
            return self._batch(orjson.loads(request.body))
        repo = self.repos.get("/".join(parts[2:4])) if parts[:2] == ["api", "datasets"] else None
        action = parts[4] if len(parts) > 4 else ""
        if repo is None or action not in {"preupload", "commit", "lfs-files", "xet-write-token"}:
            return super().answer(request)
        if action == "preupload":
            return _json({"files": [_mode(one, repo) for one in orjson.loads(request.body)["files"]]})
        if action == "commit":
            return self._commit(repo, [orjson.loads(line) for line in request.body.splitlines()])
        if action == "xet-write-token":
            return _json({"casUrl": f"local://{self.xet}", "accessToken": "chunks", "exp": 4_000_000_000})
        return self._forget(repo, orjson.loads(request.body)) if request.method == "POST" else self._old(repo)

    def _create(self, asked: dict[str, Any]) -> Reply:
        name = f"{asked['organization']}/{asked['name']}"
        if name in self.repos:
            return _refused(409, "")
        access = "private" if asked.get("visibility") == "private" else "open"
        self.add(name, {".gitattributes": b"*.parquet filter=lfs\n"}, access=access, token=TOKEN)
        return _json({"url": f"{self.url}/datasets/{name}"})

    def _batch(self, asked: dict[str, Any]) -> Reply:
        objects = []
        for one in asked["objects"]:
            known = one["oid"] in self.storage.objects
            actions = {"actions": {"upload": {"href": f"{self.storage.url}/upload/{one['oid']}"}}}
            objects.append({**one, **({} if known else actions)})
        return _json({"transfer": "basic", "objects": objects})

    def _commit(self, repo: HubRepo, lines: list[dict[str, Any]]) -> Reply:
        files = dict(repo.commits[-1].files)
        for line in lines:
            value = line["value"]
            if (
                line["key"] == "header"
                and value.get("parentCommit", repo.commits[-1].sha) != repo.commits[-1].sha
            ):
                return _refused(412, "")
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            if line["key"] == "lfsFile":
                files[value["path"]] = self.storage.objects.get(
                    value["oid"], b"chunks " + value["oid"].encode()
                )
            if line["key"] == "deletedFile":
                del files[value["path"]]
        sha = repo.commit(files)
        return _json({"commitUrl": f"{self.url}/datasets/{repo.name}/commit/{sha}", "commitOid": sha})

    def _old(self, repo: HubRepo) -> Reply:
        found = {
            sha256(content).hexdigest(): (path, len(content))
            for commit in repo.commits
            for path, content in commit.files.items()
            if is_lfs(path, content) and path.endswith(".parquet")
        }
        return _json([
            {"fileOid": oid, "filename": path, "oid": oid, "ref": None, "size": size, "pushedAt": PUSHED}
            for oid, (path, size) in found.items()
        ])  # fmt: skip

    def _forget(self, repo: HubRepo, asked: dict[str, Any]) -> Reply:
        gone = set(asked["deletions"]["sha"])
        for commit in repo.commits:
            commit.files = {
                path: content
                for path, content in commit.files.items()
                if sha256(content).hexdigest() not in gone
            }
        return Reply(200)


def _mode(file: dict[str, Any], repo: HubRepo) -> dict[str, Any]:
    large = file["path"].endswith(".parquet")
    content = repo.commits[-1].files.get(file["path"])
    oid = None if content is None or not large else sha256(content).hexdigest()
    return {
        "path": file["path"],
        "uploadMode": "lfs" if large else "regular",
        "shouldIgnore": False,
        "oid": oid,
    }


def _json(value: Any) -> Reply:
    return Reply(200, orjson.dumps(value), {"Content-Type": "application/json"})


def _refused(status: int, code: str) -> Reply:
    return Reply(
        status, b"{}", {"Content-Type": "application/json", **({"X-Error-Code": code} if code else {})}
    )
