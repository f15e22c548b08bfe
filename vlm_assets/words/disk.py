"""Faults of the disk as errors of ours, with the path, whoever met them: the one place where that is decided."""

import errno
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Final, ParamSpec, TypeVar

from vlm_assets.words.errors import DiskFullError, StoreError, is_full, write_error

Params = ParamSpec("Params")
Result = TypeVar("Result")

_OF_THE_DISK: Final = frozenset(
    {
        errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EACCES, errno.EPERM, errno.EROFS, errno.EMFILE, errno.ENFILE,
        errno.ENODEV, errno.ENXIO, errno.ESTALE, errno.EFBIG, errno.EMLINK, errno.ENAMETOOLONG, errno.EXDEV,
        errno.EEXIST, errno.ENOTEMPTY,  # what could not be removed before
    }
)  # fmt: skip

_SQLITE_GROWS_BY: Final = 32_768
"""Bytes: its files grow by no more at a time (`-shm`)."""


@contextmanager
def naming(path: str | os.PathLike[str]) -> Iterator[None]:
    """What the disk says inside of an open file, which knows no name, says it of this path."""
    try:
        yield
    except OSError as error:
        if error.filename is None:
            error.filename = os.fspath(path)
        raise


@contextmanager
def naming_database(path: str | os.PathLike[str]) -> Iterator[None]:
    """What sqlite says is said of this file: its own errors have no name.

    Raises:
        DiskFullError: the volume is full.
        StoreError: anything else.
    """
    try:
        yield
    except sqlite3.DatabaseError as error:
        raise database_error(path, error) from error


def database_error(path: str | os.PathLike[str], error: sqlite3.DatabaseError) -> StoreError:
    """What to raise where sqlite says this of a file: a `DiskFullError` only where the volume is full."""
    told, folder = f"{os.fspath(path)}: {error}", Path(path).parent
    room = "what is committed stays valid: make room, then run it again"
    if "full" in str(error):
        return DiskFullError(f"{told} ({os.strerror(errno.ENOSPC)}); {room}")
    if folder.is_absolute() and _may_mean_full(error) and _is_full(folder):
        return DiskFullError(
            f"{told}; there is no room left in {folder} ({os.strerror(errno.ENOSPC)}); {room}"
        )
    if not is_of_the_disk(error):
        return StoreError(told)
    said = f" ({os.strerror(errno.EIO)})" if "I/O" in str(error) else ""
    return StoreError(f"{told}{said}; what is committed stays valid: see to the disk, then run it again")


def is_of_the_disk(error: sqlite3.DatabaseError) -> bool:
    """Whether sqlite speaks of the disk or its rights, and not of a lock, a statement or what a table holds."""
    return "readonly" in str(error) or "full" in str(error) or _may_mean_full(error)


def _may_mean_full(error: sqlite3.DatabaseError) -> bool:
    """Whether sqlite says so of a full volume too, where it is a journal or an index (`-shm`) that has no room."""
    return any(words in str(error) for words in ("unable to open", "disk I/O error"))


def _is_full(folder: Path) -> bool:
    """Whether sqlite could not have its next bytes there: by trying, since a quota shows in no number of a volume."""
    try:
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".room.") as room:
            room.write(bytes(_SQLITE_GROWS_BY))
            room.flush()
            os.fsync(room.fileno())
    except OSError as error:
        return is_full(error)
    return False


def remove_tree(path: Path) -> None:
    """Deletes a folder that nobody commits. Errors name the whole path: `rmtree` tells names below a descriptor."""
    try:
        shutil.rmtree(path)
    except OSError as error:
        error.filename = str(path / str(error.filename or ""))
        raise


def named_disk_errors(step: Callable[Params, Result]) -> Callable[Params, Result]:
    """The step, which raises `DiskFullError` or `StoreError` where it raised what the disk said, raw.

    For the entrances of the core: a file that is written has its own place for that; renames, links, folders and
    small databases are too many. What the disk has said is never taken for content, and everything that is
    committed stays valid.
    """

    @wraps(step)
    def named(*args: Params.args, **kwargs: Params.kwargs) -> Result:
        try:
            with naming_database(f"{step.__name__}: a database under the data root"):
                return step(*args, **kwargs)
        except OSError as error:
            if error.errno not in _OF_THE_DISK:
                raise
            # Of two names the second is the one that could not be made: a link's first is what it points at.
            where = error.filename2 or error.filename or f"{step.__name__}: a file"
            raise write_error(where, error) from error

    return named
