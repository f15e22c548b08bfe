"""Images at URLs of their own, as any web server has them, with robots.txt."""

from hashlib import sha256

from vlm_assets.demo.services.base import Reply, Request, Service

_TYPES = {
    "jpg": "image/jpeg",
    "png": "image/png",
    "webp": "image/webp",
    "txt": "text/plain",
    "csv": "text/csv",
}


class StaticService(Service):
    """Files by path."""

    def __init__(self, port: int = 0) -> None:
        super().__init__(port)
        self.files: dict[str, bytes] = {"/robots.txt": b"User-agent: *\nAllow: /\n"}

    def add(self, path: str, content: bytes) -> str:
        """A file; gives its URL."""
        self.files[path] = content
        return f"{self.url}{path}"

    def answer(self, request: Request) -> Reply:
        """A file with its type and ETag."""
        content = self.files.get(request.path)
        if content is None:
            return Reply(404, b"not here", {"Content-Type": "text/plain"})
        kind = _TYPES.get(request.path.rsplit(".", 1)[-1], "application/octet-stream")
        etag = f'"{sha256(content).hexdigest()[:16]}"'
        return Reply(200, content, {"Content-Type": kind, "ETag": etag, "Accept-Ranges": "bytes"})
