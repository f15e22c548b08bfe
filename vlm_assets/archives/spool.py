"""Members on disk for as long as they are read: an archive inside one that cannot be positioned in."""

import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO, Final

from vlm_assets.archives.streams import Stream
from vlm_assets.words.errors import write_error

_COPY_BYTES: Final = 2**20


class MemberSpool:
    """A folder of its own, made when it is first needed and removed with everything in it."""

    def __init__(self, parent: Path | None) -> None:
        self._parent = parent
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._count = 0

    def put(self, stream: Stream) -> Path:
        """A file with all of the stream.

        Raises:
            DiskFullError: there is no room for it.
            StoreError: it cannot be written.
        """
        path = self._next_path()
        with ExitStack() as unfinished:
            unfinished.callback(path.unlink, missing_ok=True)
            with path.open("xb", buffering=0) as file:
                while data := stream.read(_COPY_BYTES):
                    _write(file, data, path)
            unfinished.pop_all()
        return path

    def close(self) -> None:
        """Removes everything."""
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None

    def _next_path(self) -> Path:
        if self._folder is None:
            if self._parent is not None:
                self._parent.mkdir(parents=True, exist_ok=True)
            self._folder = tempfile.TemporaryDirectory(
                prefix="archive-", dir=self._parent, ignore_cleanup_errors=True
            )
        self._count += 1
        return Path(self._folder.name) / f"{self._count:06d}"


def _write(file: BinaryIO, data: bytes, path: Path) -> None:
    left = memoryview(data)
    try:
        while left:
            left = left[file.write(left) :]
    except OSError as error:
        raise write_error(path, error) from error
