"""What a listing knows of a file in a repository, without the client library that asked for it."""

from dataclasses import dataclass


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
