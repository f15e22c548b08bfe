"""What a listing knows of a file in a repository, without the client library that asked for it."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha1, sha256
from pathlib import PurePosixPath
from typing import Any, Final

from vlm_assets.words.errors import SourceError

_SHA256: Final = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class RepoFile:
    """A file of a repository at one commit. `sha256` where it is in LFS or Xet, else only git's `blob_id`."""

    path: str
    size_bytes: int
    blob_id: str
    sha256: str | None = None

    @property
    def identity(self) -> str:
        """What changes with the content."""
        return self.sha256 or f"blob:{self.blob_id}"

    def is_made_of(self, content: bytes) -> bool:
        """Whether these are its bytes."""
        if self.sha256 is not None:
            return sha256(content).hexdigest() == self.sha256
        return sha1(b"blob %d\0" % len(content) + content).hexdigest() == self.blob_id  # noqa: S324 - git's own hash


def files_of(entries: Iterable[Any], where: str) -> list[RepoFile]:
    """The files among the entries of a tree as the client library gives them, sorted by path.

    Raises:
        SourceError: one has another shape, leads out of the repository, or comes twice, as in a circle of pages.
    """
    found: dict[str, RepoFile] = {}
    for entry in entries:
        if not hasattr(entry, "blob_id"):
            continue
        file = RepoFile(entry.path, entry.size, entry.blob_id, entry.lfs.sha256 if entry.lfs else None)
        if not _is_sound(file):
            raise SourceError(f"{where}: the list of files has one of another shape: {file!r:.300}")
        if file.path in found:
            raise SourceError(f"{where}: the list of files names {file.path!r:.200} twice")
        found[file.path] = file
    return [found[path] for path in sorted(found)]


def _is_sound(file: RepoFile) -> bool:
    texts = isinstance(file.path, str) and isinstance(file.blob_id, str)
    if not texts or type(file.size_bytes) is not int or file.size_bytes < 0:
        return False
    hashed = file.sha256 is None or (isinstance(file.sha256, str) and bool(_SHA256.fullmatch(file.sha256)))
    path = PurePosixPath(file.path)
    return (
        hashed
        and bool(path.parts)
        and not path.is_absolute()
        and ".." not in path.parts
        and "\0" not in file.path
    )
