"""Every file of a folder tree, each once: what may be wanted, by key, and what nobody wants whatever is in it."""

import os
from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from dataclasses import replace
from pathlib import Path
from typing import Final

from vlm_assets.archives.names import is_hidden, is_junk
from vlm_assets.words.errors import LeftOut, LeftOutReason, SourceError
from vlm_assets.words.layout import nfc

_HEAD_BYTES: Final = 4096


class FolderWalk:
    """The files of a folder tree. Links to files are followed, to folders not; pipes and devices are no files."""

    def __init__(self, source: str, root: Path) -> None:
        """Walks.

        Raises:
            SourceError: the folder is missing, or one in it cannot be read (but a hidden one): an item would be lost.
        """
        self._source = source
        self._root = os.fspath(root)
        self.files: dict[str, str] = {}
        """Names as they are on disk, by NFC key: the path below the folder with `/`. Junk and hidden ones are out."""
        self.left_out: list[LeftOut] = []
        self.count = 0
        """All files, and each hidden folder that cannot be read."""
        self._out: set[str] = set()
        self._twice: dict[str, list[str]] = {}
        if not root.is_dir():
            raise SourceError(f"source {source}: {root} is not a folder; is the volume mounted?")
        folders = [""]
        while folders:
            folder = folders.pop()
            for entry in self._entries(folder):
                name = folder + entry.name
                if entry.is_dir(follow_symlinks=False):
                    folders.append(f"{name}/")
                elif entry.is_file() or entry.is_symlink():
                    self._enter(name)

    @property
    def out(self) -> AbstractSet[str]:
        """Keys of `files` that are left out by now."""
        return self._out

    def record(self, left_out: Iterable[LeftOut]) -> None:
        """Puts files on record as left out, each with its size; all files of a name."""
        for one in left_out:
            self._out.add(one.key)
            for name in (self.files[one.key], *self._twice.get(one.key, ())):
                self.left_out.append(replace(one, size_bytes=_size(f"{self._root}/{name}")))

    def leave_out(self, keys: Iterable[str], reason: LeftOutReason, detail: str = "") -> None:
        """Puts files on record as left out."""
        self.record(LeftOut(key, reason, detail) for key in sorted(keys))

    def check_names(self, keys: Iterable[str]) -> None:
        """Returns where each of these keys is the name of one file.

        Raises:
            SourceError: two files have the same name once in Unicode NFC.
        """
        for key in self._twice.keys() & set(keys):
            raise SourceError(
                f"source {self._source}: two files are named {key} once in Unicode NFC; rename one of "
                f"{os.fsencode(self.files[key])!r}, {os.fsencode(self._twice[key][0])!r}"
            )

    def head_of(self, key: str) -> bytes | None:
        """The first bytes of a file; None where it cannot be read."""
        try:
            with Path(self._root, self.files[key]).open("rb") as file:
                return file.read(_HEAD_BYTES)
        except OSError:
            return None

    def _enter(self, name: str) -> None:
        key = nfc(name)
        self.count += 1
        if is_junk(key) or is_hidden(key):
            reason = LeftOutReason.OS_JUNK if is_junk(key) else LeftOutReason.HIDDEN
            self.left_out.append(LeftOut(key, reason, "", _size(f"{self._root}/{name}")))
        elif key in self.files:
            self._twice.setdefault(key, []).append(name)
        else:
            self.files[key] = name

    def _entries(self, folder: str) -> list[os.DirEntry[str]]:
        try:
            with os.scandir(f"{self._root}/{folder}") as entries:
                return list(entries)
        except OSError as error:
            key = nfc(folder.rstrip("/"))
            if not is_hidden(key) and not is_junk(key):
                where = f"{self._root}/{folder}"
                raise SourceError(f"source {self._source}: cannot read {where}: {error.strerror}") from error
            self.count += 1
            reason = LeftOutReason.OS_JUNK if is_junk(key) else LeftOutReason.HIDDEN
            self.left_out.append(LeftOut(key, reason, f"a folder that cannot be read: {error.strerror}"))
            return []


def _size(path: str) -> int | None:
    try:
        return Path(path).stat().st_size
    except OSError:
        return None
