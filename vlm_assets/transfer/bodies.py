"""A body on its way from the network to the spool: in memory while it is small, then in a file; codings undone."""

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import BinaryIO, Final, Self

from vlm_assets.transfer.encodings import NotCodedError, OverCapError, decoded_pieces
from vlm_assets.transfer.spool import INLINE_BYTES
from vlm_assets.words.errors import write_error

_PIECE: Final = 2**20


@dataclass(frozen=True, slots=True)
class Body:
    """What one URL gave, in memory or in a synced file of the spool's folder."""

    content: bytes | Path
    size_bytes: int
    sha256: str
    """Of a body with a declared hash; else empty."""

    def opened(self) -> BinaryIO:
        """To be read from its beginning."""
        return BytesIO(self.content) if isinstance(self.content, bytes) else self.content.open("rb")

    def drop(self) -> None:
        """Remove its file, if it has one."""
        if isinstance(self.content, Path):
            self.content.unlink(missing_ok=True)


class Sink:
    """Takes the pieces of one body; a context manager. From `INLINE_BYTES` on they lie in the file at `path`."""

    def __init__(self, path: Path, cap: int, *, hashed: bool) -> None:
        self.size_bytes = 0
        self._path = path
        self._cap = cap
        self._hasher = hashlib.sha256() if hashed else None
        self._pieces: list[bytes] = []
        self._file: BinaryIO | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()

    def add(self, piece: bytes) -> None:
        """One more piece.

        Raises:
            OverCapError: that makes more than the cap.
            DiskFullError, StoreError: it cannot be written.
        """
        self.size_bytes += len(piece)
        if self.size_bytes > self._cap:
            raise OverCapError
        if self._hasher is not None:
            self._hasher.update(piece)
        if self.size_bytes <= INLINE_BYTES:
            self._pieces.append(piece)
            return
        try:
            if self._file is None:
                self._file = self._path.open("wb")
                self._file.writelines(self._pieces)
                self._pieces.clear()
            self._file.write(piece)
        except OSError as error:
            raise write_error(self._path, error) from error

    @property
    def on_disk(self) -> bool:
        """Whether `body` will have to wait for the disk."""
        return self._file is not None

    def body(self) -> Body:
        """All pieces as one.

        Raises:
            DiskFullError, StoreError: they cannot be written.
        """
        digest = self._hasher.hexdigest() if self._hasher is not None else ""
        if self._file is None:
            content = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
            return Body(content, self.size_bytes, digest)
        try:
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise write_error(self._path, error) from error
        return Body(self._path, self.size_bytes, digest)


def without_codings(body: Body, codings: Sequence[str], path: Path, cap: int, *, hashed: bool) -> Body:
    """The body with its codings undone; from where one turns out not to be there, as it is.

    Args:
        body: Of the wire; its file goes.
        codings: As `encodings.codings_of` has them.
        path: For a large body; another name than its file has.
        cap: Bytes that may come out.
        hashed: Whether the result wants its sha256.

    Raises:
        OverCapError: more than `cap` bytes come out.
        FaultError: the body ends before its coding does.
        DiskFullError, StoreError: it cannot be written.
    """
    for number, coding in enumerate(reversed(codings)):
        try:
            after = _without(body, coding, path.with_name(f"{path.stem}-{number}{path.suffix}"), cap)
        except NotCodedError:
            break
        body.drop()
        body = after
    if not hashed:
        return body
    hasher = hashlib.sha256()
    with body.opened() as file:
        while piece := file.read(_PIECE):
            hasher.update(piece)
    return Body(body.content, body.size_bytes, hasher.hexdigest())


def _without(body: Body, coding: str, path: Path, cap: int) -> Body:
    with body.opened() as source, Sink(path, cap, hashed=False) as sink:
        for piece in decoded_pieces(source, coding):
            sink.add(piece)
        return sink.body()
