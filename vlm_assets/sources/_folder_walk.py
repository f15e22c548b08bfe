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
from vlm_assets.words.moving import moved

_HEAD_BYTES: Final = 4096


class FolderWalk:
    """The files of a folder tree. Links are followed, each folder once; pipes and devices are no files.

    A link to a folder in the tree is not counted: its files are there under their own names. One that leads out of
    the tree is left out unless `follow_links`: whoever may write a name into a client's folder could read any file of
    this machine by it.
    """

    def __init__(self, source: str, root: Path, *, follow_links: bool = False) -> None:
        """Walks.

        Raises:
            SourceError: the folder is missing, or one in it cannot be read (but a hidden one): an item would be lost.
        """
        self._source = source
        self._root = os.fspath(root)
        self._real = os.path.realpath(root)
        self._follow_links = follow_links
        self.files: dict[str, str] = {}
        """Names as they are on disk, by NFC key: the path below the folder with `/`. Junk and hidden ones are out."""
        self.left_out: list[LeftOut] = []
        self.count = 0
        """All files, and each hidden folder that cannot be read."""
        self._out: set[str] = set()
        self._twice: dict[str, list[str]] = {}
        if not root.is_dir():
            raise SourceError(f"source {source}: {root} is not a folder; is the volume mounted?")
        self._links: list[tuple[str, str]] = []
        """Where each link to a folder leads, and its name: what holds others is walked before them."""
        self._walk("")
        walked = [os.path.realpath(root)]
        while self._links:
            self._links.sort(reverse=True)
            self._follow(*self._links.pop(), walked)

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

    def _walk(self, start: str) -> None:
        folders = [start]
        while folders:
            folder = folders.pop()
            for entry in self._entries(folder):
                moved()
                name = folder + entry.name
                if entry.is_dir(follow_symlinks=False):
                    folders.append(f"{name}/")
                elif entry.is_symlink():
                    self._link(name)
                elif entry.is_file():
                    self._enter(name)

    def _link(self, name: str) -> None:
        """Enters a link to a file, keeps one to a folder for later; on record where it leads to neither, or out."""
        real = os.path.realpath(f"{self._root}/{name}")
        inside = is_within(real, self._real)
        if not inside and not self._follow_links and not is_hidden(nfc(name)):
            self._leave_link(
                name, LeftOutReason.LINK_OUTSIDE, f"leads to {real}; follow_links: true takes it in"
            )
        elif Path(real).is_dir():
            self._links.append((real, name))
        elif Path(real).exists() and not Path(real).is_file():
            self._leave_link(name, LeftOutReason.UNKNOWN_TYPE, f"leads to {real}, which is no file")
        else:
            self._enter(name)

    def _leave_link(self, name: str, reason: LeftOutReason, detail: str) -> None:
        self.count += 1
        self.left_out.append(LeftOut(nfc(name), reason, detail[:300]))

    def _follow(self, real: str, link: str, walked: list[str]) -> None:
        """Walks the folder that a link leads to, unless it is in one of `walked`, or holds one."""
        key = nfc(link)
        if any(is_within(real, one) for one in walked):
            return
        if is_hidden(key) or any(is_within(one, real) for one in walked):
            self.count += 1
            reason = LeftOutReason.HIDDEN if is_hidden(key) else LeftOutReason.UNKNOWN_TYPE
            self.left_out.append(LeftOut(key, reason, "a link to a folder, not followed"))
            return
        walked.append(real)
        self._walk(f"{link}/")

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


def is_within(path: str, folder: str) -> bool:
    """Whether a path is a folder, or below it; both as `realpath` gives them."""
    return path == folder or path.startswith(f"{folder.rstrip('/')}/")


def _size(path: str) -> int | None:
    try:
        return Path(path).stat().st_size
    except OSError:
        return None
