"""Whether the data of committed versions lies on this disk, or at the remote alone: nothing else assumes either.

Beside the place of such a file stands a note, `.<name>.away`, that says which remote has it and what it is: written
before the file goes, so that a file without a note is missing, and one with it is not. Indexes, layouts, ledgers and
manifests never go. Whoever reads a data file does so in `readable`, which lends what is away for that long.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from threading import RLock
from typing import Final, Literal

from pydantic import ValidationError

from vlm_assets.store.arrow_files import replace_file, sync_directory
from vlm_assets.words.disk import remove_tree
from vlm_assets.words.errors import DataAwayError
from vlm_assets.words.manifest import FileEntry, Manifest

_SUFFIX: Final = ".away"
Lender = Callable[[Path, FileEntry, int | None], Path]
"""Brings what a file was, verified, or so many bytes of its beginning, into a folder of its own, which then goes."""

_LENDERS: Final[dict[Path, Lender]] = {}
_LENDING: Final = RLock()


class AwayFile(Manifest):
    """The note: what the file is and where it lies."""

    type: Literal["away_file"] = "away_file"
    remote: str
    entry: FileEntry


def note_of(path: Path) -> Path:
    """Where the note of a file lies."""
    return path.with_name(f".{path.name}{_SUFFIX}")


def away(path: Path) -> AwayFile | None:
    """What is on record of a file that is not on this disk; None where it is, or where it is missing.

    Raises:
        DataAwayError: the note cannot be read.
    """
    if path.is_file():
        return None
    note = note_of(path)
    try:
        return AwayFile.from_bytes(note.read_bytes())
    except FileNotFoundError:
        return None
    except ValidationError as error:
        raise DataAwayError(f"{note}: damaged; restore the version: {error.errors()[0]['msg']}") from error


def away_in(folder: Path) -> Mapping[str, AwayFile]:
    """The files of a folder that are away, by name, sorted; {} of one that has everything."""
    try:
        with os.scandir(folder) as entries:
            names = sorted(one.name for one in entries if is_note(one.name))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    found = ((name, away(folder / name)) for name in (one[1 : -len(_SUFFIX)] for one in names))
    return {name: one for name, one in found if one is not None}


def is_note(name: str) -> bool:
    """Whether a file of this name says of another that it is away: not to be carried over beside a new one."""
    return name.startswith(".") and name.endswith(_SUFFIX)


def files_like(folder: Path, pattern: str) -> list[Path]:
    """Paths of a folder's files that a pattern names, those that are away among them, sorted."""
    gone = {folder / name for name in away_in(folder) if Path(name).match(pattern)}
    return sorted({*folder.glob(pattern), *gone})


def note_away(path: Path, entry: FileEntry, remote: str) -> None:
    """Puts on record that the remote has the file; where it lies here too, it is here."""
    replace_file(note_of(path), AwayFile(remote=remote, entry=entry).to_bytes())


def send_away(paths: Mapping[Path, FileEntry], remote: str) -> int:
    """Frees the disk of files that the remote is known to have whole; returns how many bytes.

    Killed at any point, a file is here or on record. Who has it open keeps it.
    """
    freed = 0
    for path, entry in sorted(paths.items()):
        if path.is_file():
            note_away(path, entry, remote)
            path.unlink()
            freed += entry.size_bytes
    for folder in {path.parent for path in paths}:
        sync_directory(folder)
    return freed


def came_back(paths: Iterable[Path]) -> None:
    """Forgets notes of files that lie here again."""
    for path in paths:
        if path.is_file():
            note_of(path).unlink(missing_ok=True)


def lend_by(root: Path, lender: Lender) -> None:
    """Has `readable` lend files below a data root in this process.

    Readers are handed paths, in thirty places of packages that know no remote; who lends is said once a process.
    """
    _LENDERS[root] = lender


@contextmanager
def readable(path: Path, *, size_bytes: int | None = None) -> Iterator[Path]:
    """The file, to be opened: itself where it lies here, else a copy that is gone from its name afterwards.

    `size_bytes`: so much of its beginning is enough, and need not be verified. What was opened or mapped meanwhile
    stays readable. A file that is missing is named as it is. One copy is lent at a time, to one thread of a process:
    more of them would want more room than one.

    Raises:
        DataAwayError: it lies at a remote that this process does not look at.
        RemoteError: the remote does not give it.
    """
    found = away(path)
    if found is None:
        yield path
        return
    lender = next((_LENDERS[one] for one in path.parents if one in _LENDERS), None)
    if lender is None:
        raise DataAwayError(
            f"{path} lies at {found.remote} alone, and no remote is named here: set VLM_REMOTE, or bring it back "
            "with `VLM_ROWS_FROM=disk vlm-assets restore`"
        )
    with _LENDING:
        lent = lender(path, found.entry, size_bytes)
        try:
            yield lent
        finally:
            remove_tree(lent.parent)
