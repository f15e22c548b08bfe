"""7z archives through `py7zr` in a process of its own, whose memory is bounded: the near end of it."""

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any, Final, cast

import vlm_assets
from vlm_assets.archives.limits import Budget, DamagedArchiveError, MemberFaultError
from vlm_assets.archives.members import Entry
from vlm_assets.archives.names import safe_name
from vlm_assets.archives.streams import ChunkStream
from vlm_assets.words.errors import OperationError, RejectReason, StoreError

MEMORY_BYTES: Final = 896 * 2**20
"""Address space of the process: what a dictionary of 256 MiB takes, and the interpreter."""
_ROOT: Final = str(Path(vlm_assets.__file__).parent.parent)
_PROGRAM: Final = (
    "import sys; sys.path.insert(0, sys.argv[1]); "
    "from vlm_assets.archives import seven_zip_child; seven_zip_child.main(sys.argv[2:])"
)
_HEAD_BYTES: Final = 5
_DISK: Final = "disk"
"""Said by the far end; see there."""


class EncryptedNamesError(DamagedArchiveError):
    """The archive's own directory is behind a password."""


class SevenZipReader:
    """One 7z archive, from front to back. `parts`: its files, one or more."""

    def __init__(self, parts: Sequence[Path], budget: Budget) -> None:
        self._parts = parts
        self._budget = budget
        self._process: subprocess.Popen[bytes] | None = None
        self._message: list[Any] = []

    def entries(self) -> Iterator[Entry]:
        """All members in the archive's order.

        Raises:
            DamagedArchiveError: its header or the reading process does not hold out to the end.
            EncryptedNamesError: its header is behind a password.
            BombError: too many members.
        """
        command = [sys.executable, "-P", "-c", _PROGRAM, _ROOT, str(MEMORY_BYTES), *map(str, self._parts)]
        try:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
            )
        except OSError as error:
            raise OperationError(f"cannot start a process to read a 7z archive: {error}") from error
        try:
            while (message := self._next())[0] == "member":
                self._budget.member()
                yield self._entry(*message[1:])
                for _ in self._chunks():
                    pass
            if message[0] == "fault":
                if message[1] == _DISK:
                    raise StoreError(f"{self._budget.where}: cannot be read: {message[2]}")
                kind = EncryptedNamesError if message[1] == RejectReason.ENCRYPTED else DamagedArchiveError
                raise kind(f"{self._budget.where}: the 7z archive cannot be read ({message[2]})")
        finally:
            self._process.kill()
            self._process.wait()
            cast("IO[bytes]", self._process.stdout).close()

    def _entry(self, raw_name: str, size: int, is_folder: bool, is_link: bool) -> Entry:  # noqa: FBT001  # of a message
        name, unsafe = safe_name(raw_name.encode("utf-8", "replace").decode())
        self._message = []
        return Entry(
            name, lambda: ChunkStream(self._faithful()), size, is_folder=is_folder,
            unsafe=unsafe or ("a link or a device" if is_link else ""),
        )  # fmt: skip

    def _faithful(self) -> Iterator[bytes]:
        """The present member's bytes, and its fault where it has one."""
        yield from self._chunks()
        if self._message[0] == "fault":
            if self._message[1] == _DISK:
                raise StoreError(f"{self._budget.where}: cannot be read: {self._message[2]}")
            raise MemberFaultError(RejectReason(self._message[1]), self._message[2])

    def _chunks(self) -> Iterator[bytes]:
        """The present member's bytes, up to its closing message."""
        while not self._message:
            kind, data = self._frame()
            if kind == b"J":
                self._message = json.loads(data)
                return
            self._budget.unpack(len(data))
            yield data

    def _next(self) -> list[Any]:
        kind, data = self._frame()
        if kind != b"J":
            raise DamagedArchiveError(f"{self._budget.where}: the 7z reader answers out of turn")
        return cast("list[Any]", json.loads(data))

    def _frame(self) -> tuple[bytes, bytes]:
        process = cast("subprocess.Popen[bytes]", self._process)
        answers = cast("IO[bytes]", process.stdout)
        head = answers.read(_HEAD_BYTES)
        size = int.from_bytes(head[1:], "little")
        data = answers.read(size)
        if len(head) < _HEAD_BYTES or len(data) < size:
            raise DamagedArchiveError(
                f"{self._budget.where}: the 7z reader died (status {process.wait()}); the archive is damaged, or "
                "needs too much memory"
            )
        return head[:1], data
