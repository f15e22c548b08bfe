"""What a listing knows of a file in a repository, without the client library that asked for it."""

from dataclasses import dataclass
from hashlib import sha1, sha256


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
