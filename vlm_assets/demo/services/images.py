"""A web site of pictures: some gone, some slow to answer, some that do not want to be in a corpus."""

from vlm_assets.demo.services.base import Reply, Request, Service
from vlm_assets.demo.services.pictures import picture

GONE = frozenset({7, 31})
NOAI = frozenset({11})
HTML = frozenset({19})
PRIVATE = frozenset({23})
"""Forbidden by robots.txt."""


class ImageSite(Service):
    """`/<folder>/<number>.jpg` is a picture; robots.txt forbids `/private/`.

    A few numbers are gone (404), marked `noai`, or a web page under an image's name.
    """

    def answer(self, request: Request) -> Reply:
        """The picture of a path."""
        if request.path == "/robots.txt":
            return Reply(body=b"User-agent: *\nDisallow: /private/\n", headers={"Content-Type": "text/plain"})
        folder, _, name = request.path.strip("/").rpartition("/")
        number = int(name.removesuffix(".jpg")) if name.removesuffix(".jpg").isdigit() else -1
        if number < 0 or number in GONE:
            return Reply(404, b"gone")
        if number in HTML:
            return Reply(body=b"<html><body>Sorry</body></html>", headers={"Content-Type": "text/html"})
        made = picture(f"{folder}-{number}", folder.rpartition("/")[2] or "garden")
        headers = {"Content-Type": "image/jpeg"}
        if number in NOAI:
            headers["X-Robots-Tag"] = "noai"
        return Reply(body=made.data, headers=headers)

    def url_of(self, folder: str, number: int) -> str:
        """Where a picture lies; those in `PRIVATE` below a folder that robots.txt forbids."""
        prefix = "private/" if number in PRIVATE else ""
        return f"{self.url}/{prefix}{folder}/{number}.jpg"
